"""Conversions and output steps of whole tensors equal their definitions in floating.py, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from mixcim.model import floating
from mixcim.model.float_output import limited, scaled_sums, split_scale
from mixcim.model.quick_float import aligned, finite_values, patterns_of, values
from mixcim_hdl.floating import ALIGNED_BITS, BF16, FP8_E4M3, FP8_E5M2, FP16, Rounding
from model.test_floating import interesting_float32

FORMATS = [BF16, FP16, FP8_E4M3, FP8_E5M2]
LIMITS = np.array([-np.inf, -1.5, -0.0, 0.0, 1e-45, 2.0, np.inf, np.nan], np.float32)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_conversions_are_those_of_the_definition(format):
    numbers = np.concatenate([interesting_float32(100_000), values(format)])
    got, want = patterns_of(numbers, format), floating.encode(numbers, format)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    every = np.arange(1 << format.bits)
    np.testing.assert_array_equal(values(format).view(np.uint32), floating.decode(every, format).view(np.uint32))


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("bits", ALIGNED_BITS)
@pytest.mark.parametrize("rounding", Rounding)
def test_alignment_is_that_of_the_definition(format, bits, rounding):
    """Vectors of any patterns (zeros, subnormal numbers, infinities, NaN), of one binade, and of any narrow range."""
    random = np.random.default_rng(bits)
    patterns = random.integers(0, 1 << format.bits, (3000, 12))
    top = random.integers(0, 1 << format.exponent_bits, (3000, 1)) << format.mantissa_bits
    highest = top | (1 << format.mantissa_bits) - 1
    patterns[1000:] = np.minimum(patterns[1000:] & (1 << format.bits - 1) - 1, highest[1000:])
    patterns[2000:] |= random.integers(0, 2, (1000, 12)) << format.bits - 1
    patterns[random.random(patterns.shape) < 0.1] = 0
    patterns[:3] = 0
    exponent, _ = floating.max_exponent(patterns, format)
    exponent[::2] += random.integers(0, 3, 1500)  # of a longer vector
    want = floating.align(patterns, format, exponent[:, None], bits, rounding)
    got = aligned(finite_values(format)[patterns], exponent[:, None] - (bits - 2), bits, rounding)
    np.testing.assert_array_equal(got.astype(np.int32), want)


@pytest.mark.parametrize("sign", [0, 0x8000])
@pytest.mark.parametrize("rounding", Rounding)
def test_an_element_above_its_exponent_is_refused(rounding, sign):
    assert abs(aligned(finite_values(BF16)[[0x3F80 | sign]], np.array([-6]), 8, rounding)) == 64
    assert abs(aligned(finite_values(BF16)[[0x3FFF | sign]], np.array([-6]), 8, rounding)) == 127
    for pattern in (0x4000, 0x4080):  # 2, which is as large as the integers' limit, and 4
        with pytest.raises(ValueError, match="at least that of every element"):
            aligned(finite_values(BF16)[[pattern | sign]], np.array([-6]), 8, rounding)


def test_scales_are_split_into_exponent_and_significand():
    scale = np.array([1.0, -3.0, 2.0**-126, 3.0e38, 0.0, -0.0, 1e-40, 2.0**-149], np.float32)
    power, mantissa = split_scale(scale)
    assert power.tolist() == [0, 1, -126, 127, 0, 0, 0, 0]
    np.testing.assert_array_equal(np.ldexp(mantissa.astype(np.float64), power), scale)
    normal = np.abs(mantissa[:4])
    assert ((normal >= 1) & (normal < 2)).all()


@pytest.mark.parametrize("type", [np.float32, np.float64, np.int64])
def test_scaled_sums_are_the_steps_of_the_definition(type):
    """Sums up to those that the type holds, units of every format, any scale and bias: products round, over- and
    underflow."""
    random = np.random.default_rng(3)
    bits = {np.float32: 24, np.float64: 47, np.int64: 47}[type]
    sums = (random.integers(-(1 << bits), 1 << bits, (600, 64)) >> random.integers(0, bits, (600, 64))).astype(type)
    unit, special = random.integers(-140, 128, 600), random.random(600) < 0.1
    scale = random.integers(0, 1 << 32, 64, np.uint32).view(np.float32)
    scale = np.where(np.isfinite(scale), scale, np.float32(1))
    bias = random.integers(0, 1 << 32, 64, np.uint32).view(np.int32)
    power, mantissa = split_scale(scale)
    y = floating.scaled(sums.astype(np.int64), unit[:, None] + power)
    y = np.where(special[:, None], np.float32(np.nan), y)
    want = floating.add(floating.multiply(y, mantissa), bias.view(np.float32))
    got = floating.canonical(scaled_sums(sums, unit, special, bias, scale))
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize("low", LIMITS)
@pytest.mark.parametrize("high", LIMITS)
def test_limits_are_those_of_the_definition(low, high):
    numbers = np.concatenate([LIMITS, -LIMITS, interesting_float32(50)])
    want = floating.clamp(numbers, low, high)
    got = floating.canonical(limited(numbers.copy(), low, high))
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))
