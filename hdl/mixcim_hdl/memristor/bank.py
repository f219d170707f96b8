"""Memristor-CIM bank: word-line driver, macro, ADCs and place-value shift-add around one cell array."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import ACTIVATION_BITS, SUM_BITS
from ..interfaces import TAG_LAYOUT, BankSignature, planes_layout, table_shape
from ..registers import CELLS_PER_WRITE
from .adc import Adc
from .macro import MemristorMacro


class MemristorBank(wiring.Component):
    """step -> dpv by the memristor read of commands.py: digit by digit, input bit by input bit, group by group.

    ```
     step --> operand --> word-line driver --> macro --> ADCs --> shift-add --> dpv
                           (bit plane, rows of        (w+, w- of every kernel)
                            the group)
    ```

    Latency: reads + EXTRA_LATENCY cycles from a step taken to its dpv; one step per `reads` cycles, with
    reads = sum over input bits i < input_bits and digits j of ceil(length / rows_per_read[i][j]).

    Members beside those of BankSignature (`mode` and `load_*` are not used: cells come in by the programming port)
    -------
    table : word-line table (table_shape), constant while steps are in flight.
    program_* : programming port of the macro.
    reading : one word-line read takes place.    saturations : conversions of it that saturated; both for the counters.
    """

    EXTRA_LATENCY = 3

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                **BankSignature(chip).members,
                "table": In(table_shape(chip)),
                "program_valid": In(1),
                "program_last": In(1),
                "program_word": In(range(chip.memristor_slots * len(chip.mode.cells))),
                "program_column": In(range(chip.memristor_columns)),
                "program_cells": In(8 * CELLS_PER_WRITE),
                "reading": Out(1),
                "saturations": Out(range(2 * chip.channels + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, mode = self._chip, self._chip.mode
        digits = len(mode.cells)
        m.submodules.macro = macro = MemristorMacro(chip)
        for name in ("program_valid", "program_last", "program_word", "program_column", "program_cells"):
            m.d.comb += getattr(macro, name).eq(getattr(self, name))

        # Word-line driver: digit outermost (the column mux switches rarely), then input bit, then group of rows.
        advance, taken, busy = Signal(), Signal(), Signal()
        planes = Signal(planes_layout(chip))
        length = Signal.like(self.step.payload.length)
        slot = Signal.like(self.step.payload.address)
        tag = Signal(TAG_LAYOUT)
        digit = Signal(range(max(digits, 2)))
        bit = Signal(range(ACTIVATION_BITS))
        row = Signal(chip.rows.bit_length())
        switch = Signal()  # first read of a digit: the column mux connects its bit lines
        first = Signal()
        entry = self.table[bit * digits + digit]
        next_row = Signal(chip.rows.bit_length() + 1)
        last_group, last_bit, last = Signal(), Signal(), Signal()
        m.d.comb += [
            next_row.eq(row + entry.rows_per_read),
            last_group.eq(next_row >= length),
            last_bit.eq(bit + 1 == self.input_bits),
            last.eq(last_group & last_bit & (digit == digits - 1)),
            self.step.ready.eq(advance & (~busy | last)),
            taken.eq(self.step.ready & self.step.valid),
            macro.read_enable.eq(advance & busy & switch),
            macro.word.eq(slot * digits + digit),
            self.reading.eq(advance & busy),
        ]
        with m.If(advance & busy):
            m.d.sync += [first.eq(0), switch.eq(0), row.eq(next_row)]
            with m.If(last_group):
                m.d.sync += [row.eq(0), bit.eq(bit + 1)]
                with m.If(last_bit):
                    m.d.sync += [bit.eq(0), digit.eq(digit + 1), switch.eq(1)]
            with m.If(last):
                m.d.sync += busy.eq(0)
        with m.If(taken):
            m.d.sync += [
                busy.eq(1),
                first.eq(1),
                switch.eq(1),
                digit.eq(0),
                bit.eq(0),
                row.eq(0),
                planes.eq(self.step.payload.planes),
                length.eq(self.step.payload.length),
                slot.eq(self.step.payload.address),
                tag.eq(self.step.payload.tag),
            ]
        group = Signal(chip.rows)
        m.d.comb += group.eq(((1 << entry.rows_per_read) - 1) << row)

        # Read: word lines on, bit lines settle, ADCs convert.
        word_lines = Signal(chip.rows)
        read_valid, read_first, read_last = Signal(), Signal(), Signal()
        read_tag = Signal(TAG_LAYOUT)
        step_shift = Signal(4)
        place = Signal(range(ACTIVATION_BITS + max(mode.places) + 16))
        places = Array(mode.places)
        with m.If(advance):
            m.d.sync += [
                word_lines.eq(Array([planes[index] for index in range(ACTIVATION_BITS)])[bit] & group),
                read_valid.eq(busy),
                read_first.eq(first),
                read_last.eq(last),
                read_tag.eq(tag),
                step_shift.eq(entry.step_shift),
                place.eq(bit + places[digit] + entry.step_shift),
            ]
        m.d.comb += macro.word_lines.eq(word_lines)

        # Shift-add: difference of the two codes of a kernel, at its place.
        add_valid, add_first, add_last = Signal(), Signal(), Signal()
        add_tag = Signal(TAG_LAYOUT)
        add_place = Signal.like(place)
        done = Signal()
        m.d.comb += [done.eq(add_valid & add_last), advance.eq(~(done & self.dpv.valid & ~self.dpv.ready))]
        with m.If(self.dpv.ready):
            m.d.sync += self.dpv.valid.eq(0)
        with m.If(advance):
            m.d.sync += [
                add_valid.eq(read_valid),
                add_first.eq(read_first),
                add_last.eq(read_last),
                add_tag.eq(read_tag),
                add_place.eq(place),
            ]
            with m.If(done):
                m.d.sync += [self.dpv.valid.eq(1), self.dpv.payload.tag.eq(add_tag)]
        reference = getattr(macro, f"current{2 * chip.channels}")
        saturated = []
        for kernel in range(chip.channels):
            codes = []
            for sign, polarity in enumerate(("plus", "minus")):
                m.submodules[f"adc_{polarity}{kernel}"] = adc = Adc(chip)
                m.d.comb += [
                    adc.current.eq(getattr(macro, f"current{2 * kernel + sign}")),
                    adc.reference.eq(reference),
                    adc.step_shift.eq(step_shift),
                ]
                code = Signal(chip.adc_bits, name=f"code_{polarity}{kernel}")
                with m.If(advance):
                    m.d.sync += code.eq(adc.code)
                codes.append(code)
                saturated.append(adc.saturated)
            kept = Signal(signed(SUM_BITS), name=f"kept{kernel}")
            total = Signal(signed(SUM_BITS), name=f"total{kernel}")
            m.d.comb += total.eq(Mux(add_first, 0, kept) + ((codes[0] - codes[1]) << add_place))
            with m.If(advance):
                with m.If(add_valid):
                    m.d.sync += kept.eq(total)
                with m.If(done):
                    m.d.sync += self.dpv.payload.sums[kernel].eq(total)
        with m.If(advance & read_valid):
            m.d.comb += self.saturations.eq(sum(saturated))
        return m
