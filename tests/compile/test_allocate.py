"""Activation memory: nothing that is alive is overwritten, little is wasted, and too much is refused."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.random_networks import FORMATS, random_network, random_rules
from mixcim.compile.allocate import Layout, allocate, lifetimes, used_words
from mixcim.compile.network import Network
from mixcim.compile.placement import place
from mixcim.errors import MixcimError
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.presets import PRESETS

TINY, DEMO = PRESETS["tiny"], PRESETS["demo"]
SEEDS = range(60)


def layout_of(network: Network, chip: ChipConfig, keep_all: bool = False) -> Layout:
    return allocate(network, chip, place(network, chip), keep_all)


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
        and network.tensors[first].format.bytes == network.tensors[second].format.bytes
    )


def check_no_overlap(network: Network, layout: Layout, keep_all: bool) -> None:
    """Tensors that are alive together share no word, but for sums that replace their residual."""
    spans = lifetimes(network)
    for first in network.tensors:
        for second in network.tensors:
            if first == second:
                continue
            alive = spans[first][0] <= spans[second][1] and spans[second][0] <= spans[first][1]
            one, other = layout[first], layout[second]
            if one.address < other.end and other.address < one.end and (alive or keep_all):
                same = one.address == other.address and one.words == other.words
                assert (
                    not keep_all and same and (may_share(network, first, second) or may_share(network, second, first))
                )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("keep_all", [False, True])
def test_living_tensors_do_not_overlap(seed: int, keep_all: bool) -> None:
    network = random_network(seed, layers=9)
    check_no_overlap(network, layout_of(network, DEMO, keep_all), keep_all)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 30), chip=st.sampled_from(["tiny", "demo"]), keep_all=st.booleans())
def test_layout_of_any_formats(seed: int, chip: str, keep_all: bool) -> None:
    sizes = dataclasses.replace(PRESETS[chip], activation_words=1 << 14)
    network = random_network(seed, layers=8, widest=40, formats=FORMATS)
    placement = place(network, sizes, random_rules(network, seed, sizes.channels))
    layout = allocate(network, sizes, placement, keep_all)
    check_no_overlap(network, layout, keep_all)
    for name, tensor in network.tensors.items():
        found = layout[name]
        height, width, channels = tensor.shape
        words = -(-channels // sizes.channels)
        assert found.words == height * width * found.pitch
        assert found.pitch >= max(words * tensor.format.bytes, found.exponents)
        if tensor.format.bytes == 2:
            assert found.address % 2 == found.pitch % 2 == 0
        assert found.exponents == 0 if tensor.format is ElementFormat.INTEGER else found.exponents >= words
    for layer in network.layers:
        tiles = {(kernel // sizes.channels, unit) for kernel, unit in enumerate(placement[layer.name])}
        assert layout[layer.output].exponents in (0, len(tiles))
        if layer.residual:
            assert layout[layer.output].pitch == layout[layer.residual.tensor].pitch


def test_pitches_are_no_larger_than_they_must_be() -> None:
    for seed in SEEDS:
        network = random_network(seed, layers=6, widest=40, formats=FORMATS)
        layout = layout_of(network, DEMO)
        tied = {layer.output for layer in network.layers if layer.residual}
        tied |= {layer.residual.tensor for layer in network.layers if layer.residual}
        for name in network.tensors.keys() - tied:
            words = -(-network.tensors[name].shape[2] // DEMO.channels)
            assert layout[name].pitch == words * network.tensors[name].format.bytes


def test_sums_replace_their_residual_somewhere() -> None:
    replaced = 0
    for seed in SEEDS:
        network = random_network(seed, layers=9)
        layout = layout_of(network, DEMO)
        for layer in network.layers:
            if layer.residual and may_share(network, layer.residual.tensor, layer.output):
                replaced += layout[layer.residual.tensor].address == layout[layer.output].address
    assert replaced > 5


def test_no_sum_replaces_a_residual_in_words_of_several_tiles() -> None:
    """There a tile's write could meet another's read, which block RAM does not allow."""
    divided = replaced = 0
    for seed in range(200):
        network = random_network(seed, layers=8, widest=40)
        placement = place(network, DEMO, random_rules(network, seed, DEMO.channels))
        layout = allocate(network, DEMO, placement)
        for layer in network.layers:
            if layer.residual is None or not may_share(network, layer.residual.tensor, layer.output):
                continue
            kinds, size = placement[layer.name], DEMO.channels
            several = any(len(set(kinds[first : first + size])) > 1 for first in range(0, len(kinds), size))
            same = layout[layer.residual.tensor].address == layout[layer.output].address
            assert not (several and same), (seed, layer.name)
            divided, replaced = divided + several, replaced + same
    assert divided and replaced


def test_memory_is_used_again() -> None:
    used = kept = 0
    for seed in SEEDS:
        network = random_network(seed, layers=9)
        used += used_words(layout_of(network, TINY))
        kept += used_words(layout_of(network, dataclasses.replace(TINY, activation_words=1 << 14), keep_all=True))
    assert used < 0.6 * kept


@pytest.mark.parametrize("formats", [FORMATS[:1], FORMATS])
def test_peak_is_what_one_layer_needs_at_most_twice(formats: tuple[ElementFormat, ...]) -> None:
    for seed in SEEDS:
        network = random_network(seed, layers=9, formats=formats)
        spans, layout = lifetimes(network), layout_of(network, DEMO)
        peak = max(
            sum(layout[name].words for name, (first, last) in spans.items() if first <= index <= last)
            for index in range(len(network.layers))
        )
        assert used_words(layout) <= peak * 1.5


def test_too_little_memory_is_refused_with_numbers() -> None:
    used, network = max(
        ((used_words(layout_of(network, DEMO)), network) for network in map(random_network, SEEDS)),
        key=lambda item: item[0],
    )
    chip = dataclasses.replace(DEMO, activation_words=used // 8 * 4)
    with pytest.raises(MixcimError) as error:
        layout_of(network, chip)
    found = re.search(r"activation memory of chip 'demo' holds (\d+) words, layer '.*' needs (\d+): ", str(error.value))
    assert found and "use a chip with more activation_words" in str(error.value)
    holds, needs = (int(number) for number in found.groups())
    assert holds == chip.activation_words < needs <= used
    layout_of(network, dataclasses.replace(DEMO, activation_words=-(-needs // 4) * 4))
    with pytest.raises(MixcimError, match="leave out keep_all"):
        layout_of(network, dataclasses.replace(DEMO, activation_words=-(-used // 4) * 4), keep_all=True)
