"""Evaluate a floating layer straight from the definition in network.py and that of RUN in hdl's commands.py."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.floating import FP32, ElementFormat, FloatFormat, Rounding

from ..errors import MixcimError
from ..model import floating
from .network import Layer, LayerKind, Network, Tensor


def evaluate_floating_layer(
    network: Network, layer: Layer, x: np.ndarray, residual: np.ndarray | None, channels: int | None
) -> np.ndarray:
    """Codes int16 or patterns of the layer's output from those of its input and its residual, (N, H, W, C).

    `channels`: of an activation word. A depthwise layer has one exponent for each window of a word; None will do for
    others. Raises MixcimError if what the layer needs is missing.
    """
    assert layer.floating is not None
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    if network.pools(layer):
        assert source.format.floating is not None
        y = floating.multiply(_pooled(layer, floating.decode(x, source.format.floating)), layer.scale)
    else:
        integers, exponent, special = _integers(layer, source, x, channels)
        # Worth of the integers' unit: 2**unit. scale = mantissa * 2**power.
        unit = 0 if source.format.floating is None else exponent - (layer.floating.input_bits - 2)
        mantissa, power = _split(layer.scale)
        y = floating.scaled(_sums(layer, integers), unit + power)
        y = floating.multiply(np.where(special, np.float32(np.nan), y), mantissa)
    y = floating.add(y, layer.bias.astype(np.float32))
    if layer.residual is not None:
        if residual is None:
            raise MixcimError(f"layer '{layer.name}' adds tensor '{layer.residual.tensor}', whose value is missing")
        y = floating.add(y, real_values(network.tensors[layer.residual.tensor], residual))
    y = floating.clamp(y, *(np.float32(limit) for limit in layer.floating.limits))
    if output.format.floating is not None:
        return floating.encode(y, output.format.floating)
    quantisation = output.quantisation
    scaled = floating.multiply(y, np.asarray(np.float32(1) / np.float32(quantisation.scale)))
    codes = np.rint(np.where(np.isnan(scaled), np.float32(0), scaled)).astype(np.float64) + quantisation.zero_point
    return np.clip(codes, *layer.clamp).astype(np.int16)


def _integers(
    layer: Layer, source: Tensor, x: np.ndarray, channels: int | None
) -> tuple[np.ndarray, np.ndarray | int, np.ndarray]:
    """Integers X of every window (N, H, W, ky, kx, C), its exponent E and whether it is special, (N, H, W, C or 1)."""
    windows, inside = _windows(layer, x)
    format = source.format.floating
    if format is None:
        integers = windows.astype(np.int64) - source.quantisation.zero_point
        exponent: np.ndarray | int = 0
        special = np.zeros((*windows.shape[:3], 1), bool)
    elif layer.kind is LayerKind.CONVOLUTION:
        exponent, special = floating.max_exponent(windows.reshape(*windows.shape[:3], 1, -1), format)
        integers = _aligned(windows, format, exponent, layer)
    else:
        if channels is None:
            raise MixcimError(f"layer '{layer.name}' keeps channels apart; say how many an activation word has")
        count = windows.shape[-1]
        words = [
            floating.max_exponent(windows[..., at : at + channels].reshape(*windows.shape[:3], -1), format)
            for at in range(0, count, channels)
        ]
        exponent, special = (
            np.repeat(np.stack(part, axis=-1), channels, axis=-1)[..., :count] for part in zip(*words, strict=True)
        )
        integers = _aligned(windows, format, exponent, layer)
    # In the padding 0, for a maximum what every code wins against.
    padding = np.iinfo(np.int32).min if layer.kind is LayerKind.MAX_POOL else 0
    return np.where(inside, integers, padding), exponent, special


def _pooled(layer: Layer, x: np.ndarray) -> np.ndarray:
    """float32 (N, H, W, C): sums or maxima of the windows of x float32 (N, H, W, C)."""
    windows, inside = _windows(layer, x)
    maximum = layer.kind is LayerKind.MAX_POOL
    infinity = np.float32(np.inf)
    y = np.full((*windows.shape[:3], x.shape[3]), -infinity if maximum else 0, np.float32)
    for row in range(layer.kernel[0]):
        for column in range(layer.kernel[1]):
            tap = windows[:, :, :, row, column]
            result = floating.clamp(tap, y, infinity) if maximum else floating.add(y, tap)
            y = np.where(inside[:, :, :, row, column], result, y)
    return y


def _aligned(windows: np.ndarray, format: FloatFormat, exponent: np.ndarray, layer: Layer) -> np.ndarray:
    assert layer.floating is not None
    rounding: Rounding = layer.floating.rounding
    return floating.align(windows, format, exponent[:, :, :, None, None], layer.floating.input_bits, rounding)


def _windows(layer: Layer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W, C) to (N, output height, output width, ky, kx, C), and which are not padding, C = 1."""
    top, left, bottom, right = layer.padding

    def cut(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))
        return windows[:, :: layer.stride[0], :: layer.stride[1]].transpose(0, 1, 2, 4, 5, 3)

    return cut(x), cut(np.ones((*x.shape[:3], 1), bool))


def _sums(layer: Layer, integers: np.ndarray) -> np.ndarray:
    """int64 (N, H, W, kernels): sums of products, sums or maxima of the windows' integers."""
    if layer.kind is LayerKind.MAX_POOL:
        return integers.max(axis=(3, 4))
    if layer.kind is LayerKind.CONVOLUTION:
        assert layer.weight is not None
        flat = integers.reshape(*integers.shape[:3], -1).astype(np.float64)
        # float64 holds these sums exactly (below 2**53).
        return (flat @ layer.weight.reshape(len(layer.weight), -1).T.astype(np.float64)).astype(np.int64)
    if layer.weight is not None:
        integers = integers.astype(np.int64) * layer.weight.transpose(1, 2, 0)
    return integers.sum(axis=(3, 4), dtype=np.int64)


def _split(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m float32, t int32) of scale = m * 2**t with 1 <= m < 2; a scale that is not normal is (scale, 0)."""
    scale = scale.astype(np.float32)
    normal = np.abs(scale) >= 2.0**FP32.smallest_exponent
    power = np.where(normal, np.frexp(scale)[1] - 1, 0)
    return np.ldexp(scale, -power).astype(np.float32), power


def real_values(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """A residual's elements as float32."""
    if tensor.format is ElementFormat.INTEGER:
        quantisation = tensor.quantisation
        centred = (values.astype(np.int32) - quantisation.zero_point).astype(np.float32)
        return floating.multiply(centred, np.asarray(quantisation.scale, np.float32))
    assert tensor.format.floating is not None
    return floating.decode(values, tensor.format.floating)
