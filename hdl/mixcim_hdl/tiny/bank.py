"""Tiny-digital bank: `channels` exact multiply-accumulate lanes."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring

from ..commands import TinyMode
from ..config import ChipConfig
from ..formats import WEIGHT_BITS
from ..interfaces import TAG_LAYOUT, BankSignature
from ..primitives.ram import Ram


class TinyBank(wiring.Component):
    """step -> dpv; what a step means is TinyMode's docstring: BROADCAST, DEPTHWISE or MAX.

    ```
     step --> operand, shifted by one row (BROADCAST) or one word (others) per cycle --> lanes: x * w, or max --> dpv
     weight memory: one word of `rows` weights serves taps_per_vector cycles
    ```

    Latency: cycles + EXTRA_LATENCY from a step taken to its dpv. Throughput: a step per `length` cycles (BROADCAST) or
    length / channels cycles (DEPTHWISE, MAX). Weight word: address. `input_bits` and `input_signed` are not used:
    with floating point a row's bit planes are a whole sign-extended integer, without it a code.
    """

    EXTRA_LATENCY = 2

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(BankSignature(chip))

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        planes = chip.input_planes
        element, least = (signed(planes), -1 << (planes - 1)) if chip.floating_point else (unsigned(planes), 0)
        taps, word_bits = chip.taps_per_vector, chip.channels * WEIGHT_BITS
        m.submodules.weights = memory = Ram(chip.rows * WEIGHT_BITS, chip.tiny_words, lanes=chip.load_cycles)
        m.d.comb += [
            memory.write_enable.eq(self.load_enable << self.load_address[: chip.load_part_bits]),
            memory.write_address.eq(self.load_address[chip.load_part_bits :]),
            memory.write_data.eq(self.load_data.replicate(chip.load_cycles)),
        ]

        broadcast, maximum = Signal(), Signal()
        advance, taken, busy, first, last = Signal(), Signal(), Signal(), Signal(), Signal()
        operand = Signal(chip.rows * planes)
        remaining = Signal(chip.rows.bit_length())  # cycles of the step after the present one
        tap = Signal(range(taps)) if taps > 1 else Signal(1)
        word = Signal.like(self.step.payload.address)
        tag = Signal(TAG_LAYOUT)
        step = self.step.payload
        m.d.comb += [
            broadcast.eq(self.mode == TinyMode.BROADCAST),
            maximum.eq(self.mode == TinyMode.MAX),
            last.eq(remaining == 0),
            self.step.ready.eq(advance & (~busy | last)),
            taken.eq(self.step.ready & self.step.valid),
            memory.read_address.eq(Mux(taken, step.address, word)),
        ]
        with m.If(advance & busy):
            m.d.sync += [
                remaining.eq(remaining - 1),
                first.eq(0),
                operand.eq(Mux(broadcast, operand >> planes, operand >> chip.channels * planes)),
                tap.eq(tap + 1),
            ]
            with m.If(tap == taps - 1):
                m.d.comb += memory.read_enable.eq(~last)
                m.d.sync += [tap.eq(0), word.eq(word + 1)]
            with m.If(last):
                m.d.sync += busy.eq(0)
        with m.If(taken):
            m.d.comb += memory.read_enable.eq(1)
            whole_words = (step.length + (chip.channels - 1)) >> (chip.channels - 1).bit_length()
            rows = [Cat(step.planes[bit][row] for bit in range(planes)) for row in range(chip.rows)]
            m.d.sync += [
                busy.eq(1),
                first.eq(1),
                remaining.eq(Mux(broadcast, step.length, whole_words) - 1),
                operand.eq(Cat(rows)),
                tap.eq(0),
                word.eq(step.address + 1),
                tag.eq(step.tag),
            ]

        weights = Signal(data.ArrayLayout(signed(WEIGHT_BITS), chip.channels))
        m.d.comb += weights.eq(Array(memory.read_data.word_select(index, word_bits) for index in range(taps))[tap])
        lane_valid, lane_first, lane_last = Signal(), Signal(), Signal()
        lane_tag = Signal(TAG_LAYOUT)
        done = Signal()
        stands = done & self.dpv.valid & ~self.dpv.ready
        m.d.comb += [done.eq(lane_valid & lane_last), advance.eq(1 if chip.deep_pipeline else ~stands)]
        with m.If(self.dpv.ready):
            m.d.sync += self.dpv.valid.eq(0)
        with m.If(advance):
            m.d.sync += [lane_valid.eq(busy), lane_first.eq(first), lane_last.eq(last), lane_tag.eq(tag)]
            with m.If(done):
                m.d.sync += [self.dpv.valid.eq(1), self.dpv.payload.tag.eq(lane_tag)]
        width = planes + WEIGHT_BITS + chip.rows.bit_length()  # of the sum of a step
        for lane in range(chip.channels):
            value = Signal(element, name=f"value{lane}")
            weight = Signal(signed(WEIGHT_BITS), name=f"weight{lane}")
            kept = Signal(signed(width), name=f"kept{lane}")
            before = Signal(signed(width), name=f"before{lane}")
            total = Signal(signed(width), name=f"total{lane}")
            element_before = before[: planes + 1].as_signed()  # what it is with MAX
            m.d.comb += [
                before.eq(Mux(lane_first, Mux(maximum, least, 0), kept)),
                total.eq(Mux(maximum, Mux(value > element_before, value, before), before + value * weight)),
            ]
            with m.If(advance):
                m.d.sync += [
                    value.eq(Mux(broadcast, operand[:planes], operand.word_select(lane, planes))),
                    weight.eq(weights[lane]),
                ]
                with m.If(lane_valid):
                    m.d.sync += kept.eq(total)
                with m.If(done):
                    m.d.sync += self.dpv.payload.sums[0][lane].eq(total)
        return m
