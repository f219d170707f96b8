"""Floating-point dot products on integer units: the four ways of aligning mantissas that the paper compares, exactly.

Source: Khwa et al., Nature 639, 617-623 (2025). The paper names the methods; the definitions here are ours, as literal
as they can be. A format has m mantissa bits; b is the aligned width, sign included.

**Alignment** of numbers x to an exponent E: integer = round(x / 2**(E - (b - 2))), saturated to 2**(b - 1) - 1 in
magnitude, of value integer * 2**(E - (b - 2)). E of a set is the largest exponent in it: floor(log2 |x|), for numbers
of a format not less than its smallest (subnormals count in full). Zeros have none; a set of zeros has the smallest.

PRODUCT
    All products x[i] w[k][i] are formed, exactly, and aligned to the largest exponent among those of a dot product.
INPUT
    Inputs are aligned, to integers X[i] of the exponent of their vector; weights stay floating point, significands
    s[k][i] of m + 1 bits and exponents e[k][i]. A product X[i] s[k][i] is exact in b + m + 1 bits, sign included. At
    the adder it is aligned to the largest weight exponent of its kernel: shifted right by that less e[k][i], rounded
    in the same way, in its own width.
LAYER
    Inputs are aligned as above, weights ahead of time to the largest exponent of all weights of the layer.
KERNEL
    Inputs are aligned as above, weights ahead of time to the largest exponent of their kernel. It is the chip's way.
EXACT
    Nothing is aligned: what the format gives by itself.

The integers are summed exactly; the sum is scaled by a power of two and rounded once, to float32.

Why floating point is exact here: a sum of integers, in any order and fused or not, is exact while `length` times the
largest magnitude of a term is at most 2**24 in float32, 2**53 in float64; so is a product of significands that have 24
(53) bits together, unless it underflows. `_real_type` and `_in_float32_range` choose, and float64 always suffices (see
`_check`). Only EXACT is not exact: float64 adds errors near 2**-53 of the sum of magnitudes before the same rounding.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import math
import warnings
from pathlib import Path

import numpy as np

from mixcim_hdl.floating import BF16, FP16, FloatFormat, Rounding

from ..errors import MixcimError
from ..model.floating import decode, encode
from ..native import build_source

SOURCE = Path(__file__).with_name("alignment.cpp")
LARGEST_BITS = 16  #: of an aligned integer
LARGEST_LENGTH = 1 << 16  #: of a vector
#: Magnitudes between which float32 takes part: no product of them underflows or overflows, nor does its scale.
_FLOAT32_RANGE = (2.0**-50, 2.0**50)


FORMATS = {item.name: item for item in (BF16, FP16)}
#: Ways of rounding, in words.
ROUNDINGS = {Rounding.NEAREST_EVEN: "nearest", Rounding.TRUNCATE: "truncate"}


def rounded(values: np.ndarray, format: FloatFormat) -> np.ndarray:
    """float32 values, rounded once to nearest even in a format. Raises MixcimError where one is NaN or beyond it."""
    result = decode(encode(np.asarray(values, np.float32), format), format)
    if not np.isfinite(result).all():
        raise MixcimError(f"a value is NaN or too large for {format.name}: use a format of a wider range")
    return result


def largest_exponents(values: np.ndarray, format: FloatFormat, axis: int | None) -> np.ndarray:
    """Largest exponents of the values along `axis` (all: None), int32, that axis kept with length 1."""
    largest = np.abs(values).max(axis, keepdims=True)
    own = np.where(largest > 0, np.frexp(largest)[1] - 1, format.smallest_exponent)
    return np.maximum(own, format.smallest_exponent).astype(np.int32)


class Method(enum.Enum):
    """Which exponents are made equal, as in the module's docstring."""

    PRODUCT = "product"
    INPUT = "input"
    LAYER = "layer-wise weight"
    KERNEL = "kernel-wise weight"
    EXACT = "none"


def round_integers(values: np.ndarray, rounding: Rounding) -> np.ndarray:
    """To the nearest integer, ties to even; or towards zero."""
    return np.rint(values) if rounding is Rounding.NEAREST_EVEN else np.trunc(values)


def align(values: np.ndarray, exponents: np.ndarray, aligned_bits: int, rounding: Rounding) -> np.ndarray:
    """Integers, float64, of values aligned to exponents (broadcast), none of which is less than its value's."""
    scaled = values * np.ldexp(1.0, aligned_bits - 2 - exponents)  # by a power of two, in float64: exact
    integers = round_integers(scaled, rounding)
    largest = (1 << aligned_bits - 1) - 1
    return np.clip(integers, -largest, largest)


