"""Merge neighbouring pixels of a pointwise layer into one window, which the row segments of SRAM-CIM take apart.

A window of a pointwise layer is one pixel, which fills few of a bank's rows if it has few channels. So many pixels of a
row as fill a vector become one window; every one of them has kernel tiles of its own, whose weights are 0 in the rows
of the others. A tile needs only the segment (commands.SramMode) in which its pixel lies: a step meets P tiles, P
segments being busy with pixels of their own. Example, 32 channels on 128 rows of 4 segments, 48 kernels of 16 a tile::

    vector    | pixel 0 | pixel 1 | pixel 2 | pixel 3 |
    step 0    |  tile 0 |  tile 0 |  tile 0 |  tile 0 |      kernels  0..15 of four pixels
    step 1    |  tile 1 |  tile 1 |  tile 1 |  tile 1 |      kernels 16..31
    step 2    |  tile 2 |  tile 2 |  tile 2 |  tile 2 |      kernels 32..47

The layer stays as it is for everything else: only what it asks of the units, and its RUNs, are those of the view.
Floating-point layers are not merged: a window has one exponent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixcim_hdl.commands import RUN_FIELDS
from mixcim_hdl.config import ChipConfig, UnitKind

from .network import Layer, LayerKind, Network
from .portions import unit_tiles
from .weights import Window, window_of

if TYPE_CHECKING:  # allocate.py imports placement.py, which imports this file
    from .allocate import Layout


@dataclass(frozen=True, eq=False)
class View:
    """A layer as the units see it: `pixels` of the layer are one of the view's `network`.

    `places` int (words, 2): for each output word of the view, the pixel and the output word of that pixel.
    """

    network: Network
    layer: Layer
    window: Window
    pixels: int
    places: np.ndarray

    def layout(self, layout: Layout) -> Layout:
        """Where the view's tensors lie: a pixel has the pitch of all its pixels."""
        if self.pixels == 1:
            return layout
        seen = _tensors(self.layer)
        return layout | {name: replace(layout[name], pitch=layout[name].pitch * self.pixels) for name in seen}

    def word_offsets(self, words: np.ndarray, layout: Layout) -> np.ndarray:
        """Word of the view's pixel in which each of its output words lies: int (words,)."""
        pixel, word = self.places[words].T
        return pixel * layout[self.layer.output].pitch + word


def plain_view(network: Network, layer: Layer, chip: ChipConfig) -> View:
    """The layer as it is."""
    words = np.arange(-(-network.tensors[layer.output].shape[2] // chip.channels))
    return View(network, layer, window_of(network, layer, chip), 1, np.stack([np.zeros_like(words), words], axis=1))


def merged_view(
    network: Network,
    layer: Layer,
    units: tuple[UnitKind | None, ...],
    pitches: Mapping[str, int] | None,
    chip: ChipConfig,
) -> View | None:
    """The layer with pixels merged, or None where that is not possible or fills no more of a vector.

    `units`: kind of unit of each kernel. `pitches`: words of a pixel of every tensor; None: as few as there can be.
    """
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    words = -(-source.shape[2] // chip.channels)
    rows = words * chip.channels
    pixels = chip.rows // rows
    split = min(pixels, chip.sram_segments)
    if pitches is None:
        pitches = {name: -(-network.tensors[name].shape[2] // chip.channels) for name in _tensors(layer)}
    if not (
        layer.kind is LayerKind.CONVOLUTION
        and layer.floating is None
        and (layer.kernel, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0, 0, 0))
        and set(units) == {UnitKind.SRAM}
        and words == pitches[layer.input]  # the pixels of a window lie one behind the other
        and pixels * pitches[layer.output] < 1 << RUN_FIELDS["output_pitch"]
        and split > 1
        and pixels * rows == chip.rows
        and source.shape[1] % pixels == 0
    ):
        return None
    kernels = -(-output.shape[2] // chip.channels)
    # Tile t of the view has the weights of segment t % split: word by word, and pixel by pixel of a segment.
    word, place, segment = np.indices((kernels, pixels // split, split)).reshape(3, -1)
    pixel = segment * (pixels // split) + place
    view = replace(network, tensors=dict(network.tensors))
    for name in _tensors(layer):
        height, width, channels = network.tensors[name].shape
        merged = height, width // pixels, pixels * -(-channels // chip.channels) * chip.channels
        view.tensors[name] = replace(network.tensors[name], shape=merged)
    merged_layer = _merged_layer(layer, word, pixel, rows, pixels, chip)
    window = replace(window_of(view, merged_layer, chip), split=split)
    if unit_tiles(UnitKind.SRAM, window, chip) == 0:  # not even a step's tiles fit
        return None
    return View(view, merged_layer, window, pixels, np.stack([pixel, word], axis=1))


def _merged_layer(layer: Layer, word: np.ndarray, pixel: np.ndarray, rows: int, pixels: int, chip: ChipConfig) -> Layer:
    """The layer whose output words are `word` of `pixel`, of a window of so many pixels of `rows` channels each."""
    assert layer.weight is not None
    kernels, *_, channels = layer.weight.shape
    padding = -kernels % chip.channels
    weight = np.zeros((kernels + padding, rows), layer.weight.dtype)
    weight[:kernels, :channels] = layer.weight.reshape(kernels, channels)
    weight = weight.reshape(-1, chip.channels, rows)
    merged = np.zeros((len(word), chip.channels, pixels, rows), weight.dtype)
    merged[np.arange(len(word)), :, pixel] = weight[word]

    def of_words(values: np.ndarray) -> np.ndarray:
        padded = np.pad(np.broadcast_to(values, (kernels,)), (0, padding))
        return padded.reshape(-1, chip.channels)[word].reshape(-1)

    return replace(
        layer,
        weight=merged.reshape(len(word) * chip.channels, 1, 1, pixels * rows),
        bias=of_words(layer.bias),
        scale=of_words(layer.scale),
    )


def _tensors(layer: Layer) -> set[str]:
    """Tensors that a layer walks through pixel by pixel."""
    return {layer.input, layer.output} | ({layer.residual.tensor} if layer.residual else set())
