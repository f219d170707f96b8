"""Imported networks, evaluated, give the integers that onnxruntime gives; unfit files are refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mixcim.compile.evaluate import evaluate
from mixcim.compile.network import LayerKind, Network
from mixcim.compile.onnx_import import import_onnx
from mixcim.compile.reference import operator_counts, optimised_model, reference_tensors
from mixcim.errors import MixcimError
from onnx_graphs import OnnxGraph

IMAGE = (4, 9, 7)


def agree(path: Path, shape: tuple[int, ...], seed: int = 0, dtype: type = np.float32) -> Network:
    """Assert that every tensor of the network in `path` is onnxruntime's, and return the network."""
    network = import_onnx(path)
    rng = np.random.default_rng(seed)
    if dtype is np.float32:
        inputs = rng.normal(0, 1, (5, *shape)).astype(np.float32)
    else:
        inputs = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, (5, *shape)).astype(dtype)
    expected = reference_tensors(path, inputs)
    values = evaluate(network, expected[network.input])
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name].reshape(value.shape), err_msg=name)
    assert len(np.unique(values[network.output])) > 3
    return network


def conv_weight(graph: OnnxGraph, rng: np.random.Generator, shape: tuple[int, ...], dtype: type = np.int8) -> str:
    values = rng.integers(-127, 128, shape)
    if dtype is np.uint8:
        return graph.weight((values + 128).astype(np.uint8), 0.004, zero_point=128)
    return graph.weight(values.astype(np.int8), rng.uniform(0.001, 0.01, shape[0]))


def conv_layer(graph: OnnxGraph, x: str, rng: np.random.Generator, kernels: int, channels: int, scale: float) -> str:
    """Quantised 3 x 3 convolution, dequantised again."""
    y = graph.node("Conv", x, conv_weight(graph, rng, (kernels, channels, 3, 3)), pads=[1, 1, 1, 1])
    return graph.fake(y, scale, 120)


# onnxruntime has no integer convolution of int8 with uint8.
@pytest.mark.parametrize(("activation", "weight"), [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 0, 2, 1], "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [1, 2]},
        {"group": 4, "pads": [1, 1, 1, 1]},
    ],
)
def test_convolution(tmp_path: Path, activation: type, weight: type, attributes: dict) -> None:
    rng = np.random.default_rng(1)
    graph = OnnxGraph(IMAGE)
    middle = 128 if activation is np.uint8 else 0
    x = graph.fake("input", 0.025, middle + 3, activation)
    depthwise = attributes.get("group", 1) == 4
    shape = (4, 1, 3, 2) if depthwise else (6, 4, 3, 2)
    w = conv_weight(graph, rng, shape, weight)
    scale = np.float32(0.025) * numpy_scale(graph, w, shape[0])
    bias = graph.weight(rng.integers(-3000, 3000, shape[0]).astype(np.int32), scale)
    # onnxruntime fuses a Relu into an integer operator only where the zero point is the type's smallest integer.
    y = graph.node("Relu", graph.node("Conv", x, w, bias, **attributes))
    path = graph.save(tmp_path / "conv.onnx", graph.fake(y, 0.02, middle - 128, activation))
    network = agree(path, IMAGE)
    assert operator_counts(optimised_model(path))["QLinearConv"] == 1
    assert [layer.kind for layer in network.layers] == [LayerKind.DEPTHWISE if depthwise else LayerKind.CONVOLUTION]
    assert network.layers[0].clamp == network.tensors[network.output].quantisation.limits


def numpy_scale(graph: OnnxGraph, dequantised: str, kernels: int) -> np.ndarray:
    """Scale of a value that OnnxGraph.weight made, for each kernel."""
    node = next(node for node in graph.nodes if node.output[0] == dequantised)
    constant = next(constant for constant in graph.constants if constant.name == node.input[1])
    return np.broadcast_to(onnx.numpy_helper.to_array(constant), (kernels,)).astype(np.float32)


