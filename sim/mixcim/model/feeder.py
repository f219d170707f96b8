"""Input feeder: which words a window consists of, and the windows themselves (im2col)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixcim_hdl.commands import ADDRESS_BITS

from .activation import ActivationMemory


def tap_addresses(fields: Mapping[str, int]) -> np.ndarray:
    """Where every tap of every window of a RUN lies, before group and modulo: int64 (pixels, taps), -1 in the padding.

    Taps are ordered ky, kx, w, pixels oy, ox, as in commands.py.
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
    # Axes: oy, ox, ky, kx, w.
    address = (
        fields["window_start"]
        + rows[:, None, :, None, None]
        + columns[None, :, None, :, None]
        + np.arange(fields["tap_words"])
    )
    inside = inside_y[:, None, :, None, None] & inside_x[None, :, None, :, None]
    address = np.where(inside, address, -1)
    return address.reshape(fields["output_height"] * fields["output_width"], -1)


def group_addresses(addresses: np.ndarray, group: int) -> np.ndarray:
    """Activation addresses of a group: `group` words further, modulo 2**24, the padding's -1 kept."""
    return np.where(addresses < 0, -1, (addresses + group) % (1 << ADDRESS_BITS))


def windows(memory: ActivationMemory, inputs: slice, addresses: np.ndarray, granule: int) -> np.ndarray:
    """Windows uint8 (inputs, pixels, taps * granule): the first `granule` channels of the word of each tap.

    `addresses` int64 (pixels, taps) as from `group_addresses`, checked; -1 takes the memory's padding word.
    """
    source = memory.words[inputs]
    indices = np.where(addresses < 0, memory.padding_word, addresses)
    taps = source.take(indices.ravel(), axis=1)
    if granule < taps.shape[2]:
        taps = np.ascontiguousarray(taps[:, :, :granule])
    return taps.reshape(len(source), len(addresses), -1)
