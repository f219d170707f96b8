"""How a tensor lies in the chip's memories (`TensorPlace`): elements to words and back, and their exponent entries."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.commands import pack_layout
from mixcim_hdl.program import TensorPlace
from mixcim_hdl.registers import EXPONENT_FIELDS


def tensor_words(elements: np.ndarray, place: TensorPlace, channels: int) -> np.ndarray:
    """Activation words uint8 (pixels * pitch, channels) of elements (height, width, channels of the tensor).

    `elements`: codes or patterns of `place.type`. `channels`: those of a word. What holds no element is 0.
    """
    parts = _by_word(elements, place, channels)
    pixels, groups, _ = parts.shape
    size = place.element.bytes
    words = np.zeros((pixels, place.pitch, channels), np.uint8)
    low_first = parts.astype(parts.dtype.newbyteorder("<")).view(np.uint8).reshape(pixels, groups, channels, size)
    words[:, : groups * size] = low_first.transpose(0, 1, 3, 2).reshape(pixels, groups * size, channels)
    return words.reshape(-1, channels)


def tensor_elements(words: np.ndarray, place: TensorPlace) -> np.ndarray:
    """Elements of `place.type` (height, width, channels of the tensor): inverse of `tensor_words`."""
    channels, size = words.shape[1], place.element.bytes
    groups = -(-place.shape[2] // channels)
    used = words.reshape(-1, place.pitch, channels)[:, : groups * size]
    low_first = np.ascontiguousarray(used.reshape(-1, groups, size, channels).transpose(0, 1, 3, 2))
    elements = low_first.view(np.dtype(place.type).newbyteorder("<")).astype(place.type)
    height, width, count = place.shape
    return elements.reshape(height, width, groups * channels)[:, :, :count].copy()


def exponent_entries(elements: np.ndarray, place: TensorPlace, channels: int) -> np.ndarray:
    """Exponent memory uint32 (pixels * pitch,), fields registers.EXPONENT_FIELDS, that belongs to patterns.

    Entry w of a pixel is of its channel word w: the largest exponent field, and whether one is infinity or NaN.
    """
    format = place.element.floating
    assert format is not None, "codes have no exponents"
    parts = _by_word(elements, place, channels)
    magnitudes = parts & ((1 << (format.bits - 1)) - 1)
    values = {"field": magnitudes >> format.mantissa_bits, "special": magnitudes > format.largest_pattern}
    entries = np.zeros((len(parts), place.pitch), np.uint32)
    for name, (bit, _) in pack_layout(EXPONENT_FIELDS)[0].items():
        entries[:, : place.exponents] |= values[name].max(axis=-1).astype(np.uint32)[:, : place.exponents] << bit
    return entries.reshape(-1)


def _by_word(elements: np.ndarray, place: TensorPlace, channels: int) -> np.ndarray:
    """Elements as (pixels, channel words, channels of a word), 0 behind the tensor's own channels."""
    height, width, count = place.shape
    groups = -(-count // channels)
    padded = np.zeros((height * width, groups * channels), place.type)
    padded[:, :count] = elements.reshape(height * width, count)
    return padded.reshape(height * width, groups, channels)