def test_one_channel_is_not_depthwise(tmp_path: Path) -> None:
    graph = OnnxGraph((1, 6, 6))
    w = conv_weight(graph, np.random.default_rng(0), (5, 1, 3, 3))
    y = graph.fake(graph.node("Conv", graph.fake("input", 0.03, 128), w), 0.02, 100)
    network = agree(graph.save(tmp_path / "one.onnx", y), (1, 6, 6))
    assert network.layers[0].kind is LayerKind.CONVOLUTION


@pytest.mark.parametrize("side", ["own first", "residual first", "both convolutions", "neither", "itself"])
def test_add_fuses_into_the_convolution_that_only_it_reads(tmp_path: Path, side: str) -> None:
    rng = np.random.default_rng(2)
    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.021, 130)
    a = conv_layer(graph, x, rng, 4, 4, 0.033)
    if side == "own first":
        y = graph.node("Add", a, x)
    elif side == "residual first":
        y = graph.node("Add", x, a)
    elif side == "both convolutions":
        y = graph.node("Add", conv_layer(graph, x, rng, 4, 4, 0.041), a)
    elif side == "neither":
        y = graph.node("Add", x, x)
        y = graph.node("Add", graph.fake(y, 0.06, 119), x)
    else:
        y = graph.node("Add", a, a)
    path = graph.save(tmp_path / "add.onnx", graph.fake(graph.node("Relu", y), 0.0427, 0))
    network = agree(path, IMAGE)
    kinds = [layer.kind for layer in network.layers]
    last = network.layers[-1]
    assert last.residual is not None
    if side in ("neither", "itself"):
        assert last.kind is LayerKind.IDENTITY
    else:
        assert kinds == [LayerKind.CONVOLUTION] * (2 if side == "both convolutions" else 1)
        # The later convolution takes the sum; above it is the first operand, as it was built last.
        assert last.residual.order_swapped == (side == "residual first")
    assert last.clamp == (0, 255)


def test_clamp_between_convolution_and_add_is_the_intermediates(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.021, 130)
    y = graph.node("Conv", x, conv_weight(graph, rng, (4, 4, 1, 1)))
    y = graph.node("Clip", y, graph.constant(np.float32(-0.5)), graph.constant(np.float32(0.75)))
    path = graph.save(tmp_path / "c.onnx", graph.fake(graph.node("Add", graph.fake(y, 0.01, 90), x), 0.05, 120))
    layer = import_onnx(path).layers[0]
    assert layer.residual is not None and layer.residual.clamp == (40, 165) and layer.clamp == (0, 255)


def test_clip_whose_bounds_are_swapped_gives_the_upper_one(tmp_path: Path) -> None:
    """ONNX: min(max(x, low), high)."""
    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.021, 130)
    y = conv_layer(graph, x, np.random.default_rng(3), 4, 4, 0.05)
    y = graph.node("Clip", y, graph.constant(np.float32(2.0)), graph.constant(np.float32(1.0)))
    layer = import_onnx(graph.save(tmp_path / "c.onnx", graph.fake(y, 0.02, 100))).layers[-1]
    assert layer.clamp == (150, 150)


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "ReduceMean", "MaxPool", "MaxPool padded"])
def test_pooling(tmp_path: Path, pool: str) -> None:
    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.02, 117)
    if pool == "ReduceMean":
        y = graph.fake(graph.node("ReduceMean", x, axes=[2, 3], keepdims=0), 0.004, 99)
        network = import_onnx(graph.save(tmp_path / "pool.onnx", y))
        assert network.layers[0].kind is LayerKind.AVERAGE_POOL and network.output_shape == (4,)
        return
    if pool == "GlobalAveragePool":
        y = graph.fake(graph.node("GlobalAveragePool", x), 0.004, 99)
    else:
        pads = [1, 0, 0, 1] if pool == "MaxPool padded" else [0, 0, 0, 0]
        y = graph.fake(graph.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=pads), 0.02, 117)
    agree(graph.save(tmp_path / "pool.onnx", y), IMAGE)


