"""Memristor-CIM bank: word-line driver, macro, ADCs and place-value shift-add around one cell array."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import NOISE_STRIDE
from ..config import ChipConfig
from ..formats import ACTIVATION_BITS, ADC_PARAMETERS, NOISE_BITS, SUM_BITS, WEIGHT_BITS, Encoding
from ..interfaces import TAG_LAYOUT, BankSignature, planes_layout, table_shape
from ..primitives.popcount import popcount
from ..primitives.ram import Ram
from ..registers import CELLS_PER_WRITE
from .adc import PARAMETERS_LAYOUT, Adc, difference_bits
from .macro import MemristorMacro, current_bits
from .noise import NoiseSource


class MemristorBank(wiring.Component):
    """step -> dpv by the memristor read of commands.py: digit by digit, input bit by input bit, group by group.

    ```
     step --> operand --> word-line driver --> macro --> + noise, - reference --> ADCs --> shift-add --> dpv
                           (bit plane, rows of          (columns of every kernel)
                            the group)
    ```

    Latency: reads + EXTRA_LATENCY cycles from a step taken to its dpv; one step per `reads` cycles, with
    reads = sum over input bits i < input_bits and digits j of ceil(length / rows_per_read[i][j]).

    Members beside those of BankSignature (`mode` and `load_*` are not used: cells come in by the programming port)
    -------
    table : word-line table (table_shape), constant while steps are in flight.
    program_* : programming port of the macro.
    adc_write, adc_number, adc_parameter, adc_value : sets one parameter of one ADC.
    noise_write, noise_index, noise_value : sets an entry of the noise table.    seed_write, seed : seeds the noise; the
        seed is that of the bank, to which each column adds its own share.
    reading : one word-line read takes place.    saturations : conversions of it that saturated; both for the counters.
    """

    EXTRA_LATENCY = 5

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
                "adc_write": In(1),
                "adc_number": In(8),
                "adc_parameter": In(8),
                "adc_value": In(16),
                "noise_write": In(1),
                "noise_index": In(8),
                "noise_value": In(NOISE_BITS),
                "seed_write": In(1),
                "seed": In(32),
                "reading": Out(1),
                "saturations": Out(range(chip.adcs + 1)),
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

        # What travels with a read through the stages: valid, last read of a step, its place and its correction.
        layout = data.StructLayout(
            {
                "valid": 1,
                "first": 1,
                "last": 1,
                "tag": TAG_LAYOUT,
                "step_shift": 4,
                "place": range(ACTIVATION_BITS + max(mode.places) + 16),
                "bit": range(ACTIVATION_BITS),
                "top": 1,  # the most significant digit
                "bottom": 1,  # the least significant one
                "lines": range(chip.rows + 1),  # number of word lines on
            }
        )
        driven, settled, sensed, added = (
            Signal(layout, name=name) for name in ("driven", "settled", "sensed", "added")
        )

        # Stage 1: word lines on. Stage 2: bit lines settle.
        word_lines = Signal(chip.rows)
        places = Array(mode.places)
        with m.If(advance):
            m.d.sync += [
                word_lines.eq(Array([planes[index] for index in range(ACTIVATION_BITS)])[bit] & group),
                driven.valid.eq(busy),
                driven.first.eq(first),
                driven.last.eq(last),
                driven.tag.eq(tag),
                driven.step_shift.eq(entry.step_shift),
                driven.place.eq(bit + places[digit] + entry.step_shift),
                driven.bit.eq(bit),
                driven.top.eq(digit == digits - 1),
                driven.bottom.eq(digit == 0),
                settled.eq(driven),
                settled.lines.eq(popcount(m, word_lines, "lines")),
                sensed.eq(settled),
                added.eq(sensed),
            ]
        m.d.comb += macro.word_lines.eq(word_lines)
        currents = []
        for column in range(chip.memristor_columns):
            current = Signal(current_bits(chip), name=f"settled{column}")
            with m.If(advance):
                m.d.sync += current.eq(getattr(macro, f"current{column}"))
            currents.append(current)

        # Stage 3: noise in, reference out.
        m.submodules.noise_table = noise_table = Ram(NOISE_BITS, chip.rows + 1)
        m.d.comb += [
            noise_table.write_enable.eq(self.noise_write),
            noise_table.write_address.eq(self.noise_index),
            noise_table.write_data.eq(self.noise_value),
            noise_table.read_enable.eq(advance),
            noise_table.read_address.eq(popcount(m, word_lines, "noise_lines")),
        ]
        noisy = []
        for column in range(chip.memristor_columns):
            noise = NoiseSource(chip)
            m.submodules[f"noise{column}"] = noise
            m.d.comb += [
                noise.seed_enable.eq(self.seed_write),
                noise.seed.eq(self.seed + (NOISE_STRIDE * (column + 1) & 0xFFFFFFFF)),
                noise.step.eq(advance & settled.valid),
                noise.scale.eq(noise_table.read_data),
            ]
            value = Signal(signed(difference_bits(chip) - 1), name=f"noisy{column}")
            m.d.comb += value.eq(currents[column] + noise.noise)
            noisy.append(value)

        # Stage 4: ADCs convert. Stage 5: codes are added at their place.
        done = Signal()
        m.d.comb += [done.eq(added.valid & added.last), advance.eq(~(done & self.dpv.valid & ~self.dpv.ready))]
        with m.If(self.dpv.ready):
            m.d.sync += self.dpv.valid.eq(0)
        with m.If(advance & done):
            m.d.sync += [self.dpv.valid.eq(1), self.dpv.payload.tag.eq(added.tag)]
        codes, saturated = [], []
        for number in range(chip.adcs):
            difference = Signal(signed(difference_bits(chip)), name=f"difference{number}")
            parameters = Signal(PARAMETERS_LAYOUT, name=f"parameters{number}", reset_less=True)
            code = Signal(chip.adc_bits, name=f"code{number}")
            m.submodules[f"adc{number}"] = adc = Adc(chip)
            m.d.comb += [
                adc.difference.eq(difference),
                adc.parameters.eq(parameters),
                adc.step_shift.eq(sensed.step_shift),
            ]
            with m.If(advance):
                m.d.sync += [difference.eq(noisy[number] - noisy[-1]), code.eq(adc.code)]
            with m.If(self.adc_write & (self.adc_number == number)), m.Switch(self.adc_parameter):
                for index, name in enumerate(ADC_PARAMETERS):
                    with m.Case(index):
                        m.d.sync += parameters[name].eq(self.adc_value)
            codes.append(code)
            saturated.append(adc.saturated)
        offset = Signal(range((chip.rows + 1) << (ACTIVATION_BITS + WEIGHT_BITS)))
        if chip.weight_encoding is Encoding.OFFSET:
            with m.If(added.bottom):
                m.d.comb += offset.eq((added.lines << (WEIGHT_BITS - 1)) << added.bit)
        for kernel in range(chip.channels):
            kept = Signal(signed(SUM_BITS), name=f"kept{kernel}")
            total = Signal(signed(SUM_BITS), name=f"total{kernel}")
            m.d.comb += total.eq(
                Mux(added.first, 0, kept) + (self._digit(codes, kernel, added.top) << added.place) - offset
            )
            with m.If(advance):
                with m.If(added.valid):
                    m.d.sync += kept.eq(total)
                with m.If(done):
                    m.d.sync += self.dpv.payload.sums[kernel].eq(total)
        with m.If(advance & sensed.valid):
            m.d.comb += self.saturations.eq(sum(saturated))
        return m

    def _digit(self, codes: list[Signal], kernel: int, top: Value):
        """Value of a kernel's digit that was read, by the encoding."""
        encoding = self._chip.weight_encoding
        if encoding is Encoding.DIFFERENTIAL:
            return codes[2 * kernel] - codes[2 * kernel + 1]
        if encoding is Encoding.TWOS_COMPLEMENT:
            return Mux(top, -codes[kernel], codes[kernel])
        return codes[kernel]
