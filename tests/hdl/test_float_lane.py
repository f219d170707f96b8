"""FloatLane, verilated, against RUN's floating lines in the model's arithmetic: random and corner operands."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hdl.chips import TINY
from hdl.test_floating_point import assert_equal, corners, random_generator, random_patterns
from mixcim.model import floating as model
from mixcim.rtl.unit import Unit
from mixcim_hdl.floating import FP32, ElementFormat
from mixcim_hdl.output.float_lane import FloatLane

COUNT = 40_000
INTEGER = ElementFormat.INTEGER
ONE = 0x3F800000
NO_LIMITS = {"float_low": FP32.infinity_pattern | 1 << 31, "float_high": FP32.infinity_pattern}


@cache
def lane() -> Unit:
    """The verilated lane, once per test process."""
    return Unit(FloatLane(TINY))


def value(pattern: int | np.ndarray) -> np.ndarray:
    """float32 of patterns."""
    return np.asarray(pattern, np.uint32).view(np.float32)


def expected(operands: dict[str, np.ndarray], layer: dict[str, int]) -> np.ndarray:
    """Elements by the definition of RUN."""
    field = operands["scale"] >> 23 & 0xFF
    normal = (field > 0) & (field < 255)
    t = np.where(normal, field - 127, 0)
    factor = np.where(normal, operands["scale"] & 0x807FFFFF | ONE, operands["scale"])
    y = model.scaled(operands["sum"], operands["unit"] + t)
    y = model.multiply(np.where(operands["special"] != 0, np.float32(np.nan), y), value(factor))
    if layer.get("pooled"):
        y = model.multiply(value(operands["sum"] & 0xFFFFFFFF), value(operands["scale"]))
    y = model.add(y, value(operands["bias"]))
    if layer["residual"]:
        format = ElementFormat(layer["residual_format"]).floating
        if format is None:
            code = (operands["old"] & 0xFF) - layer["residual_zero_point"]
            old = model.multiply(code.astype(np.float32), value(layer["residual_scale"]))
        else:
            old = model.decode(operands["old"] & (1 << format.bits) - 1, format)
        y = model.add(y, old)
    y = model.clamp(y, value(layer["float_low"]), value(layer["float_high"]))
    format = ElementFormat(layer["output_format"]).floating
    if format is not None:
        return model.encode(y, format).astype(np.int64)
    product = model.multiply(y, value(layer["output_scale"]))
    rounded = np.rint(np.where(np.isnan(product), 0, product).astype(np.float64))
    return np.clip(rounded + layer["zero_point"], layer["clamp_low"], layer["clamp_high"]).astype(np.int64)


def random_operands(rng: np.random.Generator, count: int, results: float) -> dict[str, np.ndarray]:
    """Half of them anything; half with a scale that brings the sum near `results`, so that outputs round and clip."""
    bits = rng.integers(1, 48, count)
    sums = rng.integers(-(1 << bits), 1 << bits)
    edges = np.array([0, 0, 1, -1, 2**47 - 1, -(2**47), 2**24 + 1, -(2**25 + 2), 2**46 + 1, 2**46 + 2**22])
    sums = np.where(rng.integers(0, 8, count), sums, rng.choice(edges, count))
    unit = rng.integers(-256, 256, count)
    own = value(rng.integers(0, 1 << 23, count) | ONE).astype(np.float64)
    spread = rng.integers(-14, 15, count)
    exponent = np.log2(results) + spread - unit - np.log2(np.maximum(np.abs(sums), 1))
    near = np.ldexp(own, np.clip(exponent, -300, 300).astype(int))
    sparse = rng.integers(0, 4, count) == 0
    near = np.where(sparse, np.exp2(np.floor(np.log2(np.maximum(near, 1e-300)))), near)
    with np.errstate(over="ignore", under="ignore"):
        near = (near * rng.choice([1, -1], count)).astype(np.float32).view(np.uint32).astype(np.int64)
        addend = (results * rng.choice([0, 1, -1, 1 / 64], count) * rng.normal(size=count)).astype(np.float32)
    anything = rng.integers(0, 2, count) == 0
    return {
        "sum": sums,
        "unit": unit,
        "special": (rng.integers(0, 32, count) == 0).astype(np.int64),
        "scale": np.where(anything, random_patterns(rng, FP32, count), near),
        "bias": np.where(anything, random_patterns(rng, FP32, count), addend.view(np.uint32).astype(np.int64)),
        "old": rng.integers(0, 1 << 16, count),
    }


def random_layer(rng: np.random.Generator, residual_format: ElementFormat, output: ElementFormat) -> dict[str, int]:
    clamp_low, clamp_high = np.sort(rng.integers(0, 256, 2)) if rng.integers(0, 2) else (0, 255)
    scale = np.float32(rng.choice([1.0, 0.5, rng.lognormal(0, 2)])).view(np.uint32)
    relu, relu6 = ({"float_low": 0, "float_high": high} for high in (FP32.infinity_pattern, 0x40C00000))
    return {
        "pooled": 0,
        "residual": int(rng.integers(0, 4) > 0),
        "residual_format": int(residual_format),
        "residual_zero_point": int(rng.integers(0, 256)),
        "residual_scale": int(scale),
        **(NO_LIMITS, relu, relu6)[rng.integers(0, 3)],
        "output_format": int(output),
        "output_scale": int(np.float32(rng.choice([1.0, 0.25, rng.lognormal(0, 1)])).view(np.uint32)),
        "zero_point": int(rng.integers(0, 256)),
        "clamp_low": int(clamp_low),
        "clamp_high": int(clamp_high),
    }


def check(operands: dict[str, np.ndarray], layer: dict[str, int]) -> None:
    """Elements and exponents of all operands."""
    got = lane()(**operands, **layer)
    want = expected(operands, layer)
    format = ElementFormat(layer["output_format"]).floating
    shown = [operands[name] for name in ("sum", "unit", "special", "scale", "bias", "old")]
    assert_equal(got["element"] & (0xFF if format is None else 0xFFFF), want, *shown)
    if format is not None:
        # Results are taken LATENCY after their operands: the exponents seen then are those of later elements.
        lead = FloatLane.LATENCY - FloatLane.EXPONENT_LATENCY
        magnitude = want & (1 << format.bits - 1) - 1
        exponent = (magnitude >> format.mantissa_bits) | (magnitude > format.largest_pattern).astype(np.int64) << 8
        assert_equal(got["exponent"][:-lead], exponent[lead:], *(operand[lead:] for operand in shown))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("output", ElementFormat, ids=lambda item: item.name)
def test_random_operands_of_every_output_format(output, seed):
    rng = random_generator(100 * output + seed)
    for residual_format in ElementFormat:
        layer = random_layer(rng, residual_format, output)
        print(layer)
        format = output.floating
        largest = 2.0 ** rng.integers(-3, 8) if format is None else format.largest ** rng.choice([-1, 0.1, 1])
        check(random_operands(rng, COUNT // 5, largest), layer)


@pytest.mark.parametrize("output", ElementFormat, ids=lambda item: item.name)
def test_numbers_of_a_pool(output):
    """A float32 instead of the sum, whatever unit and special say: any pattern, and products that stay in range."""
    rng = random_generator(output)
    for residual_format in ElementFormat:
        operands = random_operands(rng, COUNT // 5, 1.0)
        numbers = random_patterns(rng, FP32, len(operands["sum"]))
        scales = np.where(rng.integers(0, 2, len(numbers)), ONE + rng.integers(-(1 << 26), 1 << 20), operands["scale"])
        above = rng.integers(-(1 << 15), 1 << 15, len(numbers)) << 32
        layer = random_layer(rng, residual_format, output) | {"pooled": 1}
        check(operands | {"sum": above | numbers, "scale": scales}, layer)


@pytest.mark.parametrize("output", ElementFormat, ids=lambda item: item.name)
def test_corners_of_scale_and_bias(output):
    """Every corner of a float32 as scale and as bias, of sums 1 and -3, with and without limits, special or not."""
    scale, bias = (grid.reshape(-1) for grid in np.meshgrid(corners(FP32), corners(FP32)))
    for number, limits in enumerate((NO_LIMITS, {"float_low": 0, "float_high": FP32.infinity_pattern})):
        operands = {
            "sum": np.where(np.arange(len(scale)) % 2, 1, -3), "unit": np.zeros(len(scale), np.int64),
            "special": np.full(len(scale), 0), "scale": scale, "bias": bias, "old": np.zeros(len(scale), np.int64),
        }  # fmt: skip
        layer = random_layer(random_generator(number), INTEGER, output) | limits | {"residual": 0}
        check(operands, layer)
        check(operands | {"special": np.ones(len(scale), np.int64)}, layer)


@pytest.mark.parametrize("residual_format", ElementFormat, ids=lambda item: item.name)
def test_every_element_as_residual(residual_format):
    """Each element alone (sum and bias 0) and with a sum beside it; also the -0 that no sum can have."""
    rng = random_generator(residual_format)
    for output in ElementFormat:
        layer = random_layer(rng, residual_format, output) | NO_LIMITS | {"residual": 1}
        old = np.arange(1 << 8 * residual_format.bytes)
        zero = np.zeros(len(old), np.int64)
        operands = {"sum": zero, "unit": zero, "special": zero, "scale": zero + ONE, "bias": zero, "old": old}
        check(operands, layer)
        check(operands | {"bias": zero + (1 << 31), "scale": zero + (ONE | 1 << 31)}, layer)
        check(operands | {"sum": rng.integers(-4000, 4000, len(old)), "unit": zero - 6}, layer)


def test_exponents_about_the_ends_of_float32():
    """u + t beyond what a float32 can hold, with sums that bring the value back, or that do not."""
    rng = random_generator(1)
    for output in (ElementFormat.BF16, ElementFormat.FP8_E5M2):
        count = COUNT
        bits = rng.integers(1, 48, count)
        operands = {
            "sum": rng.integers(-(1 << bits), 1 << bits), "unit": rng.choice([-256, -255, -150, 127, 255], count),
            "special": np.zeros(count, np.int64), "bias": np.zeros(count, np.int64),
            "scale": rng.choice([0, 1, 2, 127, 128, 252, 253, 254, 255], count) << 23 | rng.integers(0, 1 << 23, count),
            "old": np.zeros(count, np.int64),
        }  # fmt: skip
        check(operands, random_layer(rng, INTEGER, output) | NO_LIMITS | {"residual": 0})
