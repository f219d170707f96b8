"""A float to an integer in the unit of its vector: second half of pre-alignment."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import ALIGNED_BITS, ElementFormat, Rounding
from ..primitives.delayed import delayed
from .shift import shift_right

_FORMATS = [item.floating for item in ElementFormat if item.floating]
EXPONENT_BITS = max(item.exponent_bits for item in _FORMATS)  #: of the widest exponent field
SIGNIFICAND_BITS = max(item.mantissa_bits for item in _FORMATS) + 1  #: of the widest significand, hidden bit included


class Align(wiring.Component):
    """result = round(element / 2**(E - (aligned_bits - 2))). Latency 2, one per cycle.

    ```
     element --> 1 distance to E --> 2 shift right, with sticky bit --> round, sign --> result
    ```

    Members: sign, exponent (biased, at least 1) and significand (hidden bit on top) of an element: one unit for all
    formats; vector_exponent (E, biased alike, not below the element's); aligned_bits (one of ALIGNED_BITS up to
    `largest`); rounding (a Rounding); result (signed, `largest` bits; logic behind the last register). All may change
    from one element to the next. Model: `align`.
    """

    LATENCY = 2

    def __init__(self, largest: int = 16) -> None:
        if largest not in ALIGNED_BITS:
            raise ValueError(f"largest must be one of {', '.join(map(str, ALIGNED_BITS))}, not {largest}")
        self.largest = largest
        super().__init__(
            {
                "sign": In(1),
                "exponent": In(EXPONENT_BITS),
                "significand": In(SIGNIFICAND_BITS),
                "vector_exponent": In(EXPONENT_BITS),
                "aligned_bits": In(range(largest + 1)),
                "rounding": In(1),
                "result": Out(signed(largest)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        whole = self.largest - 1
        # The hidden bit starts as the top bit of the widest magnitude; guard and sticky bit are below it all.
        tail = max(2, SIGNIFICAND_BITS - whole)
        # 1
        distance = Signal(range((1 << EXPONENT_BITS) + self.largest))
        m.d.sync += distance.eq(self.vector_exponent - self.exponent + (self.largest - self.aligned_bits))
        significand = delayed(m, self.significand, 1, "significand")
        # 2
        placed, shifted = Signal(whole + tail), Signal(whole + tail)
        m.d.comb += placed.eq(significand << (whole + tail - SIGNIFICAND_BITS))
        m.d.sync += shifted.eq(shift_right(m, placed, distance, "placed"))
        sign, rounding, aligned_bits = (
            delayed(m, value, 2, name)
            for name, value in (
                ("sign", self.sign),
                ("rounding", self.rounding),
                ("aligned_bits", self.aligned_bits),
            )
        )
        # The largest magnitude cannot round up; that is all the saturation there is.
        kept, guard, rest = shifted[tail:], shifted[tail - 1], shifted[: tail - 1]
        unused, full, up = Signal(whole), Signal(), Signal()
        m.d.comb += [
            unused.eq(Cat(aligned_bits <= place + 1 for place in range(whole))),
            full.eq((kept | unused).all()),
            up.eq((rounding == Rounding.NEAREST_EVEN) & guard & (rest.any() | kept[0]) & ~full),
            # One adder: -(kept + up) = ~kept + (1 - up)
            self.result.eq((Cat(kept, 0) ^ sign.replicate(self.largest)) + (sign ^ up)),
        ]
        return m
