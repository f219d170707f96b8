"""Evaluate a `Network` straight from the definition in network.py: slow, plain, independent of the chip's model.

Importers are checked against it: it must give what onnxruntime gives for the file that the network came from.
"""

from __future__ import annotations

import numpy as np

from ..errors import MixcimError
from .evaluate_floating import evaluate_floating_layer
from .float32 import fused_multiply_add
from .network import Layer, LayerKind, Network, Tensor


def evaluate(network: Network, codes: np.ndarray, channels: int | None = None) -> dict[str, np.ndarray]:
    """Value of every tensor of the network: name -> array (N, height, width, channels), int16 codes or patterns of its
    floating-point format, uint8 or uint16.

    `codes`: integers (N, height, width, channels) in the range of the network's input tensor, or patterns; (N,
    channels) will do where height and width are 1. `channels`: of an activation word, for floating depthwise
    layers. Raises MixcimError for another shape or type, or values out of range.
    """
    tensor = network.tensors[network.input]
    codes = np.asarray(codes)
    if codes.ndim == 2 and tensor.shape[:2] == (1, 1):
        codes = codes[:, None, None, :]
    if codes.shape[1:] != tensor.shape:
        raise MixcimError(
            f"input codes have shape {codes.shape}, the network '{network.name}' wants (N, {tensor.shape})"
        )
    if not np.issubdtype(codes.dtype, np.integer):
        raise MixcimError(f"input codes are {codes.dtype}; quantise them first (quantise_input)")
    format = tensor.format.floating
    low, high = tensor.quantisation.limits if format is None else (0, (1 << format.bits) - 1)
    if codes.size and not (low <= codes.min() and codes.max() <= high):
        raise MixcimError(f"input codes reach from {codes.min()} to {codes.max()}, the input holds {low} to {high}")
    values = {network.input: codes.astype(np.int16 if format is None else np.uint8 if format.bits == 8 else np.uint16)}
    for layer in network.layers:
        other = None if layer.residual is None else values[layer.residual.tensor]
        values[layer.output] = evaluate_layer(network, layer, values[layer.input], other, channels)
    return values


def evaluate_layer(
    network: Network, layer: Layer, x: np.ndarray, residual: np.ndarray | None = None, channels: int | None = None
) -> np.ndarray:
    """One layer: codes (or patterns) of its input and of its residual tensor, if any, to those of its output.

    All are (N, H, W, C). `channels`: as in `evaluate`.
    """
    if layer.floating is not None:
        return evaluate_floating_layer(network, layer, x, residual, channels)
    own = layer.residual.quantisation if layer.residual else network.tensors[layer.output].quantisation
    low, high = layer.residual.clamp if layer.residual else layer.clamp
    accumulator = _accumulate(layer, network.tensors[layer.input], x) + layer.bias.astype(np.int64)
    wrapped = accumulator.astype(np.int32)
    y = np.rint(wrapped.astype(np.float32) * layer.scale.astype(np.float32)).astype(np.int64) + own.zero_point
    y = np.clip(y, low, high)
    if layer.residual is not None:
        if residual is None:
            raise MixcimError(f"layer '{layer.name}' adds tensor '{layer.residual.tensor}', whose value is missing")
        y = np.clip(_add(network, layer, y, residual), *layer.clamp)
    return y.astype(np.int16)


def _add(network: Network, layer: Layer, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    assert layer.residual is not None
    output = network.tensors[layer.output].quantisation
    tensor = network.tensors[layer.residual.tensor]
    own_scale, other_scale, fixed = layer.residual.coefficients(tensor.quantisation, output)
    terms = [(other, other_scale), (y, own_scale)]
    if layer.residual.order_swapped:
        terms.reverse()
    total: np.ndarray = np.asarray(fixed)
    for code, scale in terms:
        total = fused_multiply_add(code.astype(np.float32), scale, total)
    return np.rint(total).astype(np.int64)


def _accumulate(layer: Layer, tensor: Tensor, x: np.ndarray) -> np.ndarray:
    """Sum of products (or sum, or maximum) over every window: int64 (N, height, width, kernels), without the bias."""
    top, left, bottom, right = layer.padding
    centred = x.astype(np.int32) - tensor.quantisation.zero_point
    # Padding holds the zero point, which is 0 here; for a maximum it must lose against any code.
    empty = np.iinfo(np.int32).min if layer.kind is LayerKind.MAX_POOL else 0
    padded = np.pad(centred, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=empty)
    height = (padded.shape[1] - layer.kernel[0]) // layer.stride[0] + 1
    width = (padded.shape[2] - layer.kernel[1]) // layer.stride[1] + 1
    result: np.ndarray | None = None
    for row in range(layer.kernel[0]):
        for column in range(layer.kernel[1]):
            rows = slice(row, row + (height - 1) * layer.stride[0] + 1, layer.stride[0])
            columns = slice(column, column + (width - 1) * layer.stride[1] + 1, layer.stride[1])
            position = padded[:, rows, columns, :]
            if layer.kind is LayerKind.CONVOLUTION:
                assert layer.weight is not None
                # float64 holds these sums exactly (below 2**53) and has a fast matrix product; numpy's integers do not.
                term = position.astype(np.float64) @ layer.weight[:, row, column, :].T.astype(np.float64)
            elif layer.kind is LayerKind.DEPTHWISE:
                assert layer.weight is not None
                term = position * layer.weight[:, row, column].astype(np.int32)
            else:
                term = position
            if result is None:
                result = term
            elif layer.kind is LayerKind.MAX_POOL:
                result = np.maximum(result, term)
            else:
                result = result + term
    assert result is not None
    return result.astype(np.int64)
