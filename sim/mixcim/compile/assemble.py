"""Assemble a `Network` layer by layer: what the ONNX and the TFLite importer have in common.

The importers add layers in the file's order, an Add being an IDENTITY layer with a residual. `NetworkBuilder.finish`
then fuses: a clamp into the layer before it, an Add into the convolution before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ..errors import MixcimError
from .network import FloatArithmetic, Layer, LayerKind, Network, Quantisation, Residual, Tensor

_Number = TypeVar("_Number", int, float)
NO_LIMITS = (-np.inf, np.inf)  #: clamp of a floating layer that has none


@dataclass(frozen=True)
class Window:
    """Window of a layer: kernel (height, width), stride (vertical, horizontal), padding (top, left, bottom, right)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def padded_same(self, height: int, width: int, upper: bool = True) -> Window:
        """This window with "SAME" padding for an input of that size; `upper`: an odd pixel goes to bottom and right."""
        amounts = []
        for size, kernel, stride in zip((height, width), self.kernel, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            small, large = total // 2, total - total // 2
            amounts.append((small, large) if upper else (large, small))
        (top, bottom), (left, right) = amounts
        return replace(self, padding=(top, left, bottom, right))

    def with_more_padding(self, extra: tuple[int, int, int, int]) -> Window:
        """This window with `extra` (top, left, bottom, right) added to its padding."""
        top, left, bottom, right = (a + b for a, b in zip(self.padding, extra, strict=True))
        return replace(self, padding=(top, left, bottom, right))

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Number of positions of the window down and across."""
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (width + left + right - self.kernel[1]) // self.stride[1] + 1,
        )


@dataclass(frozen=True)
class Weights:
    """Weights of a layer. `values`: int8 as `Layer.weight`; `scale`: float32 (kernels,); `bias`: int32 (kernels,).

    Those of a real network (float_import.py) are float32 all three.
    """

    values: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def checked_quantisation(thing: str, scale: float, zero_point: int, signed: bool) -> Quantisation:
    """A `Quantisation` whose numbers make sense; `thing` names the tensor in the MixcimError raised otherwise."""
    if not (np.isfinite(scale) and scale > 0):
        raise MixcimError(f"{thing} has quantisation scale {scale}; it must be finite and above 0")
    quantisation = Quantisation(float(np.float32(scale)), int(zero_point), signed)
    low, high = quantisation.limits
    if not low <= quantisation.zero_point <= high:
        raise MixcimError(f"{thing} has zero point {zero_point}; it must be in {low}..{high}")
    return quantisation


class NetworkBuilder:
    """Tensors and layers of a network under construction."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []

    def add_tensor(self, name: str, shape: tuple[int, int, int], quantisation: Quantisation) -> None:
        """Enter a tensor of shape (height, width, channels). MixcimError if the name is taken or a side is below 1."""
        if name in self.tensors:
            raise MixcimError(f"tensor '{name}' is written twice; the file is damaged")
        if min(shape) < 1:
            raise MixcimError(f"tensor '{name}' has shape {shape}: a window larger than its input, or an empty input")
        self.tensors[name] = Tensor(name, shape, quantisation)

    def add_layer(
        self,
        kind: LayerKind,
        name: str,
        input: str,
        output: str,
        quantisation: Quantisation,
        window: Window,
        weights: Weights | None = None,
        clamp: tuple[int, int] | None = None,
        source: tuple[str, ...] = (),
        floating: FloatArithmetic | None = None,
    ) -> None:
        """Append a layer and the tensor it writes. `clamp` defaults to the limits of `quantisation`."""
        x = self.tensors[input]
        height, width, channels = x.shape
        kernels = channels if weights is None else weights.values.shape[0]
        scale_in, scale_out = np.float32(x.quantisation.scale), np.float32(quantisation.scale)
        if weights is not None:
            scale = scale_in * weights.scale.astype(np.float32) / scale_out
            bias = weights.bias
        else:
            count = window.kernel[0] * window.kernel[1] if kind is LayerKind.AVERAGE_POOL else 1
            scale = np.full(kernels, scale_in / (scale_out * np.float32(count)), np.float32)
            bias = np.zeros(kernels, np.int32 if floating is None else np.float32)
        self.add_tensor(output, (*window.output_size(height, width), kernels), quantisation)
        self.layers.append(
            Layer(
                name=self._unique(name or output),
                kind=kind,
                input=input,
                output=output,
                kernel=window.kernel,
                stride=window.stride,
                padding=window.padding,
                weight=None if weights is None else np.ascontiguousarray(weights.values),
                bias=bias,
                scale=scale,
                clamp=clamp or quantisation.limits,
                source=source,
                floating=floating,
            )
        )

    def add_sum(
        self,
        name: str,
        first: str,
        second: str,
        output: str,
        quantisation: Quantisation,
        clamp: tuple[int, int] | None = None,
        source: tuple[str, ...] = (),
        floating: FloatArithmetic | None = None,
    ) -> None:
        """Append a lone Add of two tensors. Raises MixcimError if their shapes differ."""
        a, b = self.tensors[first], self.tensors[second]
        if a.shape != b.shape:
            raise MixcimError(
                f"node '{name}' adds tensors of shapes {a.shape} and {b.shape} (height, width, channels); "
                "mixcim adds equal shapes only, without broadcasting"
            )
        self.add_tensor(output, a.shape, quantisation)
        self.layers.append(
            Layer(
                name=self._unique(name or output),
                kind=LayerKind.IDENTITY,
                input=first,
                output=output,
                kernel=(1, 1),
                stride=(1, 1),
                padding=(0, 0, 0, 0),
                weight=None,
                bias=np.zeros(a.shape[2], np.int32 if floating is None else np.float32),
                scale=np.ones(a.shape[2], np.float32),
                clamp=clamp or quantisation.limits,
                residual=Residual(second, a.quantisation, a.quantisation.limits),
                source=source,
                floating=floating,
            )
        )

    def finish(
        self,
        input: str,
        output: str,
        input_layout: str,
        file_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        host_output: tuple[str, ...] = (),
    ) -> Network:
        """The fused network. Layers whose output nothing reads are dropped. Raises MixcimError if no layer is left."""
        layers = _live_layers(self.layers, output)
        layers = _fuse_clamps(layers, self.tensors, output)
        layers = _fuse_sums(layers, self.tensors, output)
        if not layers:
            raise MixcimError(f"network '{self.name}' has no layer that mixcim could run")
        names = {input} | {layer.output for layer in layers}
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in names}
        return Network(self.name, tensors, layers, input, output, input_layout, file_shape, output_shape, host_output)

    def _unique(self, name: str) -> str:
        taken = {layer.name for layer in self.layers}
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        return candidate


