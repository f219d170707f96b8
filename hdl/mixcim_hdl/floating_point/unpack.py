"""Patterns to sign, exponent, significand and the two special cases; and the rule that orders patterns."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from ..floating import FloatFormat


@dataclass(frozen=True)
class Unpacked:
    """Parts of a pattern, combinational: value = (-1)**sign * significand * 2**(exponent - bias - mantissa_bits)."""

    sign: Value
    exponent: Value  #: biased, at least 1: `exponent_bits` wide
    significand: Value  #: hidden bit on top, 0 for a subnormal: mantissa_bits + 1 wide
    nan: Value
    infinity: Value


def unpack(m: Module, pattern: Value, format: FloatFormat, name: str) -> Unpacked:
    """Parts of `pattern`; of a special one, exponent and significand are its fields read as a finite number's."""
    mantissa = pattern[: format.mantissa_bits]
    field = pattern[format.mantissa_bits : -1]
    normal, full = Signal(name=f"{name}_normal"), Signal(name=f"{name}_full")
    m.d.comb += [normal.eq(field.any()), full.eq(field.all())]
    return Unpacked(
        sign=pattern[-1],
        exponent=Cat(field[0] | ~normal, field[1:]),
        significand=Cat(mantissa, normal),
        nan=full & (mantissa.any() if format.infinity else mantissa.all()),
        infinity=full & ~mantissa.any() if format.infinity else Value.cast(0),
    )


def order(pattern: Value, name: str, m: Module) -> Signal:
    """Signed integer in the order of the values of patterns; -0 just below +0, NaN beyond the infinities."""
    key = Signal(signed(len(pattern)), name=name)
    m.d.comb += key.eq(Cat(Mux(pattern[-1], ~pattern[:-1], pattern[:-1]), pattern[-1]))
    return key