def test_average_pool_differs_only_in_ties(tmp_path: Path) -> None:
    """onnxruntime averages in float32 and rounds after the zero point, so exact halves may go the other way."""
    graph = OnnxGraph((4, 8, 8))
    pooled = graph.node("AveragePool", graph.fake("input", 0.02, 117), kernel_shape=[2, 2], strides=[2, 2])
    path = graph.save(tmp_path / "average.onnx", graph.fake(pooled, 0.02, 117))
    network = import_onnx(path)
    inputs = np.random.default_rng(0).normal(0, 1, (20, 4, 8, 8)).astype(np.float32)
    expected = reference_tensors(path, inputs)
    codes = expected[network.input].astype(int)
    value = evaluate(network, codes)[network.output].astype(int)
    total = codes.reshape(20, 4, 2, 4, 2, 4).sum((2, 4))
    different = value != expected[network.output]
    assert np.all(total[different] % 4 == 2) and np.all(np.abs(value - expected[network.output]) <= 1)
    # What mixcim gives is what ONNX defines: round half even, then the zero point.
    np.testing.assert_array_equal(value, np.rint((total - 4 * 117) / 4).astype(int) + 117)


@pytest.mark.parametrize("form", ["Gemm", "Gemm transB", "MatMul", "MatMul Add"])
@pytest.mark.parametrize("flat", ["Flatten", "Reshape", "dynamic Reshape"])
def test_fully_connected_layer_reads_an_image(tmp_path: Path, form: str, flat: str) -> None:
    rng = np.random.default_rng(4)
    graph = OnnxGraph((3, 2, 5))
    x = graph.fake("input", 0.02, 128)
    if flat == "Flatten":
        x = graph.node("Flatten", x)
    elif flat == "Reshape":
        x = graph.node("Reshape", x, graph.constant(np.array([0, -1], np.int64)))
    else:
        batch = graph.node("Gather", graph.node("Shape", x), graph.constant(np.array([0], np.int64)), axis=0)
        target = graph.node("Concat", batch, graph.constant(np.array([30], np.int64)), axis=0)
        x = graph.node("Reshape", x, target)
    if flat != "dynamic Reshape":
        x = graph.fake(x, 0.02, 128)
    transposed = form == "Gemm transB"
    values = rng.integers(-127, 128, (7, 30) if transposed else (30, 7)).astype(np.int8)
    scales = rng.uniform(0.001, 0.01, 7).astype(np.float32)
    w = graph.weight(values, scales, axis=0 if transposed else 1)
    bias = graph.weight(rng.integers(-3000, 3000, 7).astype(np.int32), np.float32(0.02) * scales)
    if form.startswith("Gemm"):
        y = graph.node("Gemm", x, w, bias, transB=int(transposed))
    else:
        y = graph.node("MatMul", x, w)
        y = graph.node("Add", y, bias) if form == "MatMul Add" else y
    path = graph.save(tmp_path / "gemm.onnx", graph.fake(y, 0.05, 120))
    if form == "MatMul Add" or (flat == "dynamic Reshape" and not form.startswith("Gemm")):
        # onnxruntime computes these in float32; the network is the same as with a Gemm.
        network = import_onnx(path)
    else:
        network = agree(path, (3, 2, 5))
    layer = network.layers[0]
    assert layer.kernel == (2, 5) and layer.weight is not None and layer.weight.shape == (7, 2, 5, 3)
    matrix = (values if transposed else values.T).reshape(7, 3, 2, 5)
    np.testing.assert_array_equal(layer.weight, matrix.transpose(0, 2, 3, 1))
    assert np.any(layer.bias != 0) == (form != "MatMul")


def test_pad_becomes_padding(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.02, 128)
    pads = graph.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
    padded = graph.fake(graph.node("Pad", x, pads, graph.constant(np.float32(0))), 0.02, 128)
    y = graph.node("Conv", padded, conv_weight(graph, rng, (3, 4, 3, 3)), pads=[0, 0, 1, 0])
    network = agree(graph.save(tmp_path / "pad.onnx", graph.fake(y, 0.04, 128)), IMAGE)
    assert [layer.padding for layer in network.layers] == [(1, 2, 1, 1)]


