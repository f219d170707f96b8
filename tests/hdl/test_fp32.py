"""Float32 steps against numpy and exact fractions; ties and cancellation are drawn on purpose."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from hdl.streams import simulate
from mixcim_hdl.output.fp32 import FloatMultiply, FloatToInteger, FusedMultiplyAdd, IntegerToFloat
from mixcim_hdl.output.lane import Lane


def fields(value: float) -> dict:
    """A float32 value as FLOAT's fields."""
    mantissa, exponent = math.frexp(abs(float(value)))
    if mantissa == 0:
        return {"mantissa": 0, "exponent": -1024, "sign": 0}
    return {"mantissa": int(mantissa * 2**24), "exponent": exponent - 1, "sign": int(value < 0)}


def value_of(view) -> Fraction:
    """Value of a sampled FLOAT."""
    return (-1) ** int(view.sign) * int(view.mantissa) * Fraction(2) ** (int(view.exponent) - 23)


def rounded(exact: Fraction) -> Fraction:
    """Nearest value with a 24-bit mantissa, ties to even."""
    if exact == 0:
        return exact
    exponent = math.floor(math.log2(abs(exact)))
    exponent += (abs(exact) >= Fraction(2) ** (exponent + 1)) - (abs(exact) < Fraction(2) ** exponent)
    unit = Fraction(2) ** (exponent - 23)
    return round(exact / unit) * unit  # Python rounds a Fraction half to even


def random_float(rng: random.Random, low: int = -20, high: int = 20) -> np.float32:
    """A float32 of random exponent; now and then with few mantissa bits, so that ties happen."""
    mantissa = rng.getrandbits(24) | 1 << 23
    if rng.random() < 0.4:
        mantissa &= ~((1 << rng.randint(0, 23)) - 1)
    return np.float32(rng.choice((-1, 1)) * mantissa * 2.0 ** (rng.randint(low, high) - 23))


def stream_through(component, cases, set_inputs, expected) -> None:
    """One case per cycle; results are compared `LATENCY` cycles later."""

    async def drive(ctx):
        for cycle in range(len(cases) + component.LATENCY):
            if cycle < len(cases):
                set_inputs(ctx, cases[cycle])
            if cycle >= component.LATENCY:
                case = cases[cycle - component.LATENCY]
                got = ctx.get(component.result)
                got = value_of(got) if hasattr(got, "mantissa") else got
                assert got == expected(case), case
            await ctx.tick()

    simulate(component, drive)


@pytest.mark.parametrize("deep", [0, 1])
def test_integer_to_float_equals_numpy(deep):
    rng = random.Random(1)
    cases = [0, 1, -1, 2**31 - 1, -(2**31), 2**24 + 1, 2**24 + 3, -(2**25 + 2), 33554434, 33554438]
    cases += [rng.randint(-(2**bits), 2**bits - 1) for bits in range(1, 32) for _ in range(40)]
    component = IntegerToFloat(deep)
    stream_through(
        component, cases, lambda ctx, case: ctx.set(component.integer, case),
        lambda case: Fraction(float(np.float32(np.int32(case)))),
    )  # fmt: skip


@pytest.mark.parametrize("deep", [0, 1])
def test_multiply_equals_numpy(deep):
    rng = random.Random(2)
    cases = [(random_float(rng), random_float(rng)) for _ in range(2000)] + [(np.float32(0), np.float32(3))]
    component = FloatMultiply(deep)

    def set_inputs(ctx, case):
        ctx.set(component.a, fields(case[0]))
        ctx.set(component.b, fields(case[1]))

    stream_through(component, cases, set_inputs, lambda case: Fraction(float(case[0] * case[1])))


