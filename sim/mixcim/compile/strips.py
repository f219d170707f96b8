"""Chains of layers that run depth-first: strip after strip of output rows through all of them.

Each layer of a chain is the only reader of what the one before it writes. A strip is so many output rows of the last
layer; every other layer computes the rows of its output that the next one's windows take, those on the edge of a strip
again for the next strip. A tensor in between then needs memory for its largest strip only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .network import Layer, Network


@dataclass(frozen=True)
class Chain:
    """Layers `first` .. `last` (indices), in strips of `rows` output rows of the last one."""

    first: int
    last: int
    rows: int

    @property
    def layers(self) -> range:
        """Indices of its layers."""
        return range(self.first, self.last + 1)


def readers(network: Network) -> dict[str, list[int]]:
    """Indices of the layers that read each tensor, one for each time."""
    found: dict[str, list[int]] = {name: [] for name in network.tensors}
    for index, layer in enumerate(network.layers):
        found[layer.input].append(index)
        if layer.residual is not None:
            found[layer.residual.tensor].append(index)
    return found


def chain_end(network: Network, first: int, read_by: dict[str, list[int]]) -> int:
    """Index of the last layer that a chain from layer `first` on can have. `read_by`: from readers."""
    last = first
    while last + 1 < len(network.layers):
        output, following = network.layers[last].output, network.layers[last + 1]
        if output == network.output or read_by[output] != [last + 1] or following.input != output:
            break
        if not (_starts_inside(network.layers[last]) and _starts_inside(following)):
            break
        last += 1
    return last


def strip_rows(network: Network, chain: Chain) -> list[list[range]]:
    """Rows of its output that each layer of a chain computes: [strip][layer of the chain]."""
    height = _height(network, chain.last)
    strips = []
    for start in range(0, height, chain.rows):
        rows = [range(start, min(start + chain.rows, height))]
        for index in reversed(chain.layers[1:]):
            rows.append(input_rows(network, network.layers[index], rows[-1]))
        strips.append(rows[::-1])
    return strips


def input_rows(network: Network, layer: Layer, output: range) -> range:
    """Rows of its input that a layer's windows take for rows of its output."""
    height = network.tensors[layer.input].shape[0]
    first = output.start * layer.stride[0] - layer.padding[0]
    last = (output.stop - 1) * layer.stride[0] - layer.padding[0] + layer.kernel[0]
    return range(max(0, first), min(height, last))


def most_rows(network: Network, chain: Chain) -> dict[str, int]:
    """Rows in the largest strip of each tensor inside a chain."""
    strips = strip_rows(network, chain)
    return {
        network.layers[index].output: max(len(rows[index - chain.first]) for rows in strips)
        for index in chain.layers[:-1]
    }


def inner_tensors(network: Network, chains: Sequence[Chain]) -> set[str]:
    """Tensors that exist in strips only."""
    return {network.layers[index].output for chain in chains for index in chain.layers[:-1]}


def _starts_inside(layer: Layer) -> bool:
    """Whether every window has a row that is not padding."""
    return layer.padding[0] < layer.kernel[0] and layer.padding[2] < layer.kernel[0]


def _height(network: Network, index: int) -> int:
    return network.tensors[network.layers[index].output].shape[0]
