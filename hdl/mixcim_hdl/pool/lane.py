"""One lane of the pool: the running sums or maxima of the channels that take turns in it."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import RUN_FIELDS, Pooling
from ..floating import FP32, ElementFormat
from ..floating_point.add import FloatAdd
from ..floating_point.clamp import FloatClamp
from ..floating_point.element import ELEMENT_BITS, ElementToFloat
from ..primitives.delayed import delayed


class PoolLane(wiring.Component):
    """number = y of RUN's pooling (commands.py) up to and with an element. Latency 7, one per cycle, no stalls.

    ```
     element --> FP32, or that of the padding --> y + x, larger of y and x --+--> number
                                                   ^                         |
                                        y or none -'-- `period` cycles round '
    ```
    `period` channels share a lane: the y that meets an element is the number of `period` elements before it, so a
    channel comes every `period` cycles, FloatAdd.LATENCY at least.

    Members: element; inside (0: padding, which leaves y as it is), first (there is no y yet), each with its element;
    number (FP32 pattern); pooling, format (fields of RUN, constant while elements are inside).
    """

    LATENCY = ElementToFloat.LATENCY + FloatAdd.LATENCY

    def __init__(self, period: int = FloatAdd.LATENCY):
        if period < FloatAdd.LATENCY:
            raise ValueError(f"period must be at least {FloatAdd.LATENCY}, not {period}")
        self._period = period
        super().__init__(
            {
                "element": In(ELEMENT_BITS),
                "inside": In(1),
                "first": In(1),
                "pooling": In(RUN_FIELDS["pooling"]),
                "format": In(ElementFormat),
                "number": Out(FP32.bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.convert = convert = ElementToFloat()
        m.submodules.add = add = FloatAdd(FP32)
        # The larger of two is the one clamped from below at the other.
        m.submodules.maximum = maximum = FloatClamp(FP32)
        is_maximum, none, x, y = Signal(), Signal(FP32.bits), Signal(FP32.bits), Signal(FP32.bits)
        m.d.comb += [
            convert.element.eq(self.element),
            convert.format.eq(self.format),
            is_maximum.eq(self.pooling == Pooling.MAXIMUM),
            # What changes no y: -infinity among maxima, +0 among sums that begin with it.
            none.eq(Mux(is_maximum, FP32.infinity_pattern | 1 << (FP32.bits - 1), 0)),
            x.eq(Mux(delayed(m, self.inside, convert.LATENCY, "inside"), convert.result, none)),
            y.eq(
                Mux(
                    delayed(m, self.first, convert.LATENCY, "first"),
                    none,
                    delayed(m, self.number, self._period - FloatAdd.LATENCY, "number"),
                )
            ),
            add.a.eq(y),
            add.b.eq(x),
            maximum.value.eq(y),
            maximum.low.eq(x),
            maximum.high.eq(Const(FP32.infinity_pattern, FP32.bits)),
            self.number.eq(
                Mux(is_maximum, delayed(m, maximum.result, add.LATENCY - maximum.LATENCY, "maximum"), add.result)
            ),
        ]
        return m
