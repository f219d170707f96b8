"""Abort in every cycle of a program: nothing of it is left for the next one, on chips of either pipeline."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdl.chips import DEEP, NO_FLOAT
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.commands import Fault, Opcode, encode_command
from mixcim_hdl.registers import Region, Register, program_stride, window_address

SRAM = 1  # unit number of these chips
#: A RUN that copies one word through the tiny-digital unit.
COPY = dict.fromkeys(
    ("kernel_height", "kernel_width", "input_height", "input_width", "output_height", "output_width", "tap_words",
     "group_count", "pixel_pitch", "row_pitch", "output_base", "output_pitch", "output_tiles", "weight_slices",
     "copies", "tiles[2]"), 1,
) | {"input_bits": 8, "granule_log2": 2, "clamp_high": 255, "mode[2]": 2}  # fmt: skip


@pytest.mark.parametrize("chip", [NO_FLOAT, dataclasses.replace(DEEP, name="deep_abort")], ids=lambda chip: chip.name)
def test_a_program_behind_an_abort_is_as_from_reset(chip):
    bus = rtl_processor(chip).bus

    def register(number):
        return int(bus.read(window_address(Region.REGISTERS, number), 1)[0])

    def set_register(number, value):
        bus.write(window_address(Region.REGISTERS, number), np.array([value], np.uint32))

    def write(*commands):
        padded = np.zeros((len(commands), program_stride(chip)), np.uint32)
        for row, command in zip(padded, commands, strict=True):
            row[: len(command)] = command
        bus.write(window_address(Region.PROGRAM), padded.reshape(-1))

    def outcome(*commands):
        """(fault, detail, cycles) of a program."""
        write(*commands)
        set_register(Register.CONTROL, 1)
        bus.run_until_interrupt(5000)
        assert bus.interrupt
        set_register(Register.INTERRUPT_STATUS, 3)
        fault = register(Register.FAULT)
        return Fault(fault & 0xFF), register(Register.FAULT_DETAIL), register(Register.RUN_CYCLES)

    end = encode_command(Opcode.END, chip)
    load = {"unit": SRAM, "units": 1, "count": 1}
    programs = [
        [encode_command(Opcode.LOAD, chip, **load), end],
        [encode_command(Opcode.LOAD, chip, **load, destination=chip.sram_slots * chip.channels), end],
        [encode_command(Opcode.LOAD, chip, **load | {"count": 2}, source=chip.weight_words - 1), end],
    ]
    bus.write(window_address(Region.TILES), np.array([15 << 16, 0], np.uint32))
    set_register(Register.INTERRUPT_ENABLE, 3)
    expected = [outcome(*program) for program in programs]
    assert [fault for fault, *_ in expected] == [Fault.NONE, Fault.UNIT_ADDRESS, Fault.WEIGHT_ADDRESS]
    for cycles in range(70):
        for program, want in zip(programs, expected, strict=True):
            write(encode_command(Opcode.RUN, chip, **COPY), end)
            set_register(Register.CONTROL, 1)
            bus.run(cycles)
            set_register(Register.CONTROL, 2)
            set_register(Register.INTERRUPT_STATUS, 3)
            assert outcome(*program) == want, f"after an abort in cycle {cycles}"
