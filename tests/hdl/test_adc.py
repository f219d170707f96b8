"""ADC against its formula, over every step and many currents."""

from __future__ import annotations

import random

import pytest

from hdl.chips import CHIPS
from hdl.streams import simulate
from mixcim_hdl.formats import conductance_unit
from mixcim_hdl.memristor.adc import Adc
from mixcim_hdl.memristor.macro import current_bits


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_adc_rounds_and_saturates(chip):
    adc, rng = Adc(chip), random.Random(1)
    unit, top = conductance_unit(chip.conductance_bits), (1 << current_bits(chip)) - 1
    largest = (1 << chip.adc_bits) - 1
    near_ties = [step * unit + unit // 2 + d for step in range(34) for d in (-1, 0, 1)]

    async def drive(ctx):
        for shift in range(16):
            cases = [(current, 0) for current in near_ties if current <= top]
            cases += [(rng.randint(0, top), rng.randint(0, top)) for _ in range(100)] + [(top, 0), (0, top)]
            for current, reference in cases:
                ctx.set(adc.step_shift, shift)
                ctx.set(adc.current, current)
                ctx.set(adc.reference, reference)
                step = unit << shift
                code = (2 * (current - reference) + step) // (2 * step)  # floor(x / step + 1/2)
                assert ctx.get(adc.saturated) == (code > largest)
                assert ctx.get(adc.code) == min(max(code, 0), largest)
            await ctx.tick()

    from amaranth.hdl import Module, Signal

    m = Module()
    m.submodules.adc = adc
    m.d.sync += Signal().eq(1)  # the simulator wants a clock domain
    simulate(m, drive)
