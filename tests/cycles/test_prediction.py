"""Predicted begin of every command = cycle log of the RTL (verilated), on random programs and a compiled network."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hdl.chips import DEEP, DEEP_ENGINES, NO_FLOAT, OTHER, TINY
from mixcim.compile.compiler import compile_network
from mixcim.compile.formats import parse_formats
from mixcim.compile.load import load_network
from mixcim.cycles import predict
from mixcim.cycles.prediction import (
    ALIGN_LATENCY,
    BANK_LATENCY,
    DEEP_BANK_LATENCY,
    DEEP_LANE_LATENCY,
    FLOAT_ADD_LATENCY,
    FLOAT_LANE_LATENCY,
    LANE_LATENCY,
    POOL_LANE_LATENCY,
)
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.host.values import input_codes
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.commands import Opcode, encode_command, table_layout
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Region, window_address
from model.random_program import random_program
from onnx_graphs import OnnxGraph

ROOT = Path(__file__).parents[2]
#: Two engines with two units of each kind, a wide feeder with a small memory of the last window, few banks, wide words.
ENGINES = dataclasses.replace(
    TINY, name="engines", engines=2, memristor_banks=2, sram_banks=4, tiny_banks=2, feeder_words=4, window_words=12,
    vector_queue=3, activation_banks=4,
)  # fmt: skip
#: Four engines that want few banks, a wide feeder without memory of the last window, codes only.
CROWDED = dataclasses.replace(
    NO_FLOAT, name="crowded", engines=4, memristor_banks=4, sram_banks=4, tiny_banks=4, feeder_words=4,
    window_words=0, activation_banks=4, output_lanes=4,
)  # fmt: skip
#: Chip OTHER with room for random programs.
ROOMY = dataclasses.replace(
    OTHER, name="roomy", program_commands=64, memristor_slots=64, sram_slots=64, tiny_words=256, weight_words=1024,
    parameter_tiles=64, activation_words=1024,
)  # fmt: skip
CHIPS = [TINY, ENGINES, ROOMY, CROWDED, DEEP, DEEP_ENGINES]


def reading_everything(program: Program, chip: ChipConfig) -> Program:
    """The program with word-line tables that leave out no read."""
    bit, _ = table_layout(chip)["skip_zero_groups"]
    commands = program.commands.copy()
    tables = commands[:, 0] & 0xFF == Opcode.TABLE
    commands[tables, bit // 32] &= ~np.uint32(1 << bit % 32)
    return dataclasses.replace(program, commands=commands)


def compare(processor: Processor, program: Program, codes: np.ndarray) -> None:
    """One input: begin of every command, and cycles of the whole run."""
    processor.load(program)
    _, counters = processor.infer(codes)
    prediction = predict(program, processor.chip)
    log = processor.bus.read(window_address(Region.CYCLES), len(prediction.begins)).astype(np.int64)
    np.testing.assert_array_equal(prediction.begins, log, err_msg=program.network)
    assert prediction.total == counters.cycles
    np.testing.assert_array_equal(prediction.cycles, processor.command_cycles())
    assert prediction.exact


#: Each chip but the smallest takes minutes to build, once.
BUILT = [TINY, *(pytest.param(chip, marks=pytest.mark.slow, id=chip.name) for chip in CHIPS[1:])]


@pytest.mark.parametrize("chip", BUILT, ids=lambda chip: chip.name)
def test_random_programs(chip: ChipConfig) -> None:
    processor = rtl_processor(chip)
    for seed in range(150):
        program, codes = random_program(chip, seed)
        compare(processor, reading_everything(program, chip), codes[0])


def test_constants_are_those_of_the_rtl() -> None:
    from mixcim_hdl.floating_point.add import FloatAdd
    from mixcim_hdl.floating_point.align import Align
    from mixcim_hdl.memristor.bank import memristor_latency
    from mixcim_hdl.output.float_lane import FloatLane
    from mixcim_hdl.output.lane import Lane
    from mixcim_hdl.output.pipeline import OutputPipeline
    from mixcim_hdl.pool.lane import PoolLane
    from mixcim_hdl.unit import BANKS

    assert {kind: bank.EXTRA_LATENCY for kind, bank in BANKS.items()} == BANK_LATENCY
    assert (Lane.LATENCY, FloatLane.LATENCY, Align.LATENCY) == (LANE_LATENCY, FLOAT_LANE_LATENCY, ALIGN_LATENCY)
    assert (PoolLane.LATENCY, FloatAdd.LATENCY) == (POOL_LANE_LATENCY, FLOAT_ADD_LATENCY)
    assert Lane(deep=1).LATENCY == DEEP_LANE_LATENCY
    assert memristor_latency(DEEP) == DEEP_BANK_LATENCY[UnitKind.MEMRISTOR]
    assert {kind: bank(DEEP).EXTRA_LATENCY for kind, bank in BANKS.items()} == BANK_LATENCY | DEEP_BANK_LATENCY
    assert OutputPipeline.EXTRA_LATENCY == 2  # cycles 0 and 1 of struct OutputPipeline


def test_no_hardware_is_loaded() -> None:
    code = "import sys, mixcim.cycles; sys.exit('amaranth' in sys.modules)"
    path = os.pathsep.join(str(ROOT / folder) for folder in ("hdl", "sim"))
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=False).returncode == 0


def small_program(chip: ChipConfig, **changes: int) -> Program:
    """A TABLE and a RUN of one memristor unit, with some fields changed; those of TABLE are `digits` and `skip`."""
    random, _ = random_program(chip, 0)
    table = {f"rows_per_read[{entry}]": 16 for entry in range(chip.input_planes * len(chip.mode.cells))}
    run = dict.fromkeys(
        ("input_bits", "kernel_height", "kernel_width", "tap_words", "input_height", "input_width", "stride_x",
         "stride_y", "output_height", "output_width", "group_count", "pixel_pitch", "row_pitch", "output_pitch",
         "copies", "weight_slices", "tiles[0]", "output_tiles"), 1,
    )  # fmt: skip
    run |= {"output_base": 100, **{name: value for name, value in changes.items() if name not in ("digits", "skip")}}
    skip = changes.get("skip", 0)
    commands = [
        encode_command(Opcode.TABLE, chip, digits=changes.get("digits", 4), skip_zero_groups=skip, **table),
        encode_command(Opcode.RUN, chip, **run),
        encode_command(Opcode.END, chip),
    ]
    places = {name: np.zeros_like(random.word_offset) for name in ("word_offset", "exponent_offset")}
    return dataclasses.replace(random, network="small", commands=np.array(commands), **places)


def test_reads_that_depend_on_data_are_an_upper_bound_or_refused() -> None:
    skipping, reading = small_program(TINY, skip=1, input_bits=8), small_program(TINY, input_bits=8)
    with pytest.raises(MixcimError, match="'small' depend on its data.*skip_zero_groups"):
        predict(skipping, TINY)
    most, exact = predict(skipping, TINY, bound=True), predict(reading, TINY)
    assert (most.exact, exact.exact) == (False, True)
    np.testing.assert_array_equal(most.begins, exact.begins)
    # Two groups: the bank leaves nothing out, whatever the table says.
    assert predict(small_program(TINY, skip=1, group_count=2, output_tiles=2), TINY).exact


def test_a_read_takes_a_cycle_for_each_bit_and_digit() -> None:
    """The bank's formula, where nothing else is in the way."""
    totals = [predict(small_program(TINY, input_bits=bits), TINY).total for bits in (1, 5, 8)]
    assert np.diff(totals).tolist() == [4 * 4, 3 * 4]
    totals = [predict(small_program(TINY, digits=digits), TINY).total for digits in (1, 4)]
    assert np.diff(totals).tolist() == [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"copies": 0}, "command 1 of 'small': RUN field 'copies' must not be 0"),
        ({"window_start": 1 << 20}, "command 1 of 'small' stops with fault INPUT_ADDRESS, detail 0x100000"),
        ({"output_base": 1024}, "command 1 of 'small' stops with fault OUTPUT_ADDRESS, detail 0x400"),
        ({"residual": 1, "residual_base": 1024}, "fault OUTPUT_ADDRESS, detail 0x400"),
        ({"parameter[0]": 64}, "command 1 of 'small' stops with fault PARAMETER_ADDRESS, detail 0x40"),
        ({"output_tiles": 2}, "command 1 of 'small' stops with fault ILLEGAL_COMMAND"),
        ({"slot[0]": 64}, "command 1 of 'small' stops with fault UNIT_ADDRESS, detail 0x0"),
    ],
)  # fmt: skip
def test_a_program_that_stops_says_where(changes: dict[str, int], message: str) -> None:
    with pytest.raises(MixcimError, match=message):
        predict(small_program(TINY, **changes), TINY)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_many_random_programs(chip: ChipConfig) -> None:
    processor = rtl_processor(chip)
    for seed in range(1000, 2500):
        program, codes = random_program(chip, seed)
        compare(processor, reading_everything(program, chip), codes[0])


@pytest.mark.parametrize("format", ["bf16", "bf16/int8"])
def test_a_compiled_network(tmp_path: Path, format: str) -> None:
    """Convolutions on all kinds of unit, with weights of two slices and of one."""
    random = np.random.default_rng(0)
    graph = OnnxGraph((4, 8, 8))
    x = "input"
    for channels, kernels in ((4, 4), (4, 8), (8, 4)):
        weight = graph.constant(random.normal(0, 0.3, (kernels, channels, 3, 3)).astype(np.float32))
        x = graph.node("Relu", graph.node("Conv", x, weight))
    path = graph.save(tmp_path / "net.onnx", x, rank=4)
    network = load_network(path, formats=parse_formats([format], 12))
    program = compile_network(network, TINY, ["layer1=tiny", "layer2=memristor", "layer3=sram"])
    values = random.normal(0, 1, (1, 4, 8, 8)).astype(np.float32)
    compare(rtl_processor(TINY), program, input_codes(program, values)[0])
