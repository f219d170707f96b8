"""Float ONNX networks in number formats: every operator gives what onnxruntime gives in float32.

Inputs, weights and biases are small integers and every result is an integer that FP16 holds, or such an integer over a
power of two: so nothing is rounded anywhere, and the two must be equal. Other numbers must be close.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mixcim.compile.evaluate import evaluate
from mixcim.compile.formats import Formats, parse_formats
from mixcim.compile.load import dequantise_output, load_network, quantise_input
from mixcim.compile.network import LayerKind, Network
from mixcim.compile.onnx_operators import HANDLERS
from mixcim.errors import MixcimError
from mixcim_hdl.floating import ElementFormat
from onnx_graphs import OnnxGraph
from workloads import WORKLOADS, cifar100, needs_workloads

IMAGE = (4, 8, 8)
CHANNELS = 4  #: of an activation word
EXACT_FORMATS = parse_formats(["fp16"], 16, aligned_bits=16)
RNG = np.random.default_rng(0)


def integers(shape: tuple[int, ...], largest: int) -> np.ndarray:
    return RNG.integers(-largest, largest + 1, shape).astype(np.float32)


def reference(path: Path, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": inputs})[0])


def outputs(network: Network, inputs: np.ndarray, channels: int = CHANNELS) -> np.ndarray:
    values = evaluate(network, quantise_input(network, inputs), channels)
    return dequantise_output(network, values[network.output])


def conv(graph: OnnxGraph, x: str, channels: int, kernels: int, bias: bool = True, **attributes: object) -> str:
    """3 x 3 convolution; depthwise if `attributes` have groups."""
    w = graph.constant(integers((kernels, 1 if "group" in attributes else channels, 3, 3), 2))
    b = [graph.constant(integers((kernels,), 5))] if bias else []
    return graph.node("Conv", x, w, *b, **{"pads": [1, 1, 1, 1], **attributes})


def normalised(graph: OnnxGraph) -> str:
    """A convolution and a BatchNormalization of factors and offsets that leave integers."""
    parameters = [np.array([1, 2, -1, 2]), integers((4,), 3), integers((4,), 3), np.full(4, 1 - 2.0**-10)]
    names = [graph.constant(item.astype(np.float32)) for item in parameters]
    return graph.node("BatchNormalization", conv(graph, "input", 4, 4), *names, epsilon=2.0**-10)


def dense(graph: OnnxGraph, kind: str) -> str:
    x = graph.node("Flatten", graph.node("MaxPool", "input", kernel_shape=[4, 4], strides=[4, 4]))
    if kind == "Gemm":
        return graph.node("Gemm", x, graph.constant(integers((5, 16), 3)), graph.constant(integers((5,), 9)), transB=1)
    return graph.node("Add", graph.node("MatMul", x, graph.constant(integers((16, 5), 3))), biased(graph, (5,)))


def biased(graph: OnnxGraph, shape: tuple[int, ...]) -> str:
    return graph.constant(integers(shape, 9))


def sum_of(graph: OnnxGraph, first: str, second: str) -> str:
    return graph.node("Relu", graph.node("Add", first, second))


def clipped(graph: OnnxGraph, x: str, low: float, high: float) -> str:
    return graph.node("Clip", x, graph.constant(np.float32(low)), graph.constant(np.float32(high)))


def padded(graph: OnnxGraph) -> str:
    pads = graph.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
    return conv(graph, graph.node("Pad", "input", pads, graph.constant(np.float32(0))), 4, 3)


def branched(graph: OnnxGraph) -> str:
    """A convolution whose result is read three times: by a clamp, by an Add, and by the next convolution."""
    x = conv(graph, "input", 4, 4)
    y = conv(graph, clipped(graph, x, -1, 3), 4, 4)
    return graph.node("Add", graph.node("Add", y, x), conv(graph, clipped(graph, x, -2, 2), 4, 4))


CONV, DEEP, MAX, MEAN, SAME = (
    *(LayerKind.CONVOLUTION, LayerKind.DEPTHWISE, LayerKind.MAX_POOL),
    *(LayerKind.AVERAGE_POOL, LayerKind.IDENTITY),
)
#: Name -> graph's output, kinds of its layers.
OPERATORS: dict[str, tuple[Callable[[OnnxGraph], str], list[LayerKind]]] = {
    "Conv": (lambda g: conv(g, "input", 4, 6), [CONV]),
    "Conv stride": (lambda g: conv(g, "input", 4, 5, strides=[2, 1], pads=[1, 0, 2, 1]), [CONV]),
    "Conv same": (lambda g: conv(g, "input", 4, 3, False, pads=None, auto_pad="SAME_LOWER", strides=[2, 2]), [CONV]),
    "Conv depthwise": (lambda g: conv(g, "input", 4, 4, group=4), [DEEP]),
    "Conv Relu": (lambda g: g.node("Relu", conv(g, "input", 4, 6)), [CONV]),
    "Conv Clip Relu": (lambda g: g.node("Relu", clipped(g, conv(g, "input", 4, 6), -4, 6)), [CONV]),
    "Conv Clip Flatten Relu": (
        lambda g: g.node("Relu", g.node("Flatten", clipped(g, conv(g, "input", 4, 6), -4, 6))),
        [CONV],
    ),
    "Conv Add": (lambda g: sum_of(g, conv(g, "input", 4, 4), "input"), [CONV]),
    "Add Conv": (lambda g: sum_of(g, "input", conv(g, "input", 4, 4)), [CONV]),
    "two Conv Add": (lambda g: sum_of(g, conv(g, "input", 4, 4), conv(g, "input", 4, 4)), [CONV, CONV]),
    "Conv Relu Add": (lambda g: sum_of(g, g.node("Relu", conv(g, "input", 4, 4)), "input"), [CONV, SAME]),
    "Add": (lambda g: g.node("Add", "input", g.node("Relu", "input")), [SAME, SAME]),
    "Add to itself": (lambda g: g.node("Add", "input", "input"), [SAME]),
    "Relu": (lambda g: g.node("Relu", "input"), [SAME]),
    "MaxPool": (lambda g: g.node("MaxPool", "input", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]), [MAX]),
    "MaxPool Relu": (lambda g: g.node("Relu", g.node("MaxPool", "input", kernel_shape=[2, 2])), [MAX]),
    "AveragePool": (
        lambda g: g.node("AveragePool", "input", kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1),
        [MEAN],
    ),
    "GlobalAveragePool": (lambda g: g.node("GlobalAveragePool", "input"), [MEAN]),
    "ReduceMean": (lambda g: g.node("ReduceMean", "input", axes=[2, 3], keepdims=0), [MEAN]),
    "BatchNormalization": (normalised, [CONV]),
    "Gemm": (lambda g: dense(g, "Gemm"), [MAX, CONV]),
    "MatMul Add": (lambda g: dense(g, "MatMul"), [MAX, CONV]),
    "Pad": (padded, [CONV]),
    "Dropout Identity": (lambda g: g.node("Identity", g.node("Dropout", conv(g, "input", 4, 4))), [CONV]),
    "branches": (branched, [CONV, SAME, SAME, CONV, CONV]),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_is_exact(tmp_path: Path, name: str) -> None:
    build, kinds = OPERATORS[name]
    graph = OnnxGraph(IMAGE)
    output = build(graph)
    path = graph.save(tmp_path / "net.onnx", without_none(graph, output), rank=4)
    network = load_network(path, formats=EXACT_FORMATS)
    assert [layer.kind for layer in network.layers] == kinds
    inputs = integers((3, *IMAGE), 3)
    expected = reference(path, inputs)
    np.testing.assert_array_equal(outputs(network, inputs), expected)
    assert len(np.unique(expected)) > 3


def without_none(graph: OnnxGraph, output: str) -> str:
    """The output; attributes None, which make room for others, are taken out of the nodes."""
    for node in graph.nodes:
        kept = [item for item in node.attribute if item.type != onnx.AttributeProto.UNDEFINED]
        del node.attribute[:]
        node.attribute.extend(kept)
    return output


def test_every_operator_with_a_float_meaning_is_tested() -> None:
    """Views of vectors are tested with the quantised networks: they make no layer."""
    quantised = {name for name in HANDLERS if name.startswith("Q") or name == "DequantizeLinear"}
    views = {"Reshape", "Shape", "Squeeze", "Unsqueeze"}
    tested = {word for name in OPERATORS for word in name.split()}
    assert set(HANDLERS) - quantised - views - tested == {"Softmax"}


def residual_network(path: Path) -> Path:
    """A small residual network of reals, with a Softmax at the end."""
    random = np.random.default_rng(5)
    graph = OnnxGraph(IMAGE)

    def layer(x: str, channels: int, kernels: int, **attributes: object) -> str:
        w = graph.constant(random.normal(0, 0.2, (kernels, channels, 3, 3)).astype(np.float32))
        b = graph.constant(random.normal(0, 0.3, kernels).astype(np.float32))
        return graph.node("Conv", x, w, b, pads=[1, 1, 1, 1], **attributes)

    x = graph.node("Relu", layer("input", 4, 6))
    y = graph.node("Relu", layer(x, 6, 6))
    x = graph.node("Relu", graph.node("Add", layer(y, 6, 6), x))
    x = graph.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Flatten", graph.node("GlobalAveragePool", layer(x, 6, 10, strides=[2, 2])))
    w = graph.constant(random.normal(0, 0.4, (5, 10)).astype(np.float32))
    x = graph.node("Gemm", x, w, graph.constant(random.normal(0, 0.4, 5).astype(np.float32)), transB=1)
    return graph.save(path, graph.node("Softmax", x, axis=1))


#: Rules -> largest difference from float32 that is allowed in the softmax's logarithm, as a part of its range.
CLOSE = {
    ("fp16",): 0.006,
    ("bf16",): 0.02,
    ("fp8_e4m3",): 0.25,
    ("fp8_e5m2",): 0.45,
    ("bf16/int8",): 0.03,
    ("int8/bf16",): 0.03,
    ("bf16", "layer2=int8"): 0.03,
    ("int8", "layer3=fp16"): 0.05,
    ("int8", "layer7=bf16/int8"): 0.05,
    ("fp16", "layer1=int8/int4"): 0.15,
}


@pytest.mark.parametrize("rules", CLOSE, ids=" ".join)
def test_networks_are_close_to_float32(tmp_path: Path, rules: tuple[str, ...]) -> None:
    path = residual_network(tmp_path / "net.onnx")
    inputs = np.random.default_rng(1).normal(0, 1, (16, *IMAGE)).astype(np.float32)
    network = load_network(path, inputs, formats=parse_formats(rules, 16))
    assert network.host_output == ("softmax",) and len(network.layers) == 7
    logits, expected = np.log(outputs(network, inputs)), np.log(reference(path, inputs))
    difference = np.abs(logits - expected).max() / np.ptp(expected, axis=0).max()
    assert 0 < difference < CLOSE[rules]


def test_integer_layers_are_those_of_an_integer_network(tmp_path: Path) -> None:
    """Integer layers beside floating ones have the scales, biases and clamps that network.py defines."""
    path = residual_network(tmp_path / "net.onnx")
    inputs = np.random.default_rng(1).normal(0, 1, (16, *IMAGE)).astype(np.float32)
    mixed = load_network(path, inputs, formats=parse_formats(["int8", "layer7=fp16"], 16))
    quantised = load_network(path, inputs)
    assert [layer.floating is None for layer in mixed.layers] == [True] * 5 + [False] * 2
    for own, other in zip(mixed.layers[:5], quantised.layers[:5], strict=True):
        assert own.name == other.name and own.bias.dtype == np.int32
        np.testing.assert_allclose(own.scale, other.scale, rtol=1e-4)
        np.testing.assert_allclose(own.bias, other.bias, atol=2)
        if own.weight is not None and other.weight is not None:
            assert own.weight.dtype == np.int8 and np.abs(own.weight - other.weight.astype(int)).max() <= 1
        if own.residual is not None and other.residual is not None:
            assert own.residual.tensor.removesuffix("_QuantizeLinear_Output") == "Relu1"
            assert own.residual.order_swapped == other.residual.order_swapped
            np.testing.assert_allclose(own.residual.quantisation.scale, other.residual.quantisation.scale, rtol=1e-4)
        assert own.clamp == other.clamp
    floating = mixed.layers[-1]
    assert mixed.tensors[floating.input].format is mixed.tensors[floating.output].format is ElementFormat.FP16


def test_int8_everywhere_is_the_quantised_network(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    inputs = np.random.default_rng(1).normal(0, 1, (16, *IMAGE)).astype(np.float32)
    for rules, bits in ((["int8"], 8), (["int8/int4"], 4)):
        network = load_network(path, inputs, formats=parse_formats(rules, 0))
        expected = load_network(path, inputs, weight_bits=bits)
        assert network.tensors == expected.tensors
        for own, other in zip(network.layers, expected.layers, strict=True):
            assert own.floating is None
            np.testing.assert_array_equal(own.weight, other.weight)
            np.testing.assert_array_equal(own.bias, other.bias)
    with pytest.raises(MixcimError, match="format 'none=int8/int8': network 'net' has no layer 'none'"):
        load_network(path, inputs, formats=parse_formats(["none=int8"], 0))


def test_clamps_of_integer_layers_are_codes(tmp_path: Path) -> None:
    graph = OnnxGraph(IMAGE)
    y = conv(graph, clipped(graph, conv(graph, clipped(graph, "input", -1, 2), 4, 4), -3, 6), 4, 4)
    path = graph.save(tmp_path / "net.onnx", y, rank=4)
    inputs = RNG.normal(0, 2, (8, *IMAGE)).astype(np.float32)
    network = load_network(path, inputs, formats=parse_formats(["int8", "layer2=int4", "layer3=int4/int8"], 0))
    for layer, (low, high), largest in zip(
        network.layers, [(-1, 2), (-3, 6), (-np.inf, np.inf)], [15, 15, 255], strict=True
    ):
        quantisation = network.tensors[layer.output].quantisation
        ends = np.clip(np.rint(np.array([low, high]) / quantisation.scale) + quantisation.zero_point, 0, largest)
        assert layer.clamp == tuple(ends)
        assert layer.floating is None
    assert np.abs(network.layers[1].weight).max() == 7  # pyright: ignore


def test_a_lone_add_of_integers_loses_nothing_before_it(tmp_path: Path) -> None:
    """Its first operand has values that the sum, cut off by the Relu, does not have."""
    graph = OnnxGraph(IMAGE)
    y = conv(graph, sum_of(graph, "input", graph.node("Relu", conv(graph, "input", 4, 4))), 4, 4)
    path = graph.save(tmp_path / "net.onnx", y, rank=4)
    inputs = RNG.normal(0, 2, (8, *IMAGE)).astype(np.float32)
    network = load_network(path, inputs, formats=parse_formats(["int8", "layer3=int8/int4"], 0))
    lone = network.layers[1]
    assert lone.kind is SAME and lone.floating is None and lone.residual is not None
    assert lone.residual.quantisation == network.tensors[lone.input].quantisation and (lone.scale == 1).all()


@pytest.mark.parametrize("clamp", ["low", "high"])
def test_a_constant_after_a_clamp_is_no_bias(tmp_path: Path, clamp: str) -> None:
    graph = OnnxGraph(IMAGE)
    x = conv(graph, "input", 4, 4, False)
    x = graph.node("Relu", x) if clamp == "low" else clipped(graph, x, -np.inf, 3)
    path = graph.save(tmp_path / "net.onnx", graph.node("Add", x, biased(graph, (1, 4, 1, 1))), rank=4)
    with pytest.raises(MixcimError, match="adds a constant after a clamp"):
        load_network(path, formats=EXACT_FORMATS)


def test_a_kernel_of_nothing_keeps_its_bias(tmp_path: Path) -> None:
    graph = OnnxGraph(IMAGE)
    weight = RNG.normal(0, 1, (3, 4, 3, 3)).astype(np.float32)
    weight[0], weight[1] = 0, weight[1] * 1e-20
    w, b = graph.constant(weight), graph.constant(np.array([4.5, -7.25, 1], np.float32))
    path = graph.save(tmp_path / "net.onnx", graph.node("Conv", "input", w, b), rank=4)
    inputs = RNG.normal(0, 1, (8, *IMAGE)).astype(np.float32)
    expected = reference(path, inputs)
    for rules in (["int8/int4"], ["bf16/int8"], ["bf16"]):
        formats = parse_formats([*rules, "layer1=int8/int8"] if rules == ["int8/int4"] else rules, 12)
        network = load_network(path, inputs, formats=formats)
        assert all(np.isfinite(layer.scale).all() for layer in network.layers)
        assert np.abs(outputs(network, inputs) - expected).max() < 0.02 * np.abs(expected).max()


def test_floating_networks_need_no_calibration_but_integers_do(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    assert len(load_network(path, formats=Formats(parse_formats(["bf16/int8"], 12).default)).layers) == 7
    with pytest.raises(MixcimError, match="becomes integer; give calibration data"):
        load_network(path, formats=parse_formats(["bf16", "layer4=int8"], 12))
    with pytest.raises(MixcimError, match="give calibration data"):
        load_network(path, formats=parse_formats(["int8"], 12))
    with pytest.raises(MixcimError, match="calibration data has shape"):
        load_network(path, np.zeros((2, 3), np.float32), formats=parse_formats(["bf16", "layer4=int8"], 12))


@needs_workloads
@pytest.mark.parametrize("file", ["resnet20_cifar100", "resnet20_cifar100_bnfolded"])
def test_resnet20_has_the_layers_of_its_quantised_network(file: str) -> None:
    path = WORKLOADS / "models" / "resnet20_cifar100" / f"{file}.onnx"
    images, labels = cifar100("cifar100_test")
    quantised = load_network(path, cifar100("cifar100_calib_train")[0][:16])
    network = load_network(path, formats=parse_formats(["bf16"], 16))
    described = [
        [
            (layer.name, layer.kind, layer.kernel, layer.stride, layer.padding, layer.residual is None)
            for layer in item.layers
        ]
        for item in (network, quantised)
    ]
    assert described[0] == described[1]
    answers = outputs(network, images[:20], 16)
    expected = np.asarray(onnxruntime.InferenceSession(str(path)).run(None, {"input": images[:20]})[0])
    assert np.abs(answers - expected).max() < 0.02 * np.ptp(expected)


@needs_workloads
def test_mobilenet_imports() -> None:
    folder = WORKLOADS / "models" / "mobilenetv2_1.0_224_imagenet"
    for path in sorted(folder.glob("*.onnx")):
        network = load_network(path, formats=parse_formats(["fp16"], 16))
        assert len(network.layers) == 54 and network.output_shape == (1001,)
        assert sum(layer.floating.limits == (0.0, 6.0) for layer in network.layers if layer.floating) == 35
        assert sum(layer.residual is not None for layer in network.layers) == 10
