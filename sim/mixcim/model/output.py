"""Output pipeline: bias, scale, residual, clamp, and the lanes that are written."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from mixcim_hdl.commands import ADDRESS_BITS

from .activation import ActivationMemory
from .fp32 import clamped_code, fused_multiply_add, scaled


def float32_from_bits(bits: int) -> np.float32:
    """The float32 with that bit pattern."""
    return np.uint32(bits).view(np.float32)


def requantised(sums: np.ndarray, bias: np.ndarray, scale: np.ndarray, fields: Mapping[str, int]) -> np.ndarray:
    """Codes uint8 of sums int32 (windows, kernels); `bias` int32 and `scale` float32 (kernels,)."""
    biased = sums + bias  # int32 arrays wrap without a warning
    return clamped_code(scaled(biased, scale), fields["zero_point"], fields["clamp_low"], fields["clamp_high"])


@functools.lru_cache(maxsize=64)
def _residual_table(first: int, second: int, fixed: int, signed: bool, low: int, high: int) -> np.ndarray:
    offset = 128 if signed else 0
    codes = np.arange(256) - offset
    partial = fused_multiply_add(codes, float32_from_bits(first), float32_from_bits(fixed))
    total = fused_multiply_add(codes[None, :], float32_from_bits(second), partial[:, None])
    return clamped_code(total, offset, low, high)


def residual_table(fields: Mapping[str, int]) -> np.ndarray:
    """The residual addition of a RUN as a table: uint8 (256, 256), code of [first operand's code, second's].

    Operands are 8-bit codes, so every sum that can occur is worked out once and then looked up.
    """
    return _residual_table(
        fields["scale_first"],
        fields["scale_second"],
        fields["fixed"],
        bool(fields["residual_signed"]),
        fields["sum_low"],
        fields["sum_high"],
    )


def put_lanes(words: np.ndarray, addresses: np.ndarray | slice, tile: np.ndarray, mask: int) -> None:
    """Write the lanes of `mask` of a tile uint8 (inputs, pixels, channels) to `addresses`, one for each pixel.

    `words`: uint8 (inputs, words, channels) of an activation memory. Lanes that are not in the mask keep their content.
    """
    channels = tile.shape[2]
    if ~mask & (1 << channels) - 1:
        kept = np.array([not mask >> lane & 1 for lane in range(channels)])
        tile = np.where(kept, words[:, addresses], tile)
    words[:, addresses] = tile


def write_tiles(
    memory: ActivationMemory,
    inputs: slice,
    pixels: range,
    codes: np.ndarray,
    word_offset: Sequence[int],
    lane_mask: Sequence[int],
    fields: Mapping[str, int],
) -> None:
    """Add the residual to codes and write them, tile after tile.

    `codes` uint8 (inputs, pixels, tiles, channels) of the output pixels `pixels`; `word_offset`, `lane_mask`: of each
    tile. Addresses have been checked. Lanes that are not in the mask keep their content.
    """
    pitch, words = fields["output_pitch"], memory.words[inputs]

    def span(base: str, offset: int) -> slice:
        """Words of the pixels; with a pitch of 0 (every pixel in the same word) the one word, as of one pixel."""
        first = (fields[base] + offset) % (1 << ADDRESS_BITS)
        return slice(first + pixels[0] * pitch, first + pixels[-1] * pitch + 1, max(pitch * pixels.step, 1))

    for number, (offset, mask) in enumerate(zip(word_offset, lane_mask, strict=True)):
        tile = codes[:, :, number]
        if fields["residual"]:
            old = words[:, span("residual_base", offset)]
            first, second = (old, tile) if fields["residual_first"] else (tile, old)
            tile = residual_table(fields).ravel().take(first.astype(np.uint16) << 8 | second)
        put_lanes(words, span("output_base", offset), tile if pitch else tile[:, -1:], mask)
