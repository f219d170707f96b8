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


CHIPS = [NO_FLOAT, dataclasses.replace(DEEP, name="deep_abort")]


class Chip:
    """A simulated chip by its registers."""

    def __init__(self, chip):
        self.chip, self.bus = chip, rtl_processor(chip).bus

    def register(self, number):
        return int(self.bus.read(window_address(Region.REGISTERS, number), 1)[0])

    def set_register(self, number, value):
        self.bus.write(window_address(Region.REGISTERS, number), np.array([value], np.uint32))

    def abort_and_set(self, number, value):
        """Both writes back to back."""
        values, step = np.array([2, value], np.uint32), number - Register.CONTROL
        self.bus.write(window_address(Region.REGISTERS, Register.CONTROL), values, step=step)

    def write(self, *commands):
        """The program."""
        padded = np.zeros((len(commands), program_stride(self.chip)), np.uint32)
        for row, command in zip(padded, commands, strict=True):
            row[: len(command)] = command
        self.bus.write(window_address(Region.PROGRAM), padded.reshape(-1))

    def outcome(self):
        """(fault, detail, cycles) of the program that runs."""
        self.bus.run_until_interrupt(5000)
        assert self.bus.interrupt
        self.set_register(Register.INTERRUPT_STATUS, 3)
        fault = self.register(Register.FAULT)
        return Fault(fault & 0xFF), self.register(Register.FAULT_DETAIL), self.register(Register.RUN_CYCLES)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_a_program_behind_an_abort_is_as_from_reset(chip):
    one = Chip(chip)

    def outcome(*commands):
        one.write(*commands)
        one.set_register(Register.CONTROL, 1)
        return one.outcome()

    end = encode_command(Opcode.END, chip)
    load = {"unit": SRAM, "units": 1, "count": 1}
    programs = [
        [encode_command(Opcode.LOAD, chip, **load), end],
        [encode_command(Opcode.LOAD, chip, **load, destination=chip.sram_slots * chip.channels), end],
        [encode_command(Opcode.LOAD, chip, **load | {"count": 2}, source=chip.weight_words - 1), end],
    ]
    one.bus.write(window_address(Region.TILES), np.array([15 << 16, 0], np.uint32))
    one.set_register(Register.INTERRUPT_ENABLE, 3)
    expected = [outcome(*program) for program in programs]
    assert [fault for fault, *_ in expected] == [Fault.NONE, Fault.UNIT_ADDRESS, Fault.WEIGHT_ADDRESS]
    for cycles in range(70):
        for program, want in zip(programs, expected, strict=True):
            one.write(encode_command(Opcode.RUN, chip, **COPY), end)
            one.set_register(Register.CONTROL, 1)
            one.bus.run(cycles)
            one.set_register(Register.CONTROL, 2)
            one.set_register(Register.INTERRUPT_STATUS, 3)
            assert outcome(*program) == want, f"after an abort in cycle {cycles}"


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_an_old_fault_does_not_end_the_next_program(chip):
    one = Chip(chip)
    one.bus.write(window_address(Region.TILES), np.array([15 << 16, 0], np.uint32))
    one.set_register(Register.INTERRUPT_ENABLE, 3)
    one.write(
        encode_command(Opcode.RUN, chip, **COPY | {"window_start": chip.activation_words}),
        encode_command(Opcode.END, chip),
    )
    one.set_register(Register.CONTROL, 1)
    expected = one.outcome()
    assert expected[0] is Fault.INPUT_ADDRESS
    for cycles in range(70):
        one.set_register(Register.CONTROL, 1)
        one.bus.run(cycles)
        one.set_register(Register.CONTROL, 1)  # around the fault: taken, or not yet
        one.bus.run(300)
        assert one.outcome() == expected, f"started again after {cycles} cycles"


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_an_abort_leaves_what_the_host_writes_behind_it(chip):
    one = Chip(chip)
    cells = [(0x01020304 * (number + 1)) & 0x3F3F3F3F for number in range(chip.rows // 4)]
    name, memory = next(
        (name, memory) for name, (memory, *_) in one.bus.memories().items() if "bit_line0.cells" in name
    )
    lines = []
    for behind_abort in (False, True):
        one.set_register(Register.MEMRISTOR_BANK, 0)
        one.set_register(Register.MEMRISTOR_LINE, 0)
        (one.abort_and_set if behind_abort else one.set_register)(Register.MEMRISTOR_DATA, cells[0])
        for value in cells[1:]:
            one.set_register(Register.MEMRISTOR_DATA, value)
        one.bus.run(5)
        lines.append(memory.copy())
    assert lines[0].any(), name
    np.testing.assert_array_equal(lines[0], lines[1])
