"""Dot products to FP32."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FP32
from ..primitives.delayed import delayed
from .pack import round_and_pack, sticky
from .shift import left_or_right, normalise, shift_right


class IntegerToFloat(wiring.Component):
    """result = value * 2**exponent in FP32, rounded once to nearest even. Latency 4, one per cycle.

    ```
    1 magnitude --> 2 normalise --> 3 right, if subnormal --> 4 round, pack
    ```
    Members: value (signed, `width` bits, 2..48), exponent (signed, `exponent_bits`), special (the result is NaN, since
    a vector had an infinity or NaN), result (FP32 pattern). Model: `scaled(value, exponent)`. 0 gives +0.
    Ten exponent bits hold the sum of the exponents of two vectors of any format, less 2 * (aligned_bits - 2).
    """

    LATENCY = 4

    def __init__(self, width: int = 48, exponent_bits: int = 10) -> None:
        if not 2 <= width <= 48:
            raise ValueError(f"width must be from 2 to 48, not {width}")
        self.width = width
        super().__init__(
            {"value": In(signed(width)), "exponent": In(signed(exponent_bits)), "special": In(1), "result": Out(32)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # 1: `below` is for the top bit of the magnitude
        magnitude, sign = Signal(self.width), Signal()
        below = Signal(signed(max(len(self.exponent), 9) + 2))
        m.d.sync += [
            magnitude.eq(Mux(self.value < 0, -self.value, self.value)),
            sign.eq(self.value < 0),
            below.eq(self.exponent + (self.width - 1 + FP32.bias - 1)),
        ]
        # 2
        limit, amount = left_or_right(m, below, "magnitude")
        normal, left = normalise(m, magnitude, limit, "magnitude")
        bits = FP32.mantissa_bits + 1 + 2
        reduced, below2, amount2 = Signal(bits), Signal(len(left)), Signal(len(amount))
        m.d.sync += [
            reduced.eq(sticky(normal, bits) << max(0, bits - self.width)),
            below2.eq(left),
            amount2.eq(amount),
        ]
        # 3
        significand, below3 = Signal(bits), Signal(len(left))
        m.d.sync += [significand.eq(shift_right(m, reduced, amount2, "reduced")), below3.eq(below2)]
        # 4
        sign3, nan3 = delayed(m, sign, 2, "sign"), delayed(m, self.special, 3, "special")
        m.d.sync += self.result.eq(round_and_pack(m, FP32, sign3, below3, significand, nan3, Const(0)))
        return m
