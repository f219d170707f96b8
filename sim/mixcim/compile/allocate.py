"""Addresses of tensors in the activation memory.

A tensor of (height, width, channels) takes height * width * ceil(channels / channels of a word) words, from the command
that first writes it to the last one that reads it. Tensors that are never alive together share words.
"""

from __future__ import annotations

from dataclasses import dataclass

from mixcim_hdl.config import ChipConfig

from ..errors import MixcimError
from .network import Network, Tensor

HOST = -1  #: "layer" that writes the network's input


@dataclass
class _Block:
    """Tensors that share one place (a residual and the sum that overwrites it), alive in layers first..last."""

    names: list[str]
    words: int
    first: int
    last: int
    address: int = 0


def tensor_pitch(tensor: Tensor, chip: ChipConfig) -> int:
    """Activation words of one pixel."""
    return -(-tensor.shape[2] // chip.channels)


def tensor_words(tensor: Tensor, chip: ChipConfig) -> int:
    """Activation words of a tensor."""
    return tensor.shape[0] * tensor.shape[1] * tensor_pitch(tensor, chip)


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


def allocate(network: Network, chip: ChipConfig, keep_all: bool = False) -> dict[str, int]:
    """Address of every tensor, in activation words; `keep_all` gives each a place of its own.

    A sum overwrites its residual tensor where nothing else reads that any more (the hardware reads the residual's word
    right before it writes the sum's word to the same address). Raises MixcimError when the memory is too small.
    """
    spans = lifetimes(network)
    if keep_all:
        spans = {name: (first, len(network.layers)) for name, (first, _) in spans.items()}
    blocks = _blocks(network, chip, spans, in_place=not keep_all)
    # Two classic orders for first-fit; which of them packs better depends on the network, so both are tried.
    orders = (
        sorted(blocks, key=lambda block: (block.first, block.names)),
        sorted(blocks, key=lambda block: (-block.words, block.first, block.names)),
    )
    results = [_first_fit(order) for order in orders]
    needed, addresses = min(results, key=lambda result: result[0])
    if needed > chip.activation_words:
        raise MixcimError(_too_small(network, chip, spans, needed, keep_all))
    return addresses


def used_words(network: Network, chip: ChipConfig, addresses: dict[str, int]) -> int:
    """Words of the activation memory up to the end of the last tensor."""
    return max(addresses[name] + tensor_words(tensor, chip) for name, tensor in network.tensors.items())


def _blocks(network: Network, chip: ChipConfig, spans: dict[str, tuple[int, int]], in_place: bool) -> list[_Block]:
    owner: dict[str, _Block] = {}
    blocks: list[_Block] = []
    for name, (first, last) in spans.items():
        index = first
        residual = network.layers[index].residual if index != HOST else None
        words = tensor_words(network.tensors[name], chip)
        if (
            in_place
            and residual is not None
            and residual.tensor != network.layers[index].input
            and spans[residual.tensor][1] == index
            and network.tensors[residual.tensor].shape == network.tensors[name].shape
        ):
            block = owner[residual.tensor]
            block.names.append(name)
            block.last = max(block.last, last)
        else:
            block = _Block([name], words, first, last)
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
            address = max(address, other.address + other.words)
        block.address = address
        placed.append(block)
    needed = max(block.address + block.words for block in placed)
    return needed, {name: block.address for block in placed for name in block.names}


def _too_small(
    network: Network, chip: ChipConfig, spans: dict[str, tuple[int, int]], needed: int, keep_all: bool
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
        words = sum(tensor_words(network.tensors[name], chip) for name in alive)
        if words > worst_words:
            worst, worst_words = layer.name, words
    return (
        f"{holds}, layer '{worst}' needs {max(needed, worst_words)}: "
        "use a chip with more activation_words, or a smaller input"
    )
