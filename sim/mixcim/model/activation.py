"""Activation memory of a batch of independent inputs."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import TensorPlace


class ActivationMemory:
    """Activation words of `inputs` independent runs, 0 at reset.

    `words`: uint8 (inputs, activation_words + 1, channels). The extra last word is no memory: it holds the pad value of
    the present RUN, so that one gather fetches taps inside and outside of the image alike.
    """

    def __init__(self, inputs: int, chip: ChipConfig) -> None:
        self.chip = chip
        self.words = np.zeros((inputs, chip.activation_words + 1, chip.channels), np.uint8)

    @property
    def padding_word(self) -> int:
        """Index of the extra word in `words`."""
        return self.chip.activation_words

    def write_tensor(self, place: TensorPlace, codes: np.ndarray) -> None:
        """Write codes uint8 (inputs, height, width, channels) as the host does: whole words, unused lanes 0."""
        height, width, channels = place.shape
        pixels, words = height * width, -(-channels // self.chip.channels)
        padded = np.zeros((len(codes), pixels, words * self.chip.channels), np.uint8)
        padded[:, :, :channels] = codes.reshape(len(codes), pixels, channels)
        target = self.words[:, place.address : place.address + pixels * words]
        target[...] = padded.reshape(target.shape)

    def read_tensor(self, place: TensorPlace) -> np.ndarray:
        """Codes uint8 (inputs, height, width, channels) of the tensor at `place`, a copy."""
        height, width, channels = place.shape
        words = -(-channels // self.chip.channels)
        source = self.words[:, place.address : place.address + height * width * words]
        return source.reshape(len(source), height, width, words * self.chip.channels)[..., :channels].copy()

    def tile(self, first: int, pitch: int, inputs: slice, pixels: range) -> np.ndarray:
        """View uint8 (inputs, pixels, channels) of one word per pixel: word first + pixel * pitch.

        A pitch of 0 (every pixel in the same word) gives the one word, as if there were one pixel.
        """
        start, stop = first + pixels[0] * pitch, first + pixels[-1] * pitch + 1
        return self.words[inputs, start : stop : max(pitch, 1)]
