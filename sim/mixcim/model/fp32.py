"""Float32 steps of the output pipeline, exact to the last bit (IEEE 754 binary32, subnormal numbers included).

Parameters (scales and `fixed`) are finite; results may overflow to infinity, which the pipeline's clamps then catch.
"""

from __future__ import annotations

import numpy as np


def scaled(sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32(sums) * scale: int32 sums to nearest even float32, then one float32 product rounded to nearest even.

    `sums` int32, `scale` float32, shapes broadcast. Returns float32. Source: commands.py, RUN.
    """
    result = sums.astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        result *= scale
    return result


def fused_multiply_add(factor: np.ndarray, scale: np.float32, addend: np.ndarray | np.float32) -> np.ndarray:
    """factor * scale + addend, rounded once to nearest even float32.

    `factor` integers of at most 16 bits, `scale` a finite float32, `addend` float32 (may be infinite); shapes
    broadcast. Returns float32.

    The product is exact in float64 (16 + 24 significant bits). Its sum with the addend is rounded to float64 with
    Knuth's TwoSum, which also gives the exact error; "round to odd" (Boldo and Melquiond, 2008) moves an inexact sum
    to its odd neighbour, so that the second rounding, to float32, sees on which side of a tie the exact sum lies.
    """
    product = np.asarray(factor, np.float64) * np.float64(scale)
    product, wide = np.broadcast_arrays(product, np.asarray(addend, np.float32).astype(np.float64))
    finite = np.where(np.isfinite(wide), wide, 0.0)
    total = product + finite
    back = total - product
    error = (product - (total - back)) + (finite - back)
    bits = total.view(np.int64)
    inexact_even = (error != 0) & (bits & 1 == 0)
    away_from_zero = (error > 0) == (total > 0)
    odd = (bits + np.where(inexact_even, np.where(away_from_zero, 1, -1), 0)).view(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        return np.where(np.isfinite(wide), odd, wide).astype(np.float32)


def clamped_code(values: np.ndarray, offset: int, low: int, high: int) -> np.ndarray:
    """clip(round_half_even(values) + offset, low, high) as uint8 codes; `values` float32 is overwritten.

    Adding in float32 is exact where it matters: beyond 2**23 every value is clamped anyway.
    """
    np.rint(values, out=values)
    values += np.float32(offset)
    np.maximum(values, np.float32(low), out=values)
    np.minimum(values, np.float32(high), out=values)
    return values.astype(np.uint8)
