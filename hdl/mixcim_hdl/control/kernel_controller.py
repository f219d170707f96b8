"""Kernel controller: broadcasts every input vector to all compute units that take part in the layer."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..interfaces import vector_layout


class KernelController(wiring.Component):
    """One vector stream in, one per compute unit out: each active unit takes every vector once, at its own pace.

    The vector leaves when the slowest active unit has taken it. Combinational: latency 0, one vector per cycle.

    Members
    -------
    vector : stream in.    unit<n> : stream out to compute unit n.
    active : bit n: unit n takes part (at least one does).
    """

    def __init__(self, chip: ChipConfig):
        self._units = len(chip.units)
        payload = vector_layout(chip)
        super().__init__(
            {
                "vector": In(stream.Signature(payload)),
                "active": In(self._units),
                **{f"unit{number}": Out(stream.Signature(payload)) for number in range(self._units)},
            }
        )

    def elaborate(self, platform):
        m = Module()
        outputs = [getattr(self, f"unit{number}") for number in range(self._units)]
        taken = Signal(self._units)  # units that have the present vector already
        finished = Signal(self._units)
        m.d.comb += finished.eq(taken | ~self.active | Cat(output.valid & output.ready for output in outputs))
        for number, output in enumerate(outputs):
            m.d.comb += [
                output.payload.eq(self.vector.payload),
                output.valid.eq(self.vector.valid & self.active[number] & ~taken[number]),
            ]
        m.d.comb += self.vector.ready.eq(finished.all())
        with m.If(self.vector.valid):
            m.d.sync += taken.eq(finished)
            with m.If(finished.all()):
                m.d.sync += taken.eq(0)
        return m
