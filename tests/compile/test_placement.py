"""Placement: the default rule, rules by hand, and every mistake in them."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from compile.random_networks import FORMATS, random_network
from mixcim.compile.network import Layer, LayerKind, Network, Quantisation, Tensor
from mixcim.compile.placement import is_fully_connected, place, read_placement_file
from mixcim.errors import MixcimError
from mixcim_hdl.config import UnitKind
from mixcim_hdl.presets import PRESETS

DEMO = PRESETS["demo"]
NETWORK = random_network(12, layers=8, widest=20)


def inputs_of(layer: Layer) -> int:
    assert layer.weight is not None
    return layer.weight[0].size


def names(network: Network, kind: LayerKind) -> list[str]:
    return [layer.name for layer in network.layers if layer.kind is kind]


@functools.cache
def wide_network() -> Network:
    """A network whose convolutions are too long for tiny-digital's rule: it has at least three of them."""
    for seed in range(200):
        network = random_network(seed, layers=8, widest=60)
        long = [layer for layer in network.layers if layer.kind is LayerKind.CONVOLUTION and inputs_of(layer) > 64]
        if len(long) >= 3 and names(network, LayerKind.MAX_POOL):
            return network
    raise AssertionError("no such network in 200 seeds")


def test_default_rule() -> None:
    network = wide_network()
    for layer in network.layers:
        units = set(place(network, DEMO)[layer.name])
        if layer.kind is not LayerKind.CONVOLUTION:
            assert units == {UnitKind.TINY}
        elif inputs_of(layer) > 64:
            assert units == {UnitKind.SRAM}


@pytest.mark.parametrize(
    ("kernel", "channels", "kernels", "unit"),
    [
        ((3, 3), 1, 16, "tiny"),  # 9 rows: as many cycles as the feeder needs for 9 words
        ((3, 3), 1, 17, "sram"),  # two kernel tiles: 18 cycles
        ((3, 3), 3, 16, "sram"),  # 36 rows from 9 words
        ((1, 1), 8, 40, "tiny"),  # 8 rows: as many cycles as 8 input bits
        ((1, 1), 9, 16, "sram"),
    ],
)
def test_few_input_kernels_go_to_tiny(kernel: tuple[int, int], channels: int, kernels: int, unit: str) -> None:
    quantisation = Quantisation(1.0, 0, False)
    tensors = {"x": Tensor("x", (5, 5, channels), quantisation), "y": Tensor("y", (3, 3, kernels), quantisation)}
    weight = np.ones((kernels, *kernel, channels), np.int8)
    layer = Layer(
        *("c", LayerKind.CONVOLUTION, "x", "y", kernel, (1, 1), (0, 0, 0, 0), weight),
        *(np.zeros(kernels, np.int32), np.ones(kernels, np.float32), (0, 255)),
    )
    network = Network("few", tensors, [layer], "x", "y", "NHWC", (5, 5, channels), (3, 3, kernels))
    assert place(network, DEMO)["c"] == (UnitKind(unit),) * kernels


def test_hidden_convolutions_go_to_memristor_but_not_first_last_or_fully_connected() -> None:
    network = wide_network()
    placement = place(network, DEMO, hidden="memristor")
    on_memristor = {name for name, units in placement.items() if UnitKind.MEMRISTOR in units}
    weighted = [layer for layer in network.layers if layer.weight is not None]
    expected = {
        layer.name
        for layer in weighted[1:-1]
        if layer.kind is LayerKind.CONVOLUTION and layer.kernel != network.tensors[layer.input].shape[:2]
    }
    assert on_memristor == expected and expected


def test_last_convolution_is_not_hidden() -> None:
    network = wide_network()
    while network.layers[-1].kind is not LayerKind.CONVOLUTION or is_fully_connected(network, network.layers[-1]):
        network = dataclasses.replace(network, layers=network.layers[:-1])
    assert UnitKind.MEMRISTOR not in place(network, DEMO, hidden="memristor")[network.layers[-1].name]


def test_chip_without_sram_falls_back_to_tiny() -> None:
    chip = dataclasses.replace(DEMO, sram_banks=0)
    assert {unit for units in place(wide_network(), chip).values() for unit in units} == {UnitKind.TINY}


