"""Exact float32 fused multiply-add in numpy, which has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def fused_multiply_add(multiplicand: ArrayLike, multiplier: ArrayLike, addend: ArrayLike) -> np.ndarray:
    """`multiplicand * multiplier + addend`, rounded once to float32, nearest even.

    The arguments are finite float32 arrays (or scalars) that broadcast; the result is a float32 array of the broadcast
    shape. Exact wherever the result is a normal float32 or zero.

    The product of two 24-bit mantissas is exact in float64. Its sum with the addend may not be, and rounding that sum
    to float64 and then to float32 would round twice. So the sum is rounded to odd: if it is inexact (the error is known
    exactly by TwoSum), its last bit is set. 53 bits are more than 24 + 2, so the second rounding is then correct.
    """
    product = np.asarray(multiplicand, np.float64) * np.asarray(multiplier, np.float64)
    third = np.asarray(addend, np.float64)
    total = np.asarray(product + third)
    virtual = total - product
    error = (product - (total - virtual)) + (third - virtual)
    bits = total.view(np.int64)
    away_from_zero = (error > 0) == (total > 0)
    neighbour = np.where(away_from_zero, bits + 1, bits - 1)
    odd = np.where((error != 0) & (bits & 1 == 0), neighbour, bits)
    return odd.view(np.float64).astype(np.float32)
