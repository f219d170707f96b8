"""Floating point as `mixcim_hdl.floating` defines it: patterns to values and back, pre-alignment, the FP32 steps.

Patterns are unsigned integers of the narrowest numpy type (uint8, uint16, uint32); values are float32, which holds
every value of every format. Intermediate steps are exact in float64, and each result is rounded once.

Error of an aligned dot product. For vectors x and w with units u = 2**(Ex - (bits_x - 2)) and v alike, let X and W be
the aligned integers and r = 1/2 for nearest even, 1 for truncation, 1 also for a vector in which an element saturated.
Then

    |sum(x w) - u v sum(X W)|  <=  r_x u sum|w| + r_w v sum|x| + r_x r_w u v n        n = number of elements

for each integer misses its element by at most r: x = u (X + d), w = v (W + e), so that x w - u v X W =
u d w + v e x - u v d e, with |d| <= r_x, |e| <= r_w. An operand that is aligned without loss has r = 0 in its place.
With truncation on both sides d, e have the signs of x, w, and the third term is not needed.
"""

from __future__ import annotations

import numpy as np

from mixcim_hdl.floating import FloatFormat, Rounding


def fields(patterns: np.ndarray, format: FloatFormat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(negative: bool, exponent e, significand s) of patterns, read as finite numbers; int64."""
    patterns = np.asarray(patterns).astype(np.int64)
    mantissa = patterns & ((1 << format.mantissa_bits) - 1)
    field = patterns >> format.mantissa_bits & ((1 << format.exponent_bits) - 1)
    significand = mantissa + ((field != 0).astype(np.int64) << format.mantissa_bits)
    return patterns >> (format.bits - 1) != 0, np.maximum(field, 1) - format.bias, significand


def _magnitudes(patterns: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Patterns without their sign, int64."""
    return np.asarray(patterns).astype(np.int64) & ((1 << (format.bits - 1)) - 1)


def decode(patterns: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Values of patterns, float32, exact."""
    negative, exponent, significand = fields(patterns, format)
    magnitude = _magnitudes(patterns, format)
    value = np.ldexp(significand.astype(np.float64), (exponent - format.mantissa_bits).astype(np.int32))
    if format.infinity:
        value = np.where(magnitude == format.infinity_pattern, np.inf, value)
    # Beyond the largest finite pattern float64 still has a value, but float32 has none.
    value = np.where((magnitude > format.largest_pattern) & ~np.isinf(value), np.nan, np.where(negative, -value, value))
    return value.astype(np.float32)


def encode(values: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Patterns of float32 values, rounded once to nearest even, with the format's rules for overflow and NaN."""
    values = np.asarray(values, np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaN
        exact = np.abs(values.astype(np.float64))
    finite = np.where(np.isfinite(exact), exact, 0.0)
    exponent = np.where(finite > 0, np.frexp(finite)[1] - 1, format.smallest_exponent)
    exponent = np.maximum(exponent, format.smallest_exponent)
    code = np.rint(np.ldexp(finite, format.mantissa_bits - exponent)).astype(np.int64)
    # A code that reaches the next power of two carries into the exponent field, as it must; a hidden bit does likewise.
    pattern = (exponent.astype(np.int64) - format.smallest_exponent << format.mantissa_bits) + code
    pattern = np.where((pattern > format.largest_pattern) | np.isinf(exact), format.overflow_pattern, pattern)
    pattern |= np.signbit(values).astype(np.int64) << (format.bits - 1)
    pattern = np.where(np.isnan(values), format.nan_pattern, pattern)
    return pattern.astype(np.uint8 if format.bits <= 8 else np.uint16 if format.bits <= 16 else np.uint32)


def max_exponent(patterns: np.ndarray, format: FloatFormat, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """(exponent E int32, special bool) of the vectors along `axis`."""
    special = np.asarray((_magnitudes(patterns, format) > format.largest_pattern).any(axis))
    return fields(patterns, format)[1].max(axis).astype(np.int32), special


def align(
    patterns: np.ndarray, format: FloatFormat, exponent: np.ndarray | int, aligned_bits: int, rounding: Rounding
) -> np.ndarray:
    """Integers of patterns in a vector of exponent E = `exponent` (broadcast against them), int32.

    Raises ValueError when an element's exponent is larger than `exponent`, or `aligned_bits` is not 3..32.
    """
    if not 3 <= aligned_bits <= 32:
        raise ValueError(f"aligned_bits must be from 3 to 32, not {aligned_bits}")
    negative, own, significand = fields(patterns, format)
    if ((own > exponent) & (significand != 0)).any():
        raise ValueError("exponent must be at least that of every element; take it from max_exponent")
    shift = own - format.mantissa_bits - (np.asarray(exponent, np.int64) - (aligned_bits - 2))
    exact = np.ldexp(significand.astype(np.float64), shift.astype(np.int32))
    magnitude = np.trunc(exact) if rounding == Rounding.TRUNCATE else np.rint(exact)
    magnitude = np.minimum(magnitude, (1 << (aligned_bits - 1)) - 1)
    return np.where(negative, -magnitude, magnitude).astype(np.int32)


def scaled(sums: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """float32(sums * 2**exponent), rounded once: overflow is infinity, small results are subnormal. 0 is +0.

    `sums` integers of |sum| <= 2**53, `exponent` integers, broadcast. Raises ValueError for larger sums.
    """
    sums = np.asarray(sums, np.int64)
    if (np.abs(sums) > 1 << 53).any():
        raise ValueError("sums must be at most 2**53 in magnitude")
    # Between these limits float64 is exact; outside of them every sum but 0 underflows to zero or overflows.
    exponent = np.clip(exponent, -300, 300).astype(np.int32)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(sums.astype(np.float64), exponent).astype(np.float32)


def canonical(values: np.ndarray) -> np.ndarray:
    """float32 values with every NaN the canonical one."""
    return np.where(np.isnan(values), np.float32(np.nan), values)


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b in float32, rounded once. For narrower formats `encode` the sum: FP32 has bits enough for two roundings."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return canonical(np.add(a, b, dtype=np.float32))


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a * b in float32, rounded once. For narrower formats `encode` the product, which then is exact or underflows."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return canonical(np.multiply(a, b, dtype=np.float32))


def clamp(values: np.ndarray, low: np.ndarray | np.float32, high: np.ndarray | np.float32) -> np.ndarray:
    """`high` where a value is above it, else `low` where it is below that, else the value; -0 is below +0.

    A NaN among the three gives NaN. float32, broadcast.
    """

    def order(operand: np.ndarray | np.float32) -> np.ndarray:
        """Integers in the order of the values: sign and magnitude of the pattern, -0 just below +0."""
        pattern = np.ascontiguousarray(operand, np.float32).view(np.int32).astype(np.int64)
        return np.where(pattern < 0, -(pattern & 0x7FFFFFFF) - 1, pattern)

    result = np.where(order(values) > order(high), high, np.where(order(values) < order(low), low, values))
    return np.where(np.isnan(values) | np.isnan(low) | np.isnan(high), np.float32(np.nan), result).astype(np.float32)
