"""Weights and parameters of a layer, by output word, as the memories of units and output pipeline hold them.

Zero points of integer layers: the hardware sums weight * code, where the definition sums weight * (code - zero point).
The difference, zero point * sum of weights, goes into the bias; a position in the padding carries the zero point as its
code. Floating layers: see fields.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.config import ChipConfig

from ..errors import MixcimError
from .codes import code_of
from .network import Layer, LayerKind, Network
from .passes import Share
from .placement import kernel_count
from .weights import Window, channel_taps, dense_slots, diagonal_slots, kernel_rows, masked_taps


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Weights and parameters of a layer by output word: `rows` (dense) or `taps`; bias, scale (words, channels).

    The float pool has neither rows nor taps. `bias`: int32, a float32's pattern in a floating layer.
    """

    rows: np.ndarray | None
    taps: np.ndarray | None
    bias: np.ndarray
    scale: np.ndarray

    def slots(self, window: Window, share: Share, chip: ChipConfig) -> np.ndarray:
        """Slots of a CIM unit's share: int8 (slots, rows, channels)."""
        if window.separate:
            assert self.taps is not None
            return diagonal_slots(masked_taps(self.taps, int(share.words[0]), share.lanes), chip)
        assert self.rows is not None
        return dense_slots(self.rows, share.words, share.lanes, chip)


def layer_weights(
    network: Network, layer: Layer, window: Window, unused_biases: Mapping[str, np.float32], chip: ChipConfig
) -> LayerWeights:
    """The weights of a layer. `unused_biases`: from unused.py.

    Raises MixcimError for parameters that float32 does not hold.
    """
    kernels = kernel_count(network, layer)
    words = -(-kernels // chip.channels)
    bias = np.zeros(words * chip.channels, np.int32)
    scale = np.zeros(words * chip.channels, np.float32)
    bias[:kernels] = _bias(network, layer, kernels)
    if layer.floating is not None:
        bias[kernels:] = unused_biases[layer.name].view(np.int32)
    scale[:kernels] = layer.scale
    if not np.isfinite(scale).all() or not np.isfinite(layer.bias).all():
        what = "bias or scale" if layer.floating else "input scale x weight scale / output scale"
        raise MixcimError(
            f"layer '{layer.name}': {what} overflows float32; quantise the network again with sound scales"
        )
    rows = taps = None
    if not window.separate:
        rows = kernel_rows(layer, window, chip)
    elif not network.pools(layer):
        taps = channel_taps(layer, kernels, window, chip)
    return LayerWeights(rows, taps, bias.reshape(words, -1), scale.reshape(words, -1))


def _bias(network: Network, layer: Layer, kernels: int) -> np.ndarray:
    """Bias of each kernel as the parameter memory holds it: int32 (kernels,)."""
    if layer.floating is not None:
        return np.ascontiguousarray(layer.bias, np.float32).view(np.int32)
    zero_point = code_of(network.tensors[layer.input].quantisation)
    if layer.kind is LayerKind.MAX_POOL:
        sums = np.ones(kernels, np.int64)  # the maximum enters the sum once, whatever the window
    elif layer.weight is None:
        sums = np.full(kernels, layer.kernel[0] * layer.kernel[1], np.int64)
    else:
        sums = layer.weight.reshape(kernels, -1).sum(axis=1, dtype=np.int64)
    return (layer.bias.astype(np.int64) - zero_point * sums).astype(np.int32)  # wraps, as accumulators do
