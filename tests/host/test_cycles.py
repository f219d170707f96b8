"""Cycles of commands from the log of when they began, and locks of more banks than a register has bits."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim_hdl.commands import Fault, Opcode, encode_command
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import CONTRACT_VERSION, IDENTIFICATION, UNLOCK_KEY, Region, Register, window_address
from model.random_program import random_program

CHIP = PRESETS["tiny"]
DONE, FAULT = 2, 4


class Chip:
    """A bus to a chip that has run: registers as given, a cycle log, and locks in words of 32 banks."""

    def __init__(self, chip: ChipConfig, log: list[int], **registers: int) -> None:
        self.log, self.locks, self.bank = log, [0] * 2, 0
        self.registers = {
            Register.IDENTIFICATION: IDENTIFICATION,
            Register.VERSION: CONTRACT_VERSION,
            Register.FINGERPRINT: chip.fingerprint,
            **{Register[name]: value for name, value in registers.items()},
        }

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        if address == window_address(Region.REGISTERS, Register.MEMRISTOR_BANK):
            self.bank = int(words[0])
        elif address == window_address(Region.REGISTERS, Register.MEMRISTOR_LOCK):
            self.locks[self.bank // 32] |= int(words[0])
        elif address == window_address(Region.REGISTERS, Register.MEMRISTOR_UNLOCK):
            assert words[0] == UNLOCK_KEY
            self.locks = [0] * 2

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        if address >> 28 == Region.CYCLES:
            assert address == window_address(Region.CYCLES) and count <= len(self.log)
            return np.array(self.log[:count], np.uint32)
        assert count == 1
        if address == window_address(Region.REGISTERS, Register.MEMRISTOR_LOCK):
            return np.array([self.locks[self.bank // 32]], np.uint32)
        return np.array([self.registers.get(Register(address & 0xFFFF), 0)], np.uint32)

    def run_until_interrupt(self, max_cycles: int) -> int:
        return 1


BESIDE = "LOAD beside a RUN"


def cycles_of(log: list[int], commands: Sequence[Opcode | str], **registers: int) -> list[int]:
    processor = Processor(Chip(CHIP, log, **registers), CHIP)
    program, _ = random_program(CHIP, 0)
    words = np.array(
        [
            encode_command(opcode, CHIP)
            if isinstance(opcode, Opcode)
            else encode_command(Opcode.LOAD, CHIP, units=1, overlap=1)
            for opcode in commands
        ]
    )
    processor.program = dataclasses.replace(program, commands=words)
    return processor.command_cycles().tolist()


FOUR = [Opcode.LOAD, Opcode.RUN, Opcode.LOAD, Opcode.END]


def test_cycles_go_from_begin_to_begin_and_to_the_end_of_the_run():
    """Those before command 0 began are its own."""
    assert cycles_of([20, 100, 150, 400], FOUR, STATUS=DONE, RUN_CYCLES=410) == [100, 50, 250, 10]


def test_time_beside_a_run_is_the_runs():
    """A LOAD with `overlap` begins while the RUN is at work, and the next one behind it."""
    commands = [Opcode.LOAD, Opcode.RUN, BESIDE, BESIDE, Opcode.RUN, Opcode.END]
    log = [20, 100, 150, 160, 400, 500]
    assert cycles_of(log, commands, STATUS=DONE, RUN_CYCLES=510) == [100, 300, 0, 0, 100, 10]
    assert cycles_of([5, 9, 20], [BESIDE, BESIDE, Opcode.END], STATUS=DONE, RUN_CYCLES=21) == [20, 0, 1]


def test_commands_behind_the_end_took_no_cycles():
    log = [20, 100, 7, 9]
    assert cycles_of(log, [Opcode.LOAD, Opcode.END, *FOUR[:2]], STATUS=DONE, RUN_CYCLES=130) == [100, 30, 0, 0]


def test_commands_that_a_fault_kept_from_beginning_took_no_cycles():
    """What the log holds of them is older."""
    fault = Fault.UNIT_ADDRESS | 1 << 8
    assert cycles_of([20, 100, 7, 900], FOUR, STATUS=FAULT, FAULT=fault, RUN_CYCLES=130) == [100, 30, 0, 0]
    past = Fault.PROGRAM_END | CHIP.program_commands << 8
    log = [20, 100, 150, 160]
    assert cycles_of(log, [Opcode.LOAD] * 4, STATUS=FAULT, FAULT=past, RUN_CYCLES=170) == [100, 50, 10, 10]


def test_a_counter_that_ran_over_still_counts():
    log = [20, (1 << 32) - 10, 30, 40]
    assert cycles_of(log, FOUR, STATUS=DONE, RUN_CYCLES=41) == [(1 << 32) - 10, 40, 10, 1]


@pytest.mark.parametrize("banks", [[5], [37], [31, 32, 63], None])
def test_banks_are_locked_in_words_of_32(banks: list[int] | None):
    chip = dataclasses.replace(CHIP, memristor_banks=64)
    bus = Chip(chip, [])
    processor = Processor(bus, chip)
    processor.lock(banks)
    locked = set(range(64) if banks is None else banks)
    assert {bank for bank in range(64) if bus.locks[bank // 32] >> bank % 32 & 1} == locked
    nothing = np.zeros((0, chip.spare_columns), np.uint8)
    for bank in range(64):
        if bank in locked:
            with pytest.raises(MixcimError, match=f"memristor bank {bank} is locked"):
                processor.set_repair(bank, 0, nothing)
        else:
            processor.set_repair(bank, 0, nothing)
    processor.unlock()
    processor.set_repair(min(locked), 0, nothing)
