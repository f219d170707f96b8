"""Accumulator over row tiles: adds the dot-product values of a window's vectors, one entry per kernel tile."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import SUM_BITS
from ..interfaces import dpv_layout, result_layout, sums_layout
from ..primitives.ram import Ram


class Accumulator(wiring.Component):
    """dpv stream -> result stream, one result per window and kernel tile; int32, wraps.

    ```
     dpv ----------------------> + (or max) --+--> result      (last vector of the window)
          tile -> memory --read--^            '--> memory      (all others)
    ```

    Two cycles per dpv: read, then add; a result waits for its receiver in the second.

    Members
    -------
    maximum : keep the larger value instead of the sum (max pooling); constant while dpvs are in flight.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "dpv": In(stream.Signature(dpv_layout(chip))),
                "result": Out(stream.Signature(result_layout(chip))),
                "maximum": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, dpv = self._chip, self.dpv.payload
        m.submodules.sums = memory = Ram(chip.channels * SUM_BITS, chip.accumulator_tiles)
        kept = data.View(sums_layout(chip), memory.read_data)
        fetched = Signal()
        finish = Signal()
        m.d.comb += [
            memory.read_address.eq(dpv.tag.tile),
            memory.read_enable.eq(self.dpv.valid & ~fetched),
            memory.write_address.eq(dpv.tag.tile),
            self.result.valid.eq(self.dpv.valid & fetched & dpv.tag.last),
            finish.eq(self.dpv.valid & fetched & (self.result.ready | ~dpv.tag.last)),
            memory.write_enable.eq(finish & ~dpv.tag.last),
            self.dpv.ready.eq(finish),
            self.result.payload.parameter.eq(dpv.tag.parameter),
            self.result.payload.offset.eq(dpv.tag.offset),
        ]
        m.d.sync += fetched.eq(self.dpv.valid & ~finish)
        for kernel in range(chip.channels):
            value, old = dpv.sums[kernel], kept[kernel]
            total = Signal(SUM_BITS, name=f"total{kernel}")
            m.d.comb += [
                total.eq(
                    Mux(dpv.tag.first, value, Mux(self.maximum, Mux(value > old, value, old), (value + old)[:SUM_BITS]))
                ),
                self.result.payload.sums[kernel].eq(total),
                memory.write_data.word_select(kernel, SUM_BITS).eq(total),
            ]
        return m
