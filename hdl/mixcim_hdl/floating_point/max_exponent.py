"""The largest exponent of a vector: first half of pre-alignment."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FloatFormat
from .unpack import unpack


class MaxExponent(wiring.Component):
    """Exponent E of a vector of `count` patterns, and whether it is special. Latency 2 for any count, one per cycle.

    Members: patterns (`count` of `format`, the first one lowest), exponent (E, unbiased, signed, exponent_bits + 1
    wide), special (an infinity or NaN is among them). Model: `max_exponent`. A tree of compare-and-select over the
    exponent fields, registered in the middle and at its root.
    """

    LATENCY = 2

    def __init__(self, format: FloatFormat, count: int) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self.format, self.count = format, count
        super().__init__(
            {
                "patterns": In(format.bits * count),
                "exponent": Out(signed(format.exponent_bits + 1)),
                "special": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        format = self.format
        fields: list[Value] = []
        special: list[Value] = []
        for index in range(self.count):
            pattern = self.patterns.word_select(index, format.bits)
            value = unpack(m, pattern, format, f"value{index}")
            fields.append(pattern[format.mantissa_bits : -1])
            special.append(value.nan | value.infinity)
        levels = (self.count - 1).bit_length()
        group = 1 << (levels + 1) // 2
        middle: list[Value] = []
        for start in range(0, self.count, group):
            register = Signal(format.exponent_bits, name=f"largest_{start}")
            m.d.sync += register.eq(largest(m, fields[start : start + group], f"group{start}"))
            middle.append(register)
        special1, field = Signal(), Signal(format.exponent_bits)
        m.d.comb += field.eq(largest(m, middle, "root"))
        m.d.sync += [
            special1.eq(Cat(*special).any()),
            self.special.eq(special1),
            # Field 0 is that of zeros and subnormals, whose exponent is the smallest.
            self.exponent.eq(Cat(field[0] | ~field.any(), field[1:]) - format.bias),
        ]
        return m


def largest(m: Module, values: list[Value], name: str) -> Value:
    """The largest of unsigned values, by pairs."""
    level = 0
    while len(values) > 1:
        winners = []
        for index in range(0, len(values) - 1, 2):
            winner = Signal(len(values[0]), name=f"{name}_{level}_{index // 2}")
            first, second = values[index], values[index + 1]
            m.d.comb += winner.eq(Mux(first > second, first, second))
            winners.append(winner)
        values = winners + values[len(values) - len(values) % 2 :]
        level += 1
    return values[0]
