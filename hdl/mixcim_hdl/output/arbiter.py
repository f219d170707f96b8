"""Result arbiter: joins the result streams of an engine's compute units into one."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..interfaces import result_layout


class ResultArbiter(wiring.Component):
    """unit<n> streams -> result stream; the lowest number first, which starves nobody: all wait for the next vector.

    Latency 1, one result per cycle.
    """

    def __init__(self, chip: ChipConfig):
        self._units = len(chip.units) // chip.engines
        payload = result_layout(chip)
        super().__init__(
            {
                **{f"unit{number}": In(stream.Signature(payload)) for number in range(self._units)},
                "result": Out(stream.Signature(payload)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        inputs = [getattr(self, f"unit{number}") for number in range(self._units)]
        room = Signal()
        m.d.comb += room.eq(~self.result.valid | self.result.ready)
        any_valid = Signal()
        m.d.comb += any_valid.eq(Cat(source.valid for source in inputs).any())
        with m.If(room):
            m.d.sync += self.result.valid.eq(any_valid)
        # AND-OR and one enable: two LUTs a bit for three units, where a chain of multiplexers takes eight.
        chosen = Signal(len(Value.cast(self.result.payload)))
        gated = []
        for number, source in enumerate(inputs):
            earlier = Cat(other.valid for other in inputs[:number]).any() if number else 0
            m.d.comb += source.ready.eq(room & ~earlier)
            selected = Signal(name=f"selected{number}")
            m.d.comb += selected.eq(source.valid & ~earlier)
            gated.append(Mux(selected, Value.cast(source.payload), 0))
        m.d.comb += chosen.eq(reduce(or_, gated))
        with m.If(room & any_valid):
            m.d.sync += Value.cast(self.result.payload).eq(chosen)
        return m
