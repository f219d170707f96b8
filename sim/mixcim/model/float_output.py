"""Output pipeline of floating RUNs: from sums to the elements of the output, in float32 steps, and their exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixcim_hdl.commands import ADDRESS_BITS
from mixcim_hdl.floating import FP32, ElementFormat, FloatFormat

from .activation import ActivationMemory, exponent_entries
from .floating import clamp
from .fp32 import clamped_code
from .output import float32_from_bits, put_lanes
from .quick_float import patterns_of, values

_FIELD = (1 << FP32.exponent_bits) - 1


def split_scale(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(t int, m float32) of scales float32: scale = m * 2**t, 1 <= |m| < 2 where it is normal, else t = 0."""
    bits = scale.view(np.uint32)
    field = (bits >> FP32.mantissa_bits & _FIELD).astype(np.int64)
    normal = (field > 0) & (field < _FIELD)
    mantissa = bits & ~np.uint32(_FIELD << FP32.mantissa_bits) | np.uint32(FP32.bias << FP32.mantissa_bits)
    return np.where(normal, field - FP32.bias, 0), np.where(normal, mantissa, bits).view(np.float32)


def scaled_sums(
    sums: np.ndarray, unit: np.ndarray, special: np.ndarray, bias: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """y before a residual, float32 (windows, kernels), of exact sums in integers or float64 of that shape.

    `unit` int and `special` bool (windows,); `bias`, patterns in int32, and `scale` float32 (kernels,).
    """
    power, mantissa = split_scale(scale)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # 47 bits times powers within +-300 are exact in float64. Adding 0 makes +0 of -0.
        exact = sums * np.ldexp(1.0, unit.astype(np.int32))[:, None] + 0.0
        exact *= np.ldexp(1.0, power.astype(np.int32))
        result = exact.astype(np.float32)
        if special.any():
            result[special] = np.nan
        result *= mantissa
        result += bias.view(np.float32)
    return result


def scaled_numbers(numbers: np.ndarray, bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """y before a residual of a RUN with `pooling`, float32, of numbers float32 (..., channels).

    `bias`, patterns in int32, and `scale` float32 (channels,).
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return numbers * scale + bias.view(np.float32)


def limited(numbers: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    """floating.clamp; `numbers` float32 may be overwritten."""
    if np.isnan(low) or np.isnan(high) or low > high or high == 0 or (low == 0 and np.signbit(low)):
        return clamp(numbers, low, high)
    if high < np.inf:
        np.minimum(numbers, high, out=numbers)
    if low > -np.inf:
        np.maximum(numbers, low, out=numbers)
        if low == 0:
            with np.errstate(invalid="ignore"):  # signalling NaN
                numbers += np.float32(0)  # -0 is below it
    return numbers


class FloatOutput:
    """The output pipeline set up for a floating RUN, and the memory that it writes."""

    def __init__(self, memory: ActivationMemory, fields: Mapping[str, int]) -> None:
        self.memory, self.fields = memory, fields
        self.format = ElementFormat(fields["output_format"])
        self.residual = ElementFormat(fields["residual_format"])
        self.low, self.high, self.output_scale, self.residual_scale = (
            float32_from_bits(fields[name]) for name in ("float_low", "float_high", "output_scale", "residual_scale")
        )

    def _addresses(self, base: str, offset: int, element: ElementFormat, pixels: range) -> np.ndarray:
        """Address of one word of channels of every pixel, that of the low bytes; no check: int64 (pixels,)."""
        first = (self.fields[base] + element.bytes * offset) % (1 << ADDRESS_BITS)
        addresses = first + np.array(pixels) * self.fields["output_pitch"]
        return addresses & ~(element.bytes - 1)

    def _residual_values(self, offset: int, inputs: slice, pixels: range) -> np.ndarray:
        """Values float32 (inputs, pixels, channels) of the residual tensor's elements at `offset`."""
        addresses = self._addresses("residual_base", offset, self.residual, pixels)
        patterns = self.memory.elements(inputs, addresses, self.residual)
        if self.residual.floating is None:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                table = np.arange(256, dtype=np.float32) - np.float32(self.fields["residual_zero_point"])
                return (table * self.residual_scale).take(patterns)
        return values(self.residual.floating).take(patterns)

    def _elements(self, numbers: np.ndarray) -> np.ndarray:
        """Codes or patterns of numbers float32, uint8 or uint16."""
        if self.format.floating is not None:
            return patterns_of(numbers, self.format.floating)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            codes = numbers * self.output_scale
            codes[np.isnan(codes)] = 0
            return clamped_code(codes, *(self.fields[name] for name in ("zero_point", "clamp_low", "clamp_high")))

    def write(
        self,
        inputs: slice,
        pixels: range,
        numbers: np.ndarray,
        word_offset: Sequence[int],
        lane_mask: Sequence[int],
        exponent_offset: Sequence[int],
    ) -> None:
        """Add the residual to numbers, limit and convert them, and write them with their exponents, tile after tile.

        `numbers` float32 (inputs, pixels, tiles, channels) from scaled_sums or scaled_numbers, of the output pixels
        `pixels`; the rest: of each tile. Addresses have been checked. Lanes that are not in the mask stay.
        """
        places = zip(word_offset, lane_mask, exponent_offset, strict=True)
        for number, (offset, mask, exponent) in enumerate(places):
            tile = np.ascontiguousarray(numbers[:, :, number])
            if self.fields["residual"]:
                with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                    tile += self._residual_values(offset, inputs, pixels)
            elements = self._elements(limited(tile, self.low, self.high))
            addresses = self._addresses("output_base", offset, self.format, pixels)
            for byte in range(self.format.bytes):
                part = (elements >> 8 * byte).astype(np.uint8)
                put_lanes(self.memory.words[inputs], addresses + byte, part, mask)
            if self.format.floating is not None:
                self._write_exponents(inputs, pixels, elements, mask, exponent, self.format.floating)

    def _write_exponents(
        self, inputs: slice, pixels: range, elements: np.ndarray, mask: int, offset: int, format: FloatFormat
    ) -> None:
        """Write the exponent entries of a tile: those of its lanes that are in the mask."""
        kept = np.array([(1 << format.bits - 1) - 1 if mask >> lane & 1 else 0 for lane in range(elements.shape[2])])
        largest = (elements & kept.astype(elements.dtype)).max(axis=2)
        first = (self.fields["output_base"] + offset) % (1 << ADDRESS_BITS)
        addresses = first + np.array(pixels) * self.fields["output_pitch"]
        self.memory.exponents[inputs, addresses] = exponent_entries(largest, format)
