"""Pixels of pointwise layers merged into windows that row segments take apart: where, and with the same results."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compile.test_compiler import differences
from compile.test_depth_first import with_memory
from compile.test_passes import MANY, fields_of
from mixcim.compile.compiler import compile_network
from mixcim.compile.layer_weights import layer_weights
from mixcim.compile.merge import merged_view
from mixcim.compile.network import Layer, LayerKind, Network, Quantisation, Residual, Tensor
from mixcim.compile.unused import unused_biases
from mixcim.compile.weights import dense_slots, packed_slots
from mixcim.errors import MixcimError
from mixcim_hdl.commands import Opcode, SramMode
from mixcim_hdl.config import ChipConfig, UnitKind

#: Vectors of 32 rows in 8 words of 4 channels, and outputs as fast as they come.
CHIP = dataclasses.replace(
    MANY,
    name="merge",
    rows=32,
    sram_segments=4,
    sram_slots=256,
    engines=4,
    memristor_banks=4,
    tiny_banks=4,
    output_lanes=4,
    accumulator_tiles=64,
)
SRAM = UnitKind.SRAM


def pointwise(
    channels: int = 4,
    kernels: int = 12,
    width: int = 16,
    *,
    height: int = 24,
    count: int = 1,
    residual: bool = False,
    seed: int = 0,
) -> Network:
    """Pointwise layers over (height, width, channels) one behind the other, with unequal scales and biases."""
    random = np.random.default_rng(seed)
    quantisation = Quantisation(0.05, 9, False)
    sizes = [channels, *[kernels] * count]
    tensors = {
        f"t{number}": Tensor(f"t{number}", (height, width, size), quantisation) for number, size in enumerate(sizes)
    }
    layers = []
    for number, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
        summand = f"t{number}" if residual and number else None
        layers.append(
            Layer(
                *(f"c{number}", LayerKind.CONVOLUTION, f"t{number}", f"t{number + 1}", (1, 1), (1, 1), (0, 0, 0, 0)),
                random.integers(-127, 128, (outputs, 1, 1, inputs)).astype(np.int8),
                random.integers(-500, 500, outputs).astype(np.int32),
                (random.uniform(0.5, 1, outputs) / 90 / np.sqrt(inputs)).astype(np.float32),
                (0, 255),
                residual=Residual(summand, quantisation, (0, 255)) if summand else None,
            )
        )
    return Network(
        "pointwise", tensors, layers, "t0", f"t{count}", "NHWC", (height, width, channels), (height, width, sizes[-1])
    )


def modes(network: Network, chip: ChipConfig, rules: tuple[str, ...] = ("*=sram",)) -> list[set[int]]:
    """Modes of the SRAM-CIM units that have tiles, of each layer."""
    program = compile_network(network, chip, rules)
    units = [unit for unit, kind in enumerate(chip.units) if kind is SRAM]
    return [
        {
            run[f"mode[{unit}]"]
            for run in fields_of(program, chip, Opcode.RUN, record)
            for unit in units
            if run[f"tiles[{unit}]"]
        }
        for record in program.layers
    ]


@pytest.mark.parametrize(
    ("channels", "mode"), [(4, SramMode.SPLIT_4), (3, SramMode.SPLIT_4), (8, SramMode.SPLIT_4), (7, SramMode.SPLIT_4),
                           (16, SramMode.SPLIT_2), (12, SramMode.REPEATED), (32, SramMode.REPEATED)],
)  # fmt: skip
@pytest.mark.parametrize("kernels", [4, 10, 20])
def test_merged_layers_equal_the_definition(channels: int, mode: SramMode, kernels: int) -> None:
    """Eight, four, two pixels fill a vector; three words, or a whole vector, do not divide it."""
    network = pointwise(channels, kernels)
    if mode is not SramMode.REPEATED:
        assert merged_view(network, network.layers[0], (SRAM,) * kernels, None, CHIP) is not None
    (found,) = modes(network, CHIP)
    # Two pixels a window are not always faster than a short vector repeated in two segments.
    assert found == {mode} or (found == {SramMode.REPEATED} and mode is SramMode.SPLIT_2)
    assert differences(network, compile_network(network, CHIP, ["*=sram"]), CHIP) == ([], 0)


@pytest.mark.parametrize("seed", range(4))
def test_merged_layers_with_residuals_and_in_strips_equal_the_definition(seed: int) -> None:
    network = pointwise(8, 8, count=4, residual=True, seed=seed)
    assert modes(network, CHIP) == [{SramMode.SPLIT_4}] * 4
    assert differences(network, compile_network(network, CHIP, ["*=sram"]), CHIP) == ([], 0)
    wide = pointwise(4, 24, height=40, count=2, seed=seed)
    wide.layers.append(
        dataclasses.replace(pointwise(24, 4, height=40, seed=seed).layers[0], name="c2", input="t2", output="t3")
    )
    wide.tensors["t3"] = Tensor("t3", (40, 16, 4), wide.tensors["t0"].quantisation)
    wide = dataclasses.replace(wide, output="t3", output_shape=(40, 16, 4))
    small = with_memory(CHIP, 5000)
    program = compile_network(wide, small, ["*=sram"])
    assert {record.chain for record in program.layers} != {0}  # depth-first, in strips
    assert modes(wide, small)[0] == {SramMode.SPLIT_4}
    assert differences(wide, program, small) == ([], 0)


def test_what_is_not_merged() -> None:
    network = pointwise()
    layer, units = network.layers[0], (SRAM,) * 12

    def view(
        layer: Layer = layer, network: Network = network, units: tuple = units, pitch: int = 1, out: int = 3, chip=CHIP
    ):
        return merged_view(network, layer, units, {"t0": pitch, "t1": out}, chip)

    assert view() is not None
    assert view(dataclasses.replace(layer, stride=(2, 2))) is None
    assert view(dataclasses.replace(layer, kernel=(3, 3))) is None
    assert view(dataclasses.replace(layer, padding=(0, 1, 0, 0))) is None
    assert view(units=(SRAM,) * 8 + (UnitKind.TINY,) * 4) is None
    assert view(pitch=2) is None
    assert view(out=512) is None  # a field of 12 bits
    assert view(chip=dataclasses.replace(CHIP, accumulator_tiles=3)) is None
    assert view(chip=dataclasses.replace(CHIP, sram_segments=1)) is None
    narrow = pointwise(width=12)
    assert view(narrow.layers[0], narrow) is None


@pytest.mark.parametrize("channels", [4, 8])
def test_a_tiles_weights_lie_in_its_own_segment(channels: int) -> None:
    """Outside of it the merged layer's weights are 0: nothing is lost when slots are packed."""
    network = pointwise(channels, 12)
    view = merged_view(network, network.layers[0], (SRAM,) * 12, None, CHIP)
    assert view is not None
    weights = layer_weights(view.network, view.layer, view.window, unused_biases(network), CHIP)
    assert weights.rows is not None
    tiles = len(view.places)
    slots = dense_slots(weights.rows, np.arange(tiles), np.ones((tiles, CHIP.channels), bool), CHIP)
    assert (np.count_nonzero(packed_slots(slots, view.window, tiles, CHIP)) == np.count_nonzero(slots)) and slots.any()
    # Every pixel and output word once.
    assert sorted(map(tuple, view.places.tolist())) == [
        (pixel, word) for pixel in range(view.pixels) for word in range(3)
    ]