def _reads(layer: Layer) -> tuple[str, ...]:
    return (layer.input,) if layer.residual is None else (layer.input, layer.residual.tensor)


def _live_layers(layers: list[Layer], output: str) -> list[Layer]:
    needed, live = {output}, []
    for layer in reversed(layers):
        if layer.output in needed:
            live.append(layer)
            needed.update(_reads(layer))
    return live[::-1]


def _consumers(layers: list[Layer], output: str) -> dict[str, int]:
    """Number of readers of each tensor; the network's output has one more, the host."""
    counts = {output: 1}
    for layer in layers:
        for name in _reads(layer):
            counts[name] = counts.get(name, 0) + 1
    return counts


def _intersection(a: tuple[_Number, _Number], b: tuple[_Number, _Number]) -> tuple[_Number, _Number]:
    """Limits of clamping to `a` and then to `b`."""
    return (min(max(a[0], b[0]), b[1]), max(min(a[1], b[1]), b[0]))


def _fuse_clamps(layers: list[Layer], tensors: dict[str, Tensor], output: str) -> list[Layer]:
    """An IDENTITY layer that only clamps (equal quantisation) disappears into the layer whose result only it reads."""
    counts = _consumers(layers, output)
    fused: list[Layer] = []
    for layer in layers:
        index = next((i for i, before in enumerate(fused) if before.output == layer.input), None)
        only_clamps = (
            layer.kind is LayerKind.IDENTITY
            and layer.residual is None
            and not any(layer.padding)
            and tensors[layer.input].quantisation == tensors[layer.output].quantisation
        )
        if only_clamps and index is not None and counts[layer.input] == 1:
            before = fused[index]
            floating = before.floating
            if floating is not None and layer.floating is not None:
                floating = replace(floating, limits=_intersection(floating.limits, layer.floating.limits))
            fused[index] = replace(
                before,
                output=layer.output,
                clamp=_intersection(before.clamp, layer.clamp),
                source=before.source + layer.source,
                floating=floating,
            )
        else:
            fused.append(layer)
    return fused


def _fuse_sums(layers: list[Layer], tensors: dict[str, Tensor], output: str) -> list[Layer]:
    """An Add disappears into a convolution whose result only it reads; if both operands are, into the later one.

    A floating layer clamps after the Add only, so a convolution that clamps before it keeps the Add out.
    """
    counts = _consumers(layers, output)
    fused: list[Layer] = []
    for layer in layers:
        if layer.residual is None or layer.kind is not LayerKind.IDENTITY:
            fused.append(layer)
            continue
        operands = (layer.input, layer.residual.tensor)
        candidates = [
            i
            for i, before in enumerate(fused)
            if before.output in operands
            and counts[before.output] == 1
            and before.kind in (LayerKind.CONVOLUTION, LayerKind.DEPTHWISE)
            and before.residual is None
            and (before.floating is None or before.floating.limits == NO_LIMITS)
        ]
        if not candidates:
            fused.append(layer)
            continue
        own = fused.pop(candidates[-1])
        swapped = own.output == operands[1]
        other = operands[0] if swapped else operands[1]
        fused.append(
            replace(
                own,
                output=layer.output,
                clamp=layer.clamp,
                residual=Residual(other, tensors[own.output].quantisation, own.clamp, swapped),
                source=own.source + layer.source,
                floating=layer.floating,
            )
        )
    return fused
