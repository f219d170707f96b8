"""Accumulator over row tiles: adds the dot-product values of a window's vectors, one entry per kernel tile."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import LARGEST_SLICES, SLICE_BITS, SUM_BITS
from ..interfaces import dpv_layout, result_layout, sums_layout
from ..primitives.ram import Ram


class Accumulator(wiring.Component):
    """dpv stream -> result stream, one result per window and kernel tile; `accumulator_bits` of the chip, wraps.

    ```
     dpv --<< SLICE_BITS * slice--> + (or max) --+--> result      (last partial sum of the window)
             tile -> memory --read--^            '--> memory      (all others)
    ```

    A dpv's tiles, at most `tiles` of them, one after the other. Two cycles each: read, then add; the first partial sum
    of a window takes one. A result waits for its receiver in the last one.

    Members
    -------
    maximum : keep the larger value instead of the sum (max pooling); constant while dpvs are in flight.
    """

    def __init__(self, chip: ChipConfig, tiles: int = 1):
        self._chip, self._tiles = chip, tiles
        super().__init__(
            {
                "dpv": In(stream.Signature(dpv_layout(chip, tiles))),
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
        part = Signal(range(self._tiles))  # tile of the dpv that is at work
        entry = Signal.like(dpv.tag.tile)
        fetched, added, done, finish = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            entry.eq(dpv.tag.tile + part),
            memory.read_address.eq(entry),
            memory.read_enable.eq(self.dpv.valid & ~added),
            memory.write_address.eq(entry),
            added.eq(self.dpv.valid & (fetched | dpv.tag.first)),
            self.result.valid.eq(added & dpv.tag.last),
            done.eq(added & (self.result.ready | ~dpv.tag.last)),
            finish.eq(done & (part + 1 == dpv.tag.tiles)),
            memory.write_enable.eq(done & ~dpv.tag.last),
            self.dpv.ready.eq(finish),
            self.result.payload.parameter.eq(dpv.tag.parameter + part),
            self.result.payload.offset.eq(dpv.tag.offset),
            self.result.payload.exponent.eq(dpv.tag.exponent),
        ]
        m.d.sync += fetched.eq(self.dpv.valid & ~done)
        with m.If(done):
            m.d.sync += part.eq(Mux(finish, 0, part + 1))
        for kernel in range(chip.channels):
            old = kept[kernel]
            fresh = Signal(signed(SUM_BITS), name=f"fresh{kernel}")
            value, total = Signal(signed(width), name=f"value{kernel}"), Signal(signed(width), name=f"total{kernel}")
            # One adder for both: value + old, or old - value, whose sign tells the larger one.
            x, joined = Signal(width, name=f"x{kernel}"), Signal(width + 2, name=f"joined{kernel}")
            larger = Signal(signed(width), name=f"larger{kernel}")
            m.d.comb += [
                fresh.eq(Array(dpv.sums[tile][kernel] for tile in range(self._tiles))[part]),
                value.eq(Array(fresh << SLICE_BITS * slice for slice in slices)[dpv.tag.slice]),
                x.eq(value ^ self.maximum.replicate(width)),
                joined.eq(Cat(self.maximum, old, old[-1]) + Cat(self.maximum, x, x[-1])),
                larger.eq(Mux(joined[-1], value, old)),
                total.eq(Mux(dpv.tag.first, value, Mux(self.maximum, larger, joined[1:-1].as_signed()))),
                self.result.payload.sums[kernel].eq(total),
                memory.write_data.word_select(kernel, width).eq(total),
            ]
        return m
