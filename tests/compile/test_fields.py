"""What compiled programs with floating layers say: RUN fields, weights in slices, parameters, exponent entries.

The programs are decoded and compared with the network, by the definitions of commands.py.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from compile.random_networks import FORMATS, random_network, random_rules
from mixcim.compile.compiler import compile_network
from mixcim.compile.fold import fold_input
from mixcim.compile.network import EXACT, FloatArithmetic, Layer, LayerKind, Network, Quantisation, Tensor
from mixcim.compile.unused import unused_biases
from mixcim.errors import MixcimError
from mixcim_hdl.commands import Opcode, Pooling, TinyMode, decode_command
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ElementFormat, Rounding
from mixcim_hdl.formats import CELL_LEVELS, conductance_unit
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

INTEGER, BF16, FP16, FP8 = ElementFormat.INTEGER, ElementFormat.BF16, ElementFormat.FP16, ElementFormat.FP8_E4M3
ROOM = {"memristor_slots": 4096, "activation_words": 8192, "program_commands": 512, "parameter_tiles": 1024}
DEMO = dataclasses.replace(PRESETS["demo"], **ROOM)
TINY = dataclasses.replace(PRESETS["tiny"], weight_words=8192, aligned_bits=16, **ROOM)
#: Several units of each kind that accumulate one tile at a time: most layers take several RUNs.
CROWDED = dataclasses.replace(TINY, memristor_banks=2, sram_banks=2, tiny_banks=2, accumulator_tiles=1)
CHIPS = {"demo": DEMO, "tiny": TINY, "crowded": CROWDED}


@dataclass(frozen=True, eq=False)
class Run:
    """A RUN command, and what lies in the units' memories when it runs: unit -> int8 (weight words, rows)."""

    fields: dict[str, int]
    memories: dict[int, np.ndarray]


def runs_of(program: Program, chip: ChipConfig, number: int) -> list[Run]:
    """The RUNs of layer `number`, with the weights that the commands until then loaded."""
    memories = {unit: np.zeros((1 << 17, chip.rows), np.int8) for unit in range(len(chip.units))}
    record, found = program.layers[number], []
    for index in range(record.commands[-1] + 1):
        opcode, fields = decode_command(program.commands[index], chip)
        if opcode is Opcode.LOAD:
            source, target = fields["source"], fields["destination"]
            for unit in range(fields["unit"], fields["unit"] + fields["units"]):
                memories[unit][target : target + fields["count"]] = program.weights[source:][: fields["count"]]
        elif opcode is Opcode.RUN and index in record.commands:
            found.append(Run(fields, {unit: memory.copy() for unit, memory in memories.items()}))
    return found


def memristor_slot(program: Program, chip: ChipConfig, bank: int, slot: int) -> np.ndarray:
    """Weights (rows, channels) of a slot of a memristor bank in differential encoding, from its conductances."""
    lines = program.memristor[bank].reshape(-1, len(chip.mode.cells), chip.physical_columns, chip.rows)[slot]
    weights = np.zeros((chip.channels, chip.rows), int)
    for digit, (bits, place) in enumerate(zip(chip.mode.cells, chip.mode.places, strict=True)):
        levels = [level * conductance_unit(chip.conductance_bits) for level in CELL_LEVELS[bits]]
        values = np.vectorize(levels.index)(lines[digit, : 2 * chip.channels])
        weights += (values[0::2] - values[1::2]) << place
    return weights.T


