"""The conversions of floating.py for whole tensors: the same results, by tables and bits."""

from __future__ import annotations

import functools

import numpy as np

from mixcim_hdl.floating import BF16, FP16, FP32, FloatFormat, Rounding

from .floating import decode, encode, fields

#: What `finite_values` are divided by, as a power of two: so the largest fields of BF16 have a float32, too.
FINITE_SHIFT = 2


@functools.lru_cache(maxsize=8)
def values(format: FloatFormat) -> np.ndarray:
    """Value of every pattern: float32 (2**bits,)."""
    return decode(np.arange(1 << format.bits), format)


@functools.lru_cache(maxsize=8)
def finite_values(format: FloatFormat) -> np.ndarray:
    """Value / 2**FINITE_SHIFT of every pattern, read as a finite number: float32 (2**bits,), exact."""
    negative, exponent, significand = fields(np.arange(1 << format.bits), format)
    shift = (exponent - format.mantissa_bits - FINITE_SHIFT).astype(np.int32)
    return np.ldexp(np.where(negative, -significand, significand).astype(np.float32), shift)


@functools.lru_cache(maxsize=8)
def _patterns_of_upper_halves(format: FloatFormat) -> np.ndarray:
    """Pattern of every float32 of 16 bits with zeros behind: uint8 (2**16,)."""
    return encode((np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32), format)


def patterns_of(numbers: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Patterns of float32 numbers, rounded once: uint8 or uint16, what floating.encode gives."""
    bits = numbers.view(np.uint32)
    if format == BF16:
        patterns = (bits + (0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    elif format == FP16:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            patterns = numbers.astype(np.float16).view(np.uint16)
    else:
        # What the lower half has goes into the upper one's last bit (round to odd): more than three bits are left.
        halves = (bits >> 16).astype(np.uint16) | (bits & 0xFFFF != 0)
        return _patterns_of_upper_halves(format).take(halves)
    wrong = np.isnan(numbers)
    if wrong.any():
        patterns[wrong] = format.nan_pattern
    return patterns


def aligned(numbers: np.ndarray, unit: np.ndarray, bits: int, rounding: Rounding) -> np.ndarray:
    """Integers of `bits` bits in units of 2**`unit`, what floating.align gives for unit = exponent - (bits - 2).

    `numbers` float32, from finite_values, is overwritten; `unit` int, broadcast. Returns float32. Raises ValueError
    where a number is too large for its unit.
    """
    power = -(unit.astype(np.int32) - FINITE_SHIFT)
    limit = np.float32((1 << bits - 1) - 1)
    # Products below the normal numbers may be rounded: they become 0 all the same.
    with np.errstate(under="ignore"):
        numbers *= np.ldexp(np.float32(1), np.minimum(power, FP32.largest_exponent))
        if (power > FP32.largest_exponent).any():
            numbers *= np.ldexp(np.float32(1), np.maximum(power - FP32.largest_exponent, 0))
    largest = max(-float(numbers.min(initial=0)), float(numbers.max(initial=0)))
    if largest >= limit + 1:
        raise ValueError("exponent must be at least that of every element")
    (np.rint if rounding == Rounding.NEAREST_EVEN else np.trunc)(numbers, out=numbers)
    if largest > limit:  # what rounds up
        np.clip(numbers, -limit, limit, out=numbers)
    return numbers
