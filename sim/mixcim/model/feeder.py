"""Input feeder: which words a window consists of, and the integers that its elements become (im2col, pre-alignment)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import ADDRESS_BITS
from mixcim_hdl.floating import ElementFormat, FloatFormat, Rounding

from .activation import SPECIAL, ActivationMemory
from .quick_float import aligned, finite_values


def pixel_addresses(fields: Mapping[str, int]) -> np.ndarray:
    """Where the first word of every position of every window lies, before group and modulo, -1 in the padding.

    int64 (output pixels, kernel_height * kernel_width).
    """

    def axis(output: str, kernel: str, stride: str, pad: str, limit: str) -> np.ndarray:
        """True (outputs, kernels) where the tap lies inside of the image along one axis."""
        place = np.arange(fields[output])[:, None] * fields[stride] - fields[pad] + np.arange(fields[kernel])
        return (place >= 0) & (place < fields[limit])

    inside_y = axis("output_height", "kernel_height", "stride_y", "pad_top", "input_height")
    inside_x = axis("output_width", "kernel_width", "stride_x", "pad_left", "input_width")
    rows = (
        np.arange(fields["output_height"])[:, None] * fields["window_step_y"]
        + np.arange(fields["kernel_height"]) * fields["row_pitch"]
    )
    columns = (
        np.arange(fields["output_width"])[:, None] * fields["window_step_x"]
        + np.arange(fields["kernel_width"]) * fields["pixel_pitch"]
    )
    # Axes: oy, ox, ky, kx.
    address = fields["window_start"] + rows[:, None, :, None] + columns[None, :, None, :]
    inside = inside_y[:, None, :, None] & inside_x[None, :, None, :]
    address = np.where(inside, address, -1)
    return address.reshape(fields["output_height"] * fields["output_width"], -1)


def shifted(addresses: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Addresses int64 (pixels, taps) with each offset (number,) added, modulo 2**24, the padding's -1 kept.

    int64 (pixels, taps * number).
    """
    moved = (addresses[:, :, None] + offsets) % (1 << ADDRESS_BITS)
    return np.where(addresses[:, :, None] < 0, -1, moved).reshape(len(addresses), -1)


def windows(memory: ActivationMemory, inputs: slice, addresses: np.ndarray, granule: int) -> np.ndarray:
    """Windows uint8 (inputs, pixels, taps * granule): the first `granule` channels of the word of each tap.

    `addresses` int64 (pixels, taps), checked; -1 takes the memory's padding word.
    """
    return _gathered(memory.words[inputs], np.where(addresses < 0, memory.padding_word, addresses), granule)


def _gathered(words: np.ndarray, places: np.ndarray, granule: int) -> np.ndarray:
    """First `granule` channels of words (inputs, words, channels) at `places` (pixels, taps): (inputs, pixels, all)."""
    taps = words.take(places.ravel(), axis=1)
    if granule < taps.shape[2]:
        taps = np.ascontiguousarray(taps[:, :, :granule])
    return taps.reshape(len(words), len(places), -1)


@dataclass(frozen=True)
class Windows:
    """Windows as the compute units get them.

    `integers`: X, (inputs, pixels, length) in uint8, int16 or float32. `unit` int and `special` bool (inputs, pixels):
    exponent of X's unit, and whether every result is NaN; None for INTEGER inputs: 0 and no.
    """

    integers: np.ndarray
    unit: np.ndarray | None = None
    special: np.ndarray | None = None


