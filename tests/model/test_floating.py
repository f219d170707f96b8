"""Formats, conversions, pre-alignment: the model against tables, ml_dtypes, TestFloat, numpy and exact fractions."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixcim.model import floating as model
from mixcim_hdl.floating import (
    ALIGNED_BITS,
    BF16,
    FLOAT_FORMATS,
    FP8_E4M3,
    FP8_E5M2,
    FP16,
    FP32,
    FloatFormat,
    Rounding,
)
from workloads import floating_vectors

INPUT_FORMATS = [BF16, FP16, FP8_E4M3, FP8_E5M2]
OTHERS = {
    BF16: ml_dtypes.bfloat16,
    FP16: np.float16,
    FP8_E4M3: ml_dtypes.float8_e4m3fn,
    FP8_E5M2: ml_dtypes.float8_e5m2,
    FP32: np.float32,
}


def every_code(format: FloatFormat) -> np.ndarray:
    return np.arange(1 << format.bits, dtype=f"u{(format.bits + 7) // 8}")


def interesting_float32(count: int = 400_000) -> np.ndarray:
    """Any bits; the range of the small formats, at and beside their ties; limits."""
    rng = np.random.default_rng(5)
    patterns = rng.integers(0, 1 << 32, count, np.uint32)
    small = patterns & 0x807FFFFF | rng.integers(127 - 30, 127 + 20, count, np.uint32) << 23
    tie = small & ~np.uint32((1 << 16) - 1)
    beside = tie + rng.integers(0, 3, count, np.uint32) - 1
    limits = np.array([0, 1 << 31, 1, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x7F800001, 0xFFC00000], np.uint32)
    return np.concatenate([patterns, small, tie, beside, limits]).view(np.float32)


def same_values(got: np.ndarray, expected: np.ndarray) -> bool:
    """Equal in value and sign; NaN equals NaN."""
    numbers = ~np.isnan(expected)
    return np.array_equal(got, expected, equal_nan=True) and np.array_equal(
        np.signbit(got[numbers]), np.signbit(expected[numbers])
    )


def test_formats_are_what_their_standards_say():
    facts = {
        FP32: (127, -126, 127, 3.4028234663852886e38, 0x7FC00000, 0x7F800000),
        BF16: (127, -126, 127, 3.3895313892515355e38, 0x7FC0, 0x7F80),
        FP16: (15, -14, 15, 65504.0, 0x7E00, 0x7C00),
        FP8_E4M3: (7, -6, 8, 448.0, 0x7F, 0x7E),
        FP8_E5M2: (15, -14, 15, 57344.0, 0x7E, 0x7B),
    }
    for item, expected in facts.items():
        assert FLOAT_FORMATS[item.name] is item
        assert expected == (
            item.bias,
            item.smallest_exponent,
            item.largest_exponent,
            item.largest,
            item.nan_pattern,
            item.overflow_pattern,
        )


def test_sizes_that_make_no_format_are_refused():
    with pytest.raises(ValueError, match="format 'A': exponent_bits must be at least 2"):
        FloatFormat("A", 1, 3)
    with pytest.raises(ValueError, match="format 'A': without infinities overflow must saturate"):
        FloatFormat("A", 4, 3, infinity=False)
    with pytest.raises(ValueError, match="format FP8_E4M3 has no infinities"):
        _ = FP8_E4M3.infinity_pattern


@pytest.mark.parametrize("format", INPUT_FORMATS, ids=lambda format: format.name)
def test_every_code_decodes_as_elsewhere_and_encodes_back(format):
    codes = every_code(format)
    values = model.decode(codes, format)
    with np.errstate(invalid="ignore"):
        assert same_values(values, codes.view(OTHERS[format]).astype(np.float32))
    back = model.encode(values, format)
    kept = np.isfinite(values)
    assert np.array_equal(back[kept], codes[kept])
    assert (back[np.isnan(values)] == format.nan_pattern).all()
    infinite = np.isposinf(values)
    assert (back[infinite] == format.overflow_pattern).all()


@pytest.mark.parametrize("format, name", [(FP8_E4M3, "fp8_e4m3fn"), (FP8_E5M2, "fp8_e5m2")])
def test_fp8_tables(format, name):
    tables = floating_vectors("fp8_bf16_mx_tables")
    assert same_values(model.decode(every_code(format), format), tables[f"{name}_decode"])
    halves = every_code(FP16).view(np.float16).astype(np.float32)
    expected = tables[f"f16_to_{name}_rne"].astype(np.int64)
    # The tables do not saturate: what overflows is NaN or infinity there.
    limit = format.largest * (1 + 2.0 ** -(format.mantissa_bits + 2))
    unsaturated = (expected & 0x7F) > format.largest_pattern
    assert (np.abs(halves[unsaturated & ~np.isnan(halves)]) >= limit * 0.99).all()
    expected = np.where(unsaturated, format.largest_pattern | expected & 0x80, expected)
    expected = np.where(np.isnan(halves), format.nan_pattern, expected)
    assert np.array_equal(model.encode(halves, format), expected)


def test_bf16_table():
    tables = floating_vectors("fp8_bf16_mx_tables")
    halves = every_code(FP16).view(np.float16).astype(np.float32)
    expected = np.where(np.isnan(halves), BF16.nan_pattern, tables["f16_to_bf16_rne"])
    assert np.array_equal(model.encode(halves, BF16), expected)


@pytest.mark.parametrize("format", [*INPUT_FORMATS, FP32], ids=lambda format: format.name)
def test_float32_encodes_as_elsewhere(format):
    values = interesting_float32()
    with np.errstate(all="ignore"):
        expected = values.astype(OTHERS[format])
    expected = expected.view(f"u{expected.itemsize}").astype(np.int64)
    magnitude = expected & (1 << format.bits - 1) - 1
    if format.saturates:
        expected = np.where(magnitude > format.largest_pattern, expected - magnitude + format.largest_pattern, expected)
    expected = np.where(np.isnan(values), format.nan_pattern, expected)
    assert np.array_equal(model.encode(values, format), expected)


def test_float32_to_float16_on_testfloat():
    vectors = floating_vectors("testfloat_f32_to_f16")
    got = model.encode(vectors["a"].view(np.float32), FP16)
    expected = vectors["result"]
    nan = (expected & 0x7FFF) > FP16.infinity_pattern
    assert np.array_equal(got, np.where(nan, FP16.nan_pattern, expected))


@pytest.mark.parametrize("name, operation", [("f16_add", model.add), ("f16_mul", model.multiply)])
def test_half_arithmetic_through_float32_on_testfloat(name, operation):
    """Two roundings, to FP32 and to FP16, are one: FP32 has more than twice the bits of FP16, and two."""
    vectors = floating_vectors(f"testfloat_{name}")
    got = model.encode(operation(*(model.decode(vectors[key], FP16) for key in "ab")), FP16)
    expected = vectors["result"]
    nan = (expected & 0x7FFF) > FP16.infinity_pattern
    assert np.array_equal(got, np.where(nan, FP16.nan_pattern, expected))


def exact(pattern: int, format: FloatFormat) -> Fraction:
    """Value of a finite pattern, from the definition."""
    sign, field = pattern >> format.bits - 1, pattern >> format.mantissa_bits & (1 << format.exponent_bits) - 1
    significand = pattern % (1 << format.mantissa_bits) + (1 << format.mantissa_bits if field else 0)
    return (-1) ** sign * significand * Fraction(2) ** (max(field, 1) - format.bias - format.mantissa_bits)


def finite_patterns(format: FloatFormat) -> st.SearchStrategy[int]:
    """Finite patterns: of any exponent, so that those of one vector lie far apart, or zeros, or the largest."""
    magnitudes = st.one_of(st.integers(0, format.largest_pattern), st.sampled_from([0, 1, format.largest_pattern]))
    return st.builds(lambda magnitude, sign: magnitude | sign << format.bits - 1, magnitudes, st.integers(0, 1))


@st.composite
def vectors(draw, format: FloatFormat) -> list[int]:
    return draw(st.lists(finite_patterns(format), min_size=1, max_size=12))


def unit_of(exponent: int, aligned_bits: int) -> Fraction:
    """Value of the integer 1."""
    return Fraction(2) ** (exponent - (aligned_bits - 2))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_integers_are_the_definition(data):
    format = data.draw(st.sampled_from(INPUT_FORMATS))
    codes = data.draw(vectors(format))
    aligned_bits, rounding = data.draw(st.sampled_from(ALIGNED_BITS)), data.draw(st.sampled_from(list(Rounding)))
    values = [exact(code, format) for code in codes]
    exponent, special = model.max_exponent(np.array(codes), format)
    largest = max(abs(value) for value in values)
    assert not special
    assert exponent >= format.smallest_exponent and largest < Fraction(2) ** (int(exponent) + 1)
    assert exponent == format.smallest_exponent or largest >= Fraction(2) ** int(exponent)
    for value, integer in zip(
        values, model.align(np.array(codes), format, exponent, aligned_bits, rounding), strict=True
    ):
        magnitude = abs(value) / unit_of(int(exponent), aligned_bits)
        whole = int(magnitude) if rounding == Rounding.TRUNCATE else round(magnitude)
        assert abs(integer) == min(whole, 2 ** (aligned_bits - 1) - 1)
        assert integer * value >= 0


def error_and_bound(
    codes: list[list[int]], format: FloatFormat, aligned_bits: list[int], rounding: Rounding
) -> tuple[Fraction, Fraction]:
    """Of the aligned dot product of two vectors: its error, and the bound of the model's docstring."""
    values = [[exact(code, format) for code in vector] for vector in codes]
    integers, units, misses = [], [], []
    for vector, bits in zip(codes, aligned_bits, strict=True):
        exponent, _ = model.max_exponent(np.array(vector), format)
        aligned = [int(item) for item in model.align(np.array(vector), format, exponent, bits, rounding)]
        unit = unit_of(int(exponent), bits)
        integers.append(aligned)
        units.append(unit)
        saturated = any(abs(exact(code, format)) / unit > 2 ** (bits - 1) - Fraction(1, 2) for code in vector)
        misses.append(Fraction(1) if rounding == Rounding.TRUNCATE or saturated else Fraction(1, 2))
    (x, w), (u, v), (r_x, r_w) = values, units, misses
    product = u * v * sum(a * b for a, b in zip(*integers, strict=True))
    error = abs(sum((a * b for a, b in zip(x, w, strict=True)), Fraction(0)) - product)
    bound = r_x * u * sum(map(abs, w)) + r_w * v * sum(map(abs, x))
    if rounding == Rounding.NEAREST_EVEN:
        bound += r_x * r_w * u * v * len(x)
    return error, bound


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_aligned_dot_product_lies_within_the_bound(data):
    format = data.draw(st.sampled_from(INPUT_FORMATS))
    pairs = data.draw(st.lists(st.tuples(*[finite_patterns(format)] * 2), min_size=1, max_size=12))
    bits = [data.draw(st.sampled_from(ALIGNED_BITS)) for _ in range(2)]
    rounding = data.draw(st.sampled_from(list(Rounding)))
    error, bound = error_and_bound([list(codes) for codes in zip(*pairs, strict=True)], format, bits, rounding)
    assert error <= bound