def test_merging_saves_cycles() -> None:
    network = pointwise(8, 16, count=2)
    cycles = [
        sum(record.estimated_cycles for record in compile_network(network, chip, ["*=sram"]).layers)
        for chip in (CHIP, dataclasses.replace(CHIP, sram_segments=1))
    ]
    assert cycles[0] < 0.5 * cycles[1]


@pytest.mark.parametrize("field", ["parameter_tiles", "weight_words"])
def test_what_does_not_fit_merged_is_not_merged(field: str) -> None:
    network = pointwise()
    assert modes(network, CHIP) == [{SramMode.SPLIT_4}]
    small = dataclasses.replace(CHIP, **{field: 16})
    assert modes(network, small) == [{SramMode.REPEATED}]
    assert differences(network, compile_network(network, small, ["*=sram"]), small) == ([], 0)
    with pytest.raises(MixcimError, match=f"use a chip with more {field}"):
        compile_network(network, dataclasses.replace(CHIP, **{field: 2}), ["*=sram"])


@pytest.mark.parametrize("tiles", [1, 2, 3, 4])
def test_few_accumulator_tiles(tiles: int) -> None:
    network, chip = pointwise(), dataclasses.replace(CHIP, accumulator_tiles=tiles)
    assert differences(network, compile_network(network, chip, ["*=sram"]), chip) == ([], 0)


def test_eight_segments() -> None:
    """Eight pixels, one a segment."""
    network, chip = pointwise(4, 8), dataclasses.replace(CHIP, sram_segments=8)
    assert modes(network, chip) == [{SramMode.SPLIT_8}]
    assert differences(network, compile_network(network, chip, ["*=sram"]), chip) == ([], 0)


def test_default_placement_knows_of_merging() -> None:
    """Few input channels: tiny-digital is faster, unless pixels are merged."""
    network = pointwise(4, 8)
    for segments, unit in ((4, "sram"), (1, "tiny")):
        chip = dataclasses.replace(CHIP, sram_segments=segments)
        assert set(compile_network(network, chip).layers[0].kernels) == {unit}
