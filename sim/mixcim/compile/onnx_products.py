"""What mixcim makes of ONNX's convolutions and matrix products."""

from __future__ import annotations

import onnx

from .assemble import Window
from .network import LayerKind
from .onnx_file import attributes
from .onnx_graph import Activation, GraphImporter, Pending, Value, fail, window_of


def conv(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Conv."""
    x = importer.activation(node, 0, rank=4, padded=True)
    bias = importer.value(node, 2) if importer.has(node, 2) else None
    return _conv(importer, node, x, importer.value(node, 1), bias)


def qlinear_conv(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QLinearConv."""
    if attributes(node).get("channels_last", 0):
        fail(node, "is in channels-last form, an optimiser's private format; use the file before optimisation")
    x, weight = importer.operand(node, 0), importer.dequantise(node, 3)
    if (2 if x.flat else 4) != 4:
        fail(node, "has an input of rank 2; mixcim's QLinearConv takes rank 4")
    bias = importer.value(node, 8) if importer.has(node, 8) else None
    return importer.quantised(node, _conv(importer, node, x, weight, bias), 6)


def _conv(importer: GraphImporter, node: onnx.NodeProto, x: Activation, weight: Value, bias: Value | None) -> Pending:
    settings = attributes(node)
    height, width, channels = importer.shape(x)
    codes, scale = importer.weights(node, weight, kernel_axis=0)
    if codes.ndim != 4:
        fail(node, f"has weights of rank {codes.ndim}; mixcim runs two-dimensional convolutions")
    window = window_of(node, codes.shape[2:], height, width, x.padding)
    group = settings.get("group", 1)
    if group == 1:
        kind, codes = LayerKind.CONVOLUTION, codes.transpose(0, 2, 3, 1)
        expected = codes.shape[3]
    elif group == channels == codes.shape[0] and codes.shape[1] == 1:
        kind, codes = LayerKind.DEPTHWISE, codes[:, 0]
        expected = group
    else:
        fail(
            node,
            f"has {group} groups for {channels} channels and {codes.shape[0]} kernels; "
            "mixcim runs one group, or depthwise with one kernel for each channel",
        )
    if expected != channels:
        fail(node, f"has weights for {expected} channels, its input has {channels}")
    pending = Pending(kind, node.name, (x.tensor,), (node.name,), window, weight=codes, weight_scale=scale)
    return pending if bias is None else importer.with_bias(node, pending, bias)


def gemm(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """Gemm."""
    bias = importer.value(node, 2) if importer.has(node, 2) else None
    return _product(importer, node, importer.activation(node, 0, rank=2), importer.value(node, 1), bias)


def qgemm(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QGemm."""
    kernel_axis = 0 if attributes(node).get("transB", 0) else 1
    x, weight = importer.operand(node, 0), importer.dequantise(node, 3, kernel_axis)
    bias = importer.value(node, 6) if importer.has(node, 6) else None
    return importer.quantised(node, _product(importer, node, x, weight, bias), 7)


def matmul(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """MatMul."""
    return _product(importer, node, importer.activation(node, 0, rank=2), importer.value(node, 1), None)


def qlinear_matmul(importer: GraphImporter, node: onnx.NodeProto) -> Value:
    """QLinearMatMul."""
    x, weight = importer.operand(node, 0), importer.dequantise(node, 3, 1)
    return importer.quantised(node, _product(importer, node, x, weight, None), 6)


def _product(
    importer: GraphImporter, node: onnx.NodeProto, x: Activation, weight: Value, bias: Value | None
) -> Pending:
    settings = attributes(node)
    for name, wanted in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if settings.get(name, wanted) != wanted:
            fail(node, f"has {name} = {settings[name]}; mixcim takes {wanted} only, fold it into the weights")
    if not x.flat:
        fail(node, "has an input of rank 4; mixcim multiplies vectors (N, features), put a Flatten before it")
    transposed = bool(settings.get("transB", 0))
    codes, scale = importer.weights(node, weight, kernel_axis=0 if transposed else 1)
    if codes.ndim != 2:
        fail(node, f"has weights of rank {codes.ndim}; mixcim takes a matrix")
    codes = codes if transposed else codes.T
    height, width, channels = importer.shape(x)
    if codes.shape[1] != height * width * channels:
        fail(node, f"has weights for {codes.shape[1]} inputs, its input has {height * width * channels}")
    # The file flattens (C, H, W); the layer's window is the whole input, (H, W, C).
    kernels = codes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    window = Window((height, width), (1, 1))
    pending = Pending(
        LayerKind.CONVOLUTION, node.name, (x.tensor,), (node.name,), window, True, weight=kernels, weight_scale=scale
    )
    return pending if bias is None else importer.with_bias(node, pending, bias)