def test_softmax_is_left_to_the_host(tmp_path: Path) -> None:
    graph = OnnxGraph((6,))
    w = graph.weight(np.random.default_rng(0).integers(-127, 128, (6, 5)).astype(np.int8), 0.01)
    y = graph.node("MatMul", graph.fake("input", 0.02, 128), w)
    y = graph.node("Softmax", graph.fake(y, 0.05, 120), axis=1)
    network = import_onnx(graph.save(tmp_path / "softmax.onnx", y))
    assert network.host_output == ("softmax",) and network.output_shape == (5,) and network.input_layout == "NC"


def test_operators_in_qoperator_form(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    graph = OnnxGraph(IMAGE, np.uint8)
    at_input, at_first, at_sum = (graph.parameters(*p) for p in ((0.02, 127), (0.05, 110), (0.06, 3)))
    at_pool, at_output = graph.parameters(0.01, 40), graph.parameters(0.04, 101)
    scales = rng.uniform(0.001, 0.01, 4).astype(np.float32)
    w = [graph.constant(rng.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)), graph.constant(scales)]
    zero = graph.constant(np.zeros(4, np.int8))
    bias = graph.constant(rng.integers(-2000, 2000, 4).astype(np.int32))
    x = graph.node("QLinearConv", "input", *at_input, *w, zero, *at_first, bias, pads=[1, 1, 1, 1])
    x = graph.node("QLinearAdd", "input", *at_input, x, *at_first, *at_sum)
    x = graph.node("Clip", x, graph.constant(np.uint8(3)), graph.constant(np.uint8(200)))
    x = graph.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Flatten", graph.node("QLinearGlobalAveragePool", x, *at_sum, *at_pool))
    matrix = [graph.constant(rng.integers(-127, 128, (5, 4)).astype(np.int8)), *graph.parameters(0.02, 0, np.int8)]
    x = graph.node("QGemm", x, *at_pool, *matrix, graph.constant(np.arange(5).astype(np.int32)), *at_output, transB=1)
    second = [graph.constant(rng.integers(-127, 128, (5, 3)).astype(np.int8)), *graph.parameters(0.02, 0, np.int8)]
    x = graph.node("QLinearMatMul", x, *at_output, *second, *graph.parameters(0.05, 128))
    path = graph.save(tmp_path / "qoperator.onnx", x, onnx.TensorProto.UINT8)
    network = agree(path, IMAGE, dtype=np.uint8)
    kinds = [layer.kind.value for layer in network.layers]
    assert kinds == ["convolution", "max_pool", "average_pool", "convolution", "convolution"]
    assert network.layers[0].clamp == (3, 200) and network.layers[0].residual is not None
    assert network.layers[0].residual.order_swapped


def test_requantisation_is_an_identity_layer(tmp_path: Path) -> None:
    graph = OnnxGraph(IMAGE)
    y = graph.fake(graph.node("Relu", graph.fake("input", 0.02, 128)), 0.011, 4, np.uint8)
    network = import_onnx(graph.save(tmp_path / "identity.onnx", y))
    assert [layer.kind for layer in network.layers] == [LayerKind.IDENTITY] and network.layers[0].clamp == (4, 255)


