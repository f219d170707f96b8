"""RUN fields of a layer that are the same for all its passes (commands.py has their meaning).

Integer layers sum weight * code, where the definition sums weight * (code - zero point): the compiler puts the
difference, zero point * sum of weights, into the bias. Floating layers take the zero point off in hardware.
"""

from __future__ import annotations

import numpy as np

from mixcim_hdl.commands import Pooling
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import ElementFormat

from ..errors import MixcimError
from .allocate import Layout
from .codes import code_of, input_width
from .network import FloatArithmetic, Layer, LayerKind, Network, Tensor
from .strips import input_rows
from .weights import Window


def run_fields(network: Network, layer: Layer, window: Window, layout: Layout, chip: ChipConfig) -> dict[str, int]:
    """Fields of a layer's RUNs, all but the units', group_count and output_tiles.

    Raises MixcimError for scales that float32 does not hold.
    """
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    pitch = layout[source.name].pitch
    row_pitch = source.shape[1] * pitch
    top, left = layer.padding[:2]
    fields = {
        "granule_log2": window.granule.bit_length() - 1,
        "weight_slices": window.slices,
        "window_start": layout[source.name].address - top * row_pitch - left * pitch,
        "kernel_height": layer.kernel[0],
        "kernel_width": layer.kernel[1],
        "input_height": source.shape[0],
        "input_width": source.shape[1],
        "output_height": output.shape[0],
        "output_width": output.shape[1],
        "tap_words": window.tap_words,
        "pixel_pitch": pitch,
        "row_pitch": row_pitch,
        "pad_top": top,
        "pad_left": left,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "window_step_y": layer.stride[0] * row_pitch,
        "window_step_x": layer.stride[1] * pitch,
        "output_base": layout[output.name].address,
        "output_pitch": layout[output.name].pitch,
    }
    if not network.pools(layer):
        fields.update(_exponent_fields(source, window, layout, chip))
    if layer.residual is not None:
        fields.update(residual=1, residual_base=layout[layer.residual.tensor].address)
    if layer.floating is None:
        fields.update(_integer_fields(network, layer))
    else:
        fields.update(_floating_fields(network, layer, layer.floating))
    return fields


def strip_fields(
    network: Network, layer: Layer, layout: Layout, rows: range, source_row: int, output_row: int
) -> dict[str, int]:
    """RUN fields that are different if only some rows of a layer's output are computed, and tensors lie in strips.

    `rows`: those computed. `source_row`, `output_row`: row of the input and of the output tensor that lies at its
    tensor's address.
    """
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    taken = input_rows(network, layer, rows)
    pad_top = taken.start - (rows.start * layer.stride[0] - layer.padding[0])
    place, left = layout[source.name], layer.padding[1]
    row_pitch = source.shape[1] * place.pitch
    row_words = output.shape[1] * layout[output.name].pitch
    fields = {
        "window_start": place.address + (taken.start - source_row - pad_top) * row_pitch - left * place.pitch,
        "pad_top": pad_top,
        "input_height": len(taken),
        "output_height": len(rows),
        "output_base": layout[output.name].address + (rows.start - output_row) * row_words,
    }
    if layer.residual is not None:
        fields["residual_base"] = layout[layer.residual.tensor].address + rows.start * row_words
    return fields


def _integer_fields(network: Network, layer: Layer) -> dict[str, int]:
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    own = layer.residual.quantisation if layer.residual else output.quantisation
    low, high = (code_of(own, value) for value in (layer.residual.clamp if layer.residual else layer.clamp))
    zero_point = code_of(source.quantisation)
    fields = {
        "input_bits": input_width(network, layer)[0],
        "pad_value": 0 if layer.kind is LayerKind.MAX_POOL else zero_point,
        "zero_point": code_of(own),
        "clamp_low": low,
        "clamp_high": high,
    }
    if layer.residual is None:
        return fields
    other = network.tensors[layer.residual.tensor]
    kinds = (layer.residual.quantisation, other.quantisation, output.quantisation)
    if len({item.signed for item in kinds}) > 1:
        raise MixcimError(f"layer '{layer.name}' adds int8 and uint8 tensors: quantise the operands and the sum alike")
    own_scale, other_scale, fixed = layer.residual.coefficients(other.quantisation, output.quantisation)
    if not np.isfinite([own_scale, other_scale, fixed]).all():
        raise MixcimError(f"layer '{layer.name}': the scales of its Add overflow float32; quantise the network again")
    # The second operand of the file's Add is multiplied first: the residual, unless the file has it as the first.
    residual_first = not layer.residual.order_swapped
    first, second = (other_scale, own_scale) if residual_first else (own_scale, other_scale)
    return {
        **fields,
        "residual_first": int(residual_first),
        "residual_signed": int(output.quantisation.signed),
        "scale_first": _pattern(first),
        "scale_second": _pattern(second),
        "fixed": _pattern(fixed),
        "sum_low": code_of(output.quantisation, layer.clamp[0]),
        "sum_high": code_of(output.quantisation, layer.clamp[1]),
    }


def _floating_fields(network: Network, layer: Layer, arithmetic: FloatArithmetic) -> dict[str, int]:
    source, output = network.tensors[layer.input], network.tensors[layer.output]
    fields = {
        "floating": 1,
        "input_format": int(source.format),
        "output_format": int(output.format),
        "float_low": _pattern(arithmetic.limits[0]),
        "float_high": _pattern(arithmetic.limits[1]),
    }
    if network.pools(layer):
        fields["pooling"] = int(Pooling.MAXIMUM if layer.kind is LayerKind.MAX_POOL else Pooling.SUM)
    else:
        bits, signed = input_width(network, layer)
        fields.update(input_bits=bits, input_signed=int(signed))
        if source.format is ElementFormat.INTEGER:
            fields["input_zero_point"] = code_of(source.quantisation)
            fields["pad_value"] = 0 if layer.kind is LayerKind.MAX_POOL else fields["input_zero_point"]
        else:
            fields["rounding"] = int(arithmetic.rounding)
    if output.format is ElementFormat.INTEGER:
        fields["output_scale"] = _reciprocal(layer, output)
        fields["zero_point"] = code_of(output.quantisation)
        fields["clamp_low"], fields["clamp_high"] = (code_of(output.quantisation, value) for value in layer.clamp)
    if layer.residual is not None:
        other = network.tensors[layer.residual.tensor]
        fields["residual_format"] = int(other.format)
        if other.format is ElementFormat.INTEGER:
            fields["residual_zero_point"] = code_of(other.quantisation)
            fields["residual_scale"] = _pattern(other.quantisation.scale)
    return fields


def _exponent_fields(source: Tensor, window: Window, layout: Layout, chip: ChipConfig) -> dict[str, int]:
    """Which exponent entries of a pixel a window takes: its own group's if there is one for every word, else all."""
    entries = layout[source.name].exponents
    grouped = window.separate and entries == -(-source.shape[2] // chip.channels)
    return {"grouped_exponents": int(grouped), "tap_exponents": 1 if grouped else entries}


def _reciprocal(layer: Layer, output: Tensor) -> int:
    """Pattern of 1 / scale of the output's codes."""
    with np.errstate(over="ignore"):
        reciprocal = np.float32(1) / np.float32(output.quantisation.scale)
    if not np.isfinite(reciprocal):
        raise MixcimError(
            f"layer '{layer.name}': 1 / scale of its output overflows float32 (scale {output.quantisation.scale:g}); "
            f"calibrate the network again"
        )
    return _pattern(reciprocal)


def _pattern(value: float | np.float32) -> int:
    """Bit pattern of a float32."""
    return int(np.float32(value).view(np.uint32))
