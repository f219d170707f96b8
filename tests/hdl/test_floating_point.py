"""Floating-point units, verilated, bit for bit against the model, numpy and TestFloat, on millions of operands."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Shape

from hdl.streams import simulate
from mixcim.errors import MixcimError
from mixcim.model import floating as model
from mixcim.rtl.unit import Unit
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
)  # fmt: skip
from mixcim_hdl.floating_point.add import FloatAdd
from mixcim_hdl.floating_point.align import SIGNIFICAND_BITS, Align
from mixcim_hdl.floating_point.clamp import FloatClamp
from mixcim_hdl.floating_point.convert import FloatConvert
from mixcim_hdl.floating_point.integer_to_float import IntegerToFloat
from mixcim_hdl.floating_point.max_exponent import MaxExponent
from mixcim_hdl.floating_point.multiply import FloatMultiply
from workloads import floating_vectors

FORMATS = list(FLOAT_FORMATS.values())
INPUT_FORMATS = [BF16, FP16, FP8_E4M3, FP8_E5M2]
ARITHMETIC = {FloatAdd: model.add, FloatMultiply: model.multiply}
CONVERSIONS = [
    *((FP32, narrow) for narrow in INPUT_FORMATS), *((narrow, FP32) for narrow in INPUT_FORMATS),
    (FP16, FP8_E4M3), (FP16, FP8_E5M2), (FP8_E5M2, FP8_E4M3), (FP8_E4M3, FP8_E5M2), (BF16, FP16), (FP16, BF16),
]  # fmt: skip


@cache
def unit(block: type, *parameters) -> Unit:
    """The verilated block, once per test process."""
    return Unit(block(*parameters))


def assert_equal(got: np.ndarray, expected: np.ndarray, *operands: np.ndarray) -> None:
    """Bit for bit; names the first operands whose result differs."""
    wrong = np.flatnonzero(got != expected)
    if len(wrong):
        first = wrong[0]
        shown = ", ".join(f"{int(operand[first]):#x}" for operand in operands)
        pytest.fail(
            f"{len(wrong)} of {len(got)} differ; of {shown}: {int(got[first]):#x}, not {int(expected[first]):#x}"
        )


def random_generator(seed: int) -> np.random.Generator:
    """A generator whose seed pytest shows when the test fails."""
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def corners(format: FloatFormat) -> np.ndarray:
    """Patterns of both signs at and beside every limit, among them NaNs of several payloads."""
    one = format.bias << format.mantissa_bits
    smallest_normal = 1 << format.mantissa_bits
    digits = (format.bias + format.mantissa_bits) << format.mantissa_bits  # 2**mantissa_bits: its unit is 1
    around = [0, smallest_normal, one, 2 * smallest_normal, one + smallest_normal, one - smallest_normal, digits,
              digits + smallest_normal, one - smallest_normal * format.mantissa_bits, format.largest_pattern,
              format.nan_pattern, one + smallest_normal // 2, (1 << (format.bits - 1)) - 1]  # fmt: skip
    if format.infinity:
        around.append(format.infinity_pattern)
    magnitudes = {near + step for near in around for step in (-2, -1, 0, 1, 2)}
    legal = np.array(sorted(pattern for pattern in magnitudes if 0 <= pattern < 1 << (format.bits - 1)), np.int64)
    return np.concatenate([legal, legal | 1 << (format.bits - 1)])


def random_patterns(rng: np.random.Generator, format: FloatFormat, count: int) -> np.ndarray:
    """Any bits; with few mantissa bits, so that ties happen; subnormal or nearly so; corners. A quarter each."""
    patterns = rng.integers(0, 1 << format.bits, count)
    kind = rng.integers(0, 4, count)
    sparse = patterns & ~((1 << rng.integers(0, format.mantissa_bits + 1, count)) - 1)
    small = patterns & ((1 << (format.bits - 1)) | (4 << format.mantissa_bits) - 1)
    return np.choose(kind, [patterns, sparse, small, rng.choice(corners(format), count)])


def random_pairs(rng: np.random.Generator, format: FloatFormat, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Operands of which a sixth each: independent; any bits; exponents near each other; cancelling but for some low
    bits; exponents whose product lies about the smallest number; the same about the largest."""
    bits, sign = format.mantissa_bits, 1 << (format.bits - 1)
    top = (1 << format.exponent_bits) - 1
    a = random_patterns(rng, format, count)
    kind = rng.integers(0, 6, count)
    other = random_patterns(rng, format, count)
    raw = rng.integers(0, 1 << format.bits, count)
    spread = rng.integers(-bits - 4, bits + 5, count)
    field = a >> bits & top

    def with_field(wanted: np.ndarray) -> np.ndarray:
        return other & ~(top << bits) | np.clip(wanted, 0, top) << bits

    cancelling = a ^ sign ^ (raw & ((1 << rng.integers(0, bits + 2, count)) - 1))
    b = np.choose(
        kind,
        [
            other,
            raw,
            with_field(field + spread),
            cancelling,
            with_field(format.bias - field + spread),
            with_field(top + format.bias - field + spread // 4),
        ],
    )
    return np.where(kind == 1, rng.integers(0, 1 << format.bits, count), a), b


def expected_result(block: type, format: FloatFormat, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The model's result; for FP32 numpy's own, NaN made canonical."""
    if format is not FP32:
        return model.encode(ARITHMETIC[block](model.decode(a, format), model.decode(b, format)), format)
    operation = np.add if block is FloatAdd else np.multiply
    with np.errstate(all="ignore"):
        result = operation(a.astype(np.uint32).view(np.float32), b.astype(np.uint32).view(np.float32))
    return np.where(np.isnan(result), np.uint32(FP32.nan_pattern), result.view(np.uint32))


@pytest.mark.parametrize("block", ARITHMETIC)
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_arithmetic_on_all_pairs_of_corners(block, format):
    values = np.arange(1 << format.bits) if format.bits == 8 else corners(format)
    a, b = np.repeat(values, len(values)), np.tile(values, len(values))
    assert_equal(unit(block, format)(a=a, b=b)["result"], expected_result(block, format, a, b), a, b)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("block", ARITHMETIC)
def test_fp32_arithmetic_on_millions_of_pairs(block, seed):
    a, b = random_pairs(random_generator(seed), FP32, 1_000_000)
    assert_equal(unit(block, FP32)(a=a, b=b)["result"], expected_result(block, FP32, a, b), a, b)


@pytest.mark.parametrize("block", ARITHMETIC)
@pytest.mark.parametrize("format", [BF16, FP16], ids=lambda format: format.name)
def test_16_bit_arithmetic_on_random_pairs(block, format):
    a, b = random_pairs(random_generator(16), format, 1_000_000)
    assert_equal(unit(block, format)(a=a, b=b)["result"], expected_result(block, format, a, b), a, b)


@pytest.mark.parametrize("name, block", [("f16_add", FloatAdd), ("f16_mul", FloatMultiply)])
def test_fp16_arithmetic_on_testfloat(name, block):
    vectors = floating_vectors(f"testfloat_{name}")
    expected = canonical_nan(vectors["result"], FP16)
    assert len(expected) > 20_000
    operands = {"a": vectors["a"], "b": vectors["b"]}
    assert_equal(unit(block, FP16)(**operands)["result"], expected, *operands.values())


def canonical_nan(patterns: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Patterns of which every NaN is the canonical one: TestFloat's has sign 1."""
    return np.where((patterns & 0x7FFF) > format.infinity_pattern, format.nan_pattern, patterns)


def test_fp32_to_fp16_on_testfloat():
    vectors = floating_vectors("testfloat_f32_to_f16")
    expected = canonical_nan(vectors["result"], FP16)
    assert len(expected) > 4_000
    assert_equal(unit(FloatConvert, FP32, FP16)(value=vectors["a"])["result"], expected, vectors["a"])


@pytest.mark.parametrize("formats", CONVERSIONS, ids=lambda formats: "_to_".join(format.name for format in formats))
def test_conversion_of_every_code_or_of_millions(formats):
    source, target = formats
    if source.bits <= 16:
        values = np.arange(1 << source.bits)
    else:
        rng = random_generator(32)
        values = np.concatenate([corners(source), random_patterns(rng, source, 500_000), near(rng, target, 1_000_000)])
    expected = model.encode(model.decode(values, source), target)
    assert_equal(unit(FloatConvert, source, target)(value=values)["result"], expected, values)


def near(rng: np.random.Generator, target: FloatFormat, count: int) -> np.ndarray:
    """FP32 patterns in the range of a narrower format and some powers of two about it; half of them at or near ties."""
    exponent = rng.integers(
        max(target.smallest_exponent - target.mantissa_bits - 4, -148), target.largest_exponent + 4, count
    )
    exact = np.ldexp(rng.integers(1 << 23, 1 << 24, count), (exponent - 23).astype(np.int32))
    value = np.minimum(exact, FP32.largest).astype(np.float32)
    patterns = value.view(np.uint32).astype(np.int64)
    half = 1 << (FP32.mantissa_bits - target.mantissa_bits - 1)
    tie = patterns & -half | half
    sign = rng.integers(0, 2, count) << 31
    return sign | np.where(rng.integers(0, 2, count), patterns, tie + rng.integers(-1, 2, count))


@pytest.mark.parametrize("width", [48, 12])
def test_integer_to_float_rounds_once(width):
    rng = random_generator(width)
    count = 1_000_000
    magnitudes = rng.integers(0, 1 << (width - 1), count) >> rng.integers(0, width, count)
    # A few bits on top and a few at the bottom: ties, and what lies next to them.
    low_bits = rng.integers(0, 4, count) << rng.integers(0, width - 4, count)
    ties = (rng.integers(1, 8, count) << (width - 5)) + low_bits
    values = np.where(rng.integers(0, 2, count), magnitudes, ties % (1 << (width - 1)))
    values = np.where(rng.integers(0, 2, count), -values, values)
    values[:5] = 0, -1, -(1 << (width - 1)), (1 << (width - 1)) - 1, 1
    exponents = rng.integers(-512, 512, count)
    # Half of them where results are subnormal, or about the largest.
    exponents = np.where(rng.integers(0, 2, count), exponents, rng.integers(-150 - width, -125, count))
    exponents = np.where(rng.integers(0, 8, count), exponents, rng.integers(126 - width, 129, count))
    special = rng.random(count) < 0.01
    expected = model.encode(np.where(special, np.float32(np.nan), model.scaled(values, exponents)), FP32)
    got = unit(IntegerToFloat, width)(value=values, exponent=exponents, special=special)["result"]
    assert_equal(got, expected, values, exponents)


@pytest.mark.parametrize("format", [FP32, FP8_E4M3], ids=lambda format: format.name)
def test_clamp(format):
    rng = random_generator(3)
    some = corners(format)
    value, low, high = (random_patterns(rng, format, 500_000) for _ in range(3))
    corner = [grid.ravel() for grid in np.meshgrid(*[rng.choice(some, 40)] * 3)]
    value, low, high = (np.concatenate(pair) for pair in zip((value, low, high), corner, strict=True))
    expected = model.encode(model.clamp(*(model.decode(item, format) for item in (value, low, high))), format)
    got = unit(FloatClamp, format)(value=value, low=low, high=high)["result"]
    assert_equal(got, expected, value, low, high)


@pytest.mark.parametrize("format, count", [(BF16, 64), (FP16, 5), (FP8_E4M3, 7), (FP8_E5M2, 1)])
def test_max_exponent(format, count):
    rng = random_generator(count)
    vectors = random_patterns(rng, format, 20_000 * count).reshape(-1, count)
    vectors[rng.random(len(vectors)) < 0.7] &= ~(1 << (format.bits - 2))  # below 2: few are special
    vectors[0] = 0
    exponent, special = model.max_exponent(vectors, format)
    got = unit(MaxExponent, format, count)(patterns=words(vectors, format))
    assert_equal(got["exponent"], exponent)
    assert_equal(got["special"], special)
    assert count == 1 or 0 < special.mean() < 0.9


def words(vectors: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Vectors of patterns as one wide port takes them: 32-bit words, or one number if that is at most 63 bits."""
    bits = vectors.shape[1] * format.bits
    bytes_each = vectors.astype(f"<u{(format.bits + 7) // 8}").view(np.uint8).reshape(len(vectors), -1)
    padded = np.pad(bytes_each, ((0, 0), (0, -bytes_each.shape[1] % (4 if bits > 63 else 8))))
    return padded.view(np.uint32) if bits > 63 else padded.view(np.uint64)[:, 0]


@pytest.mark.parametrize("largest", [8, 12, 16])
@pytest.mark.parametrize("format", INPUT_FORMATS, ids=lambda format: format.name)
def test_align(format, largest):
    rng = random_generator(largest)
    count = 200_000
    patterns = random_patterns(rng, format, count)
    negative, own, significand = model.fields(patterns, format)
    top = (1 << format.exponent_bits) - 1 - format.bias  # of infinities
    exponent = np.minimum(own + rng.integers(0, 24, count) * rng.integers(0, 2, count), top)
    exponent = np.where(rng.integers(0, 8, count), exponent, rng.integers(own, top + 1))
    aligned_bits = rng.choice([bits for bits in ALIGNED_BITS if bits <= largest], count)
    rounding = rng.integers(0, 2, count)
    expected = np.zeros(count, np.int64)
    for bits in ALIGNED_BITS:
        for way in Rounding:
            mask = (aligned_bits == bits) & (rounding == way)
            expected[mask] = model.align(patterns[mask], format, exponent[mask], bits, way)
    got = unit(Align, largest)(
        sign=negative,
        exponent=own + format.bias,
        significand=significand << (SIGNIFICAND_BITS - 1 - format.mantissa_bits),
        vector_exponent=exponent + format.bias,
        aligned_bits=aligned_bits,
        rounding=rounding,
    )["result"]
    assert_equal(got, expected, patterns, exponent, aligned_bits, rounding)


@pytest.mark.parametrize(
    "component",
    [
        FloatAdd(FP16), FloatMultiply(FP16), FloatConvert(FP32, FP16), FloatConvert(FP8_E4M3, FP32),
        IntegerToFloat(48), FloatClamp(FP32), MaxExponent(FP8_E4M3, 7), Align(12),
    ],
    ids=lambda component: type(component).__name__,
)  # fmt: skip
def test_amaranth_and_verilog_agree_at_the_stated_latency(component):
    """Different operands in every cycle, so that a result one cycle early or late is another one's."""
    rng, count = random_generator(4), 100
    flows = {"In": {}, "Out": {}}
    for name, member in component.signature.members.items():
        flows[member.flow.name][name] = Shape.cast(member.shape)
    operands = {
        name: rng.integers(-(1 << shape.width - 1), 1 << shape.width - 1, count)
        if shape.signed
        else rng.integers(0, 1 << shape.width, count)
        for name, shape in flows["In"].items()
    }
    if isinstance(component, Align):
        operands["aligned_bits"] = rng.choice([8, 9, 10, 11, 12], count)
    verilated = unit(type(component), *parameters(component))
    results = verilated(**operands)
    backwards = verilated(**{name: values[::-1] for name, values in operands.items()})
    for name, values in results.items():
        assert np.array_equal(backwards[name][::-1], values), "results do not belong to the operands of LATENCY before"

    async def drive(ctx):
        for cycle in range(count + component.LATENCY):
            for name, values in operands.items():
                ctx.set(getattr(component, name), int(values[min(cycle, count - 1)]))
            if cycle >= component.LATENCY:
                for name, values in results.items():
                    assert ctx.get(getattr(component, name)) == values[cycle - component.LATENCY], (name, cycle)
            await ctx.tick()

    simulate(component, drive)


def parameters(component) -> tuple:
    """What a component was made with."""
    names = ("source", "target", "format", "count", "largest", "width")
    return tuple(getattr(component, name) for name in names if hasattr(component, name))


def test_operands_for_other_ports_are_refused():
    with pytest.raises(MixcimError, match="operands must be value, not a, b"):
        unit(FloatConvert, FP32, FP16)(a=1, b=2)


def test_sizes_that_make_no_unit_are_refused():
    with pytest.raises(ValueError, match="width must be from 2 to 48, not 49"):
        IntegerToFloat(49)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        MaxExponent(BF16, 0)
    with pytest.raises(ValueError, match="largest must be one of 8, 9, 10, 11, 12, 16, not 13"):
        Align(13)
