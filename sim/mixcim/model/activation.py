"""Activation memory of a batch of independent inputs, and the exponent memory beside it."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import ElementFormat, FloatFormat
from mixcim_hdl.program import TensorPlace
from mixcim_hdl.registers import EXPONENT_FIELDS

#: An entry whose elements have an infinity or NaN among them; the exponent field is below.
SPECIAL = 1 << EXPONENT_FIELDS["field"]


def exponent_entries(magnitudes: np.ndarray, format: FloatFormat) -> np.ndarray:
    """Entries uint16 for the largest patterns without sign among some elements each."""
    return (magnitudes >> format.mantissa_bits) | np.where(magnitudes > format.largest_pattern, SPECIAL, 0).astype(
        np.uint16
    )


class ActivationMemory:
    """Activation words and exponent entries of `inputs` independent runs, 0 at reset.

    `words`: uint8 (inputs, activation_words + 1, channels). The extra last word is no memory: it holds the pad value of
    the present RUN, so that one gather fetches taps inside and outside of the image alike. `exponents`: uint16 (inputs,
    activation_words + 1), registers.EXPONENT_FIELDS; the extra entry is 0. (inputs, 0) without floating point.
    """

    def __init__(self, inputs: int, chip: ChipConfig) -> None:
        self.chip = chip
        self.words = np.zeros((inputs, chip.activation_words + 1, chip.channels), np.uint8)
        self.exponents = np.zeros((inputs, chip.activation_words + 1 if chip.floating_point else 0), np.uint16)

    def reset(self, inputs: int) -> None:
        """As new, for `inputs` runs, which must not be more than before: much faster than fresh memory."""
        self.words, self.exponents = self.words[:inputs], self.exponents[:inputs]
        self.words.fill(0)
        self.exponents.fill(0)

    @property
    def padding_word(self) -> int:
        """Index of the extra word in `words`, and of the extra entry in `exponents`."""
        return self.chip.activation_words

    def _addresses(self, place: TensorPlace) -> np.ndarray:
        """Address of every word of channels of a tensor, that of the low bytes: int64 (pixels, words)."""
        height, width, channels = place.shape
        words = -(-channels // self.chip.channels)
        pixels = place.address + np.arange(height * width)[:, None] * place.pitch
        return pixels + np.arange(words) * place.element.bytes

    def elements(self, inputs: slice, addresses: np.ndarray, element: ElementFormat) -> np.ndarray:
        """Codes or patterns (inputs, addresses, channels) of the words at `addresses` (those of low bytes), checked."""
        words = self.words[inputs]
        patterns = words.take(addresses, axis=1)
        return words.take(addresses + 1, axis=1).astype(np.uint16) << 8 | patterns if element.bytes == 2 else patterns

    def write_tensor(self, place: TensorPlace, codes: np.ndarray) -> None:
        """Write codes or patterns place.type (inputs, height, width, channels) as the host does.

        Whole words, unused lanes 0; with floating point also their exponent entries.
        """
        addresses = self._addresses(place)
        pixels, words = addresses.shape
        padded = np.zeros((len(codes), pixels, words * self.chip.channels), place.type)
        padded[:, :, : place.shape[2]] = codes.reshape(len(codes), pixels, place.shape[2])
        padded = padded.reshape(len(codes), pixels, words, self.chip.channels)
        for byte in range(place.element.bytes):
            self.words[:, addresses + byte] = padded >> 8 * byte & 0xFF
        format = place.element.floating
        if format is not None:
            largest = (padded & (1 << format.bits - 1) - 1).max(axis=3)
            self.exponents[:, addresses[:, :1] + np.arange(words)] = exponent_entries(largest, format)

    def read_tensor(self, place: TensorPlace) -> np.ndarray:
        """Codes or patterns place.type (inputs, height, width, channels) of the tensor at `place`, a copy."""
        height, width, channels = place.shape
        addresses = self._addresses(place)
        result = self.words[:, addresses].astype(place.type)
        for byte in range(1, place.element.bytes):
            result |= self.words[:, addresses + byte].astype(place.type) << 8 * byte
        lanes = addresses.shape[1] * self.chip.channels
        return result.reshape(len(result), height, width, lanes)[..., :channels].copy()
