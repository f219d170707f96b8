"""Codes that the chip holds for a network's integers, and how many bits of them go into the compute units."""

from __future__ import annotations

from mixcim_hdl.floating import ElementFormat

from .network import Layer, Network, Quantisation, Tensor


def code_of(quantisation: Quantisation, value: int | None = None) -> int:
    """Unsigned code of an integer of a tensor (default: its zero point): int8 tensors are stored as q + 128."""
    return (quantisation.zero_point if value is None else value) + (128 if quantisation.signed else 0)


def largest_code(network: Network, tensor: Tensor) -> int:
    """Largest code that a tensor can hold: the clamp of the layer that writes it, or the type's largest."""
    writers = [layer for layer in network.layers if layer.output == tensor.name]
    return code_of(tensor.quantisation, writers[0].clamp[1] if writers else tensor.quantisation.limits[1])


def input_width(network: Network, layer: Layer) -> tuple[int, bool]:
    """Bits of the integers X of a layer's windows, and whether they are two's complement (commands.py, RUN)."""
    source = network.tensors[layer.input]
    if source.format is not ElementFormat.INTEGER:
        assert layer.floating is not None
        return layer.floating.input_bits, True
    zero_point, largest = code_of(source.quantisation), largest_code(network, source)
    if layer.floating is None:
        return max(1, max(largest, zero_point).bit_length()), False
    # X goes from -zero_point to `largest`: unsigned if it can.
    largest -= zero_point
    if zero_point == 0:
        return max(largest.bit_length(), 1), False
    return max(largest, zero_point - 1).bit_length() + 1, True
