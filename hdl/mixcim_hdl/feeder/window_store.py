"""What the feeder keeps of the last window, for the next one, which shares most of it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..emission import once
from ..primitives.ram import Ram


class WindowStore(wiring.Component):
    """`lanes` x `entries` taps of `width` bits: tap T of a window is in entry T // lanes of lane T % lanes.

    Beat n of a window reads the taps `distance` on from its own, those of the window before, and writes its own into
    entry n: in ascending order it overwrites nothing that is still to be read. Read latency 1, the data stays until the
    next read, and a tap that is written in the same cycle is read as written. Entries beyond the store give anything.

    Members
    -------
    distance : number of taps, constant.
    read_enable, read_beat, read_data (of each lane).    write_enable, write_beat (below entries), write_data.
    """

    def __init__(self, width: int, lanes: int, entries: int):
        self._width, self._lanes, self._entries = width, lanes, entries
        beat = range(max(entries, 2))
        super().__init__(
            {
                "distance": In(range(max(lanes * entries, 2))),
                "read_enable": In(1),
                "read_beat": In(beat),
                "read_data": Out(data.ArrayLayout(width, lanes)),
                "write_enable": In(1),
                "write_beat": In(beat),
                "write_data": In(data.ArrayLayout(width, lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = self._lanes
        select = (lanes - 1).bit_length()
        rotation, beats = self.distance[:select], self.distance[select:]
        words = Signal(lanes * self._width)
        for number in range(lanes):
            lane = _StoreLane(self._width, self._entries)
            m.d.comb += [
                lane.read_enable.eq(self.read_enable),
                lane.read_entry.eq(self.read_beat + beats + (number < rotation)),
                lane.write_enable.eq(self.write_enable),
                lane.write_entry.eq(self.write_beat),
                lane.write_data.eq(self.write_data[number]),
                words.word_select(number, self._width).eq(lane.read_data),
            ]
            m.submodules[f"lane{number}"] = once(lane, f"window_lane_{self._width}x{self._entries}", platform)
        for number in range(lanes):
            source = Signal(max(select, 1), name=f"source{number}")
            m.d.comb += [
                source.eq((number + rotation)[:select] if select else 0),
                self.read_data[number].eq(words.word_select(source, self._width) if select else words),
            ]
        return m


class _StoreLane(wiring.Component):
    """A Ram that gives what is written in the cycle of reading.

    Members: read_enable, read_entry, read_data; write_enable, write_entry, write_data.
    """

    def __init__(self, width: int, entries: int):
        self._width, self._entries = width, entries
        entry = range(max(entries, 2))
        super().__init__(
            {
                "read_enable": In(1),
                "read_entry": In(entry),
                "read_data": Out(width),
                "write_enable": In(1),
                "write_entry": In(entry),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(self._width, self._entries)
        new, written = Signal(), Signal(self._width)
        m.d.comb += [
            ram.read_enable.eq(self.read_enable),
            ram.read_address.eq(self.read_entry),
            ram.write_enable.eq(self.write_enable),
            ram.write_address.eq(self.write_entry),
            ram.write_data.eq(self.write_data),
            self.read_data.eq(Mux(new, written, ram.read_data)),
        ]
        with m.If(self.read_enable):
            m.d.sync += [new.eq(self.write_enable & (self.write_entry == self.read_entry)), written.eq(self.write_data)]
        return m
