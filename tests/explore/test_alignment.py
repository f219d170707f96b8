"""The methods of alignment against rational arithmetic, element by element; the float evaluator against onnxruntime."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from mixcim.errors import MixcimError
from mixcim.explore import alignment
from mixcim.explore.alignment import FORMATS, Method, dot_products
from mixcim.explore.float_network import FloatNetwork
from mixcim_hdl.floating import BF16, FP16, FloatFormat, Rounding

METHODS = [method for method in Method if method is not Method.EXACT]
ALL = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
EITHER = pytest.mark.parametrize("format", FORMATS.values(), ids=lambda format: format.name)


# The definition again, in rational numbers, written without looking at how the module computes.


def exponent(value: Fraction) -> int:
    """floor(log2 |value|)."""
    magnitude, result = abs(value), 0
    while magnitude >= 2:
        magnitude, result = magnitude / 2, result + 1
    while magnitude < 1:
        magnitude, result = magnitude * 2, result - 1
    return result


def largest_exponent(values: list[Fraction], smallest: int) -> int:
    return max([max(exponent(value), smallest) for value in values if value], default=smallest)


def rounded(value: Fraction, rounding: Rounding) -> int:
    return round(value) if rounding is Rounding.NEAREST_EVEN else math.trunc(value)  # Python's round: ties to even


def integers(values: list[Fraction], largest: int, bits: int, rounding: Rounding) -> list[int]:
    limit = 2 ** (bits - 1) - 1
    found = [rounded(value / Fraction(2) ** (largest - (bits - 2)), rounding) for value in values]
    return [max(-limit, min(limit, value)) for value in found]


def expected(
    inputs: list[Fraction],
    kernels: list[list[Fraction]],
    kernel: int,
    method: Method,
    format: FloatFormat,
    bits: int,
    rounding: Rounding,
) -> Fraction:
    weights, smallest = kernels[kernel], format.smallest_exponent
    if method is Method.PRODUCT:
        products = [x * w for x, w in zip(inputs, weights, strict=True)]
        largest = largest_exponent(products, -(10**6)) if any(products) else 0
        return sum(integers(products, largest, bits, rounding)) * Fraction(2) ** (largest - (bits - 2))
    input_exponent = largest_exponent(inputs, smallest)
    aligned = integers(inputs, input_exponent, bits, rounding)
    unit = Fraction(2) ** (input_exponent - (bits - 2))
    everything = [weight for row in kernels for weight in row] if method is Method.LAYER else weights
    weight_exponent = largest_exponent(everything, smallest)
    if method is Method.INPUT:
        total = 0
        for x, w in zip(aligned, weights, strict=True):
            own = max(exponent(w), smallest) if w else smallest
            significand = w / Fraction(2) ** (own - format.mantissa_bits)
            assert significand.denominator == 1
            total += rounded(x * significand / 2 ** (weight_exponent - own), rounding) if w else 0
        return total * unit * Fraction(2) ** (weight_exponent - format.mantissa_bits)
    matrix = integers(weights, weight_exponent, bits, rounding)
    total = sum(x * w for x, w in zip(aligned, matrix, strict=True))
    return total * unit * Fraction(2) ** (weight_exponent - (bits - 2))


def to_float32(value: Fraction) -> np.float32:
    """Rounded once. float() of a Fraction is correct; the sums here have less than 53 bits, so it is exact."""
    assert Fraction(float(value)) == value
    return np.float32(float(value))


def random_case(generator: np.random.Generator, format: FloatFormat) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (length, 3) and weights (4, length) of widely spread magnitudes, zeros, and exact ties among them."""
    length = int(generator.integers(1, 12))

    def draw(*shape: int) -> np.ndarray:
        values = generator.normal(size=shape) * 2.0 ** generator.integers(-9, 3, shape)
        return alignment.rounded(np.where(generator.random(shape) < 0.2, 0, values).astype(np.float32), format)

    return draw(length, 3), draw(4, length)


def check(inputs: np.ndarray, weights: np.ndarray, method: Method, format: FloatFormat, bits: int, rounding: Rounding):
    result = dot_products(inputs, weights, method, format, bits, rounding)
    kernels = [[Fraction(float(weight)) for weight in row] for row in weights]
    assert result.shape == (len(weights), inputs.shape[1]) and result.dtype == np.float32
    for vector in range(inputs.shape[1]):
        column = [Fraction(float(value)) for value in inputs[:, vector]]
        for kernel in range(len(kernels)):
            wanted = to_float32(expected(column, kernels, kernel, method, format, bits, rounding))
            assert result[kernel, vector] == wanted, (kernel, vector)


@ALL
@EITHER
@pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.name)
@pytest.mark.parametrize("bits", [3, 6, 8, 12, 16])
def test_methods_are_their_definition(method: Method, format: FloatFormat, rounding: Rounding, bits: int) -> None:
    generator = np.random.default_rng(bits)
    for _ in range(6):
        check(*random_case(generator, format), method, format, bits, rounding)


