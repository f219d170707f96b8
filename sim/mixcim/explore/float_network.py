"""Float ONNX networks, layer by layer, with the matrix product of every layer left to the caller.

Conv and Gemm are products of windows (im2col) and kernels; Add, Relu, GlobalAveragePool and Flatten are done here, in
float32. A tensor is rounded to the activation format when a layer reads it: so bias, residual and Relu of a layer's
output are float32, as in the chip's output pipeline, and are rounded once. An Add belongs to the layer whose output it
takes fresh, the later one of the two; its other operand is read from memory. The network's output stays float32: it
goes to the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, numpy_helper

from ..compile.onnx_file import attributes, graph_inputs, read_onnx
from ..errors import MixcimError

#: float32 (kernels, vectors) from windows (length, vectors) and weights (kernels, length), all float32.
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
Rounded = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LayerShape:
    """Products of one input of the network: a layer has `kernels` x `vectors` dot products of `length` elements."""

    name: str
    length: int
    kernels: int
    vectors: int

    @property
    def multiply_accumulates(self) -> int:
        """Of one input of the network."""
        return self.length * self.kernels * self.vectors


class FloatNetwork:
    """A float network file. Raises MixcimError if it cannot be read or has an operator that is not named above."""

    def __init__(self, path: Path) -> None:
        model = read_onnx(path)
        self.nodes = list(model.graph.node)
        self.constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        self.input, self.output = graph_inputs(model.graph)[0].name, model.graph.output[0].name
        for node in self.nodes:
            if node.op_type not in _OPERATORS:
                known = ", ".join(_OPERATORS)
                raise MixcimError(f"node '{node.name}' is a {node.op_type}; float networks may have {known}")

    def run(self, images: np.ndarray, product: Product, rounded: Rounded) -> np.ndarray:
        """Output, float32 (N, features), for images float32 (N, channels, height, width)."""
        return _Run(self, images, product, rounded).output

    def shapes(self, image: np.ndarray) -> list[LayerShape]:
        """Of the layers with weights, for one image float32 (1, channels, height, width)."""
        found: list[LayerShape] = []
        names = iter([node.name for node in self.nodes if node.op_type in ("Conv", "Gemm")])

        def product(windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
            found.append(LayerShape(next(names), len(windows), len(weights), windows.shape[1]))
            return weights @ windows

        self.run(image, product, lambda values: values)
        return found


class _Run:
    """One evaluation. Tensors are float32, channels first: (channels, N, height, width) or (features, N)."""

    def __init__(self, network: FloatNetwork, images: np.ndarray, product: Product, rounded: Rounded) -> None:
        self.constants, self.product, self.rounded = network.constants, product, rounded
        self.values = {network.input: np.ascontiguousarray(images.swapaxes(0, 1))}
        for node in network.nodes:
            self.values[node.output[0]] = _OPERATORS[node.op_type](self, node, attributes(node))
        self.output = self.values[network.output].swapaxes(0, 1)

    def read(self, name: str) -> np.ndarray:
        """A tensor as it lies in memory."""
        return self.rounded(self.values[name])

    def layer(self, node: NodeProto, windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Product with the layer's weights (kernels, ...), and bias."""
        weights = self.rounded(weights.reshape(len(weights), -1))
        result = self.product(windows, weights)
        return result + self.constants[node.input[2]][:, None] if len(node.input) > 2 else result

    def convolution(self, node: NodeProto, settings: dict[str, Any]) -> np.ndarray:
        weights = self.constants[node.input[1]]
        stride_y, stride_x = settings.get("strides", (1, 1))
        top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
        if settings.get("group", 1) != 1 or set(settings.get("dilations", (1, 1))) != {1} or "auto_pad" in settings:
            raise MixcimError(f"node '{node.name}': groups, dilations and auto_pad are not for float networks")
        padded = np.pad(self.read(node.input[0]), ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[2:], axis=(2, 3))
        windows = windows[:, :, ::stride_y, ::stride_x].transpose(0, 4, 5, 1, 2, 3)
        sides = windows.shape[3:]
        flat = np.ascontiguousarray(windows).reshape(weights[0].size, -1)
        return self.layer(node, flat, weights).reshape(-1, *sides)

    def dense(self, node: NodeProto, settings: dict[str, Any]) -> np.ndarray:
        if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
            raise MixcimError(f"node '{node.name}': transA, alpha and beta are not for float networks")
        weights = self.constants[node.input[1]]
        weights = weights if settings.get("transB", 0) else weights.T
        return self.layer(node, np.ascontiguousarray(self.read(node.input[0])), np.ascontiguousarray(weights))

    def add(self, node: NodeProto, _: dict[str, Any]) -> np.ndarray:
        order = list(self.values)
        stored, fresh = sorted(node.input, key=order.index)
        return self.read(stored) + self.values[fresh]

    def rectify(self, node: NodeProto, _: dict[str, Any]) -> np.ndarray:
        return np.maximum(self.values[node.input[0]], np.float32(0))

    def average(self, node: NodeProto, _: dict[str, Any]) -> np.ndarray:
        values = self.read(node.input[0])
        return values.mean(axis=(2, 3), keepdims=True, dtype=np.float64).astype(np.float32)

    def flatten(self, node: NodeProto, _: dict[str, Any]) -> np.ndarray:
        values = self.values[node.input[0]]
        return values.swapaxes(0, 1).reshape(values.shape[1], -1).T


_OPERATORS: dict[str, Callable[[_Run, NodeProto, dict[str, Any]], np.ndarray]] = {
    "Conv": _Run.convolution,
    "Gemm": _Run.dense,
    "Add": _Run.add,
    "Relu": _Run.rectify,
    "GlobalAveragePool": _Run.average,
    "Flatten": _Run.flatten,
}
