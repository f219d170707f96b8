"""Tile sequencer: repeats each vector for every kernel tile of its compute unit and numbers the slots."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..interfaces import step_layout, vector_layout


class Sequencer(wiring.Component):
    """vector stream -> `tiles` steps each.

    Addresses start at `slot` with a pixel's first vector and grow by `stride` with every step; parameter tiles start
    at `parameter` and grow by `tiles` with every window of the pixel. Combinational: latency 0, one step per cycle.

    Members
    -------
    vector, step : streams (interfaces.vector_layout, step_layout); the step repeats the vector's payload.
    tiles, slot, parameter, stride : constant while vectors are in flight; tiles >= 1.
    fault : high while a step points past `capacity`; that step is never offered. With stride 0 no memory is read.
    """

    def __init__(self, chip: ChipConfig, capacity: int):
        self._capacity = capacity
        super().__init__(
            {
                "vector": In(stream.Signature(vector_layout(chip))),
                "step": Out(stream.Signature(step_layout(chip))),
                "tiles": In(8),
                "slot": In(16),
                "parameter": In(16),
                "stride": In(8),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        vector, step = self.vector.payload, self.step.payload
        tile = Signal(8)
        address = Signal(17)
        parameter = Signal(16)
        address_now = Signal(17)
        parameter_now = Signal(16)
        last_tile = Signal()
        m.d.comb += [
            address_now.eq(Mux(vector.pixel_start & (tile == 0), self.slot, address)),
            parameter_now.eq(Mux(vector.pixel_start, self.parameter, parameter)),
            last_tile.eq(tile + 1 == self.tiles),
            self.fault.eq(self.vector.valid & (self.stride != 0) & (address_now + self.stride > self._capacity)),
            self.step.valid.eq(self.vector.valid & ~self.fault),
            self.vector.ready.eq(self.step.ready & last_tile & ~self.fault),
            step.planes.eq(vector.planes),
            step.length.eq(vector.length),
            step.address.eq(address_now),
            step.tag.tile.eq(tile),
            step.tag.parameter.eq(parameter_now + tile),
            step.tag.offset.eq(vector.offset),
            step.tag.first.eq(vector.window_start),
            step.tag.last.eq(vector.window_end),
        ]
        with m.If(self.step.valid & self.step.ready):
            m.d.sync += [address.eq(address_now + self.stride), tile.eq(Mux(last_tile, 0, tile + 1))]
            with m.If(last_tile):
                m.d.sync += parameter.eq(Mux(vector.window_end, parameter_now + self.tiles, parameter_now))
        return m
