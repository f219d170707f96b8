"""What mixcim makes of each ONNX operator: functions (importer, node) -> value of the node's output, and a table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx

from .assemble import NO_LIMITS, Window
from .network import LayerKind
from .onnx_file import attributes
from .onnx_graph import Activation, GraphImporter, Handler, Pending, QuantisedConstant, Value, fail, window_of
from .onnx_products import conv, gemm, matmul, qgemm, qlinear_conv, qlinear_matmul


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether the model has an operator of a quantised network."""
    return any("Quantize" in node.op_type or node.op_type.startswith("Q") for node in model.graph.node)


def quantize_linear(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QuantizeLinear: makes a tensor of the network."""
    return importer.quantise(node, importer.value(node, 0), importer.quantisation(node, 1), node.output[0])


def dequantize_linear(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """DequantizeLinear."""
    return importer.dequantise(node, axis=int(attributes(node).get("axis", 1)))


# Sum and clamp.


def add(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Add of two activations, or of a bias."""
    values = [importer.value(node, index) for index in (0, 1)]
    constants = [value for value in values if isinstance(value, np.ndarray | QuantisedConstant)]
    if constants:
        return _add_constant(importer, node, values[1] if values[0] is constants[0] else values[0], constants[0])
    first, second = (importer.activation(node, index) for index in (0, 1))
    return _sum(node, first, second)


def _add_constant(importer: GraphImporter, node: onnx.NodeProto, value: Value, constant: Value) -> Pending:
    """Add of a bias to an unquantised product: into the layer."""
    if not isinstance(value, Pending) or value.weight is None or value.bias is not None:
        fail(node, "adds a constant; mixcim adds one only as the bias of a Conv, Gemm or MatMul that has none, fuse it")
    if (value.low, value.high) != NO_LIMITS:
        fail(node, "adds a constant after a clamp; mixcim adds a bias before it, fuse it into the next layer")
    array = constant.real() if isinstance(constant, QuantisedConstant) else constant
    assert isinstance(array, np.ndarray)
    sides = [side for side in array.shape if side != 1]
    axis_from_end = 1 if value.flat else 3
    if array.size > 1 and (
        sides != [len(value.weight)] or array.ndim < axis_from_end or array.shape[-axis_from_end] == 1
    ):
        fail(
            node,
            f"adds a constant of shape {array.shape} to {len(value.weight)} channels; mixcim adds one for each channel",
        )
    return importer.with_bias(node, replace(value, source=(*value.source, node.name)), constant)


def qlinear_add(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QLinearAdd."""
    return importer.quantised(node, _sum(node, importer.operand(node, 0), importer.operand(node, 3)), 6)


def _sum(node: onnx.NodeProto, first: Activation, second: Activation) -> Pending:
    if first.flat != second.flat:
        fail(node, "adds a vector and an image; mixcim adds equal shapes only, without broadcasting")
    return Pending(LayerKind.IDENTITY, node.name, (first.tensor, second.tensor), (node.name,), flat=first.flat)


def relu(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Relu."""
    return _clamp(importer, node, 0.0, math.inf)


def clip(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Clip, whose bounds are attributes (old) or inputs (new)."""
    settings = attributes(node)
    low = importer.constant(node, 1) if importer.has(node, 1) else settings.get("min", -math.inf)
    high = importer.constant(node, 2) if importer.has(node, 2) else settings.get("max", math.inf)
    return _clamp(importer, node, float(low), float(high))


def _clamp(importer: GraphImporter, node: onnx.NodeProto, low: float, high: float) -> Value:
    value = importer.value(node, 0)
    low = min(low, high)  # ONNX: min(max(x, low), high), so the upper bound wins
    if isinstance(value, Activation) and not value.real:
        # On integers: the bounds are codes.
        quantisation = importer.builder.tensors[value.tensor].quantisation
        least, most = quantisation.limits
        clamp = (int(min(max(low, least), most)), int(max(min(high, most), least)))
        importer.builder.add_layer(
            LayerKind.IDENTITY,
            node.name,
            value.tensor,
            node.output[0],
            quantisation,
            Window(),
            None,
            clamp,
            (node.name,),
        )
        return Activation(node.output[0], real=False, flat=value.flat)
    if not isinstance(value, Pending):
        x = importer.activation(node)
        value = Pending(LayerKind.IDENTITY, node.name, (x.tensor,), (), flat=x.flat)
    # Clamping to [a, b] and then to [low, high].
    clamped_low, clamped_high = min(max(value.low, low), high), max(min(value.high, high), low)
    return replace(value, low=clamped_low, high=clamped_high, source=(*value.source, node.name))


# Pooling.


def max_pool(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """MaxPool, of reals or of integers."""
    value = importer.value(node, 0)
    if isinstance(value, Activation) and not value.real:
        quantisation = importer.builder.tensors[value.tensor].quantisation
        pending = _pool(importer, node, replace(value, real=True), LayerKind.MAX_POOL)
        return importer.quantise(node, pending, quantisation, node.output[0])
    return _pool(importer, node, importer.activation(node, 0, rank=4), LayerKind.MAX_POOL)


def average_pool(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """AveragePool."""
    return _pool(importer, node, importer.activation(node, 0, rank=4, padded=True), LayerKind.AVERAGE_POOL)


def qlinear_average_pool(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QLinearAveragePool."""
    pending = _pool(importer, node, importer.operand(node, 0), LayerKind.AVERAGE_POOL)
    return importer.quantised(node, pending, 3)


def _pool(importer: GraphImporter, node: onnx.NodeProto, x: Activation, kind: LayerKind) -> Pending:
    settings = attributes(node)
    if len(settings["kernel_shape"]) != 2 or x.flat:
        fail(node, f"has a window of rank {len(settings['kernel_shape'])}; mixcim pools images in two dimensions")
    if settings.get("channels_last", 0) or settings.get("storage_order", 0):
        fail(node, "is in channels-last or column-major form; mixcim reads NCHW")
    if len(node.output) > 1 and node.output[1]:
        fail(node, "has a second output with indices, which mixcim does not compute")
    height, width, _ = importer.shape(x)
    window = window_of(node, settings["kernel_shape"], height, width, x.padding)
    own_padding = [a - b for a, b in zip(window.padding, x.padding, strict=True)]
    if kind is LayerKind.AVERAGE_POOL and any(own_padding) and not settings.get("count_include_pad", 0):
        fail(
            node, "leaves its padding out of the average (count_include_pad = 0); mixcim counts it, pad with a Pad node"
        )
    return Pending(kind, node.name, (x.tensor,), (node.name,), window)


def global_average_pool(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """GlobalAveragePool."""
    return _global_pool(importer, node, importer.activation(node, 0, rank=4), flat=False)


def qlinear_global_average_pool(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QLinearGlobalAveragePool."""
    if attributes(node).get("channels_last", 0):
        fail(node, "is in channels-last form, an optimiser's private format; use the file before optimisation")
    return importer.quantised(node, _global_pool(importer, node, importer.operand(node, 0), flat=False), 3)


def reduce_mean(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """ReduceMean over height and width."""
    settings = attributes(node)
    axes = importer.constant(node, 1).reshape(-1) if importer.has(node, 1) else settings.get("axes", range(4))
    x = importer.activation(node, 0, rank=4)
    if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        fail(node, f"averages over axes {[int(axis) for axis in axes]}; mixcim averages over height and width, [2, 3]")
    return _global_pool(importer, node, x, flat=not settings.get("keepdims", 1))


def _global_pool(importer: GraphImporter, node: onnx.NodeProto, x: Activation, flat: bool) -> Pending:
    height, width, _ = importer.shape(x)
    return Pending(LayerKind.AVERAGE_POOL, node.name, (x.tensor,), (node.name,), Window((height, width), (1, 1)), flat)


# Shape, padding, and what the host computes.


def pad(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Pad with zeros: remembered until a window reads it."""
    settings = attributes(node)
    if settings.get("mode", "constant") != "constant":
        fail(node, f"has mode {settings['mode']}; mixcim pads with zero")
    value = importer.value(node, 0)
    integer = isinstance(value, Activation) and not value.real
    x = value if isinstance(value, Activation) and integer else importer.activation(node, 0, rank=4, padded=True)
    amounts = importer.constant(node, 1).reshape(-1) if importer.has(node, 1) else np.array(settings.get("pads", ()))
    zero = importer.builder.tensors[x.tensor].quantisation.zero_point if integer else 0
    filling = float(importer.constant(node, 2)) if importer.has(node, 2) else settings.get("value", 0)
    if filling != zero:
        fail(node, f"pads with {filling}; mixcim pads with zero (here {zero})")
    if (
        importer.has(node, 3)
        or x.flat
        or amounts.size != 8
        or np.any(amounts[[0, 1, 4, 5]] != 0)
        or np.any(amounts < 0)
    ):
        fail(node, f"has pads {amounts.tolist()}; mixcim pads height and width of an image (N, C, H, W)")
    extra = (int(amounts[2]), int(amounts[3]), int(amounts[6]), int(amounts[7]))
    return replace(x, padding=tuple(a + b for a, b in zip(x.padding, extra, strict=True)))


def _view(importer: GraphImporter, node: onnx.NodeProto, sides: tuple[int, ...]) -> Value:
    """The node's input with shape `sides` (without the batch): a vector, or the image that it is."""
    value = importer.value(node, 0)
    x = value if isinstance(value, Activation) and not value.real else importer.activation(node)
    height, width, channels = importer.shape(x)
    if sides == (channels, height, width):
        return replace(x, flat=False)
    if sides == (channels * height * width,):
        return replace(x, flat=True)
    fail(node, f"reshapes (C, H, W) = {(channels, height, width)} to {sides}; mixcim flattens only")


def flatten(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Flatten."""
    if attributes(node).get("axis", 1) != 1:
        fail(node, f"has axis {attributes(node)['axis']}; mixcim flattens from axis 1")
    return _view(importer, node, (_elements(importer, node),))


def reshape(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Reshape that flattens, or changes nothing."""
    target = [int(side) for side in importer.constant(node, 1).reshape(-1)]
    before = _file_shape(importer, node)
    sides = [before[i] if side == 0 and i < len(before) else side for i, side in enumerate(target)]
    # The first side is the batch, whatever it says; an open side elsewhere takes what is left.
    rest = sides[1:]
    if rest.count(-1) == 1:
        rest[rest.index(-1)] = _elements(importer, node) // max(-math.prod(rest), 1)
    return _view(importer, node, tuple(rest))


def squeeze(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Squeeze of sides that are 1."""
    axes = importer.constant(node, 1).reshape(-1) if importer.has(node, 1) else attributes(node).get("axes", (2, 3))
    before = _file_shape(importer, node)
    drop = {int(axis) % len(before) for axis in axes}
    return _view(importer, node, tuple(side for i, side in enumerate(before) if i not in drop)[1:])


def unsqueeze(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Unsqueeze that undoes a Squeeze."""
    axes = importer.constant(node, 1).reshape(-1) if importer.has(node, 1) else attributes(node)["axes"]
    sides = list(_file_shape(importer, node))
    for axis in sorted(int(axis) % (len(sides) + len(axes)) for axis in axes):
        sides.insert(axis, 1)
    return _view(importer, node, tuple(sides[1:]))


def shape(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Shape: a constant here, with -1 for an open batch."""
    return np.array(_file_shape(importer, node), np.int64)


def _file_shape(importer: GraphImporter, node: onnx.NodeProto) -> tuple[int, ...]:
    """Shape of the node's first input as the file has it; the batch is -1 if it is open."""
    value = importer.value(node, 0)
    x = value if isinstance(value, Activation) and not value.real else importer.activation(node)
    height, width, channels = importer.shape(x)
    sides = (channels * height * width,) if x.flat else (channels, height, width)
    return (importer.batch or -1, *sides)


def _elements(importer: GraphImporter, node: onnx.NodeProto) -> int:
    return math.prod(_file_shape(importer, node)[1:])


def same(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Identity and Dropout."""
    return importer.value(node, 0)


def softmax(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Softmax, which the host computes."""
    x = importer.activation(node)
    channels = importer.shape(x)[2]
    rank = 2 if x.flat else 4
    if attributes(node).get("axis", -1) % rank != 1 or math.prod(importer.shape(x)) != channels:
        fail(node, "is not over the channels of a vector; mixcim leaves only the last Softmax to the host")
    return replace(x, host=(*x.host, "softmax"))


def qlinear_softmax(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QLinearSoftmax, which the host computes in real numbers."""
    return replace(importer.operand(node, 0), host=("softmax",), real=False)


#: Operator name -> function.
HANDLERS: dict[str, Handler] = {
    "Add": add,
    "AveragePool": average_pool,
    "Clip": clip,
    "Conv": conv,
    "DequantizeLinear": dequantize_linear,
    "Dropout": same,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": same,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Pad": pad,
    "QGemm": qgemm,
    "QLinearAdd": qlinear_add,
    "QLinearAveragePool": qlinear_average_pool,
    "QLinearConv": qlinear_conv,
    "QLinearGlobalAveragePool": qlinear_global_average_pool,
    "QLinearMatMul": qlinear_matmul,
    "QLinearSoftmax": qlinear_softmax,
    "QuantizeLinear": quantize_linear,
    "ReduceMean": reduce_mean,
    "Relu": relu,
    "Reshape": reshape,
    "Shape": shape,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
}
