"""Weights of a layer, laid out as the compute units hold them.

A window is cut into vectors of `rows` rows. Row order: ky, kx, activation word, channel within the word (the first
`granule` of them). `Window` says how; `dense_slots` and `diagonal_slots` give the weights of every vector as *slots*,
int8 (slots, rows, channels); the functions after them turn slots into the words or lines of each kind of unit.

Weights wider than a unit's are cut into *slices*, one slot each: weight = sum(slice[s] << SLICE_BITS * s), every slice
two's complement of WEIGHT_BITS, so -128..127.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import SramMode
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.formats import LARGEST_SLICES, SLICE_BITS, WEIGHT_BITS, Encoding, ideal_conductance

from ..errors import MixcimError
from .network import Layer, LayerKind, Network


@dataclass(frozen=True)
class Window:
    """How a layer's window becomes vectors.

    `granule`: channels taken from each activation word. `tap_words`: words taken at each position. `rows`: filled rows
    of a window (of one group of channels, for a layer that keeps channels apart). `vectors`: vectors of a window.
    `separate`: channels are kept apart (depthwise, pooling, identity): one group per activation word. `slices`: slices
    of the layer's weights. `split`: the row segments of SRAM-CIM that take the vector apart (merge.py), 1 for none.
    """

    granule: int
    tap_words: int
    rows: int
    vectors: int
    separate: bool
    slices: int = 1
    split: int = 1

    @property
    def slots(self) -> int:
        """Slots of one kernel tile (of one group) alone."""
        return self.vectors * self.slices

    def last_length(self, chip: ChipConfig) -> int:
        """Rows filled of the last vector."""
        return self.rows - (self.vectors - 1) * chip.rows

    def steps(self, kind: UnitKind, tiles: int, chip: ChipConfig) -> int:
        """Steps of a unit for so many kernel tiles (of one group), slices apart; each has a slot of its own."""
        return chip.window_steps(kind, self.sram_mode, self.rows, tiles)

    @property
    def sram_mode(self) -> SramMode:
        """What SRAM-CIM units do with its vectors."""
        return SramMode(self.split.bit_length() - 1)


def window_of(network: Network, layer: Layer, chip: ChipConfig) -> Window:
    """The window of a layer on a chip. Raises MixcimError for weights that not even LARGEST_SLICES slices hold."""
    channels = network.tensors[layer.input].shape[2]
    separate = layer.kind is not LayerKind.CONVOLUTION
    words = -(-channels // chip.channels)
    # Few channels: only as many rows as the next power of two, so that they do not drag empty rows along. Layers that
    # keep channels apart take whole words, the layout that tiny-digital's lanes have.
    granule = chip.channels if separate or words > 1 else 1 << (channels - 1).bit_length()
    tap_words = 1 if separate else words
    rows = layer.kernel[0] * layer.kernel[1] * tap_words * granule
    return Window(granule, tap_words, rows, -(-rows // chip.rows), separate, _slice_count(layer))


def sliced(weight: np.ndarray, slices: int) -> np.ndarray:
    """Slices of integer weights, least significant first: int8 (slices, *shape). They must fit so many slices."""
    rest, parts = weight.astype(np.int32), []
    for _ in range(slices):
        parts.append(rest.astype(np.int8))  # the low byte, two's complement
        rest = (rest - parts[-1]) >> SLICE_BITS
    return np.stack(parts)


def _slice_count(layer: Layer) -> int:
    """Fewest slices that hold all weights of a layer."""
    if layer.weight is None or not layer.weight.size:
        return 1
    least, largest = int(layer.weight.min()), int(layer.weight.max())
    half = 1 << WEIGHT_BITS - 1
    for slices in range(1, LARGEST_SLICES + 1):
        ones = sum(1 << SLICE_BITS * part for part in range(slices))
        if -half * ones <= least and largest <= (half - 1) * ones:
            return slices
    raise MixcimError(
        f"layer '{layer.name}' has weights from {least} to {largest}, the chip's {LARGEST_SLICES} slices of "
        f"{SLICE_BITS} bits hold less: align its weights to fewer bits"
    )


def kernel_rows(layer: Layer, window: Window, chip: ChipConfig) -> np.ndarray:
    """Weights of each kernel in row order: int8 (slices, kernels rounded up to whole words, vectors, rows), else 0."""
    assert layer.weight is not None
    kernels, height, width, channels = layer.weight.shape
    padded_kernels = -(-kernels // chip.channels) * chip.channels
    rows = np.zeros((window.slices, padded_kernels, height * width, window.tap_words * window.granule), np.int8)
    weight = layer.weight.reshape(kernels, height * width, channels)
    rows[:, :kernels, :, :channels] = sliced(weight, window.slices)
    result = np.zeros((window.slices, padded_kernels, window.vectors * chip.rows), np.int8)
    result[..., : window.rows] = rows.reshape(window.slices, padded_kernels, window.rows)
    return result.reshape(window.slices, padded_kernels, window.vectors, chip.rows)


def channel_taps(layer: Layer, channels: int, window: Window, chip: ChipConfig) -> np.ndarray:
    """Weights of a layer that keeps channels apart: int8 (groups, vectors, slices, taps of a vector, channels).

    `channels`: channels of its tensors. Pooling and identity weigh every tap with 1; lanes without channel hold 0.
    """
    taps = layer.kernel[0] * layer.kernel[1]
    groups = -(-channels // chip.channels)
    values = np.zeros((window.slices, window.vectors * chip.taps_per_vector, groups * chip.channels), np.int8)
    weight = np.ones((channels, taps), np.int8) if layer.weight is None else layer.weight.reshape(channels, taps)
    values[:, :taps, :channels] = sliced(weight.T, window.slices)
    shape = (window.slices, window.vectors, chip.taps_per_vector, groups, chip.channels)
    return np.ascontiguousarray(values.reshape(shape).transpose(3, 1, 0, 2, 4))


def dense_slots(rows: np.ndarray, words: np.ndarray, lanes: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Slots of the kernel tiles `words` of a convolution: int8 (vectors * tiles * slices, rows, channels).

    slot = (v * tiles + t) * slices + s. `rows`: from kernel_rows. `words` (tiles,): output word of each tile. `lanes`
    bool (tiles, channels): kernels that are the tile's own; the others get weight 0.
    """
    kernels = rows.reshape(len(rows), -1, chip.channels, rows.shape[2], chip.rows)[:, words]
    kernels = np.where(lanes[:, :, None, None], kernels, np.int8(0))
    return np.ascontiguousarray(kernels.transpose(3, 1, 0, 4, 2)).reshape(-1, chip.rows, chip.channels)