@pytest.mark.parametrize("rounding", Rounding)
def test_the_bound_is_attained_to_more_than_nine_tenths(rounding):
    """One element sets the exponent; the others lie at (nearest even) or just below (truncation) the worst place.

    x: 1, then n times 1/2 or nearly 1 of a unit, so that each is lost. w: powers of two, which are aligned exactly.
    """
    aligned_bits, count = 8, 200
    unit = 2.0 ** -(aligned_bits - 2)
    lost = unit / 2 if rounding == Rounding.NEAREST_EVEN else unit * (1 - 2.0**-8)
    x = model.encode(np.array([1.0] + [lost] * count, np.float32), BF16)
    w = model.encode(np.array([1.0] + [1.0] * count, np.float32), BF16)
    error, bound = error_and_bound([x.tolist(), w.tolist()], BF16, [aligned_bits] * 2, rounding)
    print(f"{rounding.name}: {float(error / bound):.3f} of the bound")
    assert bound * Fraction(9, 10) < error <= bound


def test_special_vectors_and_vectors_of_zeros():
    for format in INPUT_FORMATS:
        zeros = np.array([0, 1 << format.bits - 1])
        exponent, special = model.max_exponent(zeros, format)
        assert exponent == format.smallest_exponent and not special
        assert not model.align(zeros, format, exponent, 8, Rounding.NEAREST_EVEN).any()
        for pattern in [format.nan_pattern, *([format.infinity_pattern] if format.infinity else [])]:
            for sign in (0, 1 << format.bits - 1):
                assert model.max_exponent(np.array([[0, pattern | sign], [0, 1]]), format)[1].tolist() == [True, False]


