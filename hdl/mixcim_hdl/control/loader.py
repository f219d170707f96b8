"""Loader: copies words of the weight store into the memories of compute units (command LOAD)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS


class Loader(wiring.Component):
    """`count` words, one per cycle; `busy` for count + `latency` cycles after `start`.

    `latency`: of the weight store, whose word goes straight to the units.

    Members
    -------
    start, unit, units, source, destination, count : one cycle.
    read_enable, read_address : weight store.
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

    def __init__(self, latency: int = 1):
        self._latency = latency
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        remaining = Signal(ADDRESS_BITS)
        destination = Signal(ADDRESS_BITS)
        enables: list[Signal] = [self.read_enable]
        address = destination
        for stage in range(1, self._latency + 1):
            enable, behind = Signal(name=f"enable{stage}"), Signal(ADDRESS_BITS, name=f"address{stage}")
            m.d.sync += [enable.eq(enables[-1]), behind.eq(address)]
            enables.append(enable)
            address = behind
        m.d.comb += [
            self.busy.eq(Cat(enables).any()),
            self.load_enable.eq(enables[-1]),
            self.load_address.eq(address),
        ]
        m.d.sync += [
            self.read_enable.eq(self.read_enable & (remaining != 1)),
            remaining.eq(Mux(self.read_enable, remaining - 1, remaining)),
            self.read_address.eq(self.read_address + self.read_enable),
            destination.eq(destination + self.read_enable),
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
