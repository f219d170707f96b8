"""Give the layers of a real network (float_import.py) their number formats (formats.py).

A layer with integer inputs, weights, residual and output becomes an ordinary integer layer; any other a floating one.

Weights. Integers: symmetric, one scale for each kernel, its largest magnitude / 127 (7 for int4), rounded half to even.
Floating point: rounded once to the format, then aligned to the largest exponent of the kernel. FP8 has few exponents:
each kernel is first multiplied by a power of two, such that its largest magnitude lies as high in the format's range
as it can without overflow; the layer's `scale` takes the power back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mixcim_hdl.floating import ElementFormat, FloatFormat, Rounding
from mixcim_hdl.formats import ACTIVATION_BITS

from ..errors import MixcimError
from ..model import floating
from .calibrate import Range, range_quantisation
from .float_import import RealNetwork
from .formats import FP16, INT8, Formats, LayerFormat, NumberFormat
from .network import EXACT, FloatArithmetic, Layer, LayerKind, Network, Quantisation, Tensor
from .onnx_graph import clamp_codes

_LARGEST_BIAS = 1 << 30  #: of an integer layer: int32 with room for the sum


def tensor_formats(network: Network, formats: Formats) -> dict[str, NumberFormat]:
    """Format of every tensor. Raises MixcimError where two layers read one tensor in different formats."""
    layers = formats.of(network)
    chosen: dict[str, NumberFormat] = {}
    readers: dict[str, str] = {}
    for layer in network.layers:
        wanted = layers[layer.name].inputs
        if chosen.setdefault(layer.input, wanted) != wanted:
            raise MixcimError(
                f"layers '{readers[layer.input]}' and '{layer.name}' read tensor '{layer.input}' as "
                f"{chosen[layer.input].name} and {wanted.name}; give both the same input format"
            )
        readers.setdefault(layer.input, layer.name)
    for layer in network.layers:
        if layer.residual is not None:
            chosen.setdefault(layer.residual.tensor, layers[layer.name].inputs)
    last = next(layer for layer in network.layers if layer.output == network.output)
    wanted = formats.output or _output_format(layers[last.name])
    if chosen.setdefault(network.output, wanted) != wanted and formats.output:
        raise MixcimError(
            f"output '{network.output}' is {wanted.name}, but layer '{readers.get(network.output, last.name)}' reads "
            f"it as {chosen[network.output].name}; leave --output-format out or give both the same format"
        )
    return chosen


def integer_values(real: RealNetwork, formats: Formats) -> list[str]:
    """Values of the network file that are to be quantised to integers, and so need a range."""
    elements = tensor_formats(real.network, formats)
    layer_formats = formats.of(real.network)
    names = [name for name, item in elements.items() if item.element is ElementFormat.INTEGER]
    for layer in real.network.layers:
        if _has_summand(layer) and _is_integer(layer, layer_formats[layer.name], elements):
            names.append(real.summands[layer.name])
    return names


def with_formats(real: RealNetwork, formats: Formats, ranges: Mapping[str, Range]) -> Network:
    """The network with its formats. `ranges`: of `integer_values`.

    Raises MixcimError for a rule that does not fit the network, and weights beyond their format.
    """
    network = real.network
    elements, layer_formats = tensor_formats(network, formats), formats.of(network)
    tensors = {}
    for name, tensor in network.tensors.items():
        item = elements[name]
        quantisation = EXACT
        if item.element is ElementFormat.INTEGER:
            quantisation = range_quantisation(name, ranges[name], item.largest_code)
        tensors[name] = replace(tensor, quantisation=quantisation, format=item.element)
    layers = []
    for layer in network.layers:
        item, largest_code = layer_formats[layer.name], elements[layer.output].largest_code
        if _is_integer(layer, item, elements):
            own = tensors[layer.output].quantisation
            if _has_summand(layer):
                name = real.summands[layer.name]
                own = range_quantisation(name, ranges[name], INT8.largest_code)
            elif layer.residual is not None:
                own = tensors[layer.input].quantisation
            layers.append(_integer_layer(layer, item, tensors, own, largest_code))
        else:
            layers.append(_floating_layer(layer, item, tensors, formats, largest_code))
    return replace(network, tensors=tensors, layers=layers)


def _output_format(layer: LayerFormat) -> NumberFormat:
    if layer.inputs.element is ElementFormat.INTEGER:
        return INT8
    return layer.inputs if layer.inputs.bits == FP16.bits else FP16


def _has_summand(layer: Layer) -> bool:
    """Whether the layer computes something before its Add; a lone Add adds its input as it is."""
    return layer.residual is not None and layer.kind is not LayerKind.IDENTITY


def _is_integer(layer: Layer, item: LayerFormat, elements: Mapping[str, NumberFormat]) -> bool:
    """Whether nothing that the layer reads, weighs with or writes is floating point."""
    parts = [elements[layer.input], elements[layer.output]]
    if layer.residual is not None:
        parts.append(elements[layer.residual.tensor])
    if layer.weight is not None:
        parts.append(item.weights)
    return all(part.element is ElementFormat.INTEGER for part in parts)


def _integer_layer(
    layer: Layer, item: LayerFormat, tensors: Mapping[str, Tensor], own: Quantisation, largest_code: int
) -> Layer:
    """`own`: quantisation before the Add, or of the output. Clamps as the output's quantisation has them."""
    assert layer.floating is not None
    input_scale = np.float32(tensors[layer.input].quantisation.scale)
    output = tensors[layer.output].quantisation
    low, high = clamp_codes(*layer.floating.limits, output)
    clamp = (min(low, largest_code), min(high, largest_code))
    residual = layer.residual and replace(layer.residual, quantisation=own, clamp=own.limits)
    result = replace(layer, clamp=clamp, residual=residual, floating=None)
    if layer.weight is None:
        return replace(
            result, bias=layer.bias.astype(np.int32), scale=input_scale * layer.scale / np.float32(own.scale)
        )
    # A kernel of next to nothing with a bias: its unit is as coarse as the bias needs.
    smallest = np.abs(layer.bias.astype(np.float64)) / (float(input_scale) * _LARGEST_BIAS)
    weight, weight_scale = _integer_weights(layer.weight, item.weights.largest_weight, smallest)
    bias = np.rint(layer.bias.astype(np.float64) / (input_scale * weight_scale)).astype(np.int32)
    return replace(
        result, weight=weight.astype(np.int8), bias=bias, scale=input_scale * weight_scale / np.float32(own.scale)
    )