class Feeder:
    """The input of a RUN: `group` picks a group of its windows, `windows` then makes them."""

    def __init__(self, memory: ActivationMemory, fields: Mapping[str, int]) -> None:
        self.memory, self.fields = memory, fields
        self.format = ElementFormat(fields["input_format"])
        self.pixels = pixel_addresses(fields)
        self.granule = 1 << fields["granule_log2"]
        self.addresses = self.entries = np.zeros((0, 0), np.int64)
        memory.words[:, memory.padding_word] = fields["pad_value"]

    @property
    def length(self) -> int:
        """Rows of a window."""
        return self.pixels.shape[1] * self.fields["tap_words"] * self.granule

    def group(self, group: int) -> int:
        """Turn to the windows of a group; the largest address that they read, which the caller must check."""
        fields, size = self.fields, self.format.bytes
        group += fields["first_group"]
        words = size * (group + np.arange(fields["tap_words"]))
        self.addresses = shifted(self.pixels, words)
        highest = int(self.addresses.max(initial=-1))
        if self.format.floating is None:
            return highest
        # Bit 0 of two-byte elements' addresses counts as 0; the padding's -1 stays.
        self.addresses = np.where(self.addresses < 0, -1, self.addresses & ~(size - 1))
        first = group if fields["grouped_exponents"] else 0
        self.entries = shifted(self.pixels, first + np.arange(fields["tap_exponents"]))
        return max(highest, int(self.entries.max(initial=-1)))

    def windows(self, inputs: slice, pixels: range) -> Windows:
        """The windows of some inputs and output pixels. Raises ValueError for an integer that does not fit."""
        here = slice(pixels.start, pixels.stop)
        format = self.format.floating
        if format is None:
            return Windows(self._integers(windows(self.memory, inputs, self.addresses[here], self.granule)))
        entries = np.where(self.entries[here] < 0, self.memory.padding_word, self.entries[here])
        taken = self.memory.exponents[inputs].take(entries.ravel(), axis=1)
        taken = taken.reshape(len(taken), *entries.shape)
        special = taken.max(axis=2) >= SPECIAL
        field = (taken & SPECIAL - 1).max(axis=2).astype(np.int64)
        unit = np.maximum(field, 1) - format.bias - (self.fields["input_bits"] - 2)
        return Windows(self._aligned(inputs, self.addresses[here], unit, format), unit, special)

    def _integers(self, codes: np.ndarray) -> np.ndarray:
        """X of windows uint8: uint8 where it is not signed, else int16."""
        fields = self.fields
        bits, zero_point, signed = (fields[name] for name in ("input_bits", "input_zero_point", "input_signed"))
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        smallest = int(codes.min(initial=255)) if -zero_point < low else zero_point
        largest = int(codes.max(initial=0)) if 255 - zero_point > high else zero_point
        for code in (smallest, largest):
            if not low <= code - zero_point <= high:
                raise ValueError(
                    f"RUN reads the code {code}, which has more than input_bits = {bits} bits"
                    + (f" less input_zero_point = {zero_point}" if zero_point else "")
                    + (" with a sign" if signed else "")
                )
        if not signed:
            return codes - np.uint8(zero_point) if zero_point else codes
        return codes.astype(np.int16) - np.int16(zero_point)

    def _aligned(self, inputs: slice, addresses: np.ndarray, unit: np.ndarray, format: FloatFormat) -> np.ndarray:
        """X float32 (inputs, pixels, length) of floating-point windows with those units int (inputs, pixels)."""
        fields = self.fields
        used, places = np.unique(addresses, return_inverse=True)  # of all words, decode those that are read, once
        words = self.memory.words[inputs]
        patterns = words.take(used, axis=1)
        if self.format.bytes == 2:
            patterns = patterns | words.take(used + 1, axis=1).astype(np.uint16) << 8
        numbers = finite_values(format).take(patterns)
        outside = addresses < 0
        if outside.any():
            numbers[:, 0] = 0  # -1 comes first
        result = _gathered(numbers, places.reshape(addresses.shape), self.granule)
        try:
            result = aligned(result, unit[:, :, None], fields["input_bits"], Rounding(fields["rounding"]))
        except ValueError:
            raise ValueError("RUN reads an element whose exponent is above that of its window's entries") from None
        if fields["pad_value"] and outside.any():
            taps = result.reshape(*result.shape[:2], -1, self.granule)
            taps[:, outside] = -(1 << fields["input_bits"] - 1)
        return result
