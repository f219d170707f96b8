"""Walk an ONNX graph and build a `Network`; what each operator does is in onnx_operators.py.

The graph is walked once, in order. Every value is one of: a constant; an `Activation`, which is an integer tensor of
the network seen as integers or as reals; or a `Pending` layer, whose real result becomes a tensor when a
QuantizeLinear says how. A QOperator is the same three steps - dequantise, compute, quantise - in one node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import MixcimError
from .assemble import NetworkBuilder, Weights, Window, checked_quantisation
from .network import FloatArithmetic, LayerKind, Network, Quantisation
from .onnx_file import (
    ELEMENT_TYPES,
    attributes,
    check_constant,
    declared_shape,
    fold,
    graph_inputs,
    input_shape,
)

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Activation:
    """A tensor of the network as a node sees it. `real`: dequantised. `flat`: (N, features), in the order C, H, W.

    `padding`: (top, left, bottom, right) zeros around it. `host`: what the host does to it afterwards.
    """

    tensor: str
    real: bool
    flat: bool = False
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    host: tuple[str, ...] = ()


@dataclass(frozen=True)
class FloatInput:
    """The network's input before its QuantizeLinear. `shape`: as in the file, without the batch."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class QuantisedConstant:
    """A dequantised constant: (codes - zero_point) * scale; scale has one entry, or one for each index of `axis`."""

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        """The values, float32."""
        sides = [1] * self.codes.ndim
        if self.scale.size > 1:
            sides[self.axis] = self.scale.size
        centred = self.codes.astype(np.int64) - self.zero_point.astype(np.int64).reshape(sides)
        return centred.astype(np.float32) * self.scale.reshape(sides)


@dataclass(frozen=True)
class Pending:
    """A layer whose result is not quantised yet. `inputs`: one tensor, or the two that an Add adds.

    `weight`: int8 as in `Layer.weight`, `weight_scale`: float32 (kernels,), `bias`: int32 (kernels,) or None so far; of
    a real network float32 all three. `low`, `high`: clamp in real numbers. `position`: of its first node in the graph,
    of a real network.
    """

    kind: LayerKind
    name: str
    inputs: tuple[str, ...]
    source: tuple[str, ...]
    window: Window = Window()
    flat: bool = False
    weight: np.ndarray | None = None
    weight_scale: np.ndarray | None = None
    bias: np.ndarray | None = None
    low: float = -np.inf
    high: float = np.inf
    position: int | None = None


Value = np.ndarray | QuantisedConstant | Activation | FloatInput | Pending


def fail(node: onnx.NodeProto, message: str) -> NoReturn:
    """Raise MixcimError about `node`."""
    raise MixcimError(f"node '{node.name or node.output[0]}' ({node.op_type}) {message}")


def unsupported(node: onnx.NodeProto, operators: Iterable[str]) -> MixcimError:
    """The error for a node whose operator is not among those that mixcim runs."""
    return MixcimError(
        f"node '{node.name or node.output[0]}' is a {node.op_type}, which mixcim does not support; "
        f"it runs {', '.join(sorted(operators))}"
    )


#: Computes the value of a node's first output.
Handler = Callable[["GraphImporter", onnx.NodeProto], Value]