def test_rules_by_name_number_range_and_star() -> None:
    network = wide_network()
    layer = next(layer for layer in network.layers if layer.kind is LayerKind.CONVOLUTION and len(layer.bias) > 3)
    number = network.layers.index(layer) + 1
    last = len(layer.bias) - 1
    for name in (layer.name, f"layer{number}"):
        placement = place(network, DEMO, ["*=sram", f"{name}:1-{last}=memristor,0=tiny"])
        assert placement[layer.name] == (UnitKind.TINY,) + (UnitKind.MEMRISTOR,) * last
    for other in network.layers:
        if other is not layer:
            pooled = other.kind is LayerKind.MAX_POOL
            assert set(placement[other.name]) == {UnitKind.TINY if pooled else UnitKind.SRAM}


def test_ranges_of_one_layer_may_be_spread_over_rules() -> None:
    name, count = NETWORK.layers[-1].name, len(NETWORK.layers[-1].bias)
    rules = [f"{name}:{kernel}={'sram' if kernel % 2 else 'tiny'}" for kernel in range(count)]
    assert place(NETWORK, DEMO, rules)[name] == tuple(
        UnitKind.SRAM if kernel % 2 else UnitKind.TINY for kernel in range(count)
    )


LAST = len(NETWORK.layers[-1].bias) - 1
LAST_NAME = NETWORK.layers[-1].name


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["layer99=sram"], "has no layer 'layer99'; it has layer1 to layer8"),
        ([f"{LAST_NAME[:-2]}=sram"], f"names like it: {LAST_NAME}"),
        ([f"{LAST_NAME}:0-{LAST + 1}=sram"], f"there is no kernel {LAST + 1}"),
        ([f"{LAST_NAME}:0-{LAST}=sram,{LAST}=tiny"], f"kernel {LAST} is placed twice"),
        ([f"{LAST_NAME}=sram", "layer8=tiny"], "kernel 0 is placed twice"),
        ([f"{LAST_NAME}:1-{LAST}=sram"], "1 of its kernels"),
        ([f"{LAST_NAME}:3-1=sram"], "range 3-1 is empty"),
        ([f"{LAST_NAME}=sarm"], "unit must be one of memristor, sram, tiny, not 'sarm'"),
        ([LAST_NAME], "must read LAYER=UNIT"),
        ([f"{LAST_NAME}="], "not ''"),
        (["*=sram", "*=tiny"], "'*' is placed twice"),
        (["*:0-1=sram"], "'*' takes no kernel ranges"),
    ],
)
def test_mistakes_are_named(rules: list[str], message: str) -> None:
    with pytest.raises(MixcimError) as error:
        place(NETWORK, DEMO, rules)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_maximum_runs_on_tiny_only() -> None:
    network = wide_network()
    with pytest.raises(MixcimError, match="max-pooling, which only tiny units do"):
        place(network, DEMO, [f"{names(network, LayerKind.MAX_POOL)[0]}=sram"])


def test_pooling_of_floating_inputs_runs_on_no_unit() -> None:
    """By default, under '*' and with hidden layers elsewhere; rules that name such a layer are refused."""
    seen = set()
    choices: tuple[tuple[list[str], str | None], ...] = (([], None), (["*=sram"], None), ([], "memristor"))
    for seed in range(20):
        network = random_network(seed, formats=FORMATS)
        for rules, hidden in choices:
            for name, units in place(network, DEMO, rules, hidden).items():
                layer = next(layer for layer in network.layers if layer.name == name)
                assert (set(units) == {None}) == network.pools(layer)
                assert len(units) == len(layer.bias)
        for layer in network.layers:
            if network.pools(layer):
                seen.add(layer.kind)
                with pytest.raises(MixcimError, match="which the float pool sums or compares in FP32"):
                    place(network, DEMO, [f"{layer.name}=tiny"])
    assert seen == {LayerKind.IDENTITY, LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL}


@pytest.mark.parametrize("arguments", [{"placement_rules": ["*=memristor"]}, {"hidden": "memristor"}])
def test_unit_that_the_chip_lacks(arguments: dict) -> None:
    chip = dataclasses.replace(DEMO, memristor_banks=0)
    with pytest.raises(MixcimError, match="chip 'demo' has no memristor unit, only sram, tiny"):
        place(NETWORK, chip, **arguments)


def test_placement_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.txt"
    path.write_text("# all\n*=sram  # but\n\nlayer1=tiny\n")
    assert read_placement_file(path) == ["*=sram", "layer1=tiny"]
    with pytest.raises(MixcimError, match="cannot be read"):
        read_placement_file(tmp_path / "none.txt")
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(MixcimError, match="is not text"):
        read_placement_file(path)
