"""RTL (verilated) = model on random programs: whole activation memory and event counters, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdl.chips import DEEP, DEEP_ENGINES
from mixcim.model.processor import ProcessorModel
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import Event
from model.random_program import random_program

TINY = PRESETS["tiny"]
#: Other proportions: several banks of each kind, an ADC of 4 bits, SLC cells above MLC cells, all lanes at once.
MANY_BANKS = dataclasses.replace(
    TINY, name="many_banks", channels=8, memristor_banks=2, sram_banks=2, tiny_banks=2, output_lanes=8,
    activation_banks=4, adc_bits=4, conductance_bits=6, weight_mode="MM-1",
)  # fmt: skip


def compare(chip, seeds) -> None:
    """Each input on a chip fresh from reset, as the model counts it."""
    moved = 0
    for seed in seeds:
        program, codes = random_program(chip, seed)
        model = ProcessorModel(chip, program)
        want = model.run(codes)
        for number, code in enumerate(codes):
            processor = rtl_processor(chip)
            processor.load(program)
            got, counters = processor.infer(code)
            np.testing.assert_array_equal(got, want[number], err_msg=f"seed {seed}, input {number}")
            for name in (event.name.lower() for event in Event):
                assert getattr(counters, name) == getattr(model, name)[number], f"seed {seed}: {name}"
            assert counters.cycles == processor.command_cycles().sum(), f"seed {seed}"
            moved += counters.memristor_reads
    assert moved, "no program used the memristor banks"


def test_tiny_chip():
    compare(TINY, range(40))


def test_many_banks():
    compare(MANY_BANKS, range(40))


def test_deep_pipeline():
    compare(DEEP, range(40))


def test_deep_pipeline_of_two_engines():
    compare(DEEP_ENGINES, range(20))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_many_programs(name):
    compare(PRESETS[name], range(1000, 1030) if name == "demo" else range(1000, 1400))


def test_every_tensor_in_single_steps_equals_the_model():
    """The stepwise run that debugging uses gives the same tensors as the model captures."""
    program, codes = random_program(TINY, 7)
    model = ProcessorModel(TINY, program)
    model.run(codes[:1], capture=set(program.tensors))
    processor = rtl_processor(TINY)
    processor.load(program)
    seen = {}
    processor.run_stepwise(codes[0], lambda name, tensor: seen.setdefault(name, tensor))
    last = len(program.commands) - 1  # END completes "memory", the copy of everything
    assert set(seen) == {name for name, place in program.tensors.items() if place.command < last}
    for name, tensor in seen.items():
        np.testing.assert_array_equal(tensor, model.captured[name][0], err_msg=name)
