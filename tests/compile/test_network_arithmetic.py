"""The arithmetic that network.py defines is onnxruntime's, integer for integer."""

from fractions import Fraction
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mixcim.compile.evaluate import evaluate_layer
from mixcim.compile.float32 import fused_multiply_add
from mixcim.compile.network import Layer, LayerKind, Network, Quantisation, Residual, Tensor
from mixcim.compile.reference import session_options


def session(kind: str, shape: list[int], constants: dict[str, np.ndarray], inputs: list[str], **attributes: Any):
    """A session of one 8-bit operator; `inputs` are its inputs in order, those not in `constants` are fed."""
    element = TensorProto.INT8 if constants["zero"].dtype == np.int8 else TensorProto.UINT8
    domain = "" if kind == "QLinearConv" else "com.microsoft"
    node = helper.make_node(kind, inputs, ["out"], domain=domain, **attributes)
    fed = [helper.make_tensor_value_info(name, element, shape) for name in inputs if name not in constants]
    out = helper.make_tensor_value_info("out", element, [None] * len(shape))
    arrays = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "one", fed, [out], arrays)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(element == TensorProto.INT8), providers=["CPUExecutionProvider"]
    )


def single(kind: LayerKind, shape: tuple[int, int, int], x: Quantisation, out: Quantisation, **fields: Any) -> Network:
    """A network of one layer, a 1 x 1 window with scale 1 unless `fields` say otherwise."""
    channels = shape[2]
    layer = {
        "name": "layer",
        "kind": kind,
        "input": "x",
        "output": "out",
        "kernel": (1, 1),
        "stride": (1, 1),
        "padding": (0, 0, 0, 0),
        "weight": None,
        "bias": np.zeros(channels, np.int32),
        "scale": np.ones(channels, np.float32),
        "clamp": out.limits,
        **fields,
    }
    tensors = {"x": Tensor("x", shape, x), "other": Tensor("other", shape, x), "out": Tensor("out", shape, out)}
    return Network("one", tensors, [Layer(**layer)], "x", "out", "NHWC", shape, shape)


def add_network(a: Quantisation, b: Quantisation, out: Quantisation, swapped: bool) -> Network:
    """out = Add(a, b), where the layer's own value is `a`, or `b` if swapped."""
    own, other = (b, a) if swapped else (a, b)
    residual = Residual("other", own, own.limits, swapped)
    network = single(LayerKind.IDENTITY, (256, 256, 1), own, out, residual=residual)
    network.tensors["other"] = Tensor("other", (256, 256, 1), other)
    return network


#: Ratios of scales at which sums land on or beside halves.
RATIOS = [0.5, 0.25, 0.75, 1.0, 1.5, 1 / 3, 0.1, 0.3, 2 / 3, 0.37, 1.1]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_add_is_onnxruntimes_for_every_pair_of_operands(signed: bool, swapped: bool) -> None:
    rng = np.random.default_rng(10 * signed + swapped)
    low = -128 if signed else 0
    dtype = np.int8 if signed else np.uint8
    codes = np.arange(256) + low
    first, second = (array.astype(dtype) for array in np.meshgrid(codes, codes, indexing="ij"))
    for _ in range(40):
        scale = np.float32(rng.uniform(0.005, 0.05))
        scales = [np.float32(scale * ratio) for ratio in rng.choice(RATIOS, 2)]
        if rng.random() < 0.5:
            scales = [np.nextafter(scales[0], np.float32(1)), np.nextafter(scales[1], np.float32(0))]
        zeros = [int(zero) for zero in rng.integers(low, low + 256, 3)]
        a, b, out = (Quantisation(float(s), z, signed) for s, z in zip((*scales, scale), zeros, strict=True))
        constants = {"zero": np.array(out.zero_point, dtype), "scale": np.array(out.scale, np.float32)}
        for name, quantisation in (("a", a), ("b", b)):
            constants[f"{name}_scale"] = np.array(quantisation.scale, np.float32)
            constants[f"{name}_zero"] = np.array(quantisation.zero_point, dtype)
        inputs = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "scale", "zero"]
        expected = np.asarray(
            session("QLinearAdd", [256, 256], constants, inputs).run(None, {"a": first, "b": second})[0]
        )
        network = add_network(a, b, out, swapped)
        own, other = (second, first) if swapped else (first, second)
        value = evaluate_layer(network, network.layers[0], own[None, ..., None], other[None, ..., None])
        np.testing.assert_array_equal(value[0, ..., 0], expected, err_msg=f"{a} {b} {out}")


def test_the_order_of_an_add_matters() -> None:
    """Otherwise `order_swapped` would be without a test: these scales were found to tell the orders apart."""
    rng = np.random.default_rng(0)
    codes = np.arange(256)
    first, second = np.meshgrid(codes, codes, indexing="ij")
    different = 0
    for _ in range(200):
        scale = np.float32(rng.uniform(0.005, 0.05))
        a, b = (
            Quantisation(float(np.float32(scale * r)), int(z), False)
            for r, z in zip(rng.choice(RATIOS, 2), rng.integers(0, 256, 2), strict=True)
        )
        out = Quantisation(float(scale), 100, False)
        plain, swapped = add_network(a, b, out, False), add_network(b, a, out, True)
        y = evaluate_layer(plain, plain.layers[0], first[None, ..., None], second[None, ..., None])
        z = evaluate_layer(swapped, swapped.layers[0], first[None, ..., None], second[None, ..., None])
        different += int(np.sum(y != z))
    assert different > 0


