"""Store: a memory that the host fills and reads in 32-bit words and the processor reads in whole words."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..primitives.ram import Ram

HOST_BITS = 32


class Store(wiring.Component):
    """`depth` words of `width` bits (a power of two times 32); 0 at power-up. `quick`: see Ram.

    Members
    -------
    host_address (in 32-bit words), host_write, host_data; host_read, host_read_data (latency 2, stays).
    read_enable, read_address, read_data : the processor's port, latency 1. Host and processor take turns: the host's
        reads come first, and the host keeps away while the processor runs.
    """

    def __init__(self, width: int, depth: int, *, quick: bool = False):
        self._width, self._depth, self._quick = width, depth, quick
        self._parts = width // HOST_BITS
        super().__init__(
            {
                "host_address": In(26),
                "host_write": In(1),
                "host_data": In(HOST_BITS),
                "host_read": In(1),
                "host_read_data": Out(HOST_BITS),
                "read_enable": In(1),
                "read_address": In(range(max(depth, 2))),
                "read_data": Out(width),
            }
        )

    @property
    def host_words(self) -> int:
        """Size in 32-bit words."""
        return self._depth * self._parts

    def elaborate(self, platform):
        m = Module()
        select = (self._parts - 1).bit_length()
        m.submodules.ram = ram = Ram(self._width, self._depth, lanes=self._parts, quick=self._quick)
        part = self.host_address[:select] if select else 0
        # A register before the word is chosen, for block RAM is slow; it holds while the processor reads.
        part_read, part_held, reading = Signal(max(select, 1)), Signal(max(select, 1)), Signal()
        held = Signal(self._width)
        m.d.sync += reading.eq(self.host_read)
        with m.If(self.host_read):
            m.d.sync += part_read.eq(part)
        with m.If(reading):
            m.d.sync += [held.eq(ram.read_data), part_held.eq(part_read)]
        m.d.comb += [
            ram.write_enable.eq(self.host_write << part),
            ram.write_address.eq(self.host_address >> select),
            ram.write_data.eq(self.host_data.replicate(self._parts)),
            ram.read_enable.eq(self.read_enable | self.host_read),
            ram.read_address.eq(Mux(self.host_read, self.host_address >> select, self.read_address)),
            self.read_data.eq(ram.read_data),
            self.host_read_data.eq(held.word_select(part_held, HOST_BITS)),
        ]
        return m