def masked_taps(taps: np.ndarray, first_group: int, lanes: np.ndarray) -> np.ndarray:
    """Taps of the groups from `first_group` on, 0 in lanes that are not the tile's own (`lanes`: groups, channels)."""
    part = taps[first_group : first_group + len(lanes)]
    return np.where(lanes[:, None, None, None, :], part, np.int8(0))


def diagonal_slots(taps: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Slots of a layer that keeps channels apart, on a CIM unit: int8 (groups * vectors * slices, rows, channels).

    Row a * channels + c of a vector (channel c of tap a) has its weight in column c and 0 in all others.
    """
    eye = np.eye(chip.channels, dtype=np.int8)
    return (taps[..., :, None] * eye).reshape(-1, chip.rows, chip.channels)


def packed_slots(slots: np.ndarray, window: Window, tiles: int, chip: ChipConfig) -> np.ndarray:
    """Slots of `tiles` kernel tiles as SRAM-CIM holds them: int8 (fewer slots, rows, channels), of dense_slots' ones.

    A vector may meet P tiles at a time (commands.SramMode): the weights of tile t lie in segment t % P of slot
    (t // P) * slices + slice. The segments' own rows of a vector that is split; else its first ones.
    """
    parts = slots.reshape(window.vectors, tiles, window.slices, chip.rows, chip.channels)
    found = []
    for number, vector in enumerate(parts):
        length = chip.rows if number + 1 < window.vectors else window.last_length(chip)
        packed = chip.packed_tiles(UnitKind.SRAM, window.sram_mode, length)
        segments = np.pad(vector, ((0, -tiles % packed), *((0, 0),) * 3))
        # step, tile, slice, segment of its rows, row, channel
        segments = segments.reshape(-1, packed, window.slices, packed, chip.rows // packed, chip.channels)
        own = np.arange(packed)
        chosen = segments[:, own, :, own if window.split > 1 else np.zeros_like(own)]  # tile, step, slice, row, channel
        found.append(chosen.transpose(1, 2, 0, 3, 4).reshape(-1, chip.rows, chip.channels))
    return np.concatenate(found)


def sram_words(slots: np.ndarray) -> np.ndarray:
    """Weight words of SRAM-CIM: int8 (slots * channels, rows), word = slot * channels + kernel."""
    return np.ascontiguousarray(slots.transpose(0, 2, 1)).reshape(-1, slots.shape[1])


def broadcast_words(slots: np.ndarray) -> np.ndarray:
    """Weight words of tiny-digital in BROADCAST mode: int8 (slots * channels, rows).

    A word holds `taps_per_vector` rows x `channels` kernels, byte (row % taps_per_vector) * channels + kernel.
    """
    return np.ascontiguousarray(slots).reshape(-1, slots.shape[1])


def depthwise_words(taps: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Weight words of tiny-digital in DEPTHWISE mode: int8 (slots, rows), byte tap * channels + channel."""
    return np.ascontiguousarray(taps).reshape(-1, chip.rows)


def weight_digits(slots: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Digit held by every cell: uint8 (slots, digits, columns, rows), columns as formats.Encoding has them.

    `slots`: integers (slots, rows, channels). The reference column holds 0. Raises MixcimError, naming the weight and
    the limits, for a weight that the chip's weight mode cannot hold in its encoding.
    """
    mode, encoding = chip.mode, chip.weight_encoding
    bits = sum(mode.cells)
    low, high = {
        Encoding.DIFFERENTIAL: (-mode.largest_magnitude, mode.largest_magnitude),
        Encoding.OFFSET: (-(1 << WEIGHT_BITS - 1), mode.largest_magnitude - (1 << WEIGHT_BITS - 1)),
        Encoding.TWOS_COMPLEMENT: (-(1 << bits - 1), (1 << bits - 1) - 1),
    }[encoding]
    for weight in (int(slots.min()), int(slots.max())) if slots.size else ():
        if not low <= weight <= high:
            raise MixcimError(
                f"weight {weight} does not fit chip '{chip.name}': weight mode {mode.name} holds {low} to {high} in "
                f"encoding {encoding.value}; use a chip with another weight_mode or encoding"
            )
    weights = slots.transpose(0, 2, 1).astype(np.int16)
    numbers = np.zeros((len(slots), chip.memristor_columns, chip.rows), np.int16)
    if encoding is Encoding.DIFFERENTIAL:
        numbers[:, 0:-1:2] = np.maximum(weights, 0)
        numbers[:, 1:-1:2] = np.maximum(-weights, 0)
    elif encoding is Encoding.OFFSET:
        numbers[:, :-1] = weights + (1 << WEIGHT_BITS - 1)
    else:
        numbers[:, :-1] = weights & (1 << bits) - 1
    digits = [numbers >> place & (1 << bits) - 1 for bits, place in zip(mode.cells, mode.places, strict=True)]
    return np.stack(digits, axis=1).astype(np.uint8)


def memristor_lines(slots: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Bit lines of a memristor bank: ideal conductance codes, uint8 (slots * digits * physical columns, rows).

    Cells of spare columns are 0.
    """
    digits = weight_digits(slots, chip)
    lines = np.zeros((*digits.shape[:2], chip.physical_columns, chip.rows), np.uint8)
    for digit, bits in enumerate(chip.mode.cells):
        codes = [ideal_conductance(value, bits, chip.conductance_bits) for value in range(1 << bits)]
        lines[:, digit, : chip.memristor_columns] = np.array(codes, np.uint8)[digits[:, digit]]
    return lines.reshape(-1, chip.rows)


def digits_used(slots: np.ndarray, chip: ChipConfig) -> int:
    """Digits, from the least significant one on, that hold all weights of `slots`, int8 (slots, rows, channels).

    Less than all of them in the differential encoding only: a small weight of either sign has 0 in its high digits.
    """
    if chip.weight_encoding is not Encoding.DIFFERENTIAL:
        return len(chip.mode.cells)
    largest = int(np.abs(slots.astype(np.int16)).max(initial=0))
    return max(sum(largest >> place > 0 for place in chip.mode.places), 1)
