"""Tiny-digital unit: exact multiply-accumulates with three orders of weights, and maxima."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.commands import TinyMode
from mixcim_hdl.config import ChipConfig


class TinyBank:
    """Weights of one tiny-digital unit: `words` int8 (tiny_words, rows), 0 at reset."""

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        self.words = np.zeros((chip.tiny_words, chip.rows), np.int8)

    def matrix(self, mode: TinyMode, slot: int, vectors: int, tiles: int) -> np.ndarray:
        """Weights int8 (vectors * rows, tiles * channels) from weight word `slot` on; `mode` is not MAX.

        DEPTHWISE gives a matrix that is 0 except where a row's channel is the column's: one product for all kinds.
        """
        rows, channels, taps = self.chip.rows, self.chip.channels, self.chip.taps_per_vector
        if mode == TinyMode.BROADCAST:
            words = self.words[slot : slot + vectors * tiles * channels]
            return words.reshape(vectors, tiles, rows, channels).transpose(0, 2, 1, 3).reshape(vectors * rows, -1)
        words = self.words[slot : slot + vectors * tiles].reshape(vectors, tiles, taps, channels)
        matrix = np.zeros((vectors, taps, channels, tiles, channels), np.int8)
        for channel in range(channels):
            matrix[:, :, channel, :, channel] = words[:, :, :, channel].transpose(0, 2, 1)
        return matrix.reshape(vectors * rows, -1)

    def maximum(self, windows: np.ndarray, tiles: int) -> np.ndarray:
        """Maxima int32 (windows, tiles * channels) over the taps of integers (windows, taps * channels) of any type.

        Every tile is the same. Words that the window does not reach have no part in it.
        """
        channels = self.chip.channels
        missing = -windows.shape[1] % channels
        if missing:
            windows = np.pad(windows, ((0, 0), (0, missing)))
        largest = windows[:, :channels].copy()
        for first in range(channels, windows.shape[1], channels):
            np.maximum(largest, windows[:, first : first + channels], out=largest)
        return np.tile(largest.astype(np.int32), (1, tiles))
