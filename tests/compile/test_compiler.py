"""Compiled programs, run on the model, give every tensor of the definition, integer for integer."""

import dataclasses
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.random_networks import FORMATS, depthwise_network, random_codes, random_network, random_rules
from mixcim.compile.compiler import compile_network
from mixcim.compile.evaluate import evaluate
from mixcim.compile.fold import fold_input
from mixcim.compile.load import load_network, quantise_input
from mixcim.compile.network import LayerKind, Network
from mixcim.compile.table import exact_table, read_table
from mixcim.errors import MixcimError
from mixcim.host.values import fold_pixels
from mixcim.model import ProcessorModel
from mixcim_hdl.commands import Opcode, decode_command
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program
from workloads import WORKLOADS, cifar100, needs_workloads

TINY, DEMO = PRESETS["tiny"], PRESETS["demo"]
#: Several units of each kind, and so little room that most layers take several RUNs.
CROWDED = dataclasses.replace(
    TINY,
    name="crowded",
    memristor_banks=3,
    sram_banks=2,
    sram_slots=20,
    tiny_banks=2,
    tiny_words=80,
    accumulator_tiles=1,
    program_commands=512,
    parameter_tiles=512,
    weight_words=8192,
)
CHIPS = {chip.name: chip for chip in (TINY, DEMO, CROWDED)}


PLACEMENTS = {
    "default": lambda network, seed, channels: [],
    "sram": lambda network, seed, channels: ["*=sram"],
    "tiny": lambda network, seed, channels: ["*=tiny"],
    "memristor": lambda network, seed, channels: ["*=memristor"],
    "scattered": random_rules,
}


def differences(network: Network, program: Program, chip: ChipConfig, inputs: int = 2) -> tuple[list[str], int]:
    """Names of tensors that differ between model and definition, and the number of saturated conversions."""
    return compare(network, program, chip, random_codes(network, inputs))


def compare(network: Network, program: Program, chip: ChipConfig, codes: np.ndarray) -> tuple[list[str], int]:
    """As `differences`, for input integers (N, height, width, channels)."""
    network, fold = fold_input(network, chip)
    assert program.fold == fold
    if fold != (1, 1):
        codes = fold_pixels(codes, program.tensors[program.input].shape, fold, _fill(network))
    expected = evaluate(network, codes, chip.channels)

    def stored(name: str, values: np.ndarray) -> np.ndarray:
        """Integers, or patterns, as the chip holds them."""
        place = program.tensors[name]
        return (values + (128 if place.signed else 0)).astype(place.type)

    model = ProcessorModel(chip, program)
    model.run(stored(program.input, codes), capture=list(program.tensors))
    wrong = []
    for name, place in program.tensors.items():
        # Rows of a tensor in strips that no layer takes are not computed.
        rows = sorted({row for part in place.parts for row in range(part.row, part.row + part.rows)})
        if not np.array_equal(model.captured[name][:, rows], stored(name, expected[name])[:, rows]):
            wrong.append(name)
    return wrong, int(model.adc_saturations.sum())


