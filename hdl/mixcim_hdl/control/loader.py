"""Loader: copies words of the weight store into the memories of compute units (command LOAD)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS


class Loader(wiring.Component):
    """`count` words, one per cycle; `busy` for count + 1 cycles after `start`.

    Members
    -------
    start, unit, units, source, destination, count : one cycle.
    read_enable, read_address : weight store, whose word (latency 1) goes straight to the units.
    load_enable, load_address : of the units from `first` up to, without, `end`.
    """

    start: In(1)
    unit: In(8)
    units: In(8)
    source: In(ADDRESS_BITS)
    destination: In(ADDRESS_BITS)
    count: In(ADDRESS_BITS)
    busy: Out(1)
    read_enable: Out(1)
    read_address: Out(ADDRESS_BITS)
    load_enable: Out(1)
    load_address: Out(ADDRESS_BITS)
    first: Out(8)
    end: Out(9)

    def elaborate(self, platform):
        m = Module()
        remaining = Signal(ADDRESS_BITS)
        destination = Signal(ADDRESS_BITS)
        m.d.comb += self.busy.eq(self.read_enable | self.load_enable)
        m.d.sync += [
            self.read_enable.eq(self.read_enable & (remaining != 1)),
            remaining.eq(Mux(self.read_enable, remaining - 1, remaining)),
            self.read_address.eq(self.read_address + self.read_enable),
            destination.eq(destination + self.read_enable),
            self.load_enable.eq(self.read_enable),
            self.load_address.eq(destination),
        ]
        with m.If(self.start):
            m.d.sync += [
                remaining.eq(self.count),
                self.read_enable.eq(self.count != 0),
                self.read_address.eq(self.source),
                destination.eq(self.destination),
                self.first.eq(self.unit),
                self.end.eq(self.unit + self.units),
            ]
        return m
