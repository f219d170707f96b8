"""The last step of every unit: round to nearest even, overflow, special values, pattern."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from ..floating import FloatFormat


def sticky(value: Value, width: int) -> Value:
    """The upper `width` bits of a value; the lowest of them also stands for all below it."""
    dropped = len(value) - width
    return value if dropped <= 0 else Cat(value[: dropped + 1].any(), value[dropped + 1 :])


def round_and_pack(
    m: Module,
    format: FloatFormat,
    sign: Value,
    below: Value,
    significand: Value,
    nan: Value,
    infinity: Value,
    name: str = "packed",
) -> Signal:
    """Pattern of (-1)**sign * significand, whose top bit has the biased exponent `below` + 1. Combinational.

    `significand`: mantissa_bits + 1 bits and a tail of at least 2, the last of which may be sticky. Its top bit is 1,
    or else it is subnormal (`below` then counts as 0) or 0. `nan`, `infinity`: the result whatever the rest says.
    """
    tail = len(significand) - format.mantissa_bits - 1
    assert tail >= 2, "rounding needs a guard bit and a sticky bit"
    kept, guard, rest = significand[tail:], significand[tail - 1], significand[: tail - 1]
    rounded = Signal(format.mantissa_bits + len(below) + 1, name=f"{name}_rounded")
    magnitude = Signal(format.bits - 1, name=f"{name}_magnitude")
    pattern = Signal(format.bits, name=f"{name}_pattern")
    up = Signal(name=f"{name}_up")
    # The hidden bit adds 1 to the exponent field, as does a mantissa that rounds up to a power of two. The lowest bits
    # of both operands carry `up` in: one adder instead of two.
    field = Cat(Const(0, format.mantissa_bits), Mux(kept[-1], below, 0))
    m.d.comb += [
        up.eq(guard & (rest.any() | kept[0])),
        rounded.eq((Cat(up, field) + Cat(up, kept))[1:]),
        magnitude.eq(rounded),
        pattern.eq(Cat(magnitude, sign)),
    ]
    with m.If(infinity | (rounded > format.largest_pattern)):
        m.d.comb += magnitude.eq(format.overflow_pattern)
    with m.If(nan):
        m.d.comb += pattern.eq(format.nan_pattern)
    return pattern
