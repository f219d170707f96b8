"""SRAM-CIM bank: exact dot products; only its memory's order is of interest."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.config import ChipConfig


class SramBank:
    """Weights of one SRAM-CIM unit: `words` int8 (slots * channels, rows), word slot * channels + kernel; reset: 0."""

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        self.words = np.zeros((chip.sram_slots * chip.channels, chip.rows), np.int8)

    def matrix(self, slot: int, vectors: int, tiles: int) -> np.ndarray:
        """Weights int8 (vectors * rows, tiles * channels) of the slots from `slot` on, tile by tile within a vector."""
        rows, channels = self.chip.rows, self.chip.channels
        words = self.words[slot * channels : (slot + vectors * tiles) * channels]
        return words.reshape(vectors, tiles, channels, rows).transpose(0, 3, 1, 2).reshape(vectors * rows, -1)
