"""A float to an integer in the unit of its vector: second half of pre-alignment."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import ALIGNED_BITS, FloatFormat, Rounding
from .pipeline import delayed
from .shift import shift_right
from .unpack import unpack


class Align(wiring.Component):
    """result = round(pattern / 2**(exponent - (aligned_bits - 2))). Latency 2, one per cycle.

    Members: pattern (of `format`), exponent (E of the vector, unbiased, signed, exponent_bits + 1 wide, not below the
    pattern's own), aligned_bits (one of ALIGNED_BITS up to `largest`), rounding (a Rounding), result (signed,
    `largest` bits). All may change from one element to the next. Model: `align`.
    """

    LATENCY = 2

    def __init__(self, format: FloatFormat, largest: int = 16) -> None:
        if largest not in ALIGNED_BITS:
            raise ValueError(f"largest must be one of {', '.join(map(str, ALIGNED_BITS))}, not {largest}")
        self.format, self.largest = format, largest
        super().__init__(
            {
                "pattern": In(format.bits),
                "exponent": In(signed(format.exponent_bits + 1)),
                "aligned_bits": In(range(largest + 1)),
                "rounding": In(1),
                "result": Out(signed(largest)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        format, whole = self.format, self.largest - 1
        value = unpack(m, self.pattern, format, "value")
        # 1: the hidden bit starts as the top bit of the widest magnitude; guard and sticky bit below it all
        tail = max(2, format.mantissa_bits + 1 - whole)
        placed = Signal(whole + tail)
        distance = Signal(range((1 << format.exponent_bits) + self.largest))
        m.d.comb += [
            placed.eq(value.significand << (whole + tail - 1 - format.mantissa_bits)),
            distance.eq(self.exponent + format.bias - value.exponent + (self.largest - self.aligned_bits)),
        ]
        shifted, nearest, aligned_bits = Signal(whole + tail), Signal(), Signal.like(self.aligned_bits)
        m.d.sync += [
            shifted.eq(shift_right(m, placed, distance, "placed")),
            nearest.eq(self.rounding == Rounding.NEAREST_EVEN),
            aligned_bits.eq(self.aligned_bits),
        ]
        sign = delayed(m, value.sign, 1, "sign")
        # 2: the largest magnitude cannot round up; that is all the saturation there is
        kept, guard, rest = shifted[tail:], shifted[tail - 1], shifted[: tail - 1]
        unused, full, up, magnitude = Signal(whole), Signal(), Signal(), Signal(whole)
        m.d.comb += [
            unused.eq(Cat(aligned_bits <= place + 1 for place in range(whole))),
            full.eq((kept | unused).all()),
            up.eq(nearest & guard & (rest.any() | kept[0]) & ~full),
            magnitude.eq(kept + up),
        ]
        m.d.sync += self.result.eq(Mux(sign, -magnitude, magnitude))
        return m
