"""Accumulator over row tiles: adds the dot-product values of a window's vectors, one entry per kernel tile."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import LARGEST_SLICES, SLICE_BITS
from ..interfaces import dpv_layout, result_layout, sums_layout
from ..primitives.ram import Ram


class Accumulator(wiring.Component):
    """dpv stream -> result stream, one result per window and kernel tile; `accumulator_bits` of the chip, wraps.

    ```
     dpv --<< SLICE_BITS * slice--> + (or max) --+--> result      (last partial sum of the window)
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
        width = chip.accumulator_bits
        slices = range(LARGEST_SLICES if chip.floating_point else 1)
        m.submodules.sums = memory = Ram(chip.channels * width, chip.accumulator_tiles)
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
            self.result.payload.exponent.eq(dpv.tag.exponent),
        ]
        m.d.sync += fetched.eq(self.dpv.valid & ~finish)
        for kernel in range(chip.channels):
            old = kept[kernel]
            value, total = Signal(signed(width), name=f"value{kernel}"), Signal(signed(width), name=f"total{kernel}")
            # One adder for both: value + old, or old - value, whose sign tells the larger one.
            x, joined = Signal(width, name=f"x{kernel}"), Signal(width + 2, name=f"joined{kernel}")
            m.d.comb += [
                x.eq(value ^ self.maximum.replicate(width)),
                joined.eq(Cat(self.maximum, old, old[-1]) + Cat(self.maximum, x, x[-1])),
                value.eq(Array(dpv.sums[kernel] << SLICE_BITS * slice for slice in slices)[dpv.tag.slice]),
                total.eq(
                    Mux(dpv.tag.first, value, Mux(self.maximum, Mux(joined[-1], value, old), joined[1:-1].as_signed()))
                ),
                self.result.payload.sums[kernel].eq(total),
                memory.write_data.word_select(kernel, width).eq(total),
            ]
        return m
