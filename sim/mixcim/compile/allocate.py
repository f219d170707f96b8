"""Layout of tensors in the activation memory.

A pixel of a tensor takes `pitch` words: ceil(channels / channels of a word), twice with two bytes an element, and at
least as many as it has exponent entries, which lie beside its words. The hardware walks a residual and the sum with one
pitch, so tensors that additions tie together have that of the widest. Two-byte elements lie at even addresses.

A tensor lives from the command that first writes it to the last one that reads it. Tensors that are never alive
together share words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixcim_hdl.config import ChipConfig

from ..errors import MixcimError
from .exponents import entry_counts
from .network import Network
from .placement import Placement

HOST = -1  #: "layer" that writes the network's input


@dataclass(frozen=True)
class TensorLayout:
    """Where a tensor lies: `address`, `pitch` of a pixel and `words` in all, in activation words.

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


def allocate(network: Network, chip: ChipConfig, placement: Placement, keep_all: bool = False) -> Layout:
    """Place of every tensor; `keep_all` gives each one of its own.

    A sum overwrites its residual tensor where nothing else reads that any more and their elements are equally long (the
    hardware reads the residual's word right before it writes the sum's word to the same address). Raises MixcimError
    when the memory is too small.
    """
    spans = lifetimes(network)
    if keep_all:
        spans = {name: (first, len(network.layers)) for name, (first, _) in spans.items()}
    exponents = entry_counts(network, placement, chip)
    pitches = _pitches(network, chip, exponents)
    words = {name: tensor.shape[0] * tensor.shape[1] * pitches[name] for name, tensor in network.tensors.items()}
    blocks = _blocks(network, words, spans, in_place=not keep_all)
    # Two classic orders for first-fit; which of them packs better depends on the network, so both are tried.
    orders = (
        sorted(blocks, key=lambda block: (block.first, block.names)),
        sorted(blocks, key=lambda block: (-block.words, block.first, block.names)),
    )
    results = [_first_fit(order) for order in orders]
    needed, addresses = min(results, key=lambda result: result[0])
    if needed > chip.activation_words:
        raise MixcimError(_too_small(network, chip, words, spans, needed, keep_all))
    return {name: TensorLayout(addresses[name], pitches[name], words[name], exponents[name]) for name in addresses}


def used_words(layout: Layout) -> int:
    """Words of the activation memory up to the end of the last tensor."""
    return max(place.end for place in layout.values())


def _pitches(network: Network, chip: ChipConfig, exponents: Mapping[str, int]) -> dict[str, int]:
    """Words of a pixel of every tensor."""
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


def _blocks(
    network: Network, words: Mapping[str, int], spans: dict[str, tuple[int, int]], in_place: bool
) -> list[_Block]:
    owner: dict[str, _Block] = {}
    blocks: list[_Block] = []
    tensors = network.tensors
    for name, (first, last) in spans.items():
        index = first
        residual = network.layers[index].residual if index != HOST else None
        if (
            in_place
            and residual is not None
            and residual.tensor != network.layers[index].input
            and spans[residual.tensor][1] == index
            and tensors[residual.tensor].shape == tensors[name].shape
            and tensors[residual.tensor].format.bytes == tensors[name].format.bytes
        ):
            block = owner[residual.tensor]
            block.names.append(name)
            block.last = max(block.last, last)
        else:
            block = _Block([name], words[name], tensors[name].format.bytes, first, last)
            blocks.append(block)
        owner[name] = block
    return blocks


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
