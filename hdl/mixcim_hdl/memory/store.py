"""Store: a memory that the host fills and reads in 32-bit words and the processor reads in whole words."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..primitives.delayed import delayed
from ..primitives.ram import Ram

HOST_BITS = 32


class Store(wiring.Component):
    """`depth` words of `width` bits (a power of two times 32); 0 at power-up. `quick`: see Ram.

    `late`: 1: all reaches the memory a cycle later, from registers, for a large one's block RAMs lie all over an FPGA.

    Members
    -------
    host_address (in 32-bit words), host_write, host_data; host_read, host_read_data (latency 2 + late, stays).
    read_enable, read_address, read_data : the processor's port, latency 1 + late. Host and processor take turns: the
        host's reads come first, and the host keeps away while the processor runs.
    """

    def __init__(self, width: int, depth: int, *, quick: bool = False, late: int = 0):
        self._width, self._depth, self._quick, self._late = width, depth, quick, late
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

    @property
    def latency(self) -> int:
        """Cycles from the processor's read_address to its read_data."""
        return 1 + self._late

    def elaborate(self, platform):
        m = Module()
        select = (self._parts - 1).bit_length()
        m.submodules.ram = ram = Ram(self._width, self._depth, lanes=self._parts, quick=self._quick)
        part = self.host_address[:select] if select else 0
        # A register before the word is chosen, for block RAM is slow; it holds while the processor reads.
        part_read, part_held, reading = Signal(max(select, 1)), Signal(max(select, 1)), Signal()
        held = Signal(self._width)
        host_read = delayed(m, self.host_read, self._late, "host_read")
        part_asked = delayed(m, Value.cast(part), self._late, "part")
        m.d.sync += reading.eq(host_read)
        with m.If(host_read):
            m.d.sync += part_read.eq(part_asked)
        with m.If(reading):
            m.d.sync += [held.eq(ram.read_data), part_held.eq(part_read)]
        for name, value in {
            "write_enable": self.host_write << part,
            "write_address": self.host_address >> select,
            "write_data": self.host_data,
            "read_enable": self.read_enable | self.host_read,
            "read_address": Mux(self.host_read, self.host_address >> select, self.read_address),
        }.items():
            given = delayed(m, Value.cast(value)[: len(getattr(ram, name))], self._late, name)
            m.d.comb += getattr(ram, name).eq(given.replicate(self._parts) if name == "write_data" else given)
        m.d.comb += [
            self.read_data.eq(ram.read_data),
            self.host_read_data.eq(held.word_select(part_held, HOST_BITS)),
        ]
        return m
