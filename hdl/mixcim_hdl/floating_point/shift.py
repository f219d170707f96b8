"""Shifters: cascades of halving distances, combinational, no wider than their operand."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value


def normalise(m: Module, value: Value, limit: Value, name: str) -> tuple[Value, Value]:
    """(value shifted left until its top bit is 1, but at most by `limit`; what is left of `limit`).

    With `limit` = biased exponent of the top bit, less 1, the second is that of the result: where it runs out first,
    the result is subnormal. A value of 0 stays 0, and its second result means nothing.
    """
    width = len(value)
    for bit in reversed(range((width - 1).bit_length())):
        distance = 1 << bit
        if bit >= len(limit):
            continue
        take = Signal(name=f"{name}_take{distance}")
        shifted, left = Signal(width, name=f"{name}_by{distance}"), Signal(len(limit), name=f"{name}_left{distance}")
        m.d.comb += [
            take.eq(~value[width - distance :].any() & limit[bit:].any()),
            shifted.eq(Mux(take, value << distance, value)),
            left.eq(Cat(limit[:bit], (limit[bit:] - take)[: len(limit) - bit])),
        ]
        value, limit = shifted, left
    return value, limit


def shift_right(m: Module, value: Value, amount: Value, name: str) -> Value:
    """value >> amount, with every 1 that is shifted out kept as a 1 in the lowest bit ("sticky"): rounding sees it."""
    width = len(value)
    stages = min(len(amount), (width - 1).bit_length())
    for bit in range(stages):
        distance = 1 << bit
        shifted = Signal(width, name=f"{name}_by{distance}")
        m.d.comb += shifted.eq(Mux(amount[bit], Cat(value[: distance + 1].any(), value[distance + 1 :]), value))
        value = shifted
    if len(amount) > stages:
        shifted = Signal(width, name=f"{name}_far")
        m.d.comb += shifted.eq(Mux(amount[stages:].any(), value.any(), value))
        value = shifted
    return value


def left_or_right(m: Module, below: Value, name: str) -> tuple[Signal, Signal]:
    """(limit, amount) for `normalise` and `shift_right`, from the signed biased exponent of a top bit, less 1.

    Negative: the number is below the normal ones and must go right by so much; else it may go left. One is always 0.
    """
    limit = Signal(len(below) - 1, name=f"{name}_limit")
    amount = Signal(len(below) - 1, name=f"{name}_amount")
    negative = below[-1]
    m.d.comb += [limit.eq(Mux(negative, 0, below)), amount.eq(Mux(negative, -below, 0))]
    return limit, amount
