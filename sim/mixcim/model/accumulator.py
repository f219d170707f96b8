"""Accumulators: sums over all vectors of a window, of SUM_BITS in integer RUNs, else of the chip's accumulator_bits."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.formats import SUM_BITS


class ExactProduct:
    """Integer matrix product on the floating-point BLAS, with every partial sum exact.

    Whatever the order in which BLAS adds, a partial sum lies between the sums of a column's negative and of its
    positive terms at the largest integers. Below 2**24 all integers are float32 values, below 2**53 float64 values, so
    nothing is ever rounded. What may not fit an accumulator of 48 bits is multiplied in int64, which wraps as it must.
    """

    def __init__(self, matrix: np.ndarray, largest: int, signed: bool = False) -> None:
        """`matrix`: integers (rows, columns); `largest`: upper limit of the magnitudes that will be multiplied."""
        wide = np.asarray(matrix, np.int64)
        positive = np.where(wide > 0, wide, 0).sum(axis=0)
        negative = positive - wide.sum(axis=0)
        extremes = positive + negative if signed else np.maximum(positive, negative)
        extreme = int(extremes.max(initial=0)) * largest
        self.dtype = np.float32 if extreme < 1 << 24 else np.float64 if extreme < 1 << 47 else np.int64
        self.matrix = wide.astype(self.dtype)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Sums (windows, columns), exact integers in float32, float64 or int64, of integers (windows, rows)."""
        return windows.astype(self.dtype, copy=False) @ self.matrix


def wrapped(sums: np.ndarray, bits: int) -> np.ndarray:
    """Integers of any type, wrapped to an accumulator of `bits` bits: int32 for SUM_BITS, else int64."""
    if bits == SUM_BITS:
        if sums.dtype == np.int32:
            return sums
        # float32 arrays hold less than 2**24 and need no detour.
        return sums.astype(np.int32) if sums.dtype == np.float32 else sums.astype(np.int64).astype(np.int32)
    return sums.astype(np.int64) << 64 - bits >> 64 - bits