def slot_weights(program: Program, chip: ChipConfig, run: Run, unit: int, slot: int) -> np.ndarray:
    """Weights (rows, channels) of one slot of any unit, the diagonal of tiny-digital's DEPTHWISE mode included."""
    kind, memory = chip.units[unit], run.memories[unit]
    if kind is UnitKind.MEMRISTOR:
        return memristor_slot(program, chip, unit, slot)
    if kind is UnitKind.SRAM:
        return memory[slot * chip.channels : (slot + 1) * chip.channels].T
    if run.fields[f"mode[{unit}]"] == TinyMode.BROADCAST:
        return memory[slot : slot + chip.channels].reshape(chip.rows, chip.channels)
    taps = memory[slot].reshape(chip.taps_per_vector, chip.channels)
    return (taps[:, :, None] * np.eye(chip.channels, dtype=np.int8)).reshape(chip.rows, chip.channels)


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile of a layer: its unit (None: the float pool), RUN, copy and group, and the parameter tile; weights
    (vectors, rows, channels), 0 in the pool."""

    kind: UnitKind | None
    copy: int
    first_group: int
    group: int
    parameter: int
    weights: np.ndarray


def segments_of(chip: ChipConfig, kind: UnitKind, rows: int) -> int:
    """Tiles that a unit does at a time with a vector of so many rows, which is not split."""
    if kind is not UnitKind.SRAM:
        return 1
    return max(
        count for count in (1, 2, 4, 8) if count == 1 or count <= chip.sram_segments and count * rows <= chip.rows
    )


def tiles_of(program: Program, chip: ChipConfig, number: int, first_groups: list[int]) -> Iterator[Tile]:
    """Every tile that the RUNs of a layer write, weights put together from their slices."""
    for run, first_group in zip(runs_of(program, chip, number), first_groups, strict=True):
        fields = run.fields
        granules = fields["kernel_height"] * fields["kernel_width"] * fields["tap_words"]
        rows = granules << fields["granule_log2"]
        vectors = -(-rows // chip.rows)
        lengths = [min(chip.rows, rows - first) for first in range(0, rows, chip.rows)]
        slices = fields["weight_slices"]
        if fields["pooling"]:
            for group in range(fields["group_count"]):
                weights = np.zeros((vectors, chip.rows, chip.channels), int)
                yield Tile(None, 0, first_group, group, fields["pool_parameter"] + group, weights)
        for unit, kind in enumerate(chip.units):
            tiles, slot = fields[f"tiles[{unit}]"], fields[f"slot[{unit}]"]
            broadcast = kind is UnitKind.TINY and fields[f"mode[{unit}]"] == TinyMode.BROADCAST
            stride = chip.channels if broadcast else 1
            for group in range(fields["group_count"]):
                for tile in range(tiles):
                    weights = np.zeros((vectors, chip.rows, chip.channels), int)
                    if fields[f"mode[{unit}]"] != TinyMode.MAX:
                        segments = [segments_of(chip, kind, rows) for rows in lengths]
                        steps = np.cumsum([0, *(-(-tiles // count) for count in segments)])
                        for vector, part in itertools.product(range(vectors), range(slices)):
                            count = segments[vector]
                            index = (group * steps[-1] + steps[vector] + tile // count) * slices + part
                            held = slot_weights(program, chip, run, unit, slot + index * stride)
                            own = held.reshape(count, -1, chip.channels)[tile % count].astype(int)
                            weights[vector][: len(own)] += own << 8 * part
                    parameter = fields[f"parameter[{unit}]"] + group * tiles + tile
                    yield Tile(kind, fields[f"copy[{unit}]"], first_group, group, parameter, weights)


def expected_weights(network: Network, layer: Layer, chip: ChipConfig, tile: Tile, lanes: np.ndarray, word: int):
    """Weights (window rows rounded up to vectors, channels) of a tile, element by element."""
    channels = network.tensors[layer.input].shape[2]
    words = -(-channels // chip.channels)
    separate = layer.kind is not LayerKind.CONVOLUTION
    granule = chip.channels if separate or words > 1 else 1 << (channels - 1).bit_length()
    expected = np.zeros((tile.weights.shape[0] * chip.rows, chip.channels), int)
    if layer.kind is LayerKind.MAX_POOL or network.pools(layer):
        return expected
    row = 0
    for y in range(layer.kernel[0]):
        for x in range(layer.kernel[1]):
            for source_word in range(1 if separate else words):
                for lane in range(granule):
                    for column in np.flatnonzero(lanes):
                        kernel, channel = word * chip.channels + column, source_word * chip.channels + lane
                        if kernel >= len(layer.bias):
                            continue
                        if not separate and channel < channels:
                            assert layer.weight is not None
                            expected[row, column] = layer.weight[kernel, y, x, channel]
                        elif separate and lane == column:
                            expected[row, column] = 1 if layer.weight is None else layer.weight[kernel, y, x]
                    row += 1
    return expected


def compiled(chip: ChipConfig, seed: int, layers: int = 5, widest: int = 9) -> tuple[Network, Program]:
    """A random network as the chip runs it (with its input folded), and its program."""
    network = random_network(seed, layers, widest, formats=FORMATS, aligned_bits=chip.aligned_bits)
    rules = random_rules(network, seed, chip.channels)
    return fold_input(network, chip)[0], compile_network(network, chip, rules, "exact")


def float_of(pattern: int) -> np.float32:
    return np.uint32(pattern).view(np.float32)


def first_groups(program: Program, chip: ChipConfig, number: int) -> list[int]:
    """First group of each RUN of a layer."""
    return [run.fields["first_group"] for run in runs_of(program, chip, number)]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("chip", CHIPS)
def test_tiles_hold_the_layers_weights_parameters_and_entries(chip: str, seed: int) -> None:
    sizes = CHIPS[chip]
    network, program = compiled(sizes, seed)
    for number, layer in enumerate(network.layers):
        kernels: list[int] = []
        entries: dict[int, int] = {}
        place = program.tensors[layer.output]
        for tile in tiles_of(program, sizes, number, first_groups(program, sizes, number)):
            word = int(program.word_offset[tile.parameter])
            lanes = program.lane_mask[tile.parameter] >> np.arange(sizes.channels) & 1 == 1
            if layer.kind is not LayerKind.CONVOLUTION:
                assert word == tile.first_group + tile.group
            expected = expected_weights(network, layer, sizes, tile, lanes, word)
            np.testing.assert_array_equal(tile.weights.reshape(expected.shape), expected)
            own = [word * sizes.channels + lane for lane in np.flatnonzero(lanes).tolist()]
            kernels += own if tile.copy == 0 else []
            real = [kernel for kernel in own if kernel < len(layer.bias)]
            columns = [kernel % sizes.channels for kernel in real]
            np.testing.assert_array_equal(program.scale[tile.parameter][columns], layer.scale[real])
            if layer.floating:
                bias = program.bias[tile.parameter].view(np.float32)
                np.testing.assert_array_equal(bias[columns], layer.bias[real])
                unused = [kernel % sizes.channels for kernel in own if kernel >= len(layer.bias)]
                assert (bias[unused] == unused_biases(network)[layer.name]).all()
                assert not np.delete(bias, columns + unused).any()
            assert not np.delete(program.scale[tile.parameter], columns).any()
            if place.exponents:
                entry = int(program.exponent_offset[tile.parameter])
                assert (entry in entries) == (tile.copy > 0)
                entries[entry] = word
                assert entry == word or entry >= -(-place.shape[2] // sizes.channels)
            else:
                assert program.exponent_offset[tile.parameter] == 0
        # Every lane of every word is written once.
        assert sorted(kernels) == list(range(-(-place.shape[2] // sizes.channels) * sizes.channels))
        assert sorted(entries) == list(range(place.exponents))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("chip", CHIPS)
def test_fields_are_the_layers(chip: str, seed: int) -> None:
    sizes = CHIPS[chip]
    network, program = compiled(sizes, seed)
    for number, layer in enumerate(network.layers):
        source, output = program.tensors[layer.input], program.tensors[layer.output]
        residual = program.tensors[layer.residual.tensor] if layer.residual else None
        for run in runs_of(program, sizes, number):
            fields = run.fields
            assert fields["residual"] == (residual is not None)
            assert (fields["pixel_pitch"], fields["output_pitch"]) == (source.pitch, output.pitch)
            assert fields["row_pitch"] == source.shape[1] * source.pitch
            assert fields["window_step_x"] == layer.stride[1] * source.pitch
            assert fields["output_base"] == output.address
            if residual:
                assert (fields["residual_base"], output.pitch) == (residual.address, residual.pitch)
            assert fields["floating"] == (layer.floating is not None)
            if layer.floating is None:
                formats = [fields[f"{name}_format"] for name in ("input", "output", "residual")]
                assert formats == [0, 0, 0] and fields["weight_slices"] == 1
                assert not any(fields[name] for name in ("input_signed", "input_zero_point", "tap_exponents"))
                continue
            check_floating(layer, layer.floating, fields, source, output, residual, sizes)


def check_floating(layer: Layer, arithmetic: FloatArithmetic, fields, source, output, residual, chip) -> None:
    maximum = layer.kind is LayerKind.MAX_POOL
    assert fields["input_format"] == source.element and fields["output_format"] == output.element
    assert (float_of(fields["float_low"]), float_of(fields["float_high"])) == arithmetic.limits
    pools = source.element is not INTEGER and layer.weight is None
    assert fields["pooling"] == (0 if not pools else Pooling.MAXIMUM if maximum else Pooling.SUM)
    assert any(fields[f"tiles[{unit}]"] for unit in range(len(chip.units))) != pools
    if pools:
        assert not any(fields[name] for name in ("input_bits", "input_signed", "rounding", "pad_value"))
        assert (fields["tap_exponents"], fields["grouped_exponents"]) == (0, 0)
        assert 1 << fields["granule_log2"] == chip.channels and fields["tap_words"] == 1
        assert fields["group_count"] == -(-source.shape[2] // chip.channels) and fields["first_group"] == 0
    elif source.element is INTEGER:
        assert fields["input_zero_point"] == source.zero_point
        assert fields["pad_value"] == (0 if maximum else source.zero_point)
        bits, low = fields["input_bits"], 0
        if fields["input_signed"]:
            bits, low = bits - 1, -(1 << fields["input_bits"] - 1)
        assert low <= -source.zero_point and bool(fields["input_signed"]) == (source.zero_point > 0)
        assert fields["input_bits"] <= 9
        assert (fields["tap_exponents"], fields["grouped_exponents"]) == (0, 0)
    else:
        assert (fields["input_bits"], fields["input_signed"]) == (arithmetic.input_bits, 1)
        assert fields["rounding"] == arithmetic.rounding
        assert fields["input_zero_point"] == fields["pad_value"] == 0
        words = -(-source.shape[2] // chip.channels)
        if layer.kind is not LayerKind.CONVOLUTION and source.exponents == words:
            assert (fields["tap_exponents"], fields["grouped_exponents"]) == (1, 1)
        else:
            assert (fields["tap_exponents"], fields["grouped_exponents"]) == (source.exponents, 0)
    if output.element is INTEGER:
        assert float_of(fields["output_scale"]) == np.float32(1) / np.float32(output.scale)
        offset = 128 if output.signed else 0
        assert (fields["clamp_low"] - offset, fields["clamp_high"] - offset) == layer.clamp
        assert fields["zero_point"] == output.zero_point
    if residual is not None:
        assert fields["residual_format"] == residual.element
        if residual.element is INTEGER:
            assert fields["residual_zero_point"] == residual.zero_point
            assert float_of(fields["residual_scale"]) == np.float32(residual.scale)


def test_programs_use_everything() -> None:
    """The random networks of this file have every format, several slices, entries beyond the words, several RUNs."""
    seen: set[object] = set()
    for seed in range(60):
        network, program = compiled(CROWDED, seed)
        for number, layer in enumerate(network.layers):
            runs = runs_of(program, CROWDED, number)
            fields = runs[0].fields
            if not layer.floating:
                seen.add("integer")
                continue
            seen |= {("slices", fields["weight_slices"]), ("in", fields["input_format"]), layer.kind}
            seen |= {("out", fields["output_format"]), ("pooling", fields["pooling"])}
            seen |= {("grouped", fields["grouped_exponents"])} if fields["tap_exponents"] else set()
            seen |= {"several runs"} if len(runs) > 1 else set()
            seen |= {("residual", fields["residual_format"])} if layer.residual else set()
            place = program.tensors[layer.output]
            seen |= {"split"} if place.exponents > -(-place.shape[2] // CROWDED.channels) else set()
    numbers = {(name, int(item)) for name in ("in", "out", "residual") for item in ElementFormat}
    others = {*(("pooling", item) for item in Pooling), *(("slices", number) for number in (1, 2, 3))}
    others |= {("grouped", 0), ("grouped", 1), *LayerKind}
    assert seen == numbers | others | {"integer", "several runs", "split"}


# Single layers.


def single(
    kind: LayerKind = LayerKind.CONVOLUTION,
    source: ElementFormat = BF16,
    weight: ElementFormat = FP16,
    output: ElementFormat = BF16,
    channels: int = 40,
    quantisation: Quantisation = EXACT,
    weights: np.ndarray | None = None,
    input_bits: int = 12,
    kernels: int = 40,
) -> Network:
    """A network of one floating layer of 1 x 1 windows."""
    tensors = {
        "x": Tensor("x", (4, 4, channels), quantisation, source),
        "y": Tensor("y", (4, 4, kernels), EXACT if output is not INTEGER else Quantisation(0.5, 3, False), output),
    }
    if kind is LayerKind.CONVOLUTION and weights is None:
        weights = np.ones((kernels, 1, 1, channels), np.int32)
    if kind is LayerKind.DEPTHWISE:
        weights = np.ones((kernels, 1, 1), np.int32)
    layer = Layer(
        *("only", kind, "x", "y", (1, 1), (1, 1), (0, 0, 0, 0), weights),
        *(np.zeros(kernels, np.float32), np.ones(kernels, np.float32), (0, 255)),
        floating=FloatArithmetic(weight, input_bits, Rounding.NEAREST_EVEN, (0.0, np.inf)),
    )
    return Network("single", tensors, [layer], "x", "y", "NHWC", (4, 4, channels), (4, 4, kernels))


def only_run(network: Network, chip: ChipConfig = DEMO, rules: tuple[str, ...] = ()) -> dict[str, int]:
    (run,) = runs_of(compile_network(network, chip, rules), chip, 0)
    return run.fields


@pytest.mark.parametrize(
    ("zero_point", "signed", "input_signed", "input_bits"),
    [
        (0, False, 0, 8),
        (1, False, 1, 9),
        (128, False, 1, 8),
        (255, False, 1, 9),
        (-128, True, 0, 8),
        (0, True, 1, 8),
        (127, True, 1, 9),
    ],
)
def test_integer_inputs_take_as_few_bits_as_they_need(
    zero_point: int, signed: bool, input_signed: int, input_bits: int
) -> None:
    fields = only_run(single(source=INTEGER, quantisation=Quantisation(0.1, zero_point, signed)))
    assert (fields["input_signed"], fields["input_bits"]) == (input_signed, input_bits)


@pytest.mark.parametrize(
    ("least", "largest", "slices"),
    [
        (-128, 127, 1),
        (-129, 0, 2),
        (0, 128, 2),
        (-32896, 32639, 2),
        (-32897, 0, 3),
        (0, 32640, 3),
        (-32768, 32767, 3),
        (0, 127 * 0x10101, 3),
        (-128 * 0x10101, 0, 3),
    ],
)
@pytest.mark.parametrize("unit", ["sram", "tiny", "memristor"])
def test_weights_take_as_few_slices_as_they_need(unit: str, least: int, largest: int, slices: int) -> None:
    weights = np.random.default_rng(0).integers(least, largest + 1, (40, 1, 1, 40)).astype(np.int32)
    weights[3, 0, 0, 2:4] = least, largest
    network = single(weights=weights)
    program = compile_network(network, DEMO, [f"*={unit}"], "exact")
    assert runs_of(program, DEMO, 0)[0].fields["weight_slices"] == slices
    tiles = list(tiles_of(program, DEMO, 0, [0]))
    found = np.concatenate([tile.weights[0, :48] for tile in tiles], axis=1)
    np.testing.assert_array_equal(found[:40, :40].T, weights[:, 0, 0])
    assert not found[40:].any() and not found[:, 40:].any()


@pytest.mark.parametrize("weight", [127 * 0x10101 + 1, -128 * 0x10101 - 1])
def test_weights_beyond_the_slices_are_refused(weight: int) -> None:
    weights = np.zeros((40, 1, 1, 40), np.int32)
    weights[0, 0, 0, 0] = weight
    with pytest.raises(
        MixcimError, match=f"layer 'only' has weights from .*{weight}.*: align its weights to fewer bits"
    ):
        compile_network(single(weights=weights), DEMO)


def test_slices_take_their_room_in_every_memory() -> None:
    """Three slices of 40 weights fill what one slice of 120 does."""
    wide, narrow = np.full((40, 1, 1, 40), 1 << 16, np.int32), np.ones((40, 1, 1, 192), np.int32)
    for unit, field, need in (
        ("memristor", "memristor_slots", 9),
        ("sram", "sram_slots", 3),
        ("tiny", "tiny_words", 48),
    ):
        for network in (single(weights=wide), single(weights=narrow, channels=192)):
            compile_network(network, dataclasses.replace(DEMO, **{field: need}), [f"*={unit}"])
            if field == "tiny_words":
                continue  # one less is two thirds of a tile, and ChipConfig takes fewer words than a tile needs
            with pytest.raises(MixcimError, match="slots"):
                compile_network(network, dataclasses.replace(DEMO, **{field: need - 1}), [f"*={unit}"])


def chain(layers: list[tuple[int, int]]) -> Network:
    """Layers one after the other over 16 channels: kernels and largest weight of each."""
    first = single(channels=16)
    tensors, found, channels = {"x": first.tensors["x"]}, [], 16
    for number, (kernels, weight) in enumerate(layers):
        layer = single(channels=channels, kernels=kernels, weights=np.full((kernels, 1, 1, channels), weight, np.int32))
        source, name, channels = f"y{number - 1}" if number else "x", f"y{number}", kernels
        tensors[name] = dataclasses.replace(layer.tensors["y"], name=name)
        found.append(dataclasses.replace(layer.layers[0], name=name, input=source, output=name))
    return dataclasses.replace(first, tensors=tensors, layers=found, output=name)


def test_slices_count_when_tiles_are_spread_over_banks() -> None:
    chip = dataclasses.replace(DEMO, memristor_banks=2, memristor_slots=8)
    # Tiles of three slots and of one in turn: only by slots do they fill both banks.
    program = compile_network(chain([(16, 1 << 16), (16, 1)] * 4), chip, ["*=memristor"])
    assert [len(lines) for lines in program.memristor] == [8 * 4 * chip.physical_columns] * 2
    # After the first two layers the banks have 2 and 5 slots left: not two tiles of three.
    with pytest.raises(
        MixcimError, match="layer 'y2': a kernel tile needs 3 slots in one memristor bank, .* has 5 of 8"
    ):
        compile_network(chain([(16, 1 << 16), (32, 1 << 16), (32, 1 << 16)]), chip, ["*=memristor"])


def test_readers_of_split_words_take_every_entry() -> None:
    """Two layers that keep channels apart: the second reads words that the first has written in parts."""
    first, second = single(LayerKind.DEPTHWISE), single(LayerKind.DEPTHWISE)
    tensors = {**first.tensors, "z": dataclasses.replace(first.tensors["y"], name="z")}
    layers = [first.layers[0], dataclasses.replace(second.layers[0], name="next", input="y", output="z")]
    network = dataclasses.replace(first, tensors=tensors, layers=layers, output="z")
    split = "only:0-7=sram,8-15=tiny,16-23=sram,24-31=tiny,32-35=sram,36-39=tiny"
    program = compile_network(network, DEMO, [split])
    place = program.tensors["y"]
    assert (place.exponents, place.pitch, place.format) == (6, 6, "BF16")
    (writer,), (reader,) = (runs_of(program, DEMO, number) for number in (0, 1))
    assert (writer.fields["grouped_exponents"], writer.fields["tap_exponents"]) == (1, 1)
    assert (reader.fields["grouped_exponents"], reader.fields["tap_exponents"]) == (0, 6)
    tiles = [int(program.exponent_offset[tile.parameter]) for tile in tiles_of(program, DEMO, 0, [0])]
    assert sorted(tiles) == [0, 1, 2, 3, 4, 5] and tiles[:3] == [0, 1, 2]


@pytest.mark.parametrize("source", [FP16, FP8])
def test_groups_in_several_runs_begin_with_their_own_words_and_entries(source: ElementFormat) -> None:
    program = compile_network(single(LayerKind.DEPTHWISE, source), DEMO, ["only:0-31=sram,32-39=tiny"])
    runs = [run.fields for run in runs_of(program, DEMO, 0)]
    assert [(fields["first_group"], fields["group_count"]) for fields in runs] == [(0, 2), (2, 1)]
    assert {fields["window_start"] for fields in runs} == {program.tensors["x"].address}
    assert [(fields["grouped_exponents"], fields["tap_exponents"]) for fields in runs] == [(1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("network", "format"),
    [
        (single(), "BF16/FP16"),
        (single(weight=INTEGER, source=FP8), "FP8_E4M3/int8"),
        (single(source=INTEGER, quantisation=Quantisation(1.0, 3, True)), "int8/FP16"),
        (single(source=INTEGER, quantisation=Quantisation(1.0, 3, False)), "uint8/FP16"),
        (single(LayerKind.IDENTITY), "BF16"),
    ],
)
def test_records_name_the_formats(network: Network, format: str) -> None:
    assert compile_network(network, DEMO).layers[0].format == format


@pytest.mark.parametrize("kind", [LayerKind.IDENTITY, LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL])
def test_a_pool_aligns_nothing(kind: LayerKind) -> None:
    """So a chip that aligns to fewer bits takes it, and every word of channels is a tile with its own entry."""
    network, chip = single(kind, input_bits=16), dataclasses.replace(DEMO, aligned_bits=8)
    program = compile_network(network, chip)
    (run,) = runs_of(program, chip, 0)
    assert (run.fields["group_count"], run.fields["output_tiles"], program.layers[0].kernels) == (3, 48, {"pool": 40})
    assert program.exponent_offset.tolist() == program.word_offset.tolist() == [0, 1, 2]
    assert len(program.weights) == 0


@pytest.mark.parametrize(
    ("network", "aligned_bits", "message"),
    [
        (single(), 0, "layer 'only' is BF16/FP16, chip 'demo' has no floating point (aligned_bits 0): use a chip"),
        (single(source=INTEGER), 0, "layer 'only' is uint8/FP16, chip 'demo' has no floating point"),
        (single(input_bits=16), 12, "inputs aligned to 16 bits, chip 'demo' aligns to 8, 9, 10, 11, 12: align to one"),
        (single(input_bits=13), 16, "inputs aligned to 13 bits, chip 'demo' aligns to 8, 9, 10, 11, 12, 16: align to"),
    ],
)
def test_what_the_chip_cannot_do_is_named(network: Network, aligned_bits: int, message: str) -> None:
    with pytest.raises(MixcimError) as error:
        compile_network(network, dataclasses.replace(DEMO, aligned_bits=aligned_bits))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_integer_inputs_have_no_aligned_width() -> None:
    quantisation = Quantisation(1.0, 3, False)
    only_run(
        single(source=INTEGER, quantisation=quantisation, input_bits=16), dataclasses.replace(DEMO, aligned_bits=8)
    )


@pytest.mark.parametrize("field", ["bias", "scale"])
def test_parameters_that_float32_does_not_hold_are_refused(field: str) -> None:
    network = single()
    network.layers[0] = dataclasses.replace(network.layers[0], **{field: np.full(40, np.inf, np.float32)})
    with pytest.raises(MixcimError, match="layer 'only': bias or scale overflows float32"):
        compile_network(network, DEMO)


@pytest.mark.filterwarnings("error")  # nothing but the one line of the error
def test_output_scale_whose_reciprocal_overflows_is_refused() -> None:
    network = single(output=INTEGER)
    network.tensors["y"] = dataclasses.replace(network.tensors["y"], quantisation=Quantisation(1e-40, 3, False))
    with pytest.raises(MixcimError, match="layer 'only': 1 / scale of its output overflows float32"):
        compile_network(network, DEMO)


def test_programs_with_floating_layers_survive_their_file() -> None:
    _, program = compiled(DEMO, 1)
    again = Program.from_bytes(program.to_bytes(), "again")
    assert again.tensors == program.tensors and again.layers == program.layers
    np.testing.assert_array_equal(again.exponent_offset, program.exponent_offset)
    np.testing.assert_array_equal(again.bias, program.bias)
