"""A chip on the host port whose insides are the model: for tests of the host without RTL."""

from __future__ import annotations

import dataclasses

import numpy as np

from mixcim.model.execution import Execution
from mixcim.model.memristor import Method
from mixcim_hdl.commands import Opcode, command_words, encode_command
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program
from mixcim_hdl.registers import CONTRACT_VERSION, IDENTIFICATION, Region, Register, program_stride, window_address

_DONE = 2


class ModelBus:
    """Runs the program of its first two commands; its weights, cells and parameters are those of `program`.

    Accesses are to activation memory, exponent memory and program store, whole registers; others are ignored.
    """

    def __init__(self, chip: ChipConfig, program: Program) -> None:
        self.chip, self.program = chip, program
        self.execution = Execution(chip, program, [program.noise_seed], Method.FASTEST)
        self.commands = program.commands
        self.registers: dict[int, int] = {
            Register.IDENTIFICATION: IDENTIFICATION,
            Register.VERSION: CONTRACT_VERSION,
            Register.FINGERPRINT: chip.fingerprint,
            Register.STATUS: _DONE,
        }

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        region, byte = Region(address >> 28), address & ((1 << 28) - 1)
        if region is Region.ACTIVATIONS:
            data = np.ascontiguousarray(words, np.uint32).view(np.uint8).reshape(-1, self.chip.channels)
            first = byte // self.chip.channels
            self.execution.state.memory.words[0, first : first + len(data)] = data
        elif region is Region.EXPONENTS:
            self.execution.state.memory.exponents[0, byte // 4 : byte // 4 + len(words)] = words
        elif region is Region.PROGRAM and byte == 0:
            self.commands = words.reshape(-1, program_stride(self.chip))[:, : command_words(self.chip)]

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        region, byte = Region(address >> 28), address & ((1 << 28) - 1)
        if region is Region.ACTIVATIONS:
            first, words = byte // self.chip.channels, count * 4 // self.chip.channels
            data = self.execution.state.memory.words[0, first : first + words]
            return np.ascontiguousarray(data).reshape(-1).view(np.uint32)
        if count == 1 and address < window_address(Region.REGISTERS, max(Register) + 4):
            return np.array([self.registers.get(byte, 0)], np.uint32)
        return np.zeros(count, np.uint32)

    def run_until_interrupt(self, max_cycles: int) -> int:
        self.execution.program = dataclasses.replace(self.program, commands=np.array(self.commands, np.uint32))
        for index, command in enumerate(self.commands):
            if np.array_equal(command, encode_command(Opcode.END, self.chip)):
                break
            self.execution.execute(index)
        return 1
