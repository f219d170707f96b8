"""Conversion between formats."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FloatFormat
from ..primitives.delayed import delayed
from .pack import round_and_pack, sticky
from .shift import left_or_right, normalise, shift_right
from .unpack import unpack


class FloatConvert(wiring.Component):
    """result = value in another format: exact where that has the bits, else rounded once to nearest even. Latency 2.

    Members: value (pattern of `source`), result (pattern of `target`); one per cycle. Model: `encode(decode(value))`.
    It has one shifter at most: left for subnormals that a target of wider range holds as normal numbers, right for
    numbers that are subnormal in a target of narrower range, none between formats of one range.
    """

    LATENCY = 2

    def __init__(self, source: FloatFormat, target: FloatFormat) -> None:
        self.source, self.target = source, target
        super().__init__({"value": In(source.bits), "result": Out(target.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        source, target = self.source, self.target
        value = unpack(m, self.value, source, "value")
        rebias = target.bias - source.bias
        width = target.mantissa_bits + 3  # with guard and sticky bit; normalising needs every bit
        if rebias > 0:
            width = max(width, source.mantissa_bits + 1)
        wide = Signal(width)
        below = Signal(signed(max(source.exponent_bits, target.exponent_bits) + 2))
        m.d.comb += [
            wide.eq(sticky(value.significand, width) << max(0, width - 1 - source.mantissa_bits)),
            below.eq(value.exponent + (rebias - 1)),
        ]
        limit, amount = left_or_right(m, below, "value")
        significand, left = wide, limit
        if rebias > 0:
            significand, left = normalise(m, wide, limit, "value")
        elif rebias < 0:
            significand = shift_right(m, wide, amount, "value")
        significand, left, sign, nan, infinity = (
            delayed(m, item, 1, name)
            for item, name in (
                (significand, "significand"),
                (left, "below"),
                (value.sign, "sign"),
                (value.nan, "nan"),
                (value.infinity, "infinity"),
            )
        )
        m.d.sync += self.result.eq(round_and_pack(m, target, sign, left, significand, nan, infinity))
        return m