class GraphImporter:
    """Builds the network of `model`, operator by operator with `handlers` (operator name -> function)."""

    def __init__(self, model: onnx.ModelProto, name: str, handlers: dict[str, Handler]) -> None:
        self.model = model
        self.handlers = handlers
        self.batch: int | None = None
        self.builder = NetworkBuilder(name)
        self.values: dict[str, Value] = {}
        self.integer_input: tuple[str, np.dtype] | None = None
        self.input: str | None = None
        self.file_shape: tuple[int, ...] = ()

    def run(self) -> Network:
        """The network. Raises MixcimError where the graph has what mixcim lacks."""
        graph = self.model.graph
        for initializer in graph.initializer:
            self.values[initializer.name] = numpy_helper.to_array(initializer)
        source = graph_inputs(graph)[0]
        self.file_shape = input_shape(source)
        self.batch = declared_shape(source)[0]
        element = ELEMENT_TYPES[source.type.tensor_type.elem_type]
        if element == np.float32:
            self.values[source.name] = FloatInput(source.name, self.file_shape)
        else:
            self.integer_input = (source.name, element)
            self.values[source.name] = Activation(source.name, real=False, flat=len(self.file_shape) == 1)
        for node in graph.node:
            self._node(node)
        return self._finish(graph.output[0].name)

    def _finish(self, name: str) -> Network:
        output = self.values.get(name)
        if isinstance(output, Pending):
            raise MixcimError(f"output '{name}' is not quantised; put a QuantizeLinear after layer '{output.name}'")
        if not isinstance(output, Activation) or self.input is None:
            raise MixcimError(f"output '{name}' does not depend on the network's input")
        if any(output.padding):
            raise MixcimError(f"output '{name}' is a Pad; mixcim pads only what a window operator reads")
        height, width, channels = self.builder.tensors[output.tensor].shape
        return self.builder.finish(
            self.input,
            output.tensor,
            "NCHW" if len(self.file_shape) == 3 else "NC",
            self.file_shape,
            (channels * height * width,) if output.flat else (channels, height, width),
            output.host,
        )

    def _node(self, node: onnx.NodeProto) -> None:
        inputs = [self.value(node, index) for index, name in enumerate(node.input) if name]
        constants = [value for value in inputs if isinstance(value, np.ndarray)]
        if node.op_type == "Constant":
            value = attributes(node).get("value")
            if not isinstance(value, onnx.TensorProto):
                fail(node, "has no tensor value; export it as an initializer")
            result: Value = numpy_helper.to_array(value)
        elif len(constants) == len(inputs) and node.op_type != "DequantizeLinear":
            result = fold(node, constants, list(self.model.opset_import))
        else:
            handler = self.handlers.get(node.op_type)
            if handler is None:
                raise unsupported(node, self.handlers)
            result = handler(self, node)
        if isinstance(result, np.ndarray):
            check_constant(node.output[0], result)
        self.values[node.output[0]] = result

    # Reading a node's inputs.

    def value(self, node: onnx.NodeProto, index: int) -> Value:
        """Input `index` of the node."""
        name = node.input[index]
        if name not in self.values:
            fail(node, f"reads '{name}', which mixcim does not compute")
        return self.values[name]

    def has(self, node: onnx.NodeProto, index: int) -> bool:
        """Whether the node has its optional input `index`."""
        return len(node.input) > index and bool(node.input[index])

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray:
        """Input `index`, which must be a constant."""
        value = self.value(node, index)
        if not isinstance(value, np.ndarray):
            fail(node, f"needs a constant for its input '{node.input[index]}'")
        return value

    def activation(self, node: onnx.NodeProto, index: int = 0, rank: int = 0, padded: bool = False) -> Activation:
        """Input `index` as a dequantised activation. `rank`: 2 or 4 if it must have that rank. `padded`: may be
        padded.
        """
        value = self.value(node, index)
        if isinstance(value, FloatInput | Pending):
            value = self.unquantised(node, node.input[index], value)
        if not isinstance(value, Activation):
            fail(node, f"needs an activation for its input '{node.input[index]}', not a constant")
        if value.host:
            fail(node, f"comes after a {value.host[-1]}, which the host computes; it must be the last operator")
        if rank and (2 if value.flat else 4) != rank:
            fail(node, f"has an input of rank {2 if value.flat else 4}; mixcim's {node.op_type} takes rank {rank}")
        if any(value.padding) and not padded:
            fail(node, "reads the result of a Pad; mixcim pads only what a Conv or AveragePool reads")
        return value

    def unquantised(self, node: onnx.NodeProto, name: str, value: FloatInput | Pending) -> Activation:
        """Tensor `name` of a value that the node reads without quantisation. A quantised network has none: it fails."""
        if isinstance(value, FloatInput):
            fail(node, f"reads the input '{value.name}' unquantised; put a QuantizeLinear before it")
        fail(node, f"reads the result of layer '{value.name}' unquantised; put a QuantizeLinear between them")

    def shape(self, value: Activation) -> tuple[int, int, int]:
        """(height, width, channels) of the tensor, without the padding around it."""
        return self.builder.tensors[value.tensor].shape

    def parameters(self, node: onnx.NodeProto, scale_index: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point that the node has at inputs `scale_index` and the next."""
        scale = self.constant(node, scale_index)
        if scale.dtype != np.float32:
            fail(node, f"has a {scale.dtype} scale '{node.input[scale_index]}'; mixcim takes float32 scales")
        if self.has(node, scale_index + 1):
            return scale.reshape(-1), self.constant(node, scale_index + 1).reshape(-1)
        return scale.reshape(-1), np.zeros(scale.size, np.uint8)

    def quantisation(self, node: onnx.NodeProto, scale_index: int) -> Quantisation:
        """The same for an activation, which has one scale and an 8-bit zero point."""
        scale, zero_point = self.parameters(node, scale_index)
        if scale.size != 1:
            fail(node, f"quantises an activation with {scale.size} scales; mixcim takes one for each tensor")
        if zero_point.dtype not in (np.uint8, np.int8):
            fail(node, f"quantises an activation to {zero_point.dtype}; mixcim takes uint8 and int8")
        thing = f"node '{node.name or node.output[0]}'"
        return checked_quantisation(thing, float(scale[0]), int(zero_point[0]), zero_point.dtype == np.int8)

    # The three steps of every layer.

    def dequantise(self, node: onnx.NodeProto, index: int = 0, axis: int = 0) -> Activation | QuantisedConstant:
        """Input `index` of the node, dequantised with the parameters in the two inputs that follow it.

        `axis`: dimension of a constant along which it has several scales.
        """
        value = self.value(node, index)
        if isinstance(value, np.ndarray):
            scale, zero_point = self.parameters(node, index + 1)
            if not np.all(np.isfinite(scale) & (scale > 0)):
                fail(node, f"has a scale in '{node.input[index + 1]}' that is not finite and above 0")
            return QuantisedConstant(value, scale, zero_point, axis % max(value.ndim, 1))
        if not isinstance(value, Activation) or value.real:
            fail(node, f"dequantises '{node.input[index]}', which is not quantised")
        quantisation = self.quantisation(node, index + 1)
        if self.integer_input and value.tensor == self.integer_input[0] and self.input is None:
            name, element = self.integer_input
            if quantisation.signed != (element == np.int8):
                fail(node, f"reads the {element} input '{name}' with a zero point of another type")
            self.builder.add_tensor(name, image_shape(self.file_shape), quantisation)
            self.input = name
        written = self.builder.tensors[value.tensor].quantisation
        if not value.host and written != quantisation:
            fail(node, f"reads tensor '{value.tensor}' as {quantisation}, but it was written as {written}")
        return replace(value, real=True)

    def quantise(self, node: onnx.NodeProto, value: Value, quantisation: Quantisation, name: str) -> Activation:
        """Turn a real value into integer tensor `name`."""
        if isinstance(value, FloatInput):
            if self.input is None:
                self.builder.add_tensor(name, image_shape(value.shape), quantisation)
                self.input = name
            elif self.builder.tensors[self.input].quantisation != quantisation:
                fail(node, f"quantises the input '{value.name}' a second time and differently; quantise it once")
            return Activation(self.input, real=False, flat=len(value.shape) == 1)
        if isinstance(value, Activation):
            if not value.real:
                fail(node, f"quantises '{value.tensor}', which is quantised already")
            if value.host or self.builder.tensors[value.tensor].quantisation == quantisation:
                return replace(value, real=False)
            if any(value.padding):
                fail(node, "quantises the result of a Pad differently from what it pads; use the same scale")
            value = Pending(LayerKind.IDENTITY, node.name, (value.tensor,), (node.name,), flat=value.flat)
        if not isinstance(value, Pending):
            fail(node, f"cannot quantise '{node.input[0]}'")
        self.append(value, name, quantisation, clamp_codes(value.low, value.high, quantisation))
        return Activation(name, real=False, flat=value.flat)

    def append(
        self,
        value: Pending,
        name: str,
        quantisation: Quantisation,
        clamp: tuple[int, int],
        floating: FloatArithmetic | None = None,
    ) -> None:
        """Append a pending layer to the network; it writes tensor `name`."""
        if len(value.inputs) == 2:
            first, second = value.inputs
            self.builder.add_sum(value.name, first, second, name, quantisation, clamp, value.source, floating)
            return
        weights = None
        if value.weight is not None and value.weight_scale is not None:
            bias = np.zeros(len(value.weight), np.int32 if floating is None else np.float32)
            bias = bias if value.bias is None else value.bias
            weights = Weights(value.weight, value.weight_scale, bias)
        self.builder.add_layer(
            value.kind,
            value.name,
            value.inputs[0],
            name,
            quantisation,
            value.window,
            weights,
            clamp,
            value.source,
            floating,
        )

    # Weights and biases.

    def weights(self, node: onnx.NodeProto, weight: Value, kernel_axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights as int8 codes in the file's layout, and their float32 scale for each kernel."""
        if not isinstance(weight, QuantisedConstant):
            fail(
                node,
                "has weights that are not quantised constants; quantise them to int8 (QuantizeLinear, "
                "DequantizeLinear)",
            )
        codes, zero_point = weight.codes, weight.zero_point.astype(np.int64)
        if codes.dtype == np.uint8 and np.all(zero_point == 128):
            codes, zero_point = (codes.astype(np.int16) - 128).astype(np.int8), zero_point - 128
        if codes.dtype != np.int8:
            fail(
                node,
                f"has {codes.dtype} weights with zero point {zero_point.flat[0]}; mixcim takes int8 (or uint8 around "
                "128)",
            )
        if np.any(zero_point != 0):
            fail(node, f"has weights with zero point {zero_point[zero_point != 0][0]}; quantise weights symmetrically")
        kernels = codes.shape[kernel_axis % codes.ndim]
        if weight.scale.size > 1 and (weight.axis != kernel_axis or weight.scale.size != kernels):
            fail(
                node,
                f"has {weight.scale.size} weight scales along axis {weight.axis}; mixcim takes one, or one for each "
                "kernel",
            )
        return codes, np.broadcast_to(weight.scale, (kernels,)).astype(np.float32)

    def with_bias(self, node: onnx.NodeProto, pending: Pending, bias: Value) -> Pending:
        """The layer with a bias: int32 codes (unit: input scale x weight scale), or reals, which are rounded."""
        assert pending.weight is not None and pending.weight_scale is not None
        kernels = len(pending.weight)
        unit = np.float32(self.builder.tensors[pending.inputs[0]].quantisation.scale) * pending.weight_scale
        if isinstance(bias, QuantisedConstant):
            if bias.codes.dtype != np.int32:
                values = np.rint(bias.real().reshape(-1).astype(np.float64) / unit)
            elif not np.allclose(bias.scale, unit if bias.scale.size > 1 else unit[:1], rtol=1e-3, atol=0):
                fail(node, f"has a bias scale {bias.scale[0]} that is not input scale x weight scale, {unit[0]}")
            else:
                values = (bias.codes.astype(np.int64) - bias.zero_point).reshape(-1)
        elif isinstance(bias, np.ndarray):
            flat = bias.reshape(-1)
            values = flat.astype(np.int64) if flat.dtype == np.int32 else np.rint(flat.astype(np.float64) / unit)
        else:
            fail(node, "has a bias that is not a constant")
        if values.size not in (1, kernels):
            fail(node, f"has {values.size} biases for {kernels} kernels")
        if np.any(values < _INT32.min) or np.any(values > _INT32.max):
            fail(node, "has a bias beyond 32 bits; the kernel's weight scale is too small, quantise again")
        return replace(pending, bias=np.broadcast_to(values, (kernels,)).astype(np.int32))

    # The first and the last step of a QOperator.

    def operand(self, node: onnx.NodeProto, index: int) -> Activation:
        """Activation at input `index` of a QOperator, dequantised with the parameters that follow it."""
        x = self.dequantise(node, index)
        if not isinstance(x, Activation):
            fail(node, f"needs an activation for its input '{node.input[index]}', not a constant")
        if x.host:
            fail(node, f"comes after a {x.host[-1]}, which the host computes; it must be the last operator")
        if any(x.padding) and node.op_type not in ("QLinearConv", "QLinearAveragePool"):
            fail(node, "reads the result of a Pad; mixcim pads only what a convolution or average pool reads")
        return x

    def quantised(self, node: onnx.NodeProto, pending: Pending, scale_index: int) -> Activation:
        """Result of a QOperator, quantised with the parameters at input `scale_index` and the next."""
        return self.quantise(node, pending, self.quantisation(node, scale_index), node.output[0])


def window_of(
    node: onnx.NodeProto, kernel: tuple[int, ...], height: int, width: int, extra: tuple[int, int, int, int]
) -> Window:
    """The node's window on an input of that size with `extra` zeros around it; its padding includes `extra`."""
    settings = attributes(node)
    for name, length in (("strides", 2), ("pads", 4), ("dilations", 2)):
        if len(settings.get(name, range(length))) != length:
            fail(node, f"has {name} {list(settings[name])}; mixcim slides windows in two dimensions")
    if min(*kernel, *settings.get("strides", (1, 1))) < 1:
        fail(
            node, f"has kernel {list(kernel)} and strides {list(settings.get('strides', (1, 1)))}; both must be above 0"
        )
    if any(step != 1 for step in settings.get("dilations", (1, 1))):
        fail(node, f"has dilations {list(settings['dilations'])}; mixcim takes 1 only")
    strides = tuple(settings.get("strides", (1, 1)))
    window = Window((kernel[0], kernel[1]), (strides[0], strides[1]))
    height, width = height + extra[0] + extra[2], width + extra[1] + extra[3]
    automatic = settings.get("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        window = window.padded_same(height, width, automatic == "SAME_UPPER")
    elif automatic == "NOTSET":
        pads = settings.get("pads", (0, 0, 0, 0))
        window = replace(window, padding=(pads[0], pads[1], pads[2], pads[3]))
    if min(window.padding) < 0:
        fail(node, f"has negative padding {list(window.padding)}; mixcim does not crop")
    if settings.get("ceil_mode", 0):
        top, left, bottom, right = window.padding
        leftover = ((height + top + bottom - kernel[0]) % strides[0], (width + left + right - kernel[1]) % strides[1])
        if any(leftover):
            fail(node, "has ceil_mode = 1 and a last window that is cut off; use ceil_mode = 0 or padding")
    return window.with_more_padding(extra)


def image_shape(file_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of an input that the file has as (channels, height, width) or (channels,)."""
    channels, height, width = file_shape if len(file_shape) == 3 else (file_shape[0], 1, 1)
    return height, width, channels


def clamp_codes(low: float, high: float, quantisation: Quantisation) -> tuple[int, int]:
    """Codes of the ends of a clamp to reals. Quantisation is monotone, so clamping the codes is clamping the reals."""
    least, most = quantisation.limits
    codes = []
    for real in (low, high):
        code = np.rint(np.float32(real) / np.float32(quantisation.scale)) + quantisation.zero_point
        codes.append(int(np.clip(code, least, most)))
    return codes[0], codes[1]
