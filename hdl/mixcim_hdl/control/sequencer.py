"""Tile sequencer: repeats each vector for all kernel tiles of its compute unit and numbers the slots."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..commands import SramMode
from ..config import ChipConfig
from ..formats import LARGEST_SLICES
from ..interfaces import step_layout, vector_layout


class Sequencer(wiring.Component):
    """vector stream -> `tiles` x `slices` steps each: the slices of a tile's weights in a row, the lowest first.

    A bank with row segments, which does up to `tiles_per_step` tiles in a step, gets fewer: see commands.SramMode.

    Addresses grow by `stride` with every step, from `slot` on in the windows of the first group, and from behind the
    last group's in those of the next; parameter tiles start at `parameter` and grow by `tiles` with every group.
    Combinational: latency 0, one step per cycle.

    Members
    -------
    start : one cycle, before the first vector of a layer.
    vector, step : streams (interfaces.vector_layout, step_layout); the step repeats the vector's payload.
    tiles, slices, slot, parameter, stride, mode : constant from the cycle before the first vector on, while vectors are
        in flight; tiles and slices >= 1. A chip without floating point has one slice.
    fault : high while a step points past `capacity`. That step is not offered; in a deep pipeline it is, and comes to
        nothing, for the fault ends the program long before its end. With stride 0 no memory is read.
    """

    def __init__(self, chip: ChipConfig, capacity: int, tiles_per_step: int = 1):
        self._chip, self._capacity, self._tiles_per_step = chip, capacity, tiles_per_step
        super().__init__(
            {
                "start": In(1),
                "vector": In(stream.Signature(vector_layout(chip))),
                "step": Out(stream.Signature(step_layout(chip))),
                "tiles": In(8),
                "slices": In(range(LARGEST_SLICES + 1)),
                "slot": In(16),
                "parameter": In(16),
                "stride": In(8),
                "mode": In(2),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        vector, step = self.vector.payload, self.step.payload
        tile = Signal(8)
        # Next, of the group, present. A step whose address has more bits is past the capacity.
        places = range(max(self._capacity, 1 << len(self.stride)) + 1)
        address, first_address, address_now = Signal(places), Signal(places), Signal(places)
        parameter, parameter_now = Signal(16), Signal(16)
        fresh, odd_group = Signal(), Signal()  # no window yet; whose bit 0 the group of the last window had
        window_begins, new_group, again = Signal(), Signal(), Signal()
        # Whether a step from there points past the capacity: found before an address is chosen, for the way is long.
        past, past_first, past_slot, past_now = Signal(), Signal(), Signal(), Signal()
        last_tile, first_slice, last_slice = Signal(), Signal(init=1), Signal(init=1)
        next_tile = Signal(9)
        at_first = Signal(init=1)  # tile is 0
        ends = Signal()  # if a step has one tile: it is the last one
        # A deep pipeline does not wait for the fault: the step comes to nothing, for its end is far behind the reset.
        refused = 0 if self._chip.deep_pipeline else self.fault
        if self._tiles_per_step > 1:
            fits = [vector.length <= self._chip.rows >> level for level in range(1, self._tiles_per_step.bit_length())]
            m.d.comb += step.packing.eq(Mux(self.mode == SramMode.REPEATED, sum(fits, Value.cast(0)), self.mode))
        if self._chip.floating_point:
            slice = Signal(range(LARGEST_SLICES))
            m.d.comb += [
                first_slice.eq(slice == 0),
                last_slice.eq(slice + 1 == self.slices),
                step.tag.slice.eq(slice),
            ]
            with m.If(self.step.valid & self.step.ready):
                m.d.sync += slice.eq(Mux(last_slice, 0, slice + 1))
        m.d.comb += [
            window_begins.eq(vector.window_start & at_first & first_slice),
            new_group.eq(window_begins & (vector.odd_group != odd_group)),
            again.eq(window_begins & ~fresh & ~new_group),  # the addresses of the window before
            address_now.eq(Mux(window_begins & fresh, self.slot, Mux(again, first_address, address))),
            parameter_now.eq(Mux(fresh, self.parameter, Mux(new_group, parameter + self.tiles, parameter))),
            next_tile.eq(tile + (Const(1) << step.packing)),
            last_tile.eq(next_tile >= self.tiles if self._tiles_per_step > 1 else ends),
            past_now.eq(Mux(window_begins & fresh, past_slot, Mux(again, past_first, past))),
            self.fault.eq(self.vector.valid & (self.stride != 0) & past_now),
            self.step.valid.eq(self.vector.valid & ~refused),
            self.vector.ready.eq(self.step.ready & last_tile & last_slice & ~refused),
            step.planes.eq(vector.planes),
            step.length.eq(vector.length),
            step.address.eq(address_now),
            step.tag.tiles.eq(Mux(last_tile, self.tiles, next_tile) - tile),
            step.tag.tile.eq(tile),
            step.tag.parameter.eq(parameter_now + tile),
            step.tag.offset.eq(vector.offset),
            step.tag.first.eq(vector.window_start & first_slice),
            step.tag.last.eq(vector.window_end & last_slice),
            step.tag.exponent.eq(vector.exponent),
        ]
        with m.If(self.step.valid & self.step.ready):
            m.d.sync += [
                address.eq(address_now + self.stride),
                past.eq(address_now + (self.stride << 1) > self._capacity),
                parameter.eq(parameter_now),
                fresh.eq(0),
                odd_group.eq(vector.odd_group),
            ]
            with m.If(window_begins):
                m.d.sync += [first_address.eq(address_now), past_first.eq(past_now)]
            with m.If(last_slice):
                m.d.sync += [tile.eq(Mux(last_tile, 0, next_tile)), at_first.eq(last_tile)]
                m.d.sync += ends.eq(Mux(last_tile, 1, tile + 2) >= self.tiles)
        m.d.sync += past_slot.eq(self.slot + self.stride > self._capacity)
        with m.If(self.start):
            m.d.sync += [fresh.eq(1), ends.eq(self.tiles <= 1)]
        return m
