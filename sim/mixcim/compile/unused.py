"""Lanes behind the last channel of a tensor: what they hold, and how they stay out of the exponents.

The output pipeline notes the largest exponent of all lanes that it writes, and so of these too. No weight and no scale
reaches them, but a residual does: where it is not 0 there, as in an INTEGER input, whose unused bytes are 0 and not its
zero point, the sum would have an exponent that none of its elements has. The bias of these lanes takes it off again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .evaluate import evaluate_layer
from .evaluate_floating import real_values
from .network import LayerKind, Network


def unused_biases(network: Network) -> dict[str, np.float32]:
    """Bias of the unused lanes of every floating layer, by the layer's name; what they hold then follows from it."""
    source = network.tensors[network.input]
    # The host fills words up with zero bytes.
    held = {network.input: np.full((1, 1, 1, 1), -128 if source.quantisation.signed else 0)}
    biases: dict[str, np.float32] = {}
    for layer in network.layers:
        bias, old = np.zeros(1, np.float32), None
        if layer.residual is not None:
            old = held[layer.residual.tensor]
            if layer.floating is not None:
                bias = 0 - real_values(network.tensors[layer.residual.tensor], old).reshape(1)
        lane = replace(
            layer, kind=LayerKind.IDENTITY, kernel=(1, 1), stride=(1, 1), padding=(0, 0, 0, 0), weight=None,
            bias=bias, scale=np.zeros(1, np.float32),
        )  # fmt: skip
        with np.errstate(all="ignore"):  # scales that do not do are refused elsewhere
            held[layer.output] = evaluate_layer(network, lane, np.zeros((1, 1, 1, 1), np.int64), old, 1)
        if layer.floating is not None:
            biases[layer.name] = bias[0]
    return biases
