"""What the host driver writes of ADCs and noise, on a bus that only takes notes."""

import dataclasses

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import CONTRACT_VERSION, IDENTIFICATION, Region, Register, window_address
from model.random_program import random_program

CHIP = dataclasses.replace(PRESETS["tiny"], memristor_banks=2)


class Notes:
    """A bus that keeps every write to a register, (register, value), and is always done."""

    def __init__(self) -> None:
        self.written: list[tuple[Register, int]] = []

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        if address >> 28 == Region.REGISTERS:
            assert words.dtype == np.uint32 and (len(words) == 1 or step == 0)
            self.written += [(Register(address & 0xFFFF), int(word)) for word in words]

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        answers = {
            window_address(Region.REGISTERS, Register.IDENTIFICATION): IDENTIFICATION,
            window_address(Region.REGISTERS, Register.VERSION): CONTRACT_VERSION,
            window_address(Region.REGISTERS, Register.FINGERPRINT): CHIP.fingerprint,
            window_address(Region.REGISTERS, Register.STATUS): 2,
        }
        return np.full(count, answers.get(address, 0), np.uint32)

    def run_until_interrupt(self, max_cycles: int) -> int:
        return 1

    def values(self, *registers: Register) -> list[tuple[Register, int]]:
        return [(register, value) for register, value in self.written if register in registers]


def test_load_writes_all_adc_parameters_and_the_noise_table():
    program, _ = random_program(CHIP, 1)
    random = np.random.default_rng(0)
    program = dataclasses.replace(
        program,
        adc=random.integers(-32, 32, program.adc.shape).astype(np.int16),
        noise_table=random.integers(0, 4096, CHIP.rows + 1).astype(np.uint16),
    )
    bus = Notes()
    Processor(bus, CHIP).load(program)
    bank = None
    got: dict[int | None, list[int]] = {}
    for register, value in bus.values(Register.MEMRISTOR_BANK, Register.ADC_SELECT, Register.ADC_VALUE):
        if register is Register.MEMRISTOR_BANK:
            bank = value
        elif register is Register.ADC_SELECT:
            assert value == 0
            got[bank] = []
        else:
            got[bank].append(value)
    for number in range(2):
        assert got[number] == [int(value) % 2**32 for value in program.adc[number].ravel()]
    table = bus.values(Register.NOISE_INDEX, Register.NOISE_VALUE)
    assert table[0] == (Register.NOISE_INDEX, 0)
    assert table[1:] == [(Register.NOISE_VALUE, int(value)) for value in program.noise_table]


def test_seed_is_written_before_every_run_and_once_step_by_step():
    program, codes = random_program(CHIP, 1)
    bus = Notes()
    processor = Processor(bus, CHIP)
    processor.load(program)

    def starts() -> list[tuple[Register, int]]:
        found = bus.values(Register.NOISE_SEED, Register.CONTROL)
        bus.written.clear()
        return found

    starts()
    start = (Register.CONTROL, 1)
    own = (Register.NOISE_SEED, program.noise_seed)
    processor.infer(codes[0])
    assert starts() == [own, start]
    processor.infer(codes[0], 77)
    assert starts() == [(Register.NOISE_SEED, 77), start]
    processor.run(codes)
    assert starts() == [own, start] * 2
    processor.run(codes, [5, 6])
    assert starts() == [(Register.NOISE_SEED, 5), start, (Register.NOISE_SEED, 6), start]
    processor.run_stepwise(codes[0], lambda name, tensor: None, noise_seed=9)
    assert starts() == [(Register.NOISE_SEED, 9)] + [start] * (len(program.commands) - 1)
    with pytest.raises(MixcimError, match="must be from 0 to 4294967295, not -1"):
        processor.infer(codes[0], -1)
    with pytest.raises(MixcimError, match="each of the 2 inputs, not 1"):
        processor.run(codes, [5])