def test_exponents_too_small_and_sums_too_large_are_refused():
    with pytest.raises(ValueError, match="exponent must be at least that of every element"):
        model.align(np.array([0x3F80]), BF16, -1, 8, Rounding.TRUNCATE)
    with pytest.raises(ValueError, match="aligned_bits must be from 3 to 32, not 33"):
        model.align(np.array([0x3F80]), BF16, 0, 33, Rounding.TRUNCATE)
    with pytest.raises(ValueError, match="sums must be at most 2\\*\\*53 in magnitude"):
        model.scaled(np.array([(1 << 53) + 1]), 0)


@settings(max_examples=2000, deadline=None)
@given(st.integers(0, 48), st.integers(-(2**48), 2**48), st.one_of(st.integers(-600, 600), st.integers(-205, -120)))
def test_scaled_rounds_once(shift, integer, exponent):
    integer >>= shift
    got = model.scaled(np.array([integer]), exponent)[0]
    value = abs(integer) * Fraction(2) ** exponent
    grid = max(value.numerator.bit_length() - value.denominator.bit_length(), -126)
    grid += (value >= Fraction(2) ** (grid + 1)) - (value < Fraction(2) ** grid and grid > -126)
    nearest = round(value / Fraction(2) ** (grid - 23)) * Fraction(2) ** (grid - 23)
    if nearest >= Fraction(2) ** 128:
        assert got == (np.inf if integer > 0 else -np.inf)
    else:
        assert Fraction(float(got)) == (nearest if integer > 0 else -nearest)
        assert np.signbit(got) == (integer < 0)


