"""The compiled products and requantisation equal the numpy definitions, at the limits of their integers too."""

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.model import exact
from mixcim.model.accumulator import ExactProduct, wrapped
from mixcim.model.exact import OPTIONS, NativeProduct, Requantiser, exact_product, load_exact
from mixcim.model.output import requantised
from mixcim_hdl.formats import SUM_BITS

WAYS = pytest.mark.parametrize(
    "options",
    [OPTIONS, (*OPTIONS, "-mno-avx512f"), (*OPTIONS, "-DMIXCIM_PORTABLE")],
    ids=["fastest", "no AVX-512", "portable"],
)


@WAYS
@pytest.mark.parametrize("seed", range(20))
def test_native_product_equals_the_exact_one(options, seed):
    random = np.random.default_rng(seed)
    count, rows = int(random.choice([1, 7, 16, 33, 300])), int(random.choice([1, 2, 27, 144, 3136]))
    columns = int(random.choice([1, 4, 16, 20, 48, 64]))
    low, high = [(-128, 128), (-(1 << 15), 1 << 15), (-(1 << 15), 2 - (1 << 15))][random.integers(3)]
    matrix = random.integers(low, high, (rows, columns))
    if random.random() < 0.5:
        windows, signed = random.integers(0, 256, (count, rows)).astype(np.uint8), False
    else:
        windows, signed = random.integers(-(1 << 15), low + 300, (count, rows)).astype(np.int16), True
    want = wrapped(ExactProduct(matrix, 1 << 15, signed)(windows), SUM_BITS)
    got = NativeProduct(matrix, load_exact(options))(windows)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, want)
    every_second = np.repeat(windows, 2, axis=0)[::2]
    np.testing.assert_array_equal(NativeProduct(matrix, load_exact(options))(every_second), want)


@WAYS
@pytest.mark.parametrize("seed", range(20))
def test_native_requantisation_equals_the_definition(options, seed):
    random = np.random.default_rng(seed)
    count, kernels = int(random.choice([1, 5, 100])), int(random.choice([1, 4, 16, 20, 112]))
    largest = int(random.choice([300, 1 << 20, 1 << 31]))
    sums = random.integers(-largest, largest, (count, kernels)).astype(np.int32)
    bias = random.integers(-(1 << 31), 1 << 31, kernels).astype(np.int32)
    if largest < 1 << 31:
        bias >>= 20
    # Halves of whole numbers are ties; the others reach from subnormal numbers to results that overflow.
    scale = random.choice([0.5, -0.5, 1e-3, 1e-40, 3e38, 0.0], kernels).astype(np.float32)
    names: list[str] = ["zero_point", "clamp_low", "clamp_high"]
    fields: dict[str, int] = dict(zip(names, random.integers(0, 256, 3).tolist(), strict=True))  # low above high, too
    want = requantised(sums, bias, scale, fields)
    got = Requantiser(bias, scale, fields, load_exact(options))(sums)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


def test_what_16_bits_do_not_hold_is_multiplied_by_numpy():
    for value, kind in (((1 << 15) - 1, NativeProduct), (1 << 15, ExactProduct), (-(1 << 15) - 1, ExactProduct)):
        product = exact_product(np.array([[value]]), 255, False)
        assert isinstance(product, kind)
        assert wrapped(product(np.array([[255]], np.uint8)), SUM_BITS).tolist() == [[255 * value]]


def test_without_a_compiler_numpy_does_it_and_says_so(monkeypatch):
    def refuse(*_):
        raise MixcimError("the C++ compiler 'g++' is not installed")

    monkeypatch.setattr(exact, "load_exact", refuse)
    exact.exact_library.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r"slowly, by numpy: the C\+\+ compiler 'g\+\+' is not installed"):
            product = exact_product(np.ones((3, 2), np.int64), 255, False)
        assert isinstance(product, ExactProduct)
        fields = {"zero_point": 3, "clamp_low": 0, "clamp_high": 255}
        codes = Requantiser(np.array([5], np.int32), np.ones(1, np.float32), fields)(np.array([[2]], np.int32))
        assert codes.tolist() == [[10]]
    finally:
        exact.exact_library.cache_clear()
