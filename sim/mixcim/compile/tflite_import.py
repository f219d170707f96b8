"""Import an INT8 TFLite network.

TFLite requantises with a 32-bit fixed-point multiplier and rounds twice; a `Network` does it with one float32 product.
A layer's output therefore differs now and then by one from TFLite's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import MixcimError
from .assemble import NetworkBuilder, Weights, Window, checked_quantisation
from .network import LayerKind, Network, Quantisation
from .tflite_file import FileGraph, FileOperator, FileTensor, activation_name, read_tflite

#: Clamp of each fused activation function, in real numbers.
_ACTIVATIONS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
_SAME_PADDING = 0


@dataclass(frozen=True)
class _View:
    """A tensor of the network as an operator sees it. `padding`: (top, left, bottom, right) zeros around it."""

    tensor: str
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    host: tuple[str, ...] = ()


def import_tflite(path: str | Path) -> Network:
    """The quantised network in TFLite file `path`: int8 activations and weights (uint8 at the ends).

    Tensors have the file's names. Raises MixcimError if the file is missing, damaged, not quantised to 8 bits, or has
    an operator or setting that mixcim lacks; the message names the operator.
    """
    graph = read_tflite(path)
    for kind, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if len(indices) != 1:
            raise MixcimError(f"'{path}' has {len(indices)} {kind}s; mixcim runs networks with exactly one")
    if not any(tensor.scale.size for tensor in graph.tensors):
        raise MixcimError(f"'{path}' is a float network; convert it with full-integer (INT8) quantisation")
    return _Importer(graph, Path(path).stem).run()


class _Importer:
    def __init__(self, graph: FileGraph, name: str) -> None:
        self.graph = graph
        self.builder = NetworkBuilder(name)
        self.views: dict[int, _View] = {}
        self.input: str | None = None

    def run(self) -> Network:
        source = self.graph.inputs[0]
        shape = self.graph.tensors[source].shape
        if len(shape) not in (2, 4):
            title = f"input '{self.graph.tensors[source].name}'"
            raise MixcimError(f"{title} has rank {len(shape)}; mixcim takes images (N, H, W, C) or vectors (N, C)")
        if self.graph.tensors[source].dtype != "float32":
            self._enter_input(source)
        for operator in self.graph.operators:
            handler = _HANDLERS.get(operator.kind)
            if handler is None:
                raise MixcimError(
                    f"operator {operator.index} is a {operator.kind}, which mixcim does not support; "
                    f"it runs {', '.join(sorted(_HANDLERS))}"
                )
            handler(self, operator)
        target = self.graph.outputs[0]
        if target not in self.views or self.input is None:
            raise MixcimError(f"output '{self.graph.tensors[target].name}' does not depend on the network's input")
        view = self.views[target]
        output_shape = self.graph.tensors[target].shape[1:]
        layout = "NHWC" if len(shape) == 4 else "NC"
        return self.builder.finish(self.input, view.tensor, layout, shape[1:], output_shape, view.host)

    # Reading.

    def _enter_input(self, index: int) -> None:
        tensor = self.graph.tensors[index]
        sides = self.graph.tensors[self.graph.inputs[0]].shape[1:]
        name = self._name(index)
        height, width, channels = (1, 1, sides[0]) if len(sides) == 1 else sides
        self.builder.add_tensor(name, (height, width, channels), self._quantisation(tensor))
        self.input = name
        self.views[index] = _View(name)

    def _name(self, index: int) -> str:
        """The file's name of the tensor, made unique: the format does not ask for that."""
        name = self.graph.tensors[index].name or f"tensor {index}"
        return name if name not in self.builder.tensors else f"{name} ({index})"

    def _quantisation(self, tensor: FileTensor) -> Quantisation:
        title = f"tensor '{tensor.name}'"
        if tensor.dtype not in ("int8", "uint8"):
            raise MixcimError(
                f"{title} is {tensor.dtype}; mixcim takes int8 activations, convert with INT8 quantisation"
            )
        if tensor.scale.size != 1:
            raise MixcimError(f"{title} has {tensor.scale.size} scales; mixcim takes one for each activation tensor")
        return checked_quantisation(title, float(tensor.scale[0]), int(tensor.zero_point[0]), tensor.dtype == "int8")

    def _view(self, operator: FileOperator, position: int = 0, padded: bool = False) -> _View:
        index = operator.inputs[position]
        if index not in self.views:
            name = self.graph.tensors[index].name
            raise MixcimError(
                f"{operator.title} reads '{name}', which is not a quantised activation that mixcim computes"
            )
        view = self.views[index]
        if view.host:
            raise MixcimError(
                f"{operator.title} comes after a {view.host[-1]}, which the host computes; it must be last"
            )
        if any(view.padding) and not padded:
            raise MixcimError(f"{operator.title} reads the result of a PAD; mixcim pads only what a convolution reads")
        return view

    def _constant(self, operator: FileOperator, position: int) -> np.ndarray:
        tensor = self.graph.tensors[operator.inputs[position]]
        if tensor.values is None:
            raise MixcimError(f"{operator.title} needs a constant '{tensor.name}'")
        return tensor.values

    def _clamp(self, operator: FileOperator, quantisation: Quantisation) -> tuple[int, int]:
        name = activation_name(operator.options.get("FusedActivationFunction", 0))
        if name not in _ACTIVATIONS:
            raise MixcimError(f"{operator.title} has activation {name}; mixcim has {', '.join(_ACTIVATIONS)}")
        low, high = quantisation.limits
        codes = [
            int(
                np.clip(np.rint(np.float32(real) / np.float32(quantisation.scale)) + quantisation.zero_point, low, high)
            )
            for real in _ACTIVATIONS[name]
        ]
        return codes[0], codes[1]

    def _weights(self, operator: FileOperator, kernel_axis: int, layout: Callable[[np.ndarray], np.ndarray]) -> Weights:
        """Weights of the operator; `layout` turns the file's array into `Layer.weight`'s."""
        tensor = self.graph.tensors[operator.inputs[1]]
        values = self._constant(operator, 1)
        rank = 2 if operator.kind == "FULLY_CONNECTED" else 4
        if values.ndim != rank:
            raise MixcimError(f"{operator.title} has weights of shape {values.shape}; it takes rank {rank}")
        if values.dtype != np.int8 or tensor.scale.size == 0:
            raise MixcimError(f"{operator.title} has {tensor.dtype} weights; mixcim takes int8, quantise them")
        if np.any(tensor.zero_point != 0):
            raise MixcimError(
                f"{operator.title} has weights with a zero point other than 0; quantise them symmetrically"
            )
        if not np.all(np.isfinite(tensor.scale) & (tensor.scale > 0)):
            raise MixcimError(f"{operator.title} has a weight scale that is not finite and above 0")
        kernels = values.shape[kernel_axis]
        if tensor.scale.size not in (1, kernels) or (tensor.scale.size > 1 and tensor.axis != kernel_axis):
            raise MixcimError(f"{operator.title} has {tensor.scale.size} weight scales along axis {tensor.axis}")
        bias = np.zeros(kernels, np.int32)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = self._constant(operator, 2)
            if bias.dtype != np.int32 or bias.size != kernels:
                raise MixcimError(f"{operator.title} has {bias.size} {bias.dtype} biases; mixcim takes {kernels} int32")
        return Weights(layout(values), np.broadcast_to(tensor.scale, (kernels,)), bias.reshape(-1))

    # Writing.

    def _layer(
        self, operator: FileOperator, kind: LayerKind, view: _View, window: Window, weights: Weights | None = None
    ) -> None:
        index = operator.outputs[0]
        name, quantisation = self._name(index), self._quantisation(self.graph.tensors[index])
        clamp = self._clamp(operator, quantisation)
        title = f"{operator.kind.lower()}_{operator.index}"
        self.builder.add_layer(kind, title, view.tensor, name, quantisation, window, weights, clamp, (operator.title,))
        self.views[index] = _View(name)
        written, declared = self.builder.tensors[name].shape, self.graph.tensors[index].shape
        if math.prod(declared[1:]) != math.prod(written):
            raise MixcimError(f"{operator.title} writes shape {written}, the file says {declared}; the file is damaged")

    def _window(self, operator: FileOperator, view: _View, kernel: tuple[int, int]) -> Window:
        options = operator.options
        dilation = (options.get("DilationHFactor", 1), options.get("DilationWFactor", 1))
        if dilation != (1, 1):
            raise MixcimError(f"{operator.title} has dilation {dilation}; mixcim takes 1 only")
        window = Window(kernel, (options["StrideH"], options["StrideW"]))
        if min(*window.kernel, *window.stride) < 1:
            raise MixcimError(f"{operator.title} has kernel {kernel} and stride {window.stride}; the file is damaged")
        height, width, _ = self.builder.tensors[view.tensor].shape
        top, left, bottom, right = view.padding
        if options["Padding"] == _SAME_PADDING:
            window = window.padded_same(height + top + bottom, width + left + right)
        return window.with_more_padding(view.padding)

    def convolution(self, operator: FileOperator) -> None:
        view = self._view(operator, padded=True)
        weights = self._weights(operator, 0, lambda values: values)
        channels = self.builder.tensors[view.tensor].shape[2]
        if weights.values.ndim != 4 or weights.values.shape[3] != channels:
            raise MixcimError(
                f"{operator.title} has weights of shape {weights.values.shape} for {channels} channels; "
                "mixcim runs convolutions with one group"
            )
        _, height, width, _ = weights.values.shape
        self._layer(operator, LayerKind.CONVOLUTION, view, self._window(operator, view, (height, width)), weights)

    def depthwise(self, operator: FileOperator) -> None:
        view = self._view(operator, padded=True)
        channels = self.builder.tensors[view.tensor].shape[2]
        weights = self._weights(operator, 3, lambda values: values[0].transpose(2, 0, 1))
        kernels, height, width = weights.values.shape
        kind = LayerKind.DEPTHWISE
        if channels == 1:
            # One channel seen by many kernels is an ordinary convolution.
            kind, weights = LayerKind.CONVOLUTION, replace(weights, values=weights.values[..., None])
        elif kernels != channels:
            raise MixcimError(
                f"{operator.title} has {kernels} kernels for {channels} channels; mixcim takes one for each"
            )
        self._layer(operator, kind, view, self._window(operator, view, (height, width)), weights)

    def fully_connected(self, operator: FileOperator) -> None:
        view = self._view(operator)
        height, width, channels = self.builder.tensors[view.tensor].shape
        if operator.options["WeightsFormat"] != 0:
            raise MixcimError(f"{operator.title} has shuffled weights; convert the network with default settings")
        inputs = self._constant(operator, 1).shape[-1]
        if inputs != height * width * channels:
            raise MixcimError(f"{operator.title} has weights for {inputs} inputs, it reads {height * width * channels}")
        weights = self._weights(operator, 0, lambda values: values.reshape(-1, height, width, channels))
        self._layer(operator, LayerKind.CONVOLUTION, view, Window((height, width)), weights)

    def add(self, operator: FileOperator) -> None:
        first, second = self._view(operator, 0), self._view(operator, 1)
        index = operator.outputs[0]
        name, quantisation = self._name(index), self._quantisation(self.graph.tensors[index])
        clamp = self._clamp(operator, quantisation)
        title = f"add_{operator.index}"
        self.builder.add_sum(title, first.tensor, second.tensor, name, quantisation, clamp, (operator.title,))
        self.views[index] = _View(name)

    def max_pool(self, operator: FileOperator) -> None:
        view = self._view(operator)
        kernel = (operator.options["FilterHeight"], operator.options["FilterWidth"])
        self._layer(operator, LayerKind.MAX_POOL, view, self._window(operator, view, kernel))

    def average_pool(self, operator: FileOperator) -> None:
        view = self._view(operator)
        window = self._window(operator, view, (operator.options["FilterHeight"], operator.options["FilterWidth"]))
        if any(window.padding):
            raise MixcimError(
                f"{operator.title} leaves its padding out of the average; mixcim averages whole windows only"
            )
        self._layer(operator, LayerKind.AVERAGE_POOL, view, window)

    def mean(self, operator: FileOperator) -> None:
        view = self._view(operator)
        rank = len(self.graph.tensors[operator.inputs[0]].shape)
        axes = sorted(int(axis) % rank for axis in self._constant(operator, 1).reshape(-1))
        if rank != 4 or axes != [1, 2]:
            raise MixcimError(
                f"{operator.title} averages over axes {axes}; mixcim averages over height and width, [1, 2]"
            )
        height, width, _ = self.builder.tensors[view.tensor].shape
        self._layer(operator, LayerKind.AVERAGE_POOL, view, Window((height, width)))

    def clamp(self, operator: FileOperator) -> None:
        function = replace(operator, options={"FusedActivationFunction": {"RELU": 1, "RELU6": 3}[operator.kind]})
        self._layer(function, LayerKind.IDENTITY, self._view(operator), Window())

    def reshape(self, operator: FileOperator) -> None:
        view = self._view(operator)
        height, width, channels = self.builder.tensors[view.tensor].shape
        sides = self.graph.tensors[operator.outputs[0]].shape[1:]
        flat = (height * width * channels,)
        allowed = {(height, width, channels), flat} | ({(1, 1, *flat)} if height == width == 1 else set())
        if sides not in allowed:
            raise MixcimError(f"{operator.title} reshapes {(height, width, channels)} to {sides}; mixcim flattens only")
        self.views[operator.outputs[0]] = view

    def pad(self, operator: FileOperator) -> None:
        view = self._view(operator, padded=True)
        amounts = self._constant(operator, 1)
        if amounts.shape != (4, 2) or np.any(amounts[[0, 3]] != 0) or np.any(amounts < 0):
            raise MixcimError(
                f"{operator.title} has paddings {amounts.tolist()}; mixcim pads height and width of an image"
            )
        (top, bottom), (left, right) = ((int(a), int(b)) for a, b in amounts[1:3])
        extra = (top, left, bottom, right)
        padding = tuple(a + b for a, b in zip(view.padding, extra, strict=True))
        self.views[operator.outputs[0]] = replace(view, padding=padding)

    def softmax(self, operator: FileOperator) -> None:
        view = self._view(operator)
        self.views[operator.outputs[0]] = replace(view, host=("softmax",))

    def quantize(self, operator: FileOperator) -> None:
        source, target = operator.inputs[0], operator.outputs[0]
        if source == self.graph.inputs[0] and self.graph.tensors[source].dtype == "float32":
            self._enter_input(target)
            return
        if source in self.views and self.views[source].host:
            # What the host computes stays real: how the file quantises it does not matter.
            self.views[target] = self.views[source]
            return
        self._layer(operator, LayerKind.IDENTITY, self._view(operator), Window())

    def dequantize(self, operator: FileOperator) -> None:
        if operator.outputs[0] != self.graph.outputs[0]:
            raise MixcimError(f"{operator.title} is not the last operator; mixcim runs wholly quantised networks")
        source = operator.inputs[0]
        self.views[operator.outputs[0]] = self.views[source] if source in self.views else self._view(operator)


#: Operator kind -> method.
_HANDLERS: dict[str, Callable[[_Importer, FileOperator], None]] = {
    "ADD": _Importer.add,
    "AVERAGE_POOL_2D": _Importer.average_pool,
    "CONV_2D": _Importer.convolution,
    "DEPTHWISE_CONV_2D": _Importer.depthwise,
    "DEQUANTIZE": _Importer.dequantize,
    "FULLY_CONNECTED": _Importer.fully_connected,
    "MAX_POOL_2D": _Importer.max_pool,
    "MEAN": _Importer.mean,
    "PAD": _Importer.pad,
    "QUANTIZE": _Importer.quantize,
    "RELU": _Importer.clamp,
    "RELU6": _Importer.clamp,
    "RESHAPE": _Importer.reshape,
    "SOFTMAX": _Importer.softmax,
}
