"""Layout of tensors in the activation memory.

A pixel of a tensor takes `pitch` words: ceil(channels / channels of a word), twice with two bytes an element, and at
least as many as it has exponent entries, which lie beside its words. The hardware walks a residual and the sum with one
pitch, so tensors that additions tie together have that of the widest. Two-byte elements lie at even addresses.

A tensor lives from the command that first writes it to the last one that reads it. Tensors that are never alive
together share words. Of a tensor inside a chain of layers that run depth-first (strips.py) there is never more than a
strip; what the chain reads and writes lives as long as the chain runs.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from mixcim_hdl.config import ChipConfig

from ..errors import MixcimError
from .exponents import entry_counts
from .network import Network
from .placement import Placement
from .strips import Chain, inner_tensors, most_rows

HOST = -1  #: "layer" that writes the network's input
_MOVES = 24  #: how often an order of tensors is changed that does not fit


@dataclass(frozen=True)
class TensorLayout:
    """Where a tensor lies: `address`, `pitch` of a pixel and `words` in all (or in a strip), in activation words.

    `exponents`: entries that a pixel has in the exponent memory.
    """

    address: int
    pitch: int
    words: int
    exponents: int

    @property
    def end(self) -> int:
        """Address behind its last word."""
        return self.address + self.words


Layout = dict[str, TensorLayout]  #: of every tensor, by name


@dataclass
class _Block:
    """Tensors that share one place (a residual and the sum that overwrites it), alive in layers first..last.

    `alignment`: its address is a multiple of this.
    """

    names: list[str]
    words: int
    alignment: int
    first: int
    last: int
    address: int = 0


def lifetimes(network: Network) -> dict[str, tuple[int, int]]:
    """Index of the layer that writes each tensor (HOST for the input) and of the last one that reads it.

    The network's output outlives the last layer: the host reads it.
    """
    spans = {network.input: (HOST, HOST)}
    for index, layer in enumerate(network.layers):
        for name in {layer.input} | ({layer.residual.tensor} if layer.residual else set()):
            spans[name] = (spans[name][0], index)
        spans[layer.output] = (index, index)
    spans[network.output] = (spans[network.output][0], len(network.layers))
    return spans


def allocate(
    network: Network, chip: ChipConfig, placement: Placement, keep_all: bool = False, chains: Sequence[Chain] = ()
) -> Layout:
    """Place of every tensor; `keep_all` gives each one of its own. `chains`: layers that run depth-first.

    A sum overwrites its residual tensor where nothing else reads that any more, their elements are equally long and one
    tile has all of a word (the hardware reads the residual's word right before it writes the sum's word to the same
    address). Raises MixcimError when the memory is too small.
    """
    own_spans = lifetimes(network)
    writers = {name: first for name, (first, _) in own_spans.items()}
    spans = _spans(network, own_spans, chains)
    if keep_all:
        spans = {name: (first, len(network.layers)) for name, (first, _) in spans.items()}
    exponents = entry_counts(network, placement, chip)
    pitches = pixel_pitches(network, chip, placement)
    rows = {name: tensor.shape[0] for name, tensor in network.tensors.items()}
    for chain in chains:
        rows.update(most_rows(network, chain))
    words = {name: rows[name] * tensor.shape[1] * pitches[name] for name, tensor in network.tensors.items()}
    divided = divided_layers(placement, chip)
    together = {index: chain.layers for chain in chains for index in chain.layers}
    replacing = {
        name
        for name, index in writers.items()
        if not keep_all
        and can_replace(network, index, together.get(index, range(index, index + 1)), own_spans, divided)
    } - inner_tensors(network, chains)
    blocks = _blocks(network, words, spans, writers, replacing)
    needed, addresses = _packed(blocks, chip.activation_words)
    if needed > chip.activation_words:
        raise MixcimError(_too_small(network, chip, words, spans, needed, keep_all))
    return {name: TensorLayout(addresses[name], pitches[name], words[name], exponents[name]) for name in addresses}


def divided_layers(placement: Placement, chip: ChipConfig) -> set[str]:
    """Layers of which words of a pixel are written by tiles of several kinds of unit, each some of their channels."""
    size = chip.channels
    return {
        name
        for name, kinds in placement.items()
        if any(len(set(kinds[first : first + size])) > 1 for first in range(0, len(kinds), size))
    }


def can_replace(
    network: Network, index: int, together: range, spans: Mapping[str, tuple[int, int]], divided: Container[str]
) -> bool:
    """Whether what layer `index` writes may overwrite its residual.

    `together`: layers that run depth-first with it. `spans`: from lifetimes. `divided`: from divided_layers; there one
    tile's write may meet another's read of the residual in the same word, which block RAM does not allow.
    """
    if index == HOST or network.layers[index].residual is None or network.layers[index].name in divided:
        return False
    layer = network.layers[index]
    assert layer.residual is not None
    residual = layer.residual.tensor
    old, new = network.tensors[residual], network.tensors[layer.output]
    # In a later strip, a layer of the chain still needs what it has read in this one.
    read = [network.layers[other].input for other in together]
    read += [item.tensor for other in together if other != index and (item := network.layers[other].residual)]
    return (
        residual not in read
        and spans[residual][1] == index
        and old.shape == new.shape
        and old.format.bytes == new.format.bytes
    )


def used_words(layout: Layout) -> int:
    """Words of the activation memory up to the end of the last tensor."""
    return max(place.end for place in layout.values())


def pixel_pitches(network: Network, chip: ChipConfig, placement: Placement) -> dict[str, int]:
    """Words of a pixel of every tensor."""
    exponents = entry_counts(network, placement, chip)
    tied = {name: {name} for name in network.tensors}
    for layer in network.layers:
        if layer.residual is not None:
            group = tied[layer.output] | tied[layer.residual.tensor]
            tied.update(dict.fromkeys(group, group))
    pitches = {}
    for name, group in tied.items():
        tensors = {member: network.tensors[member] for member in group}
        largest = max(
            max(-(-tensor.shape[2] // chip.channels) * tensor.format.bytes, exponents[member])
            for member, tensor in tensors.items()
        )
        step = max(tensor.format.bytes for tensor in tensors.values())
        pitches[name] = -(-largest // step) * step
    return pitches


def _spans(
    network: Network, own_spans: Mapping[str, tuple[int, int]], chains: Sequence[Chain]
) -> dict[str, tuple[int, int]]:
    """First and last layer during which each tensor is alive. `own_spans`: without chains."""
    spans = dict(own_spans)
    inner = inner_tensors(network, chains)
    for chain in chains:
        for index in chain.layers:
            layer = network.layers[index]
            for name in {layer.input} | ({layer.residual.tensor} if layer.residual else set()):
                if name not in inner:
                    spans[name] = (spans[name][0], max(spans[name][1], chain.last))
        output = network.layers[chain.last].output
        spans[output] = (chain.first, spans[output][1])
    return spans


def _blocks(
    network: Network,
    words: Mapping[str, int],
    spans: Mapping[str, tuple[int, int]],
    writers: Mapping[str, int],
    replacing: set[str],
) -> list[_Block]:
    """`writers`: index of the layer that writes each tensor. `replacing`: those that overwrite their residual."""
    owner: dict[str, _Block] = {}
    blocks: list[_Block] = []
    for name, (first, last) in spans.items():
        residual = network.layers[writers[name]].residual if name in replacing else None
        if residual is not None:
            block = owner[residual.tensor]
            block.names.append(name)
            block.last = max(block.last, last)
        else:
            block = _Block([name], words[name], network.tensors[name].format.bytes, first, last)
            blocks.append(block)
        owner[name] = block
    return blocks


def _packed(blocks: list[_Block], available: int) -> tuple[int, dict[str, int]]:
    """Words needed in all, and the address of every tensor: the first way found that needs no more than is available,
    or the one that needs least."""
    # Classic orders for first-fit; which of them packs better depends on the network, so all are tried.
    orders = [
        sorted(blocks, key=lambda block: (block.first, block.names)),
        sorted(blocks, key=lambda block: (-block.words, block.first, block.names)),
    ]
    best = min((_first_fit(order) for order in orders), key=lambda result: result[0])
    for order in orders:
        latest = _first_fit(order)
        for _ in range(_MOVES):
            if best[0] <= available:
                return best
            # What ends highest comes first.
            highest = max(order, key=lambda block: latest[1][block.names[0]] + block.words)
            order.remove(highest)
            order.insert(0, highest)
            latest = _first_fit(order)
            best = min(best, latest, key=lambda result: result[0])
    return best


def _first_fit(order: list[_Block]) -> tuple[int, dict[str, int]]:
    """Lowest free address for each block in turn; words needed in all, and the address of every tensor."""
    placed: list[_Block] = []
    for block in order:
        others = sorted(
            (other for other in placed if other.first <= block.last and block.first <= other.last),
            key=lambda other: other.address,
        )
        address = 0
        for other in others:
            if address + block.words <= other.address:
                break
            end = max(address, other.address + other.words)
            address = -(-end // block.alignment) * block.alignment
        block.address = address
        placed.append(block)
    needed = max(block.address + block.words for block in placed)
    return needed, {name: block.address for block in placed for name in block.names}


def _too_small(
    network: Network,
    chip: ChipConfig,
    words: Mapping[str, int],
    spans: dict[str, tuple[int, int]],
    needed: int,
    keep_all: bool,
) -> str:
    """Message that names the layer whose tensors need most."""
    holds = f"activation memory of chip '{chip.name}' holds {chip.activation_words} words"
    if keep_all:
        return f"{holds}, all tensors of '{network.name}' together need {needed}: leave out keep_all"
    worst, worst_words = "", 0
    for index, layer in enumerate(network.layers):
        alive = {name for name, (first, last) in spans.items() if first <= index <= last}
        if layer.residual is not None and spans[layer.residual.tensor][1] == index:
            alive.discard(layer.output)
        total = sum(words[name] for name in alive)
        if total > worst_words:
            worst, worst_words = layer.name, total
    return (
        f"{holds}, layer '{worst}' needs {max(needed, worst_words)}: "
        "use a chip with more activation_words, or a smaller input"
    )
