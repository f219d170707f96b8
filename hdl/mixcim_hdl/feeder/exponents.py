"""Exponents of windows: first half of pre-alignment, from the exponent memory instead of the elements."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig
from ..interfaces import run_view
from ..registers import EXPONENT_FIELDS
from .walker import WindowWalker

ENTRY_LAYOUT = data.StructLayout(EXPONENT_FIELDS)


class WindowExponents(wiring.Component):
    """Exponent entries of RUN's windows (commands.py) -> stream of window exponents, in the order of the windows.

    ```
     walker --> exponent memory --> largest so far --> window --> stream
                (one entry per cycle)
    ```

    A window of n entries takes n cycles, those of taps in the padding included, and a tap without entries one. With
    `start` in cycle 0, the first window is there in cycle n + 2. While one waits to be taken, the next is walked: it is
    there n cycles after that one came, but not before the cycle after that one was taken.

    Members
    -------
    run : fields of the command, constant while windows come.    start : one cycle, begins a layer of floating inputs.
    read_enable, read_address, read_data : reader of the exponent memory, always served, latency 1.
    window : stream out: the largest field and whether a window is special; 0 where all is padding.
    fault, fault_address : an entry lies outside the memory, and all windows before it are taken; the walk stops.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "run": In(run_view()),
                "start": In(1),
                "read_enable": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(ENTRY_LAYOUT),
                "window": Out(stream.Signature(ENTRY_LAYOUT)),
                "fault": Out(1),
                "fault_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        run = self.run
        m.submodules.walker = walker = WindowWalker("tap_exponents")
        inside, outside, advance = Signal(), Signal(), Signal()
        read = Signal(
            data.StructLayout({"valid": 1, "inside": 1, "first": 1, "last": 1})
        )  # the entry that is there now
        m.d.comb += [
            walker.run.eq(run),
            walker.start.eq(self.start),
            inside.eq(walker.inside & (run.tap_exponents != 0)),
            self.read_address.eq(walker.tap + walker.inner + Mux(run.grouped_exponents, walker.group, 0)),
            outside.eq(walker.walking & inside & (self.read_address >= self._chip.activation_words)),
            self.fault.eq(outside & ~read.valid & ~self.window.valid),
            self.fault_address.eq(self.read_address),
            # A complete window waits for the one before it to be taken.
            advance.eq(~(read.valid & read.last & self.window.valid & ~self.window.ready)),
            walker.step.eq(walker.walking & advance & ~outside),
            self.read_enable.eq(walker.step & inside),
        ]
        with m.If(advance):
            m.d.sync += [
                read.valid.eq(walker.step),
                read.inside.eq(inside),
                read.first.eq(walker.window_start),
                read.last.eq(walker.window_end),
            ]
        entry, kept, largest = Signal(ENTRY_LAYOUT), Signal(ENTRY_LAYOUT), Signal(ENTRY_LAYOUT)
        m.d.comb += [
            entry.eq(Mux(read.inside, self.read_data, 0)),
            largest.field.eq(Mux(read.first | (entry.field > kept.field), entry.field, kept.field)),
            largest.special.eq(entry.special | (kept.special & ~read.first)),
        ]
        with m.If(advance & read.valid):
            m.d.sync += kept.eq(largest)
        with m.If(self.window.ready):
            m.d.sync += self.window.valid.eq(0)
        with m.If(advance & read.valid & read.last):
            m.d.sync += [self.window.valid.eq(1), self.window.payload.eq(largest)]
        return m