@pytest.mark.parametrize("signed", [False, True])
def test_requantisation_is_onnxruntimes(signed: bool) -> None:
    """QLinearConv over accumulators of every size: 1 x 1 kernels with bias, near ties on purpose."""
    rng = np.random.default_rng(signed)
    low, dtype = (-128, np.int8) if signed else (0, np.uint8)
    for trial in range(30):
        kernels, channels = 8, 5
        x = rng.integers(low, low + 256, (2, channels, 16, 16)).astype(dtype)
        weight = rng.integers(-127, 128, (kernels, channels, 1, 1)).astype(np.int8)
        bias = rng.integers(-(2**20), 2**20, kernels).astype(np.int32)
        x_scale = np.float32(rng.uniform(0.001, 0.1))
        w_scale = rng.uniform(1e-4, 1e-2, kernels).astype(np.float32)
        y_scale = np.float32(rng.uniform(0.1, 2.0))
        if trial % 2:
            # Powers of two: products end in exact halves.
            x_scale, w_scale, y_scale = (
                np.float32(0.25),
                np.full(kernels, 2.0**-8, np.float32),
                np.float32(2.0 ** -(trial % 5)),
            )
        x_zero, y_zero = (int(zero) for zero in rng.integers(low, low + 256, 2))
        constants = {
            "x_scale": np.array(x_scale),
            "x_zero": np.array(x_zero, dtype),
            "weight": weight,
            "w_scale": w_scale,
            "w_zero": np.zeros(kernels, np.int8),
            "scale": np.array(y_scale),
            "zero": np.array(y_zero, dtype),
            "bias": bias,
        }
        inputs = ["x", "x_scale", "x_zero", "weight", "w_scale", "w_zero", "scale", "zero", "bias"]
        expected = np.asarray(session("QLinearConv", [2, channels, 16, 16], constants, inputs).run(None, {"x": x})[0])
        source, target = Quantisation(float(x_scale), x_zero, signed), Quantisation(float(y_scale), y_zero, signed)
        network = single(
            LayerKind.CONVOLUTION,
            (16, 16, channels),
            source,
            target,
            weight=weight.transpose(0, 2, 3, 1),
            bias=bias,
            scale=x_scale * w_scale / y_scale,
        )
        value = evaluate_layer(network, network.layers[0], x.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(value, expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("side", [2, 7, 8])
def test_global_average_pool_is_onnxruntimes(side: int) -> None:
    rng = np.random.default_rng(side)
    for _ in range(50):
        x = rng.integers(0, 256, (8, 16, side, side)).astype(np.uint8)
        x_scale = np.float32(rng.uniform(0.01, 0.1))
        scale = np.float32(x_scale * rng.choice([1.0, 0.5, 0.37, 0.25]))
        x_zero, zero = (int(value) for value in rng.integers(0, 256, 2))
        constants = {
            "x_scale": np.array(x_scale),
            "x_zero": np.array(x_zero, np.uint8),
            "scale": np.array(scale),
            "zero": np.array(zero, np.uint8),
        }
        inputs = ["x", "x_scale", "x_zero", "scale", "zero"]
        expected = np.asarray(
            session("QLinearGlobalAveragePool", list(x.shape), constants, inputs).run(None, {"x": x})[0]
        )
        network = single(
            LayerKind.AVERAGE_POOL,
            (side, side, 16),
            Quantisation(float(x_scale), x_zero, False),
            Quantisation(float(scale), zero, False),
            kernel=(side, side),
            scale=np.full(16, x_scale / (scale * np.float32(side * side)), np.float32),
        )
        value = evaluate_layer(network, network.layers[0], x.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(value[:, 0, 0], expected[:, :, 0, 0])


def round_to_float32(value: Fraction) -> np.float32:
    """`value` rounded to a normal float32, nearest even, by exact arithmetic."""
    if value == 0:
        return np.float32(0)
    magnitude, exponent = abs(value), 0
    while magnitude >= 2**24:
        magnitude, exponent = magnitude / 2, exponent + 1
    while magnitude < 2**23:
        magnitude, exponent = magnitude * 2, exponent - 1
    rounded = round(magnitude)  # Python rounds halves to even
    return np.float32(np.ldexp(float(rounded if value > 0 else -rounded), exponent))


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=2.0**-40, max_value=2.0**40)
SIGNED = st.builds(lambda magnitude, sign: np.float32(magnitude * sign), FINITE, st.sampled_from([-1.0, 1.0]))


@settings(max_examples=500, deadline=None)
@given(SIGNED, SIGNED, SIGNED)
def test_fused_multiply_add_rounds_once(a: np.float32, b: np.float32, c: np.float32) -> None:
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    assert fused_multiply_add(a, b, c) == round_to_float32(exact)


@pytest.mark.parametrize("sign", [1, -1])
def test_fused_multiply_add_where_rounding_twice_would_fail(sign: int) -> None:
    """product + addend is a float32 tie plus less than a float64 can hold beside it."""
    addend = np.float32(1 + 2.0**-23)  # odd mantissa: a tie would round up to 1 + 2**-22
    product = (np.float32(2.0**-12 * (1 - 2.0**-23)), np.float32(2.0**-12 * (1 + 2.0**-23)))  # 2**-24 * (1 - 2**-46)
    assert fused_multiply_add(product[0] * sign, product[1], addend * sign) == addend * np.float32(sign)


def test_accumulator_wraps_at_32_bits() -> None:
    quantisation = Quantisation(1.0, 0, False)
    network = single(
        LayerKind.CONVOLUTION,
        (1, 1, 1),
        quantisation,
        quantisation,
        weight=np.ones((1, 1, 1, 1), np.int8),
        bias=np.array([np.iinfo(np.int32).max], np.int32),
    )
    assert evaluate_layer(network, network.layers[0], np.full((1, 1, 1, 1), 200))[0, 0, 0, 0] == 0
