"""Activation memory: nothing that is alive is overwritten, little is wasted, and too much is refused."""

import dataclasses

import pytest

from compile.random_networks import random_network
from mixcim.compile.allocate import allocate, lifetimes, tensor_words, used_words
from mixcim.compile.network import Network
from mixcim.errors import MixcimError
from mixcim_hdl.presets import PRESETS

TINY, DEMO = PRESETS["tiny"], PRESETS["demo"]
SEEDS = range(60)


def may_share(network: Network, first: str, second: str) -> bool:
    """True if `second` is a sum that replaces `first`, its residual, which nothing reads afterwards."""
    spans = lifetimes(network)
    layer = network.layers[spans[second][0]] if spans[second][0] >= 0 else None
    return bool(
        layer
        and layer.residual
        and layer.residual.tensor == first
        and layer.input != first
        and spans[first][1] == spans[second][0]
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("keep_all", [False, True])
def test_living_tensors_do_not_overlap(seed: int, keep_all: bool) -> None:
    network = random_network(seed, layers=9)
    addresses = allocate(network, DEMO, keep_all)
    spans = lifetimes(network)
    for first in network.tensors:
        for second in network.tensors:
            if first == second:
                continue
            alive = spans[first][0] <= spans[second][1] and spans[second][0] <= spans[first][1]
            overlap = addresses[first] < addresses[second] + tensor_words(network.tensors[second], DEMO) and addresses[
                second
            ] < addresses[first] + tensor_words(network.tensors[first], DEMO)
            if overlap and (alive or keep_all):
                same = addresses[first] == addresses[second]
                assert (
                    not keep_all and same and (may_share(network, first, second) or may_share(network, second, first))
                )


def test_sums_replace_their_residual_somewhere() -> None:
    replaced = 0
    for seed in SEEDS:
        network = random_network(seed, layers=9)
        addresses = allocate(network, DEMO)
        for layer in network.layers:
            if layer.residual and may_share(network, layer.residual.tensor, layer.output):
                replaced += addresses[layer.residual.tensor] == addresses[layer.output]
    assert replaced > 5


def test_memory_is_used_again() -> None:
    used = kept = 0
    for seed in SEEDS:
        network = random_network(seed, layers=9)
        used += used_words(network, TINY, allocate(network, TINY))
        kept += used_words(network, TINY, allocate(network, PRESETS["large"], keep_all=True))
    assert used < 0.85 * kept


def test_peak_is_what_one_layer_needs_at_most_twice() -> None:
    for seed in SEEDS:
        network = random_network(seed, layers=9)
        spans = lifetimes(network)
        peak = max(
            sum(
                tensor_words(tensor, DEMO)
                for name, tensor in network.tensors.items()
                if spans[name][0] <= index <= spans[name][1]
            )
            for index in range(len(network.layers))
        )
        assert used_words(network, DEMO, allocate(network, DEMO)) <= peak * 1.5


def test_too_little_memory_is_refused_with_numbers() -> None:
    used, network = max(
        ((used_words(network, DEMO, allocate(network, DEMO)), network) for network in map(random_network, SEEDS)),
        key=lambda item: item[0],
    )
    chip = dataclasses.replace(DEMO, activation_words=used - used % 4 - 4)
    with pytest.raises(MixcimError) as error:
        allocate(network, chip)
    assert f"activation memory of chip 'demo' holds {chip.activation_words} words, layer '" in str(error.value)
    assert f"needs {used}: use a chip with more activation_words" in str(error.value)
    with pytest.raises(MixcimError, match="leave out keep_all"):
        allocate(network, dataclasses.replace(DEMO, activation_words=-(-used // 4) * 4), keep_all=True)
