"""Exact integer arithmetic of RUNs that are not floating, by the C++ of exact.cpp: products, and sums to codes.

Both give what `accumulator.ExactProduct` and `output.requantised` give, which stand in where there is no compiler.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mixcim.errors import MixcimError
from mixcim.native import load_source

from .accumulator import ExactProduct
from .output import requantised

_SOURCE = Path(__file__).with_name("exact.cpp")
OPTIONS = ("-std=c++20", "-O3", "-fvisibility=hidden", "-Wno-psabi", "-ffp-contract=off")
_LANES = 16  #: kernels of a vector
_INT16 = np.iinfo(np.int16)


@functools.cache
def exact_library() -> ctypes.CDLL | None:
    """The compiled library; None, with a warning that says why, where it cannot be had: numpy is then slower."""
    try:
        return load_exact(OPTIONS)
    except MixcimError as error:
        warnings.warn(f"exact products are worked out slowly, by numpy: {error}", RuntimeWarning, stacklevel=2)
        return None


def load_exact(options: tuple[str, ...]) -> ctypes.CDLL:
    """The library compiled with these options. Raises MixcimError when it cannot be compiled or loaded."""
    library = load_source(_SOURCE, options)
    pointer, number, size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    library.mixcim_multiply.restype = library.mixcim_requantise.restype = None
    library.mixcim_multiply.argtypes = [pointer, number, size, size, pointer, size, pointer]
    library.mixcim_requantise.argtypes = [pointer, size, size, pointer, pointer, number, number, number, pointer]
    return library


def _aligned(shape: tuple[int, ...], type: type[np.number]) -> np.ndarray:
    """Zeros on a 64-byte boundary."""
    size = int(np.prod(shape)) * np.dtype(type).itemsize
    memory = np.zeros(size + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + size].view(type).reshape(shape)


class NativeProduct:
    """Product of integers of 8 or 16 bits, modulo 2**SUM_BITS."""

    def __init__(self, matrix: np.ndarray, library: ctypes.CDLL) -> None:
        """`matrix`: integers of at most 16 bits (rows, columns)."""
        self.rows, self.columns = matrix.shape
        padded = np.zeros((-(-self.rows // 2), 2, -(-self.columns // _LANES), _LANES), np.int16)
        padded.reshape(2 * len(padded), -1)[: self.rows, : self.columns] = matrix
        ordered = padded.transpose(2, 0, 3, 1)
        self._weights = _aligned(ordered.shape, np.int16)
        self._weights[...] = ordered
        self._multiply = library.mixcim_multiply

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Sums int32 (windows, columns) of integers uint8 or int16 (windows, rows)."""
        assert windows.dtype in (np.uint8, np.int16) and windows.shape[1] == self.rows
        windows = np.ascontiguousarray(windows)
        sums = np.empty((len(windows), self.columns), np.int32)
        self._multiply(
            *(windows.ctypes.data, windows.itemsize, len(windows), self.rows),
            *(self._weights.ctypes.data, self.columns, sums.ctypes.data),
        )
        return sums


def exact_product(matrix: np.ndarray, largest: int, signed: bool) -> ExactProduct | NativeProduct:
    """The fastest product modulo 2**SUM_BITS with integers (rows, columns); arguments as of ExactProduct."""
    fits = matrix.min(initial=0) >= _INT16.min and matrix.max(initial=0) <= _INT16.max
    library = exact_library() if fits else None
    return ExactProduct(matrix, largest, signed) if library is None else NativeProduct(matrix, library)


class Requantiser:
    """`output.requantised` for the kernels of a RUN and its fields."""

    def __init__(
        self, bias: np.ndarray, scale: np.ndarray, fields: Mapping[str, int], library: ctypes.CDLL | None = None
    ) -> None:
        """`bias` int32 and `scale` float32 (kernels,). `library`: from load_exact (default: exact_library)."""
        self.bias, self.scale, self.fields = bias, scale, fields
        self._library = library or exact_library()
        self._bias, self._scale = (
            _aligned((-(-len(bias) // _LANES) * _LANES,), type) for type in (np.int32, np.float32)
        )
        self._bias[: len(bias)], self._scale[: len(bias)] = bias, scale
        self._numbers = [fields[name] for name in ("zero_point", "clamp_low", "clamp_high")]

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """Codes uint8 of sums int32 (windows, kernels)."""
        if self._library is None:
            return requantised(sums, self.bias, self.scale, self.fields)
        assert sums.dtype == np.int32 and sums.shape[1] == len(self.bias)
        sums = np.ascontiguousarray(sums)
        codes = np.empty(sums.shape, np.uint8)
        arrays = (array.ctypes.data for array in (self._bias, self._scale))
        self._library.mixcim_requantise(sums.ctypes.data, *sums.shape, *arrays, *self._numbers, codes.ctypes.data)
        return codes
