"""SRAM-CIM bank: exact dot products; only its memory's order is of interest."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.commands import SramMode
from mixcim_hdl.config import ChipConfig, UnitKind


class SramBank:
    """Weights of one SRAM-CIM unit: `words` int8 (slots * channels, rows), word slot * channels + kernel; reset: 0."""

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        self.words = np.zeros((chip.sram_slots * chip.channels, chip.rows), np.int8)

    def matrix(self, mode: SramMode, slot: int, length: int, tiles: int, slices: int) -> np.ndarray:
        """Weights int8 (length, tiles * slices * channels) of a window of `length` rows, from `slot` on.

        Columns go tile by tile, slice by slice. A tile has no weights in the segments of a split vector that are not
        its own: 0.
        """
        rows, channels = self.chip.rows, self.chip.channels
        vectors = -(-length // rows)
        matrix = np.zeros((vectors, rows, tiles, slices, channels), np.int8)
        for vector in range(vectors):
            here = min(rows, length - vector * rows)
            segments = self.chip.packed_tiles(UnitKind.SRAM, mode, here)
            height, steps = rows // segments, -(-tiles // segments)
            words = self.words[slot * channels : (slot + steps * slices) * channels]
            slot += steps * slices
            weights = words.reshape(steps, slices, channels, segments, height).transpose(3, 4, 0, 1, 2)
            for segment, own in enumerate(weights):
                first = 0 if mode == SramMode.REPEATED else segment * height
                of_tiles = matrix[vector, first : first + height, segment::segments]
                of_tiles[...] = own[:, : of_tiles.shape[1]]
        return matrix.reshape(vectors * rows, -1)[:length]
