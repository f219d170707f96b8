"""The model against the naive interpreter of commands.py, on random programs."""

import dataclasses

import numpy as np
import pytest

from mixcim.model import ProcessorModel
from mixcim_hdl.commands import Opcode, decode_command
from mixcim_hdl.presets import PRESETS
from model.naive import NaiveProcessor
from model.random_program import random_program


def compare(chip, seed):
    """Memory and counters of model (both ways of reading the memristor, several batches) and interpreter agree."""
    program, codes = random_program(chip, seed)
    model = ProcessorModel(chip, program)
    got = model.run(codes)
    for number, one in enumerate(codes):
        naive = NaiveProcessor(chip, program)
        want = naive.run(one)
        np.testing.assert_array_equal(got[number].reshape(want.shape), want)
        assert model.memristor_reads[number] == naive.memristor_reads
        assert model.adc_saturations[number] == naive.adc_saturations
    saturations = model.adc_saturations
    model.corrected_reads = False
    np.testing.assert_array_equal(model.run(codes, batch=1), got)
    np.testing.assert_array_equal(model.adc_saturations, saturations)


@pytest.mark.parametrize("seed", range(40))
def test_model_equals_definition_on_tiny(seed):
    compare(PRESETS["tiny"], seed)


@pytest.mark.parametrize("seed", range(6))
def test_model_equals_definition_on_demo(seed):
    compare(PRESETS["demo"], seed)


@pytest.mark.parametrize(
    "sizes",
    [
        {"memristor_banks": 3, "sram_banks": 2, "tiny_banks": 2, "parameter_tiles": 128, "program_commands": 64},
        {"memristor_banks": 0, "sram_banks": 0},
        {"memristor_banks": 2, "weight_mode": "MM-S", "adc_bits": 3, "conductance_bits": 4},
        {"rows": 32, "channels": 8, "weight_mode": "MM-1", "adc_bits": 10, "conductance_bits": 6},
        {"rows": 16, "channels": 16, "weight_mode": "MM-2"},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_model_equals_definition_on_other_chips(sizes, seed):
    compare(dataclasses.replace(PRESETS["tiny"], **sizes), seed)


def test_random_programs_reach_every_field():
    """Each field of a RUN takes at least two values over the seeds, so that none goes untested."""
    chip = PRESETS["tiny"]
    values: dict[str, set[int]] = {}
    for seed in range(40):
        for words in random_program(chip, seed)[0].commands:
            opcode, fields = decode_command(words, chip)
            if opcode == Opcode.RUN:
                for name, value in fields.items():
                    values.setdefault(name, set()).add(value)
    constant = {name for name, seen in values.items() if len(seen) < 2}
    assert constant == {"opcode", "mode[0]", "mode[1]"}


def test_random_program_is_repeatable():
    chip = PRESETS["tiny"]
    first, second = (random_program(chip, 7) for _ in range(2))
    assert first[0].to_bytes() == second[0].to_bytes()
    np.testing.assert_array_equal(first[1], second[1])