def _fill(network: Network) -> int:
    """What stands for a position outside of the input, in the input's own integers or patterns."""
    return network.tensors[network.input].quantisation.zero_point


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("chip", CHIPS)
def test_every_tensor_equals_the_definition(chip: str, placement: str, seed: int) -> None:
    network = random_network(seed, widest=9 if chip != "demo" else 40)
    sizes = dataclasses.replace(CHIPS[chip], memristor_slots=4096, activation_words=4096)
    rules = PLACEMENTS[placement](network, seed, sizes.channels)
    program = compile_network(network, sizes, rules, table="exact")
    wrong, saturations = differences(network, program, sizes)
    assert wrong == []
    assert saturations == 0


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("chip", CHIPS)
def test_every_tensor_of_floating_networks_equals_the_definition(chip: str, placement: str, seed: int) -> None:
    room = {"memristor_slots": 8192, "sram_slots": 128, "tiny_words": 1024, "weight_words": 16384}
    sizes = dataclasses.replace(CHIPS[chip], activation_words=8192, program_commands=512, parameter_tiles=1024, **room)
    network = random_network(seed, widest=9 if chip != "demo" else 40, formats=FORMATS, aligned_bits=sizes.aligned_bits)
    rules = PLACEMENTS[placement](network, seed, sizes.channels)
    program = compile_network(network, sizes, rules, table="exact")
    assert differences(network, program, sizes) == ([], 0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("table", ["8", "10,8,9", "exact"])
@pytest.mark.parametrize("mode", ["MM-S", "MM-1", "MM-2", "MM-M"])
def test_tables_without_saturation_are_exact(table: str, mode: str, seed: int) -> None:
    # 10 rows of digits up to 3 add up to 30, which 5 bits hold.
    network = random_network(seed)
    chip = dataclasses.replace(DEMO, weight_mode=mode, memristor_slots=4096)
    wrong, saturations = differences(network, compile_network(network, chip, ["*=memristor"], table), chip)
    assert (wrong, saturations) == ([], 0)


def test_wrong_tensors_have_saturated_conversions() -> None:
    seen = 0
    for seed in range(12):
        network = random_network(seed, widest=40)
        chip = dataclasses.replace(DEMO, memristor_slots=4096, activation_words=1 << 15)
        wrong, saturations = differences(network, compile_network(network, chip, ["*=memristor"], "64"), chip)
        assert not wrong or saturations
        seen += bool(wrong)
    assert seen  # 64 rows of full-range weights do saturate


@pytest.mark.parametrize("seed", range(10))
def test_exact_table_is_the_largest_of_its_kind(seed: int) -> None:
    slots = np.random.default_rng(seed).integers(-40, 40, (2, 64, 16)).astype(np.int8)
    table = exact_table(slots, DEMO)
    mode = DEMO.mode
    for digit, rows in enumerate(table.rows_per_read[0]):
        digits = np.abs(slots.astype(int)) >> mode.places[digit] & 3
        for n in range(rows, 65):
            sums = [
                np.where(sign * slots > 0, digits, 0)[:, first : first + n].sum(axis=1).max()
                for sign in (1, -1)
                for first in range(0, 64, n)
            ]
            assert (max(sums) <= 31) == (n == rows)
    assert len({row for row in table.rows_per_read}) == 1


def test_keep_all_gives_every_tensor_a_place_to_the_end() -> None:
    network = random_network(5)
    program = compile_network(network, DEMO, keep_all=True)
    assert {place.until for place in program.tensors.values()} == {len(program.commands) - 1}
    assert differences(network, program, DEMO)[0] == []


def test_tensors_are_valid_until_their_memory_is_written() -> None:
    shorter = 0
    for seed in range(20):
        network = random_network(seed, layers=8)
        program = compile_network(network, DEMO)
        for place in program.tensors.values():
            later = [
                index
                for layer in program.layers
                for index in layer.commands
                if index > place.command
                and decode_command(program.commands[index], DEMO)[0] is Opcode.RUN
                and overlap(program, place.name, layer.output)
            ]
            assert place.until == min(later, default=len(program.commands)) - 1
            shorter += bool(later)
    assert shorter > 20


def overlap(program: Program, first: str, second: str) -> bool:
    """True if two tensors share a word."""
    words = []
    for place in (program.tensors[first], program.tensors[second]):
        height, width, _ = place.shape
        words.append(set(range(place.address, place.address + height * width * place.pitch)))
    return bool(words[0] & words[1])


def test_records_and_commands() -> None:
    network = random_network(7, layers=8)
    program = compile_network(network, DEMO, ["*=memristor"], "16")
    opcodes = [decode_command(words, DEMO)[0] for words in program.commands]
    assert opcodes[-1] is Opcode.END and opcodes.count(Opcode.END) == 1
    assert opcodes.count(Opcode.TABLE) == 1  # the same for all layers
    next_command = 0
    for record, layer in zip(program.layers, network.layers, strict=True):
        assert (record.name, record.output) == (layer.name, layer.output)
        ((first, last),) = record.ranges
        assert first == next_command
        next_command = last + 1
        assert opcodes[last] is Opcode.RUN
        assert sum(record.kernels.values()) == network.tensors[layer.output].shape[2]
        assert program.tensors[record.output].command == last
    assert next_command == len(program.commands) - 1


def test_tiles_of_a_kind_are_spread_evenly_over_its_units() -> None:
    chip = dataclasses.replace(DEMO, sram_banks=3)
    network = next(
        network for network in map(lambda seed: random_network(seed, widest=160), range(40)) if _words(network) > 6
    )
    program = compile_network(network, chip, ["*=sram"])
    for record in program.layers:
        if record.kind not in ("convolution", "fully_connected"):
            continue
        for words in program.commands[record.commands]:
            opcode, fields = decode_command(words, chip)
            if opcode is Opcode.RUN:
                tiles = [fields[f"tiles[{unit}]"] for unit in (1, 2, 3)]
                assert max(tiles) - min(tiles) <= 1


@pytest.mark.parametrize("unit", ["tiny", "sram", "memristor"])
def test_groups_are_not_limited_by_the_accumulator(unit: str) -> None:
    """It starts anew for each group, which has one tile; dense layers have a tile for each word of kernels."""
    chip = dataclasses.replace(DEMO, accumulator_tiles=1, activation_words=1 << 15)
    network = depthwise_network(90)
    program = compile_network(network, chip, [f"*={unit}"], "exact")
    runs = [decode_command(words, chip)[1] for words in program.commands if int(words[0]) & 0xFF == Opcode.RUN]
    assert [fields["group_count"] for fields in runs] == [6]
    assert differences(network, program, chip) == ([], 0)


def _words(network: Network) -> int:
    return max(
        -(-network.tensors[layer.output].shape[2] // 16)
        for layer in network.layers
        if layer.kind is LayerKind.CONVOLUTION
    )


@pytest.mark.parametrize("swapped", [False, True])
def test_second_operand_of_the_sum_is_multiplied_first(swapped: bool) -> None:
    # The other order gives other codes so rarely that comparing tensors does not find it.
    network = next(network for network in map(random_network, range(40)) if network.layers[2].residual)
    residual = network.layers[2].residual
    assert residual is not None
    network.layers[2] = dataclasses.replace(
        network.layers[2], residual=dataclasses.replace(residual, order_swapped=swapped)
    )
    program = compile_network(network, DEMO)
    _, fields = decode_command(program.commands[program.layers[2].commands[-1]], DEMO)
    out = np.float32(network.tensors[network.layers[2].output].quantisation.scale)
    own = np.float32(residual.quantisation.scale) / out
    other = np.float32(network.tensors[residual.tensor].quantisation.scale) / out
    scales = [np.uint32(fields[name]).view(np.float32) for name in ("scale_first", "scale_second")]
    assert fields["residual_first"] == (not swapped)
    assert scales == ([own, other] if swapped else [other, own])


def test_same_arguments_same_bytes() -> None:
    one, other = (
        compile_network(random_network(7), CROWDED, random_rules(random_network(7), 1, 4), "exact").to_bytes()
        for _ in range(2)
    )
    assert one == other


def test_input_bits_follow_the_clamp_of_the_layer_before() -> None:
    network = random_network(9, layers=2)
    first = dataclasses.replace(network.layers[0], clamp=(-128, -100) if _signed(network) else (0, 28))
    source = network.tensors[first.output]
    low = -128 if _signed(network) else 0
    quantisation = dataclasses.replace(source.quantisation, zero_point=low)
    network = dataclasses.replace(
        network,
        layers=[first, dataclasses.replace(network.layers[1], input=first.output, residual=None)],
        tensors={**network.tensors, source.name: dataclasses.replace(source, quantisation=quantisation)},
    )
    layer = network.layers[1]
    kernel = source.shape[:2]
    weight = np.ones((len(layer.bias), *kernel, source.shape[2]), np.int8)
    network.layers[1] = dataclasses.replace(layer, kernel=kernel, weight=weight)
    program = compile_network(network, DEMO)
    _, fields = decode_command(program.commands[program.layers[1].commands[-1]], DEMO)
    assert fields["input_bits"] == 5
    assert differences(network, program, DEMO)[0] == []


def _signed(network: Network) -> bool:
    return network.tensors[network.input].quantisation.signed


@pytest.mark.parametrize(
    ("sizes", "rules", "message"),
    [
        ({"weight_words": 8}, [], "weight store of chip 'demo' holds 8 words"),
        ({"program_commands": 4}, [], "program store of chip 'demo' holds 4 commands"),
        ({"parameter_tiles": 2}, [], "parameter memory of chip 'demo' holds 2 kernel tiles"),
        ({"memristor_slots": 2}, ["*=memristor"], "memristor banks of chip 'demo' hold 2 slots"),
        ({"sram_slots": 1}, ["*=sram"], "needs 2 slots of a sram unit for one kernel tile"),
        ({"tiny_words": 16}, ["*=tiny"], "of a tiny unit for one kernel tile, the units of chip 'demo' hold 16"),
        ({"activation_words": 16}, [], "activation memory of chip 'demo' holds 16 words"),
    ],
)
def test_what_does_not_fit_is_named(sizes: dict[str, int], rules: list[str], message: str) -> None:
    network = random_network(4, layers=6, widest=60)
    chip = dataclasses.replace(DEMO, **sizes)
    with pytest.raises(MixcimError) as error:
        compile_network(network, chip, rules)
    assert message in str(error.value)
    assert "use a chip with more" in str(error.value) and "\n" not in str(error.value)


def test_value_that_no_field_holds_names_layer_and_field() -> None:
    network = random_network(4)
    network.layers[0] = dataclasses.replace(network.layers[0], stride=(300, 300))
    with pytest.raises(MixcimError, match=r"layer '.*' does not fit the chip's commands: RUN field 'stride_y'"):
        compile_network(network, DEMO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("65", "rows_per_read must be from 1 to 64 on chip 'demo', not 65"),
        ("0", "not 0"),
        ("16,32", "must be one number, or three"),
        ("many", "neither 'exact', nor numbers"),
    ],
)
def test_tables_that_the_macro_cannot_do(text: str, message: str) -> None:
    with pytest.raises(MixcimError) as error:
        read_table(text, DEMO)
    assert message in str(error.value)


def test_table_files(tmp_path: Path) -> None:
    rows = [[8, 8, 16, 16]] * 4 + [[16, 16, 32, 32]] * 4
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rows_per_read": rows}))
    table = read_table(str(path), DEMO).default
    assert table is not None and table.rows_per_read[7] == (16, 16, 32, 32) and table.step_shift[0] == (0, 0, 0, 0)
    path = tmp_path / "table.toml"
    path.write_text(f"rows_per_read = {rows}\nstep_shift = {[[1] * 4] * 8}\n")
    table = read_table(str(path), DEMO).default
    assert table is not None and table.step_shift[3] == (1, 1, 1, 1)
    path.write_text(f"rows_per_read = {rows}\n[layers.second]\nrows_per_read = {[[5] * 4] * 8}\n")
    tables = read_table(str(path), DEMO)
    assert tables.of("first") == tables.default
    second = tables.of("second")
    assert second is not None and second.rows_per_read[0] == (5, 5, 5, 5)
    for text, message in (
        (f"rows_per_read = {rows}\nlayers = 3", "layers must be a table"),
        (f"rows_per_read = {rows}\n[layers.x]\nrows = 3", "layer 'x' has no 'rows_per_read'"),
        ("rows_per_read = 3", "must have 8 lists"),
        ("rows = 3", "has no 'rows_per_read'"),
        (f"rows_per_read = {rows}\nsteps = 1", "unknown field 'steps'"),
        (f"rows_per_read = {rows}\nstep_shift = {[[99] * 4] * 8}", "step_shift must be from 0 to 15"),
        ("rows_per_read = [", "neither JSON nor TOML"),
    ):
        path.write_text(text)
        with pytest.raises(MixcimError, match=message):
            read_table(str(path), DEMO)


def test_three_numbers_are_by_place_value() -> None:
    table = read_table("16,32,64", DEMO).default
    assert table is not None
    assert table.rows_per_read[3] == (64, 64, 32, 32)
    assert table.rows_per_read[4] == (32, 32, 16, 16)


MODELS = {
    "resnet20": "resnet20_cifar100/resnet20_cifar100.onnx",
    "kws": "kws_dscnn/kws_dscnn_int8.tflite",
    "vww": "vww_mobilenetv1_0.25_96/vww_mobilenetv1_0.25_96_int8.tflite",
    "resnet8": "resnet8_cifar10/resnet8_cifar10_int8.tflite",
    "mobilenet": "mobilenetv2_1.0_224_imagenet/mobilenetv2_1.0_224_imagenet_int8ptq.tflite",
}


@functools.cache
def workload(name: str) -> tuple[Network, np.ndarray]:
    """A network of the pack and integers of a few inputs: images where it takes CIFAR-100, else any integers."""
    path = WORKLOADS / "models" / MODELS[name]
    if name == "resnet20":
        network = load_network(path, cifar100("cifar100_calib_train")[0][:64])
        return network, quantise_input(network, cifar100("cifar100_test")[0][:3])
    network = load_network(path)
    return network, random_codes(network, 1 if name == "mobilenet" else 3)


@needs_workloads
@pytest.mark.parametrize("options", [{}, {"hidden": "memristor", "table": "exact"}], ids=["sram", "memristor"])
@pytest.mark.parametrize(
    ("name", "chip"),
    [(name, chip) for name in MODELS for chip in ("demo", "paper", "large") if name != "mobilenet" or chip == "large"],
)
def test_real_networks_equal_the_definition(name: str, chip: str, options: dict[str, Any]) -> None:
    network, codes = workload(name)
    program = compile_network(network, PRESETS[chip], **options)
    assert compare(network, program, PRESETS[chip], codes) == ([], 0)


@needs_workloads
def test_compiling_resnet20_takes_less_than_two_seconds() -> None:
    network, _ = workload("resnet20")
    start = time.perf_counter()
    compile_network(network, DEMO, hidden="memristor", table="exact")
    assert time.perf_counter() - start < 2


def test_scales_that_overflow_are_refused() -> None:
    network = random_network(4)
    layer = network.layers[0]
    network.layers[0] = dataclasses.replace(layer, scale=np.full_like(layer.scale, np.inf))
    with pytest.raises(MixcimError, match=r"layer '.*': .* overflows float32"):
        compile_network(network, PRESETS["demo"])
