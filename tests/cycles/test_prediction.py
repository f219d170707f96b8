"""Predicted begin of every command = cycle log of the RTL (verilated), on random programs and a compiled network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdl.chips import NO_FLOAT, OTHER, TINY
from mixcim.cycles import predict
from mixcim.host.processor import Processor
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.commands import Opcode, table_layout
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Region, window_address
from model.random_program import random_program

#: Two engines with two units of each kind, several feeder words of which the last window's are kept, few banks.
ENGINES = dataclasses.replace(
    TINY, name="engines", engines=2, memristor_banks=2, sram_banks=4, tiny_banks=2, feeder_words=2, window_words=8,
    vector_queue=3,
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
CHIPS = [TINY, ROOMY, ENGINES, CROWDED]


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


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_programs(chip: ChipConfig) -> None:
    processor = rtl_processor(chip)
    for seed in range(150):
        program, codes = random_program(chip, seed)
        compare(processor, reading_everything(program, chip), codes[0])


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_many_random_programs(chip: ChipConfig) -> None:
    processor = rtl_processor(chip)
    for seed in range(1000, 2500):
        program, codes = random_program(chip, seed)
        compare(processor, reading_everything(program, chip), codes[0])
