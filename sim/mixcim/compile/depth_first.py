"""Which layers run depth-first (strips.py): as few as it takes for the tensors to fit the activation memory.

Of all ways to cut the network into single layers and chains that fit, the one with the fewest extra cycles is taken:
rows that are computed again, and more RUNs. A layer by itself costs nothing extra.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence

from mixcim_hdl.config import ChipConfig

from ..errors import MixcimError
from .allocate import Layout, allocate, can_replace, divided_layers, lifetimes, pixel_pitches
from .network import Network
from .placement import Placement
from .strips import Chain, chain_end, readers, strip_rows

#: Layers in the longest chain that is tried.
LONGEST_CHAIN = 12
#: How often less memory is tried where the tensors leave gaps, and by what part of the memory it is less each time.
ATTEMPTS, STEP = 12, 32


def place_tensors(
    network: Network, chip: ChipConfig, placement: Placement, cycles: Sequence[Sequence[int]], overhead: int
) -> tuple[list[Chain], Layout]:
    """Chains of layers that run depth-first, and the place of every tensor.

    `cycles`: estimate for each pass of each layer. `overhead`: cycles that a pass more costs. Raises MixcimError when
    the memory is too small.
    """
    try:
        return [], allocate(network, chip, placement)
    except MixcimError as error:
        too_small = error
    for attempt in range(ATTEMPTS):
        budget = chip.activation_words - attempt * chip.activation_words // STEP
        chains = choose_chains(network, chip, placement, cycles, overhead, budget)
        if chains is None:
            break
        try:
            return chains, allocate(network, chip, placement, chains=chains)
        except MixcimError:
            continue
    raise too_small


def choose_chains(
    network: Network,
    chip: ChipConfig,
    placement: Placement,
    cycles: Sequence[Sequence[int]],
    overhead: int,
    budget: int,
) -> list[Chain] | None:
    """Chains with which no layer or chain needs more than `budget` activation words; None if there are none."""
    pitches, divided = pixel_pitches(network, chip, placement), divided_layers(placement, chip)
    choice = _Choice(network, pitches, divided, cycles, overhead, budget)
    count = len(network.layers)
    #: Fewest extra cycles from a layer on, and the chain (or layer by itself) that comes first.
    best: list[tuple[float, Chain | None, int]] = [(math.inf, None, 0) for _ in range(count)]
    best.append((0, None, count))
    for first in reversed(range(count)):
        if choice.fits(first, first, 0):
            best[first] = (best[first + 1][0], None, first + 1)
        end = min(chain_end(network, first, choice.read_by), first + LONGEST_CHAIN - 1)
        for last in range(first + 1, end + 1):
            chain = choice.highest(first, last)
            if chain is None or best[last + 1][0] == math.inf:
                continue
            extra = choice.extra_cycles(chain) + best[last + 1][0]
            if extra < best[first][0]:
                best[first] = (extra, chain, last + 1)
    if best[0][0] == math.inf:
        return None
    chains, index = [], 0
    while index < count:
        _, chain, index = best[index]
        if chain is not None:
            chains.append(chain)
    return chains


class _Choice:
    """What a chain needs and costs. Arguments as in choose_chains; `pitches`: words of a pixel of every tensor;
    `divided`: from divided_layers."""

    def __init__(
        self, network: Network, pitches: Mapping[str, int], divided: Container[str], cycles: Sequence[Sequence[int]],
        overhead: int, budget: int,
    ) -> None:  # fmt: skip
        self.divided = divided
        self.network, self.cycles, self.overhead, self.budget = network, cycles, overhead, budget
        self.read_by, self.spans = readers(network), lifetimes(network)
        self.row_words = {name: tensor.shape[1] * pitches[name] for name, tensor in network.tensors.items()}
        self.heights = [network.tensors[layer.output].shape[0] for layer in network.layers]

    def highest(self, first: int, last: int) -> Chain | None:
        """The chain with the highest strips that fit; None if not even one row does."""
        tried = self.heights[last]
        for strips in range(2, self.heights[last] + 1):
            rows = -(-self.heights[last] // strips)
            if rows != tried and self.fits(first, last, rows):
                return Chain(first, last, rows)
            tried = rows
        return None

    def fits(self, first: int, last: int, rows: int) -> bool:
        """Whether layers first .. last need no more than the budget, in strips of `rows` rows."""
        layers = self.network.layers
        inside = {layer.output for layer in layers[first:last]}
        alive = sum(
            self.row_words[name] * self.network.tensors[name].shape[0]
            for name, (written, read) in self.spans.items()
            if written <= last and read >= first and name not in inside
        )
        if can_replace(self.network, last, range(first, last + 1), self.spans, self.divided):
            alive -= self.row_words[layers[last].output] * self.heights[last]
        strips = [0]  #: words of the strip behind each layer, from the last one on
        for index in reversed(range(first, last)):
            following = layers[index + 1]
            rows = min(self.heights[index], (rows - 1) * following.stride[0] + following.kernel[0])
            strips.append(rows * self.row_words[layers[index].output])
        strips.append(0)
        return alive + max(map(sum, zip(strips, strips[1:], strict=False))) <= self.budget

    def extra_cycles(self, chain: Chain) -> int:
        """Estimated cycles beyond those of the same layers one after the other."""
        strips = strip_rows(self.network, chain)
        extra = 0
        for number, index in enumerate(chain.layers):
            again = sum(len(rows[number]) for rows in strips) - self.heights[index]
            extra += max(again, 0) * sum(self.cycles[index]) // self.heights[index]
            extra += (len(strips) - 1) * len(self.cycles[index]) * self.overhead
        return extra