@ALL
@EITHER
def test_subnormals_and_vectors_of_zeros(method: Method, format: FloatFormat) -> None:
    smallest = 2.0 ** (format.smallest_exponent - format.mantissa_bits)  # the smallest subnormal number
    inputs = np.array([[5, 0, 1, 0], [-3, 0, 0, 0], [1, 0, 2**9, 0]], np.float32) * np.float32(smallest)
    inputs[:, 3] = 1, 0.5, -2
    weights = np.array([[1, 1, 1], [0, 0, 0], [-1, 0.75, 0.015625]], np.float32)
    tiny = np.array([[1, 0, -1], [0, 3, 0]], np.float32) * np.float32(smallest)
    for bits in (4, 8, 16):
        for rounding in Rounding:
            check(inputs, weights, method, format, bits, rounding)
            check(inputs[:, 3:], tiny, method, format, bits, rounding)
    assert not dot_products(np.zeros((3, 2), np.float32), weights, method, format, 8).any()
    assert not dot_products(inputs, np.zeros((2, 3), np.float32), method, format, 8).any()


def test_a_number_just_below_a_power_of_two_saturates() -> None:
    """1.9921875 = 255/128 in 6 bits is 31.875 units: nearest 32, which is one too many."""
    one, below = np.ones((1, 1), np.float32), np.full((1, 1), 255 / 128, np.float32)
    for method in (Method.LAYER, Method.KERNEL, Method.PRODUCT, Method.INPUT):
        for rounding in Rounding:
            assert dot_products(below, one, method, BF16, 6, rounding) == 31 / 16
    assert dot_products(-below, one, Method.PRODUCT, BF16, 6) == -31 / 16


@EITHER
@pytest.mark.parametrize("bits", [6, 8, 16])
def test_one_kernel_has_its_layers_exponent(format: FloatFormat, bits: int) -> None:
    generator = np.random.default_rng(3)
    inputs, weights = random_case(generator, format)
    for row in weights:
        by_layer, by_kernel = (
            dot_products(inputs, row[None], method, format, bits) for method in (Method.LAYER, Method.KERNEL)
        )
        np.testing.assert_array_equal(by_layer, by_kernel)
    spread = weights * np.float32(2.0) ** -2 * np.arange(4, dtype=np.float32)[:, None]
    assert (
        bits > 8
        or (
            dot_products(inputs, spread, Method.LAYER, format, bits)
            != dot_products(inputs, spread, Method.KERNEL, format, bits)
        ).any()
    )


@ALL
@EITHER
def test_wide_integers_lose_nothing(method: Method, format: FloatFormat) -> None:
    """Numbers of two binades: FP16 needs 12 bits and one for the second binade, its products 22 and two."""
    generator = np.random.default_rng(5)
    mantissa_bits = 4 if method is Method.PRODUCT else format.mantissa_bits  # so that products have 16 bits, too
    unit = 2.0**-mantissa_bits
    low, high = 1 << mantissa_bits, 4 << mantissa_bits
    inputs, weights = ((generator.integers(low, high, shape) * unit).astype(np.float32) for shape in ((50, 3), (4, 50)))
    inputs, weights = alignment.rounded(inputs, format), alignment.rounded(weights, format)
    exact = (weights.astype(np.float64) @ inputs.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(dot_products(inputs, weights, method, format, 16), exact)
    assert (dot_products(inputs, weights, method, format, 6) != exact).any()


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.name)
@pytest.mark.parametrize("bits", [None, 5, 8])
def test_compiled_products_are_their_definition(real: type, rounding: Rounding, bits: int | None) -> None:
    """More vectors than the compiled loop takes at a time, and not a multiple of it."""
    if alignment._library() is None:
        pytest.skip("no C++ compiler")
    generator = np.random.default_rng(7)
    inputs, weights = (
        alignment.rounded(generator.normal(size=shape) * 20, BF16).astype(real) for shape in ((27, 131), (5, 27))
    )
    found = alignment.rounded_products(inputs, weights, bits, rounding)
    np.testing.assert_array_equal(found, alignment.rounded_products_definition(inputs, weights, bits, rounding))


@ALL
def test_without_a_compiler_numpy_gives_the_same(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, weights = random_case(np.random.default_rng(8), BF16)
    compiled = dot_products(inputs, weights, method, BF16, 7)
    monkeypatch.setattr(alignment, "_library", lambda: None)
    np.testing.assert_array_equal(dot_products(inputs, weights, method, BF16, 7), compiled)


def test_formats_round_to_nearest_even_once() -> None:
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8 - 2**-20, 2**-133 * 1.5, 0], np.float32)
    expected = np.array([1, 1 + 2**-6, -1 - 2**-7, 2**-132, 0], np.float32)
    np.testing.assert_array_equal(alignment.rounded(values, BF16), expected)
    every = np.arange(1 << 16, dtype=np.uint16)
    halves = every.view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    np.testing.assert_array_equal(alignment.rounded(halves, FP16), halves)
    upper = (every.astype(np.uint32) << 16).view(np.float32)
    upper = upper[np.isfinite(upper)]
    np.testing.assert_array_equal(alignment.rounded(upper, BF16), upper)