def unfit_graphs() -> dict[str, tuple[OnnxGraph, str, str]]:
    """Name -> graph, output, and words of the message."""
    rng = np.random.default_rng(7)
    cases: dict[str, tuple[OnnxGraph, str, str]] = {}

    def case(name: str, words: str, kind: str, shape: tuple[int, ...] = (4, 4, 3, 3), **attributes: Any) -> None:
        graph = OnnxGraph(IMAGE)
        x = graph.fake("input", 0.02, 128)
        if kind == "Conv":
            y = graph.node("Conv", x, conv_weight(graph, rng, shape), **attributes)
        else:
            y = graph.node(kind, x, **attributes)
        cases[name] = (graph, graph.fake(y, 0.04, 128), words)

    case("operator", "is a Elu, which mixcim does not support", "Elu")
    case("dilation", "dilations [2, 2]", "Conv", dilations=[2, 2])
    case("groups", "2 groups for 4 channels", "Conv", (4, 2, 3, 3), group=2)
    case("multiplier", "one kernel for each channel", "Conv", (8, 1, 3, 3), group=4)
    case("count", "count_include_pad", "AveragePool", kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    case("ceil", "ceil_mode", "MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    case("axes", "averages over axes [1]", "ReduceMean", axes=[1])
    case("window", "window larger than its input", "Conv", (4, 4, 12, 3))

    graph = OnnxGraph(IMAGE)
    w = graph.weight(rng.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8), 0.01, zero_point=3)
    y = graph.fake(graph.node("Conv", graph.fake("input", 0.02, 128), w), 0.04, 128)
    cases["weight zero point"] = (graph, y, "zero point 3")

    graph = OnnxGraph(IMAGE)
    w = graph.constant(rng.normal(size=(4, 4, 3, 3)).astype(np.float32))
    y = graph.fake(graph.node("Conv", graph.fake("input", 0.02, 128), w), 0.04, 128)
    cases["float weights"] = (graph, y, "weights that are not quantised")

    graph = OnnxGraph(IMAGE)
    w = graph.constant(np.full((4, 4, 3, 3), np.nan, np.float32))
    y = graph.fake(graph.node("Conv", graph.fake("input", 0.02, 128), w), 0.04, 128)
    cases["NaN"] = (graph, y, "144 NaN or infinite values")

    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.02, 128)
    pooled = graph.fake(graph.node("GlobalAveragePool", x), 0.02, 128)
    cases["broadcast"] = (graph, graph.fake(graph.node("Add", x, pooled), 0.04, 128), "without broadcasting")

    graph = OnnxGraph(IMAGE)
    x = graph.fake("input", 0.02, 128)
    y = graph.fake(graph.node("Add", x, graph.constant(np.ones((1, 4, 1, 1), np.float32))), 0.04, 128)
    cases["constant"] = (graph, y, "adds a constant")

    for name, scale in (("scale zero", 0.0), ("scale NaN", np.nan), ("scale infinite", np.inf)):
        graph = OnnxGraph(IMAGE)
        words = "NaN or infinite" if name == "scale NaN" else "it must be finite and above 0"
        cases[name] = (graph, graph.fake(graph.node("Relu", graph.fake("input", 0.02, 1)), scale, 1), words)

    graph = OnnxGraph(IMAGE)
    y = graph.node("Conv", graph.fake("input", 0.02, 128), conv_weight(graph, rng, (4, 4, 3, 3)))
    cases["float output"] = (graph, y, "is not quantised; put a QuantizeLinear after")

    graph = OnnxGraph(IMAGE)
    cases["float input"] = (graph, graph.fake(graph.node("Relu", "input"), 0.02, 128), "unquantised")

    graph = OnnxGraph((4, 9))
    cases["rank"] = (graph, graph.fake(graph.node("Relu", graph.fake("input", 0.02, 1)), 0.1, 1), "has rank 3")

    graph = OnnxGraph(IMAGE, np.float64)
    cases["float64"] = (graph, graph.node("Relu", "input"), "is double; mixcim takes float32")

    graph = OnnxGraph(IMAGE)
    cases["float network"] = (graph, graph.node("Relu", "input"), "is a float network; quantise it first")

    graph = OnnxGraph(IMAGE)
    y = graph.fake(graph.node("Relu", graph.fake("input", 0.02, 1)), 0.1, 1)
    graph.inputs.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, ["N", 4]))
    cases["two inputs"] = (graph, y, "has 2 inputs ('input', 'other')")
    return cases


@pytest.mark.parametrize("name", unfit_graphs())
def test_unfit_network_is_refused(tmp_path: Path, name: str) -> None:
    graph, output, words = unfit_graphs()[name]
    element = onnx.TensorProto.DOUBLE if name == "float64" else onnx.TensorProto.FLOAT
    path = graph.save(tmp_path / "unfit.onnx", output, element)
    with pytest.raises(MixcimError) as caught:
        import_onnx(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MixcimError, match="does not exist"):
        import_onnx(tmp_path / "absent.onnx")
    graph = OnnxGraph(IMAGE)
    path = graph.save(tmp_path / "whole.onnx", graph.fake("input", 0.02, 128))
    for length in (0, 7, path.stat().st_size // 2):
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(path.read_bytes()[:length])
        with pytest.raises(MixcimError) as caught:
            import_onnx(broken)
        assert "\n" not in str(caught.value)
