"""Result arbiter: joins the result streams of an engine's compute units into one."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
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
        with m.If(room):
            m.d.sync += self.result.valid.eq(Cat(source.valid for source in inputs).any())
        for number, source in enumerate(inputs):
            earlier = Cat(other.valid for other in inputs[:number]).any() if number else 0
            m.d.comb += source.ready.eq(room & ~earlier)
            with m.If(source.valid & source.ready):
                m.d.sync += self.result.payload.eq(source.payload)
        return m
