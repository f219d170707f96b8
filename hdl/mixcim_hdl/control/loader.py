"""Loader: copies words of the weight store into the memories of compute units (command LOAD)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig


class Loader(wiring.Component):
    """`count` words, a part per cycle; `busy` for count * load_cycles of the chip + `latency` cycles after `start`.

    `latency`: from read_address to the part of a word that the units take.

    Members
    -------
    start, unit, units, source, destination, count : one cycle.
    read_enable, read_address : weight store; word * load_cycles + part, as the next one.
    load_enable, load_address : of the units from `first` up to, without, `end`.
    """

    def __init__(self, chip: ChipConfig, latency: int):
        self._latency, self._part_bits = latency, chip.load_part_bits
        super().__init__(
            {
                "start": In(1),
                "unit": In(8),
                "units": In(8),
                "source": In(ADDRESS_BITS),
                "destination": In(ADDRESS_BITS),
                "count": In(ADDRESS_BITS),
                "busy": Out(1),
                "read_enable": Out(1),
                "read_address": Out(ADDRESS_BITS + self._part_bits),
                "load_enable": Out(1),
                "load_address": Out(ADDRESS_BITS + self._part_bits),
                "first": Out(8),
                "end": Out(9),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = ADDRESS_BITS + self._part_bits
        remaining = Signal(bits)
        destination = Signal(bits)
        enables: list[Signal] = [self.read_enable]
        address = destination
        for stage in range(1, self._latency + 1):
            enable, behind = Signal(name=f"enable{stage}"), Signal(bits, name=f"address{stage}")
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
                remaining.eq(self.count << self._part_bits),
                self.read_enable.eq(self.count != 0),
                self.read_address.eq(self.source << self._part_bits),
                destination.eq(self.destination << self._part_bits),
                self.first.eq(self.unit),
                self.end.eq(self.unit + self.units),
            ]
        return m
