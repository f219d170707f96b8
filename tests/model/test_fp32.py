"""Float32 steps against exact fractions, on random numbers and on ties."""

import numpy as np
import pytest

from mixcim.model.fp32 import clamped_code, fused_multiply_add, scaled
from model.naive import bits_to_fraction, code_of, fma, to_float32


def as_fraction(value):
    """Fraction of a float32, or the infinity itself."""
    return bits_to_fraction(int(np.float32(value).view(np.uint32))) if np.isfinite(value) else float(value)


def random_float32(random, count, low, high):
    """Float32 with random sign and fraction and exponents from low to high; half of them with few bits, for ties."""
    fraction = random.integers(1 << 23, 1 << 24, count)
    few = random.random(count) < 0.5
    fraction[few] = fraction[few] >> 18 << 18
    value = np.ldexp(fraction.astype(np.float64), random.integers(low, high + 1, count) - 23)
    with np.errstate(over="ignore"):
        return (value * random.choice([-1, 1], count)).astype(np.float32)


@pytest.mark.parametrize("span", [3, 12, 30, 60, 126])
def test_fused_multiply_add_rounds_once(span):
    random = np.random.default_rng(span)
    factors = random.integers(-128, 256, 1500)
    scales = random_float32(random, 1500, -span, span)
    addends = random_float32(random, 1500, -span, span)
    for factor, scale, addend in zip(factors, scales, addends, strict=True):
        got = fused_multiply_add(np.array([factor]), scale, np.array([addend]))[0]
        assert as_fraction(got) == fma(int(factor), as_fraction(scale), as_fraction(addend)), (factor, scale, addend)


def test_fused_multiply_add_sees_beyond_float64():
    """The tie is broken by an addend that float64 would lose: plain double rounding gives another last bit."""
    differences = 0
    for factor in range(1, 256):
        for exponent in (-30, -60, -100, -149):
            for sign in (-1, 1):
                scale = np.float32(1 + 2.0**-23)
                addend = np.float32(sign * 2.0**exponent)
                got = fused_multiply_add(np.array([factor]), scale, np.array([addend]))[0]
                assert as_fraction(got) == fma(factor, as_fraction(scale), as_fraction(addend))
                differences += got != np.float32(float(factor) * float(scale) + float(addend))
    assert differences > 0


def test_fused_multiply_add_of_infinity_and_zero():
    largest = np.finfo(np.float32).max
    assert fused_multiply_add(np.array([255]), largest, np.array([largest]))[0] == np.inf
    assert fused_multiply_add(np.array([-1]), largest, np.array([np.inf], np.float32))[0] == np.inf
    assert fused_multiply_add(np.array([1]), np.float32(-3), np.array([3], np.float32))[0] == 0


def test_scaled_rounds_the_sum_and_then_the_product():
    random = np.random.default_rng(0)
    sums = random.integers(-(2**31), 2**31, 3000) >> random.integers(0, 31, 3000)
    sums[:4] = 2**24 + 1, 2**24 + 3, -(2**31), 2**31 - 1
    scales = random_float32(random, 3000, -126, 20)
    got = scaled(sums.astype(np.int32), scales)
    for index in range(3000):
        rounded = to_float32(as_fraction(1) * int(sums[index]))
        assert as_fraction(got[index]) == to_float32(rounded * as_fraction(scales[index]))


def test_clamped_code_rounds_half_to_even():
    random = np.random.default_rng(1)
    values = np.concatenate([np.arange(-300, 600) / 2, random.normal(0, 200, 500), [np.inf, -np.inf, 3e38, -1e12]])
    values = values.astype(np.float32)
    for offset, low, high in ((0, 0, 255), (128, 0, 255), (37, 37, 201), (255, 5, 5)):
        want = [code_of(as_fraction(value), offset, low, high) for value in values]
        assert clamped_code(values.copy(), offset, low, high).tolist() == want
