"""Accumulators: sums over all vectors of a window, int32 with wrap-around."""

from __future__ import annotations

import numpy as np


class ExactProduct:
    """Integer matrix product on the floating-point BLAS, with every partial sum exact.

    Whatever the order in which BLAS adds, a partial sum lies between the sums of a column's negative and of its
    positive terms at the largest code. Below 2**24 all integers are float32 values, so nothing is ever rounded; larger
    matrices take float64, whose 2**53 no window can reach (2**24 taps of 16 channels, products below 2**24).
    """

    def __init__(self, matrix: np.ndarray, largest_code: int) -> None:
        """`matrix`: integers (rows, columns); `largest_code`: upper limit of the codes that will be multiplied."""
        wide = np.asarray(matrix, np.int64)
        extreme = max(
            int(np.where(wide > 0, wide, 0).sum(axis=0).max(initial=0)),
            int(np.where(wide < 0, -wide, 0).sum(axis=0).max(initial=0)),
        )
        self.dtype = np.float32 if extreme * largest_code < 1 << 24 else np.float64
        self.matrix = wide.astype(self.dtype)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Sums int32 (windows, columns), wrapped, of windows uint8 (windows, rows)."""
        sums = windows.astype(self.dtype) @ self.matrix
        return wrapped(sums)


def wrapped(sums: np.ndarray) -> np.ndarray:
    """Exact integers in a float array as int32, modulo 2**32; float32 arrays hold less than 2**24 and need none."""
    return sums.astype(np.int32) if sums.dtype == np.float32 else sums.astype(np.int64).astype(np.int32)
