"""Limits, which is what ReLU, ReLU6 and Clip are."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FloatFormat
from .unpack import order, unpack


class FloatClamp(wiring.Component):
    """result = high if value > high, else low if value < low, else value. Latency 1, one per cycle.

    Members: value, low, high, result (patterns of `format`). A NaN among the three gives NaN; -0 is below +0, so that a
    clamp at +0 gives no -0. No limit is an infinity of the right sign. Model: `clamp`.
    """

    LATENCY = 1

    def __init__(self, format: FloatFormat) -> None:
        self.format = format
        super().__init__({**{name: In(format.bits) for name in ("value", "low", "high")}, "result": Out(format.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        names = ("value", "low", "high")
        value, low, high = (order(getattr(self, name), f"{name}_order", m) for name in names)
        nan = Signal()
        m.d.comb += nan.eq(Cat(unpack(m, getattr(self, name), self.format, name).nan for name in names).any())
        with m.If(nan):
            m.d.sync += self.result.eq(self.format.nan_pattern)
        with m.Elif(value > high):
            m.d.sync += self.result.eq(self.high)
        with m.Elif(value < low):
            m.d.sync += self.result.eq(self.low)
        with m.Else():
            m.d.sync += self.result.eq(self.value)
        return m
