"""Addition."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FloatFormat
from ..primitives.delayed import delayed
from .pack import round_and_pack
from .shift import normalise, shift_right
from .unpack import unpack

_TAIL = 3  #: bits below the significand: guard, one more for the left shift after a subtraction, sticky


class FloatAdd(wiring.Component):
    """result = a + b, rounded once to nearest even. Latency 5, one per cycle.

    ```
    1 order by magnitude --> 2 align the smaller --> 3 add or subtract --> 4 normalise --> 5 round, pack
    ```
    Members: a, b, result (patterns of `format`). Model: `encode(add(decode(a), decode(b)))`. The widest datum is the
    sum, mantissa_bits + 5 bits: what is shifted out of the smaller operand is one sticky bit. -0 is -0 + -0 only.
    """

    LATENCY = 5

    def __init__(self, format: FloatFormat) -> None:
        self.format = format
        super().__init__({"a": In(format.bits), "b": In(format.bits), "result": Out(format.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.format.mantissa_bits + 1 + _TAIL
        a, b = unpack(m, self.a, self.format, "a"), unpack(m, self.b, self.format, "b")
        # 1: the larger magnitude first; patterns without sign are in the order of their magnitudes
        b_larger = Signal()
        large, small = Signal(len(a.significand)), Signal(len(a.significand))
        exponent, distance = Signal(len(a.exponent)), Signal(len(a.exponent))
        sign, subtract, nan, infinity = Signal(), Signal(), Signal(), Signal()
        m.d.comb += b_larger.eq(self.b[:-1] > self.a[:-1])
        m.d.sync += [
            large.eq(Mux(b_larger, b.significand, a.significand)),
            small.eq(Mux(b_larger, a.significand, b.significand)),
            exponent.eq(Mux(b_larger, b.exponent, a.exponent)),
            distance.eq(Mux(b_larger, b.exponent - a.exponent, a.exponent - b.exponent)),
            sign.eq(Mux(b_larger, b.sign, a.sign)),
            subtract.eq(a.sign ^ b.sign),
            nan.eq(a.nan | b.nan | (a.infinity & b.infinity & (a.sign ^ b.sign))),
            infinity.eq(a.infinity | b.infinity),
        ]
        # 2: the smaller one goes right
        large2, small2, subtract2 = Signal(width + 1), Signal(width + 1), Signal()
        m.d.sync += [
            large2.eq(large << _TAIL),
            small2.eq(shift_right(m, small << _TAIL, distance, "small")),
            subtract2.eq(subtract),
        ]
        # 3: one adder; a bit below the operands carries the 1 in that makes the complement negative
        total = Signal(width + 1)
        m.d.sync += total.eq((Cat(subtract2, large2) + Cat(subtract2, small2 ^ subtract2.replicate(width + 1)))[1:])
        # 4: the top bit is the carry, whose exponent is one more; a sum of subnormal size needs no rounding
        normal, below = normalise(m, total, delayed(m, exponent, 2, "exponent"), "total")
        significand4, below4, sign4 = Signal(width + 1), Signal(len(below)), Signal()
        m.d.sync += [
            significand4.eq(normal),
            below4.eq(below),
            # Only zeros are added to 0 with a sign: operands that cancel give +0.
            sign4.eq(delayed(m, sign, 2, "sign") & (total.any() | ~delayed(m, subtract2, 1, "subtract"))),
        ]
        # 5
        nan4, infinity4 = delayed(m, nan, 3, "nan"), delayed(m, infinity, 3, "infinity")
        m.d.sync += self.result.eq(round_and_pack(m, self.format, sign4, below4, significand4, nan4, infinity4))
        return m
