"""Multiplication."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FloatFormat
from ..primitives.delayed import delayed
from .pack import round_and_pack, sticky
from .shift import left_or_right, normalise, shift_right
from .unpack import unpack


class FloatMultiply(wiring.Component):
    """result = a * b, rounded once to nearest even. Latency 5, one per cycle.

    ```
    1 exponents, pick a subnormal operand --> 2 normalise it --> 3 multiply --> 4 shift by 1, or right --> 5 round, pack
    ```
    Members: a, b, result (patterns of `format`). Model: `encode(multiply(decode(a), decode(b)))`. One operand is
    normalised, before the product and not after it, which halves the shifter: where both are subnormal the product is
    far below every number, and only its being there matters.
    """

    LATENCY = 5

    def __init__(self, format: FloatFormat) -> None:
        self.format = format
        super().__init__({"a": In(format.bits), "b": In(format.bits), "result": Out(format.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.format.mantissa_bits + 1
        a, b = unpack(m, self.a, self.format, "a"), unpack(m, self.b, self.format, "b")
        # 1: the first operand is the one that may be subnormal; `below` is for the product's top bit, of weight 2
        first, second, below = Signal(bits), Signal(bits), Signal(signed(self.format.exponent_bits + 2))
        sign, nan, infinity = Signal(), Signal(), Signal()
        m.d.sync += [
            first.eq(Mux(a.significand[-1], b.significand, a.significand)),
            second.eq(Mux(a.significand[-1], a.significand, b.significand)),
            below.eq(a.exponent + b.exponent - self.format.bias),
            sign.eq(a.sign ^ b.sign),
            nan.eq(a.nan | b.nan | (a.infinity & ~b.significand.any()) | (b.infinity & ~a.significand.any())),
            infinity.eq(a.infinity | b.infinity),
        ]
        # 2
        limit, amount = left_or_right(m, below, "product")
        normal, left = normalise(m, first, limit, "first")
        first2, second2, below2 = Signal(bits), Signal(bits), Signal(len(left))
        m.d.sync += [first2.eq(normal), second2.eq(second), below2.eq(left)]
        # 3
        product, below3 = Signal(2 * bits), Signal(len(left))
        m.d.sync += [product.eq(first2 * second2), below3.eq(below2)]
        # 4: guard, sticky, and a bit for the shift by 1
        significand, below4, single = Signal(bits + 3), Signal(len(left)), Signal()
        reduced = sticky(product, bits + 3)
        right = shift_right(m, reduced, delayed(m, amount, 2, "amount"), "product")
        m.d.comb += single.eq(~product[-1] & below3.any())
        m.d.sync += [significand.eq(Mux(single, reduced << 1, right)), below4.eq(below3 - single)]
        # 5
        sign4, nan4, infinity4 = (
            delayed(m, flag, 3, name) for flag, name in ((sign, "sign"), (nan, "nan"), (infinity, "infinity"))
        )
        m.d.sync += self.result.eq(round_and_pack(m, self.format, sign4, below4, significand, nan4, infinity4))
        return m
