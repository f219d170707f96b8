"""ADC against its formula: every step, currents near every threshold, parameters ideal and at random."""

from __future__ import annotations

import itertools
import random

import pytest
from amaranth.hdl import Module, Signal

from hdl.chips import CHIPS
from hdl.streams import simulate
from mixcim_hdl.formats import ADC_GAIN, ADC_PARAMETERS, conductance_unit
from mixcim_hdl.memristor.adc import ADC_STAGES, Adc, difference_bits

IDEAL = {name: ADC_GAIN if name == "gain" else 0 for name in ADC_PARAMETERS}


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
@pytest.mark.parametrize("ideal", [True, False])
def test_adc_rounds_and_saturates(chip, ideal):
    adc, rng = Adc(chip), random.Random(1)
    unit, top = conductance_unit(chip.conductance_bits), (1 << difference_bits(chip) - 1) - 1
    largest = (1 << chip.adc_bits) - 1
    at_random = [{name: rng.randint(*span) for name, span in ADC_PARAMETERS.items()} for _ in range(4)]
    parameter_sets = [IDEAL] if ideal else at_random
    near_ties = [step * unit + unit // 2 + d for step in range(largest + 3) for d in (-1, 0, 1)]
    latency = ADC_STAGES * chip.deep_pipeline
    due = []  # (saturated, code) of what is on its way

    async def drive(ctx):
        for parameters in parameter_sets:
            ctx.set(adc.parameters, parameters)
            cases = [value for value in near_ties if value <= top]
            cases += [rng.randint(-top - 1, top) for _ in range(60)] + [top, -top - 1]
            for difference, shift in itertools.product(cases, range(16)):
                ctx.set(adc.shift, shift)
                ctx.set(adc.difference, difference)
                step = unit << shift
                value = (difference * parameters["gain"] >> 8) + parameters["offset"]
                segment = min(max(value // (step << chip.adc_bits - 3), 0), 7)
                value += parameters[f"inl{segment}"] << shift
                code = (2 * value + step) // (2 * step)  # floor(v / step + 1/2)
                due.append((code > largest, min(max(code, 0), largest)))
                if len(due) > latency:
                    assert (ctx.get(adc.saturated), ctx.get(adc.code)) == due.pop(0)
                await ctx.tick()
            for expected in due:
                assert (ctx.get(adc.saturated), ctx.get(adc.code)) == expected
                await ctx.tick()
            due.clear()

    m = Module()
    m.submodules.adc = adc
    m.d.sync += Signal().eq(1)  # the simulator wants a clock domain
    simulate(m, drive)