def test_float32_steps_give_the_canonical_nan():
    nan = np.array([0xFFC01234, 0x7F800001], np.uint32).view(np.float32)
    one, infinity = np.float32(1), np.float32(np.inf)
    results = [
        model.add(nan, np.array([one, one])),
        model.multiply(np.array([one, one]), nan),
        model.add(np.array([infinity]), np.array([-infinity])),
        model.multiply(np.array([infinity]), np.array([np.float32(0)])),
        model.clamp(nan, one, infinity),
        model.clamp(np.array([one]), np.float32(np.nan), infinity),
    ]
    assert all((model.encode(item, FP32) == 0x7FC00000).all() for item in results)
    assert all((item.view(np.uint32) == 0x7FC00000).all() for item in results)


def test_clamp_orders_zeros_and_prefers_the_upper_limit():
    zero, minus_zero = np.float32(0), np.float32(-0.0)
    values = np.array([-3, minus_zero, zero, 2, 7, np.inf, -np.inf], np.float32)
    relu6 = model.clamp(values, zero, np.float32(6))
    assert same_values(relu6, np.array([0, 0, 0, 2, 6, 6, 0], np.float32))
    assert same_values(model.clamp(values, -np.float32(np.inf), minus_zero)[:4], np.array([-3, -0.0, -0.0, -0.0], "f4"))
    assert model.clamp(np.array([np.float32(5)]), np.float32(9), np.float32(4))[0] == 4


def test_a_format_of_ones_own():
    """TensorFloat-32 holds every value of BF16, FP16 and both FP8."""
    wide = dataclasses.replace(FP32, name="TF32", mantissa_bits=10)
    for format in INPUT_FORMATS:
        values = model.decode(every_code(format), format)
        finite = values[np.isfinite(values)]
        held = model.decode(model.encode(finite, wide), wide)
        normal = np.abs(finite) >= 2.0**wide.smallest_exponent
        assert np.array_equal(held[normal], finite[normal])
