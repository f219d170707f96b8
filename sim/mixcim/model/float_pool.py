"""Float pool: sums and maxima of windows of floating-point elements, channel by channel, in float32."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from mixcim_hdl.commands import Pooling
from mixcim_hdl.floating import ElementFormat, FloatFormat

from .activation import ActivationMemory
from .feeder import pixel_addresses, shifted
from .quick_float import values


def ordered(numbers: np.ndarray) -> np.ndarray:
    """Integers in the order of float32 numbers, int32: -0 just below +0, every NaN one above all others."""
    bits = np.where(np.isnan(numbers), np.float32(np.nan), numbers).view(np.int32)
    return bits ^ (bits >> 31 & np.int32(0x7FFFFFFF))


def numbers_of(order: np.ndarray) -> np.ndarray:
    """The float32 numbers of `ordered`."""
    return (order ^ (order >> 31 & np.int32(0x7FFFFFFF))).view(np.float32)


@functools.lru_cache(maxsize=8)
def _ordered_values(format: FloatFormat) -> np.ndarray:
    """`ordered` of the value of every pattern."""
    return ordered(values(format))


class FloatPool:
    """The windows of a RUN with `pooling`: `group` picks a group of them, `numbers` then pools them."""

    def __init__(self, memory: ActivationMemory, fields: Mapping[str, int]) -> None:
        element = ElementFormat(fields["input_format"])
        assert element.floating is not None
        self.memory, self.fields, self.element, self.format = memory, fields, element, element.floating
        self.pixels = pixel_addresses(fields)
        self.addresses = np.zeros((0, 0), np.int64)

    @property
    def length(self) -> int:
        """Elements of a window."""
        return self.pixels.shape[1] * self.fields["tap_words"] * self.memory.chip.channels

    def group(self, group: int) -> int:
        """Turn to the windows of a group; the largest address that they read, which the caller must check."""
        size = self.element.bytes
        words = size * (self.fields["first_group"] + group + np.arange(self.fields["tap_words"]))
        addresses = shifted(self.pixels, words)
        self.addresses = np.where(addresses < 0, -1, addresses & ~(size - 1))
        return int(self.addresses.max(initial=-1))

    def numbers(self, inputs: slice, pixels: range) -> np.ndarray:
        """Numbers float32 (inputs, pixels, channels) of the windows of some inputs and output pixels."""
        addresses = self.addresses[pixels.start : pixels.stop].T  # tap by tap
        maximum = self.fields["pooling"] == Pooling.MAXIMUM
        table = _ordered_values(self.format) if maximum else values(self.format)
        first = ordered(np.array([-np.inf], np.float32))[0] if maximum else np.float32(0)
        shape = (len(range(*inputs.indices(len(self.memory.words)))), len(pixels), self.memory.chip.channels)
        result = np.full(shape, first)
        with np.errstate(over="ignore", invalid="ignore"):
            for tap in addresses:
                inside = np.flatnonzero(tap >= 0)
                taken = table.take(self.memory.elements(inputs, tap[inside], self.element))
                if len(inside) < len(tap):
                    old = result[:, inside]
                    result[:, inside] = np.maximum(old, taken) if maximum else old + taken
                elif maximum:
                    np.maximum(result, taken, out=result)
                else:
                    result += taken
        return numbers_of(result) if maximum else result