def _floating_layer(
    layer: Layer, item: LayerFormat, tensors: Mapping[str, Tensor], formats: Formats, largest_code: int
) -> Layer:
    assert layer.floating is not None
    source = tensors[layer.input]
    bits = formats.aligned_bits
    if source.format is ElementFormat.INTEGER:
        bits = ACTIVATION_BITS + 1  # code - zero point
    arithmetic = FloatArithmetic(
        ElementFormat.INTEGER if layer.weight is None else item.weights.element,
        bits,
        formats.rounding,
        layer.floating.limits,
    )
    clamp = (0, largest_code) if tensors[layer.output].format is ElementFormat.INTEGER else EXACT.limits
    weight, scale = layer.weight, layer.scale
    if weight is not None:
        if item.weights.element.floating is None:
            weight, scale = _integer_weights(weight, item.weights.largest_weight, np.zeros(len(weight)))
        else:
            weight, scale = aligned_weights(
                weight, item.weights.element.floating, formats.weight_aligned_bits, formats.rounding, layer.name
            )
    scale = np.float32(source.quantisation.scale) * scale
    return replace(layer, weight=weight, scale=scale, clamp=clamp, floating=arithmetic)


def _integer_weights(values: np.ndarray, largest: int, smallest_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers int32 of real weights (kernels, ...), and float32 scale (kernels,), at least `smallest_scale`."""
    magnitude = np.abs(values.reshape(len(values), -1).astype(np.float64)).max(axis=1)
    scale = np.maximum(magnitude / largest, smallest_scale).astype(np.float32)
    scale[scale == 0] = 1
    codes = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1)))
    return np.clip(codes, -largest, largest).astype(np.int32), scale


def aligned_weights(
    values: np.ndarray, format: FloatFormat, aligned_bits: int, rounding: Rounding, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Integers int32 of real weights (kernels, ...) in a format, and float32 worth of one of them, (kernels,).

    Raises MixcimError, with the layer's `name`, for weights beyond the format.
    """
    flat = values.reshape(len(values), -1)
    power = np.zeros(len(values), np.int32)
    if format.bits == 8:
        largest = np.abs(flat).max(axis=1)
        power = np.where(largest > 0, np.frexp(largest)[1] - 1 - format.largest_exponent, 0)
        power += np.ldexp(largest, -power) > format.largest
    patterns = floating.encode(np.ldexp(flat, -power[:, None]), format)
    exponent, special = floating.max_exponent(patterns, format)
    if special.any():
        raise MixcimError(f"layer '{name}' has weights beyond {format.name}, up to {np.abs(flat).max():g}; use bf16")
    integers = floating.align(patterns, format, exponent[:, None], aligned_bits, rounding)
    scale = np.ldexp(np.float32(1), exponent - (aligned_bits - 2) + power)
    return integers.reshape(values.shape), scale.astype(np.float32)
