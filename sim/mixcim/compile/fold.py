"""Fold the pixels of a network's input by the stride of its first convolution (space to depth).

A pixel takes a whole activation word, however few channels it has. Where the first convolution moves by strides (sy,
sx) and nothing else reads the input, sy x sx of its pixels become one pixel of sy * sx * channels channels, in order of
row, column, channel; the convolution then moves by (1, 1) over them. Its kernel grows to whole pixels, with weights of
0 where there were none, and its output is the same. The host folds the inputs (host/values.py).

    input row oy * sy - top + ky  =  folded row oy - ceil(top / sy) + KY, place r in it, where
    ky + (ceil(top / sy) * sy - top) = KY * sy + r

Floating-point inputs: a window has one exponent for all its elements, also for those whose weight is 0. It is not that
of the file's own window then, so they are folded only if there are no such elements, or if the input as it is does not
fit the activation memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import ElementFormat

from .network import Layer, LayerKind, Network, Tensor
from .strips import readers
from .weights import window_of


@dataclass(frozen=True)
class _Side:
    """One side (height or width): pixels before and after, kernel, padding in front and behind, rows that weigh 0."""

    size: int
    kernel: int
    before: int
    after: int
    shift: int


def fold_input(network: Network, chip: ChipConfig) -> tuple[Network, tuple[int, int]]:
    """The network with its input folded where that saves activation words and takes no more vectors a window, and the
    strides (vertically, horizontally) by which it is: (1, 1) where it is not.
    """
    unfolded = (network, (1, 1))
    indices = _readers_of_input(network)
    layer = network.layers[indices[-1]] if indices else None
    if layer is None or layer.kind is not LayerKind.CONVOLUTION or layer.stride == (1, 1):
        return unfolded
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    if layer.kernel == source.shape[:2]:
        return unfolded
    sides = [_side(layer, source, output, axis) for axis in (0, 1)]
    if min(side.size for side in sides) < 1:  # all windows lie in the padding
        return unfolded
    names = [network.layers[index].input for index in indices]
    tensors = {
        name: replace(network.tensors[name], shape=_folded_shape(network.tensors[name], sides, layer)) for name in names
    }
    folded_layer = _folded_layer(layer, source, sides)
    layers = list(network.layers)
    for index in indices[:-1]:
        layers[index] = _folded_identity(layers[index], layer.stride)
    layers[indices[-1]] = folded_layer
    folded = replace(network, tensors={**network.tensors, **tensors}, layers=layers)
    before, after = _words(network.tensors[names[0]], chip), _words(folded.tensors[names[0]], chip)
    if after >= before or window_of(folded, folded_layer, chip).vectors > window_of(network, layer, chip).vectors:
        return unfolded
    if source.format is not ElementFormat.INTEGER and before <= chip.activation_words:
        exact = all(
            side.kernel * stride == size for side, stride, size in zip(sides, layer.stride, layer.kernel, strict=True)
        )
        if not exact:
            return unfolded
    return folded, layer.stride


def _readers_of_input(network: Network) -> list[int]:
    """The only layer that reads the input, and while that is an identity, the only one that reads what it writes.

    Empty where another one does, or where what is read is the network's output.
    """
    read_by, indices, name = readers(network), [], network.input
    while name != network.output and len(read_by[name]) == 1:
        indices.append(read_by[name][0])
        layer = network.layers[indices[-1]]
        if layer.kind is not LayerKind.IDENTITY or layer.residual is not None or layer.floating is not None:
            return indices
        name = layer.output
    return []


def _side(layer: Layer, source: Tensor, output: Tensor, axis: int) -> _Side:
    stride, pad = layer.stride[axis], layer.padding[axis]
    before = -(-pad // stride)
    shift = before * stride - pad
    kernel = -(-(shift + layer.kernel[axis]) // stride)
    reached = output.shape[axis] - 1 + kernel - before  # pixels from the input's first one to the last that is taken
    size = min(-(-source.shape[axis] // stride), reached)
    return _Side(size, kernel, before, reached - size, shift)


def _folded_shape(tensor: Tensor, sides: list[_Side], layer: Layer) -> tuple[int, int, int]:
    return sides[0].size, sides[1].size, layer.stride[0] * layer.stride[1] * tensor.shape[2]


def _folded_layer(layer: Layer, source: Tensor, sides: list[_Side]) -> Layer:
    assert layer.weight is not None
    (rows, columns), kernels, channels = layer.stride, len(layer.weight), source.shape[2]
    height, width = (side.kernel for side in sides)
    weight = np.zeros((kernels, height * rows, width * columns, channels), layer.weight.dtype)
    top, left = (side.shift for side in sides)
    weight[:, top : top + layer.kernel[0], left : left + layer.kernel[1]] = layer.weight
    parts = weight.reshape(kernels, height, rows, width, columns, channels).transpose(0, 1, 3, 2, 4, 5)
    return replace(
        layer,
        kernel=(height, width),
        stride=(1, 1),
        padding=(sides[0].before, sides[1].before, sides[0].after, sides[1].after),
        weight=np.ascontiguousarray(parts).reshape(kernels, height, width, rows * columns * channels),
    )


def _folded_identity(layer: Layer, stride: tuple[int, int]) -> Layer:
    pixels = stride[0] * stride[1]
    return replace(layer, bias=np.tile(layer.bias, pixels), scale=np.tile(layer.scale, pixels))


def _words(tensor: Tensor, chip: ChipConfig) -> int:
    height, width, channels = tensor.shape
    return height * width * -(-channels // chip.channels) * tensor.format.bytes