@pytest.mark.parametrize(
    ("inputs", "weights", "bits", "message"),
    [
        (np.ones((3, 1)), np.ones((1, 3), np.float32), 8, "take float32, not float64"),
        (np.ones((3, 1), np.float32), np.ones((1, 4), np.float32), 8, r"inputs \(3, 1\) and weights \(1, 4\)"),
        (np.ones((0, 1), np.float32), np.ones((1, 0), np.float32), 8, "must be"),
        (np.ones((3, 1), np.float32), np.ones((1, 3), np.float32), 2, "from 3 to 16, not 2"),
        (np.ones((3, 1), np.float32), np.ones((1, 3), np.float32), 17, "from 3 to 16, not 17"),
        (np.ones((65537, 1), np.float32), np.ones((1, 65537), np.float32), 8, "65537 elements"),
    ],
)
def test_bad_operands_are_refused(inputs: np.ndarray, weights: np.ndarray, bits: int, message: str) -> None:
    with pytest.raises(MixcimError, match=message):
        dot_products(inputs, weights, Method.KERNEL, BF16, bits)


@pytest.mark.parametrize(("value", "format"), [(7e4, FP16), (np.nan, BF16), (np.inf, FP16)])
def test_values_beyond_the_format_are_refused(value: float, format: FloatFormat) -> None:
    with pytest.raises(MixcimError, match=f"NaN or too large for {format.name}"):
        alignment.rounded(np.array([value], np.float32), format)


# Networks.


def small_network(path: Path, relu: str = "Relu", **settings: Any) -> Path:
    """Two convolutions that an Add joins, of them one strided, pooled and classified; random weights."""
    generator = np.random.default_rng(9)
    shapes = {
        "w0": (6, 3, 3, 3),
        "b0": (6,),
        "w1": (6, 6, 3, 3),
        "b1": (6,),
        "w2": (6, 6, 1, 1),
        "w3": (10, 6),
        "b3": (10,),
    }
    constants = [
        numpy_helper.from_array((generator.normal(size=shape) / 4).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], "first", pads=[1, 1, 1, 1], **settings),
        helper.make_node(relu, ["a"], ["ar"], "relu"),
        helper.make_node("Conv", ["ar", "w1", "b1"], ["b"], "second", pads=[0, 1, 2, 1], strides=[2, 2]),
        helper.make_node("Conv", ["ar", "w2"], ["c"], "third", strides=[2, 2]),
        helper.make_node("Add", ["b", "c"], ["d"], "add"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "pool"),
        helper.make_node("Flatten", ["e"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "last", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 9, 9])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_networks_give_what_onnxruntime_gives(tmp_path: Path) -> None:
    """To float32 accuracy: both add up to 54 products of about 1 in orders of their own, some 1e-6 apart."""
    path = small_network(tmp_path / "small.onnx")
    images = np.random.default_rng(10).normal(size=(5, 3, 9, 9)).astype(np.float32)
    network = FloatNetwork(path)
    result = network.run(images, lambda windows, weights: weights @ windows, lambda values: values)
    (reference,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": images})
    np.testing.assert_allclose(result, np.asarray(reference), rtol=1e-5, atol=1e-5)
    shapes = network.shapes(images[:1])
    assert [(s.name, s.length, s.kernels, s.vectors) for s in shapes] == [
        ("first", 27, 6, 81), ("second", 54, 6, 25), ("third", 6, 6, 25), ("last", 6, 10, 1),
    ]  # fmt: skip


def test_a_tensor_is_rounded_when_a_layer_reads_it(tmp_path: Path) -> None:
    """Once each: weights and inputs of four layers, the pool's input, the Add's older operand; nothing else."""
    images = np.random.default_rng(10).normal(size=(2, 3, 9, 9)).astype(np.float32)
    read: list[np.ndarray] = []
    products: list[np.ndarray] = []

    def rounded(values: np.ndarray) -> np.ndarray:
        read.append(values)
        return alignment.rounded(values, BF16)

    def product(windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        products.append(weights @ windows)
        return products[-1]

    network = FloatNetwork(small_network(tmp_path / "small.onnx"))
    network.run(images, product, rounded)
    first, inner = [(3, 2, 9, 9), (6, 27)], [(6, 2, 9, 9), (6, 54), (6, 2, 9, 9), (6, 6)]
    assert [values.shape for values in read] == [*first, *inner, (6, 2, 5, 5), (6, 2, 5, 5), (6, 2), (10, 6)]
    older = products[1] + network.constants["b1"][:, None]
    np.testing.assert_array_equal(read[6].reshape(older.shape), older)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"relu": "Sigmoid"}, "node 'relu' is a Sigmoid"), ({"dilations": [2, 2]}, "node 'first': groups, dilations")],
)
def test_other_networks_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MixcimError, match=message):
        FloatNetwork(small_network(tmp_path / "small.onnx", **settings)).run(
            np.zeros((1, 3, 9, 9), np.float32), lambda windows, weights: weights @ windows, lambda values: values
        )
