"""Limits, which is what ReLU, ReLU6 and Clip are."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FloatFormat
from ..primitives.delayed import delayed
from .unpack import order, unpack


class FloatClamp(wiring.Component):
    """result = high if value > high, else low if value < low, else value. Latency 2, one per cycle.

    Members: value, low, high, result (patterns of `format`). A NaN among the three gives NaN; -0 is below +0, so that a
    clamp at +0 gives no -0. No limit is an infinity of the right sign. Model: `clamp`.
    """

    LATENCY = 2

    def __init__(self, format: FloatFormat) -> None:
        self.format = format
        super().__init__({**{name: In(format.bits) for name in ("value", "low", "high")}, "result": Out(format.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operands = {name: getattr(self, name) for name in ("value", "low", "high")}
        value, low, high = (order(operand, f"{name}_order", m) for name, operand in operands.items())
        # 1: which it is. Choosing in the same cycle would put the comparisons into the logic of every bit.
        nan, above, below = Signal(), Signal(), Signal()
        m.d.sync += [
            nan.eq(Cat(unpack(m, operand, self.format, name).nan for name, operand in operands.items()).any()),
            above.eq(value > high),
            below.eq(value < low),
        ]
        # 2
        value1, low1, high1 = (delayed(m, operand, 1, name) for name, operand in operands.items())
        limited = Mux(above, high1, Mux(below, low1, value1))
        m.d.sync += self.result.eq(Mux(nan, self.format.nan_pattern, limited))
        return m
