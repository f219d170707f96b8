"""Between what a network file takes and gives, and the codes on the chip.

The chip holds unsigned 8-bit codes of (height, width, channels): code = q for uint8 tensors, q + 128 for int8 tensors;
or patterns of a floating-point format, uint8 or uint16, which are called codes here, too.
"""

from __future__ import annotations

import numpy as np

from mixcim_hdl.program import Program, TensorPlace

from ..errors import MixcimError
from ..model import floating


def input_codes(program: Program, values: np.ndarray) -> np.ndarray:
    """Codes (N, height, width, channels) of inputs in the network file's own layout, (N, *file_shape).

    `values`: floats are quantised as the file's QuantizeLinear does (round half to even, saturate), or rounded to the
    tensor's floating-point format; integers of the tensor's own type are taken as they are, and so is uint8 as codes
    for an int8 tensor (pixels: q = x - 128). Raises MixcimError for another shape, another type, or values that are not
    finite.
    """
    place = program.tensors[program.input]
    format = place.element.floating
    if values.ndim < 1 or values.shape[1:] != program.file_shape:
        raise MixcimError(
            f"inputs have shape {values.shape}, network '{program.network}' takes (N, "
            f"{', '.join(map(str, program.file_shape))}), layout {program.input_layout}: reshape or transpose them"
        )
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise MixcimError("inputs have NaN or infinite values: remove them")
        if format is not None:
            codes = floating.encode(values, format)
        else:
            offset = 128 if place.signed else 0
            quotient = values.astype(np.float32) / np.float32(place.scale)
            codes = np.clip(np.rint(quotient) + (place.zero_point - offset), -offset, 255 - offset) + offset
    elif format is not None:
        raise MixcimError(
            f"inputs are {values.dtype}, network '{program.network}' takes floats (its input is {format.name}): give "
            "float32, or --mean and --std for images"
        )
    elif values.dtype == np.uint8:
        codes = values
    elif values.dtype == np.int8 and place.signed:
        codes = values.astype(np.int16) + 128
    else:
        raise MixcimError(
            f"inputs are {values.dtype}, network '{program.network}' takes float32 or "
            f"{'int8 or ' if place.signed else ''}uint8: convert them"
        )
    if program.input_layout == "NCHW" and values.ndim == 4:
        codes = codes.transpose(0, 2, 3, 1)
    if program.fold != (1, 1):
        codes = fold_pixels(codes, place.shape, program.fold, place.zero_point if format is None else 0)
    return np.ascontiguousarray(codes.reshape(-1, *place.shape).astype(place.type))


def fold_pixels(values: np.ndarray, shape: tuple[int, int, int], fold: tuple[int, int], fill: int) -> np.ndarray:
    """Elements (N, height, width, channels) as (N, *shape): fold[0] x fold[1] pixels become one, its channels theirs in
    the order row, column, channel. What `shape` does not reach is left out, what there is not has the value `fill`.
    """
    height, width, _ = shape
    cut = values[:, : height * fold[0], : width * fold[1]]
    missing = ((0, 0), (0, height * fold[0] - cut.shape[1]), (0, width * fold[1] - cut.shape[2]), (0, 0))
    padded = np.pad(cut, missing, constant_values=fill)
    parts = padded.reshape(len(values), height, fold[0], width, fold[1], values.shape[3]).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(parts).reshape(len(values), *shape)


def integers(place: TensorPlace, codes: np.ndarray) -> np.ndarray:
    """The tensor's own integers, int8 or uint8, of its codes; patterns stay as they are. Any shape."""
    return (codes.astype(np.int16) - 128).astype(np.int8) if place.signed else codes.astype(place.type)


def output_values(program: Program, codes: np.ndarray) -> np.ndarray:
    """Real outputs float32 (N, *output_shape) of codes (N, height, width, channels), after the host's own softmax."""
    place = program.tensors[program.output]
    if place.element.floating is not None:
        reals = floating.decode(codes, place.element.floating)
    else:
        reals = (codes.astype(np.float32) - np.float32(place.zero_point)) * np.float32(place.scale)
    if len(program.output_shape) == 3 and program.input_layout == "NCHW":
        reals = reals.transpose(0, 3, 1, 2)
    reals = reals.reshape(-1, *program.output_shape)
    if "softmax" in program.host_output:
        powers = np.exp(reals - reals.max(axis=-1, keepdims=True))
        reals = powers / powers.sum(axis=-1, keepdims=True)
    return reals