def dot_products(
    inputs: np.ndarray,
    weights: np.ndarray,
    method: Method,
    format: FloatFormat,
    aligned_bits: int = LARGEST_BITS,
    rounding: Rounding = Rounding.NEAREST_EVEN,
) -> np.ndarray:
    """float32 (kernels, vectors) = weights (kernels, length) times inputs (length, vectors), aligned by a method.

    Inputs and weights are float32 values of the format; all weights are those of one layer. EXACT has no
    `aligned_bits` and no rounding but the last. Raises MixcimError for shapes and widths that are not so.
    """
    _check(inputs, weights, aligned_bits)
    if method is Method.EXACT:
        return (weights.astype(np.float64) @ inputs.astype(np.float64)).astype(np.float32)
    length, mantissa_bits = len(inputs), format.mantissa_bits
    if method is Method.PRODUCT:
        narrow = 2 * (mantissa_bits + 1) <= 24 and _in_float32_range(inputs) and _in_float32_range(weights)
        real = _real_type(aligned_bits - 1, length) if narrow else np.float64
        sums = rounded_products(inputs.astype(real), weights.astype(real), aligned_bits, rounding)
        return sums.astype(np.float32)
    input_exponents = largest_exponents(inputs, format, axis=0)
    integers = align(inputs, input_exponents, aligned_bits, rounding)
    weight_exponents = largest_exponents(weights, format, axis=None if method is Method.LAYER else 1)
    if method is Method.INPUT:
        significands = np.ldexp(weights.astype(np.float64), mantissa_bits - weight_exponents)
        real = _real_type(aligned_bits + mantissa_bits, length) if _in_float32_range(significands) else np.float64
        sums = rounded_products(integers.astype(real), significands.astype(real), None, rounding)
        weight_unit = weight_exponents - mantissa_bits
    else:
        real = _real_type(2 * (aligned_bits - 1), length)
        weight_integers = align(weights, weight_exponents, aligned_bits, rounding)
        sums = (weight_integers.astype(real) @ integers.astype(real)).astype(np.float64)
        weight_unit = weight_exponents - (aligned_bits - 2)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(sums, weight_unit + input_exponents - (aligned_bits - 2)).astype(np.float32)


def _check(inputs: np.ndarray, weights: np.ndarray, aligned_bits: int) -> None:
    """Raise MixcimError for what the functions here are not made for. Their sums are less than 2**53:

    16 bits of vector length, and at most 15 + 15 (two aligned integers) or 15 + 11 (one, and a significand of FP16).
    """
    if inputs.dtype != np.float32 or weights.dtype != np.float32:
        raise MixcimError(f"dot products take float32, not {inputs.dtype} and {weights.dtype}: convert them")
    if inputs.ndim != 2 or weights.ndim != 2 or weights.shape[1] != len(inputs) or 0 in inputs.shape + weights.shape:
        raise MixcimError(
            f"inputs {inputs.shape} and weights {weights.shape} must be (length, vectors) and (kernels, length)"
        )
    if len(inputs) > LARGEST_LENGTH:
        raise MixcimError(f"vectors have {len(inputs)} elements; alignment takes up to {LARGEST_LENGTH}")
    if not 3 <= aligned_bits <= LARGEST_BITS:
        raise MixcimError(f"aligned bits must be from 3 to {LARGEST_BITS}, not {aligned_bits}")


def _real_type(term_bits: int, length: int) -> type:
    """The type that sums `length` integers of less than 2**term_bits in magnitude exactly, in any order."""
    return np.float32 if term_bits + math.ceil(math.log2(length)) <= 24 else np.float64


def _in_float32_range(values: np.ndarray) -> bool:
    """Whether products of such values, scaled or not, are far from the ends of float32."""
    magnitudes = np.abs(values)
    low, high = _FLOAT32_RANGE
    return bool(((magnitudes == 0) | (magnitudes >= low)).all() and magnitudes.max() <= high)


def rounded_products(
    inputs: np.ndarray, weights: np.ndarray, aligned_bits: int | None, rounding: Rounding
) -> np.ndarray:
    """float64 (kernels, vectors): sums over i of weights[k, i] * inputs[i, v], each product rounded by itself.

    It is rounded to an integer; or, with `aligned_bits`, aligned to the largest exponent among the products of its sum.
    Inputs (length, vectors) and weights (kernels, length) have one type, in which products and sums are exact.
    """
    library = _library()
    if library is None:
        return rounded_products_definition(inputs, weights, aligned_bits, rounding)
    inputs, weights = np.ascontiguousarray(inputs), np.ascontiguousarray(weights)
    results = np.empty((len(weights), inputs.shape[1]))
    pointers = [values.ctypes.data_as(ctypes.c_void_p) for values in (inputs, weights, results)]
    sizes = [ctypes.c_size_t(size) for size in (*inputs.shape, len(weights))]
    function = getattr(library, f"dot_products_{inputs.dtype.name}")
    function(*pointers, *sizes, ctypes.c_int(aligned_bits or 0), ctypes.c_int(rounding is Rounding.TRUNCATE))
    return results


def rounded_products_definition(
    inputs: np.ndarray, weights: np.ndarray, aligned_bits: int | None, rounding: Rounding
) -> np.ndarray:
    """What `rounded_products` gives, in numpy, some ten times slower."""
    results = np.empty((len(weights), inputs.shape[1]))
    for kernel, weight in enumerate(weights):
        products = inputs.astype(np.float64) * weight[:, None]
        if aligned_bits is None:
            results[kernel] = round_integers(products, rounding).sum(axis=0)
        else:
            exponents = np.frexp(np.abs(products).max(axis=0))[1] - 1
            sums = align(products, exponents, aligned_bits, rounding).sum(axis=0)
            results[kernel] = np.ldexp(sums, exponents - (aligned_bits - 2))
    return results


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled `rounded_products`; None, with a warning, where it cannot be built."""
    try:
        return ctypes.CDLL(str(build_source(SOURCE, ["-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math"])))
    except (MixcimError, OSError) as error:
        warnings.warn(f"alignment is computed in numpy, which is slow: {error}", RuntimeWarning, stacklevel=2)
        return None
