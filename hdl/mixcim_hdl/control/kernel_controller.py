"""Kernel controller: broadcasts every input vector to all compute units that take part in its window."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..interfaces import COPY_BITS, vector_layout


class KernelController(wiring.Component):
    """One vector stream in, one handshake per compute unit out: each active unit takes the vector once.

    The payload goes to all units as it is. The vector leaves when the slowest active unit has taken it, at once if
    there is none. Combinational: latency 0, one vector per cycle.

    Members
    -------
    vector : stream in.
    active : bit n: unit n takes part in the layer.    copies : of every unit: the copy whose windows it takes.
    valid, ready : bit n: handshake of unit n.
    """

    def __init__(self, chip: ChipConfig):
        units = len(chip.units)
        super().__init__(
            {
                "vector": In(stream.Signature(vector_layout(chip))),
                "active": In(units),
                "copies": In(data.ArrayLayout(COPY_BITS, units)),
                "valid": Out(units),
                "ready": In(units),
            }
        )

    def elaborate(self, platform):
        m = Module()
        units = len(self.active)
        concerned = Signal(units)
        taken = Signal(units)  # units that have the present vector already
        waiting = Signal(units)
        copy = self.vector.payload.copy
        m.d.comb += [
            concerned.eq(self.active & Cat(self.copies[unit] == copy for unit in range(units)) & ~taken),
            self.valid.eq(Mux(self.vector.valid, concerned, 0)),
            waiting.eq(concerned & ~self.ready),
            self.vector.ready.eq(~waiting.any()),
        ]
        with m.If(self.vector.valid):
            m.d.sync += taken.eq(Mux(self.vector.ready, 0, taken | (concerned & self.ready)))
        return m