@pytest.mark.parametrize("deep", [0, 1])
def test_fused_multiply_add_rounds_once(deep):
    rng = random.Random(3)
    cases = []
    for _ in range(4000):
        integer, scale = rng.randint(-128, 255), random_float(rng, -12, 6)
        addend = random_float(rng, -40, 20)
        if rng.random() < 0.3:  # cancellation: close to minus the product
            addend = np.float32(
                -float(integer * Fraction(float(scale))) * (1 + rng.choice((0, 1, -1)) * 2.0 ** -rng.randint(18, 24))
            )
        cases.append((integer, scale, addend))
    cases += [
        (0, np.float32(2), np.float32(0)),
        (0, np.float32(2), np.float32(-3)),
        (5, np.float32(0.5), np.float32(0)),
    ]
    component = FusedMultiplyAdd(deep)

    def set_inputs(ctx, case):
        ctx.set(component.integer, case[0])
        ctx.set(component.scale, fields(case[1]))
        ctx.set(component.addend, fields(case[2]))

    stream_through(
        component, cases, set_inputs,
        lambda case: rounded(case[0] * Fraction(float(case[1])) + Fraction(float(case[2]))),
    )  # fmt: skip


@pytest.mark.parametrize("deep", [0, 1])
def test_float_to_integer_rounds_half_even_and_saturates(deep):
    rng = random.Random(4)
    cases = [np.float32(n / 2) for n in range(-1100, 1101)] + [random_float(rng, -30, 30) for _ in range(2000)]
    cases += [np.nextafter(np.float32(n / 2), np.float32(to)) for n in range(-21, 22) for to in (-1000, 1000)]
    component = FloatToInteger(deep)
    stream_through(
        component, cases, lambda ctx, case: ctx.set(component.value, fields(case)),
        lambda case: int(np.clip(np.rint(case), -512, 511)),
    )  # fmt: skip


def bits_of(value: float | np.floating) -> int:
    return int(np.float32(value).view(np.uint32))


@pytest.mark.parametrize("deep", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_lane_is_the_definition_of_run(seed, deep):
    rng, lane = random.Random(seed), Lane(deep)
    scales = [np.float32(0.5)] * 2 if seed == 3 else [np.float32(rng.random() * 2) for _ in range(2)]
    layer = {
        "zero_point": rng.randint(0, 255), "clamp_low": 2, "clamp_high": 251, "residual": int(seed > 0),
        "residual_first": seed & 1, "residual_signed": seed >> 1, "scale_first": bits_of(scales[0]),
        "scale_second": bits_of(scales[1]), "sum_low": 3, "sum_high": 250,
    }  # fmt: skip
    fixed = np.float32(-3 if seed == 3 else rng.gauss(0, 60))
    cases = []
    for _ in range(800):
        total = rng.randint(-(2 ** rng.randint(1, 31)), 2 ** rng.randint(1, 31) - 1)
        scale = rng.choice([0.5, 0.25, 0.0, rng.random() * 400 / (abs(total) + 1)])
        cases.append(
            (
                total,
                rng.randint(-(2**31), 2**31 - 1) if rng.random() < 0.1 else rng.randint(-99, 99),
                scale,
                rng.randint(0, 255),
            )
        )

    def expected(total, bias, scale, old):
        accumulator = np.int32((total + bias + 2**31) % 2**32 - 2**31)
        scaled = np.float32(accumulator) * np.float32(scale)
        code = int(np.clip(np.rint(scaled) + layer["zero_point"], layer["clamp_low"], layer["clamp_high"]))
        if not layer["residual"]:
            return code
        offset = 128 * layer["residual_signed"]
        first, second = (old, code) if layer["residual_first"] else (code, old)
        t = rounded((first - offset) * Fraction(float(scales[0])) + Fraction(float(fixed)))
        u = rounded((second - offset) * Fraction(float(scales[1])) + t)
        return min(max(round(u) + offset, layer["sum_low"]), layer["sum_high"])

    async def drive(ctx):
        for name, value in layer.items():
            ctx.set(getattr(lane, name), value)
        ctx.set(lane.fixed, bits_of(fixed))
        for cycle in range(len(cases) + lane.LATENCY):
            if cycle < len(cases):
                total, bias, scale, old = cases[cycle]
                for name, value in {"sum": total, "bias": bias, "scale": bits_of(scale), "old": old}.items():
                    ctx.set(getattr(lane, name), value)
            if cycle >= lane.LATENCY:
                case = cases[cycle - lane.LATENCY]
                assert ctx.get(lane.code) == expected(*case), case
            await ctx.tick()

    simulate(lane, drive)
