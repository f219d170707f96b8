"""Passes: which units share kernel tiles, how many copies take different output pixels, what is loaded when."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from compile.random_networks import FORMATS, depthwise_network, random_network, random_rules
from compile.test_compiler import differences, workload
from mixcim.compile.codes import input_width
from mixcim.compile.compiler import compile_network
from mixcim.compile.cycles import Work, run_cycles, work_of
from mixcim.compile.network import Layer, LayerKind, Network, Quantisation, Tensor
from mixcim.compile.portions import dense_portions, separate_copies, unit_tiles
from mixcim.compile.weights import Window, window_of
from mixcim_hdl.commands import Opcode, decode_command
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.pool.float_pool import word_period
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import LayerRecord, Program
from workloads import needs_workloads

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
#: Several units of each kind and several engines, with memories that hold little.
MANY = dataclasses.replace(
    TINY,
    name="many",
    engines=2,
    memristor_banks=6,
    memristor_slots=512,
    sram_banks=4,
    sram_slots=64,
    tiny_banks=6,
    tiny_words=256,
    activation_words=8192,
    program_commands=1024,
    parameter_tiles=4096,
    weight_words=32768,
    feeder_words=2,
    activation_banks=2,
)
SRAM, TINY_DIGITAL, MEMRISTOR = UnitKind.SRAM, UnitKind.TINY, UnitKind.MEMRISTOR


def fields_of(program: Program, chip: ChipConfig, opcode: Opcode, record: LayerRecord | None = None) -> list[dict]:
    """Fields of all commands with an opcode, of one layer or of all."""
    chosen = program.commands if record is None else program.commands[record.commands]
    decoded = [decode_command(words, chip) for words in chosen]
    return [fields for found, fields in decoded if found is opcode]


def copies_and_tiles(program: Program, chip: ChipConfig, record: LayerRecord) -> list[tuple[int, int]]:
    """Of each RUN of a layer: copies, and tiles in the first copy."""
    return [
        (
            fields["copies"],
            sum(fields[f"tiles[{unit}]"] for unit in range(len(chip.units)) if fields[f"copy[{unit}]"] == 0),
        )
        for fields in fields_of(program, chip, Opcode.RUN, record)
    ]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("placement", ["default", "sram", "tiny", "memristor", "scattered"])
def test_networks_on_many_units_equal_the_definition(placement: str, seed: int) -> None:
    network = random_network(seed, layers=6, formats=FORMATS if seed % 2 else FORMATS[:1])
    rules = {"default": [], "scattered": random_rules(network, seed, MANY.channels)}.get(placement, [f"*={placement}"])
    program = compile_network(network, MANY, rules, "exact")
    assert differences(network, program, MANY) == ([], 0)


def test_random_networks_use_copies_of_every_kind() -> None:
    seen: Counter[UnitKind] = Counter()
    for seed in range(10):
        network = random_network(seed, layers=6)
        for rule in ("*=sram", "*=tiny", "*=memristor"):
            for fields in fields_of(compile_network(network, MANY, [rule], "exact"), MANY, Opcode.RUN):
                assert 1 <= fields["copies"] <= fields["output_height"] * fields["output_width"]
                kinds = {MANY.units[unit] for unit in range(len(MANY.units)) if fields[f"tiles[{unit}]"]}
                seen.update(kinds if fields["copies"] > 1 else ())
    assert min(seen[kind] for kind in UnitKind) > 5


@pytest.mark.parametrize("seed", range(12))
def test_copies_hold_the_same_and_share_parameters(seed: int) -> None:
    network = random_network(seed, layers=6)
    program = compile_network(network, MANY, random_rules(network, seed, MANY.channels), "exact")
    for fields in fields_of(program, MANY, Opcode.RUN):
        work: dict[int, list[tuple[int, int]]] = {}
        for unit in range(len(MANY.units)):
            if fields[f"tiles[{unit}]"]:
                part = (fields[f"tiles[{unit}]"], fields[f"parameter[{unit}]"])
                work.setdefault(fields[f"copy[{unit}]"], []).append(part)
        assert sorted(work) == list(range(fields["copies"]))
        assert len({tuple(sorted(parts)) for parts in work.values()}) == 1
        windows = fields["output_height"] * fields["output_width"]
        written = sum(
            tiles * len(range(copy, windows, fields["copies"])) for copy, parts in work.items() for tiles, _ in parts
        )
        assert fields["output_tiles"] == fields["group_count"] * written


def test_one_load_fills_all_copies() -> None:
    program = compile_network(depthwise_network(10), MANY, ["*=tiny"])
    (run,) = fields_of(program, MANY, Opcode.RUN)
    (load,) = fields_of(program, MANY, Opcode.LOAD)
    first = MANY.units.index(TINY_DIGITAL)
    assert (load["unit"], load["units"]) == (first, run["copies"])
    assert run["copies"] > 1
    program = compile_network(chain_of_convolutions(1, kernels=8), MANY, ["*=sram"])  # two tiles on four units
    first = MANY.units.index(SRAM)
    assert [(load["unit"], load["units"]) for load in fields_of(program, MANY, Opcode.LOAD)] == [
        (first, 2),
        (first + 2, 2),
    ]


@pytest.fixture(scope="module")
def resnet20() -> tuple[Network, Program]:
    network, _ = workload("resnet20")
    return network, compile_network(network, PAPER)


@needs_workloads
def test_resnet20_on_paper(resnet20: tuple[Network, Program]) -> None:
    """8 units of SRAM-CIM: as many copies as the tiles of a layer leave."""
    _, program = resnet20
    stages = {"layer1": (8, 1), "layer2": (8, 2), "layer3": (2, 4)}
    sharers = {"layer1": 1, "layer2": 1, "layer3": 4}
    #: Output pixels x cycles of a window: 2 vectors x 8 bits / 8 copies; of 2 tiles (2 + 2 steps with full vectors, 1
    #: with the short one) x 8 / 8; 5 x 8 / 2 (and overhead).
    cycles = {"layer1": 1024 * 2, "layer2": 256 * 5, "layer3": 64 * 20}
    found = Counter()
    for record in program.layers:
        stage = record.name.split(".")[0]
        if stage in stages:
            # The only one with a short vector alone: all 4 tiles in one step, or two.
            expected = ((8, 4), 1) if record.name == "layer3.0.downsample.0" else (stages[stage], sharers[stage])
            assert copies_and_tiles(program, PAPER, record) == [expected[0]], record.name
            own = fields_of(program, PAPER, Opcode.LOAD, record)
            assert [load["units"] for load in own] == [expected[0][0]] * expected[1]
            if not record.name.endswith(("downsample.0", "layer2.0.conv1", "layer3.0.conv1")):
                found[stage] += 1
                assert 0 <= record.estimated_cycles - cycles[stage] <= 64 + 320, record.name
    assert found == {"layer1": 6, "layer2": 5, "layer3": 5}
    assert sum(record.estimated_cycles for record in program.layers) < 40_000


@needs_workloads
def test_resnet20_fills_spare_memristor_banks_with_copies() -> None:
    network, _ = workload("resnet20")
    program = compile_network(network, PAPER, hidden="memristor", table="exact")
    hidden = [record for record in program.layers if "memristor" in record.kernels]
    copies = {record.name: copies_and_tiles(program, PAPER, record)[0][0] for record in hidden}
    assert min(copies.values()) >= 5
    used = sum(len(lines) for lines in program.memristor) // PAPER.physical_columns // len(PAPER.mode.cells)
    assert 0.9 * 2048 < used <= 2048
    few = compile_network(network, dataclasses.replace(PAPER, memristor_slots=8), hidden="memristor", table="exact")
    fewer = [copies_and_tiles(few, PAPER, record)[0][0] for record in few.layers if "memristor" in record.kernels]
    assert sum(fewer) < sum(copies.values()) / 2
    most = sum(record.estimated_cycles for record in few.layers)
    assert sum(record.estimated_cycles for record in program.layers) < 0.5 * most


def work(rows: int, windows: int, separate: bool = False, bits: int = 8) -> Work:
    """Work of windows of `rows` rows on the paper's chip."""
    return Work(Window(16, 1, rows, -(-rows // PAPER.rows), separate), windows, bits)


@pytest.mark.parametrize(
    ("rows", "windows", "kind", "tiles", "portions"),
    [
        (144, 1024, SRAM, 1, [(8, 1)]),
        (288, 256, SRAM, 2, [(8, 2)]),  # the short vector meets both at a time
        (576, 64, SRAM, 4, [(2, 4)]),
        (960, 49, SRAM, 10, [(1, 8), (4, 2)]),  # what is left over of 8 units gets more copies
        (16, 1024, SRAM, 2, [(8, 2)]),
        (128, 1024, SRAM, 2, [(4, 2)]),  # as fast as 8 copies of both
        (16, 1, SRAM, 3, [(1, 3)]),  # one window: copies would have nothing to do
        (16, 3, TINY_DIGITAL, 1, [(3, 1)]),
    ],
)
def test_portions(rows: int, windows: int, kind: UnitKind, tiles: int, portions: list[tuple[int, int]]) -> None:
    found = dense_portions(work(rows, windows), {kind: tiles}, PAPER)
    assert [(portion.copies, portion.tiles[kind]) for portion in found] == portions


def brute_force(item: Work, kind: UnitKind, tiles: int, chip: ChipConfig) -> int:
    """Fewest cycles of any sequence of portions, by trying them all."""
    if tiles == 0:
        return 0
    units, limit = chip.units.count(kind), unit_tiles(kind, item.window, chip)
    return min(
        run_cycles(item, {kind: part}, {kind: units // copies}, copies, 1, chip)
        + brute_force(item, kind, tiles - part, chip)
        for copies in range(1, min(units, item.windows) + 1)
        for part in range(1, min(tiles, units // copies * limit) + 1)
    )


@pytest.mark.parametrize("seed", range(40))
def test_portions_take_fewest_cycles(seed: int) -> None:
    random = np.random.default_rng(seed)
    # Large memories, so that LOADs count as beside RUNs, and windows that outweigh them.
    chip = dataclasses.replace(PAPER, sram_slots=64, accumulator_tiles=int(random.integers(1, 4)), sram_banks=4)
    item = work(int(random.integers(1, 40)) * 16, int(random.integers(100, 500)))
    tiles = int(random.integers(1, 7))
    found = dense_portions(item, {SRAM: tiles}, chip)
    assert sum(portion.tiles[SRAM] for portion in found) == tiles
    assert sum(portion.cycles for portion in found) == brute_force(item, SRAM, tiles, chip)


def test_ties_go_to_fewer_copies() -> None:
    # 9 taps are two beats of the feeder: 5 copies of 9 cycles keep up with it.
    assert separate_copies(work(9 * 16, 1000, separate=True), {TINY_DIGITAL: None}, PAPER) == 5


def test_kinds_of_unit_in_a_run_have_the_same_copies() -> None:
    found = dense_portions(work(144, 1024), {SRAM: 1, TINY_DIGITAL: 1}, PAPER)
    assert [dict(portion.tiles) for portion in found] == [{SRAM: 1, TINY_DIGITAL: 1}]
    assert found[0].copies == 8


def test_estimate_is_the_slowest_stage() -> None:
    item = work(144, 1000)
    ones = {SRAM: 1}
    assert run_cycles(item, ones, ones, 1, 1, PAPER) == 1000 * 2 * 8 + 64
    assert run_cycles(item, ones, ones, 8, 1, PAPER) == 1000 * 2 + 64  # feeder: 8 words, and 1
    # Two tiles: two steps with the full vector, one with the short one.
    assert run_cycles(item, {SRAM: 3}, {SRAM: 2}, 4, 1, PAPER) == 1000 // 4 * 3 * 8 + 64
    whole = dataclasses.replace(PAPER, sram_segments=1)
    assert run_cycles(item, {SRAM: 3}, {SRAM: 2}, 4, 1, whole) == 1000 // 4 * 2 * 16 + 64
    apart = work(16, 1000, separate=True)
    tiny = {TINY_DIGITAL: 1}
    assert run_cycles(apart, tiny, tiny, 1, 7, PAPER) == 7 * 1000 + 64
    slow = dataclasses.replace(PAPER, output_lanes=4)
    assert run_cycles(apart, tiny, tiny, 2, 1, slow) == 4 * 1000 + 64  # both units are of engine 0
    assert run_cycles(apart, tiny, tiny, 4, 1, slow) == 2 * 1000 + 64
    assert run_cycles(dataclasses.replace(item, words=2), ones, ones, 8, 1, PAPER) == 1000 * 3 + 64


@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("taps", [1, 9])
def test_estimate_of_the_float_pool(taps: int, lanes: int) -> None:
    chip = dataclasses.replace(PAPER, output_lanes=lanes, channels=16)
    window = max(taps * word_period(chip), 2 * (16 // lanes) - 1)
    assert run_cycles(work(taps * 16, 1000, separate=True), {}, {}, 1, 3, chip) == 3 * 1000 * window + 64


def test_float_pool_runs_without_units() -> None:
    seen = 0
    for seed in range(10):
        network = random_network(seed, formats=FORMATS)
        program = compile_network(network, MANY)
        for layer, record in zip(network.layers, program.layers, strict=True):
            pools = network.pools(layer)
            assert (record.kernels == {"pool": len(layer.bias)}) == pools
            if not pools:
                continue
            words = -(-len(layer.bias) // MANY.channels)
            (run,) = fields_of(program, MANY, Opcode.RUN, record)
            assert len(record.commands) == 1
            assert (run["copies"], run["group_count"]) == (1, words)
            assert run["output_tiles"] == run["output_height"] * run["output_width"] * words
            assert list(program.word_offset[run["pool_parameter"] :][:words]) == list(range(words))
            assert record.estimated_cycles == run_cycles(
                work_of(network, layer, window_of(network, layer, MANY)), {}, {}, 1, words, MANY
            )
            seen += 1
    assert seen > 5


def loads_and_runs(program: Program, chip: ChipConfig) -> Iterator[tuple[dict, dict | None]]:
    """Every LOAD with the RUN before it."""
    run = None
    for words in program.commands:
        opcode, fields = decode_command(words, chip)
        if opcode is Opcode.RUN:
            run = fields
        elif opcode is Opcode.LOAD:
            yield fields, run


@needs_workloads
def test_weights_are_loaded_beside_the_run_before_where_both_fit(resnet20: tuple[Network, Program]) -> None:
    """In stage 2 two tiles take 5 of 8 slots, in stage 3 one; the model refuses a LOAD over what a RUN uses."""
    _, program = resnet20
    overlapped = {
        record.name: {load["overlap"] for load in fields_of(program, PAPER, Opcode.LOAD, record)}
        for record in program.layers[1:]
    }
    alone = {name for name, flags in overlapped.items() if 0 in flags}
    assert alone == {f"layer{stage}.{block}.conv{number}" for stage in (2, 3) for block in (1, 2) for number in (1, 2)}


def test_loads_alternate_between_the_halves_of_a_memory() -> None:
    """Four layers of weights of their own on one unit, each of which takes 2 of its 4 slots."""
    chip = dataclasses.replace(TINY, sram_slots=4, sram_banks=1)
    network = chain_of_convolutions(4)
    program = compile_network(network, chip, ["*=sram"])
    loads = fields_of(program, chip, Opcode.LOAD)
    assert [load["destination"] for load in loads] == [0, 8, 0, 8]
    assert [load["overlap"] for load in loads] == [0, 1, 1, 1]
    assert [run["slot[1]"] for run in fields_of(program, chip, Opcode.RUN)] == [0, 2, 0, 2]
    assert differences(network, program, chip) == ([], 0)
    crowded = dataclasses.replace(chip, sram_slots=3)
    program = compile_network(network, crowded, ["*=sram"])
    assert [load["overlap"] for load in fields_of(program, crowded, Opcode.LOAD)] == [0, 0, 0, 0]
    assert differences(network, program, crowded) == ([], 0)


def test_weights_that_are_there_are_not_loaded_again() -> None:
    network = chain_of_convolutions(4)
    network.layers[2] = dataclasses.replace(network.layers[2], weight=network.layers[0].weight)
    chip = dataclasses.replace(TINY, sram_slots=8, sram_banks=1)
    program = compile_network(network, chip, ["*=sram"])
    assert len(fields_of(program, chip, Opcode.LOAD)) == 3
    assert [run["slot[1]"] for run in fields_of(program, chip, Opcode.RUN)] == [0, 2, 0, 4]
    assert differences(network, program, chip) == ([], 0)


def chain_of_convolutions(count: int, kernels: int = 4) -> Network:
    """Convolutions of 2 x 3, one behind the other: with 4 kernels 24 rows, 2 vectors on `tiny`."""
    random = np.random.default_rng(count)
    quantisation = Quantisation(0.05, 3, False)
    shape = (6, 6, kernels)
    tensors = {f"t{number}": Tensor(f"t{number}", shape, quantisation) for number in range(count + 1)}
    layers = [
        Layer(
            *(f"c{number}", LayerKind.CONVOLUTION, f"t{number}", f"t{number + 1}", (2, 3), (1, 1), (1, 1, 0, 1)),
            *(random.integers(-127, 128, (kernels, 2, 3, kernels)).astype(np.int8), np.zeros(kernels, np.int32)),
            *(np.full(kernels, 0.003, np.float32), (0, 255)),
        )
        for number in range(count)
    ]
    return Network("chain", tensors, layers, "t0", f"t{count}", "NHWC", shape, shape)


def test_input_bits_of_an_estimate_are_those_of_the_command() -> None:
    for seed in range(10):
        network = random_network(seed, formats=FORMATS)
        program = compile_network(network, MANY, ["*=tiny"])
        for layer, record in zip(network.layers, program.layers, strict=True):
            if network.pools(layer):
                continue
            for fields in fields_of(program, MANY, Opcode.RUN, record):
                assert (fields["input_bits"], bool(fields["input_signed"])) == input_width(network, layer)


def test_a_short_program_store_is_worth_cycles() -> None:
    """Layers of 20 kernel tiles on 4 units: all tiles at once if need be, where loading them beside RUNs is faster."""
    network = chain_of_convolutions(3, kernels=80)
    fast = compile_network(network, MANY, ["*=sram"])
    short = dataclasses.replace(MANY, program_commands=len(fast.commands) - 1)
    program = compile_network(network, short, ["*=sram"])
    assert len(program.commands) < len(fast.commands)
    cycles = [sum(record.estimated_cycles for record in item.layers) for item in (fast, program)]
    assert cycles[0] < cycles[1]
    assert differences(network, program, short) == ([], 0)
    assert differences(network, fast, MANY) == ([], 0)
