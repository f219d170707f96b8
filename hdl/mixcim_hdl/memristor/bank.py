"""Memristor-CIM bank: word-line driver, macro, ADCs and place-value shift-add around one cell array."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..commands import NOISE_STRIDE
from ..config import ChipConfig
from ..emission import once
from ..formats import ADC_PARAMETERS, NOISE_BITS, SUM_BITS, WEIGHT_BITS, Encoding
from ..interfaces import TAG_LAYOUT, BankSignature, planes_layout, table_shape
from ..primitives.delayed import delayed
from ..primitives.popcount import popcount
from ..primitives.ram import Ram
from ..registers import CELLS_PER_WRITE
from .adc import ADC_STAGES, LARGEST_SHIFT, PARAMETERS_LAYOUT, Adc, difference_bits
from .macro import MemristorMacro, current_bits
from .noise import NoiseSource


def _inner_rows(rows: int) -> Memory:
    """Word n: bit r is clear where a group of n rows starts."""
    inner = [0] + [sum(1 << row for row in range(rows) if row % number) for number in range(1, rows + 1)]
    return Memory(shape=rows, depth=rows + 1, init=inner)


def _without_lowest(bits: Value) -> Value:
    """All bits that are set but the lowest."""
    return bits & (bits - 1)


def _lowest(bits: Signal) -> Value:
    """Number of the lowest bit that is set; 0 if none is."""
    result: Value = Const(0, range(len(bits)))
    for number in reversed(range(len(bits))):
        result = Mux(bits[number], number, result)
    return result


def _go_to(registers, read: list[Signal], bit: Signal, later: Signal) -> list:
    """On to a read of that input bit, with those bits behind it."""
    values = (*read, bit, later, _lowest(later), later == 0)
    return [register.eq(value) for register, value in zip(registers, values, strict=True)]


def memristor_latency(chip: ChipConfig) -> int:
    """EXTRA_LATENCY of a chip's banks."""
    return MemristorBank.EXTRA_LATENCY + chip.deep_pipeline * (2 + ADC_STAGES)


class MemristorBank(wiring.Component):
    """step -> dpv by the memristor read of commands.py: digit by digit, input bit by input bit, group by group.

    ```
     step --> operand --> word-line driver --> macro --> repair --> + noise, - reference --> ADCs --> shift-add --> dpv
                           (bit plane, rows of          (spares for columns)
                            the group)
    ```

    Latency: reads + EXTRA_LATENCY cycles from a step taken to its dpv; one step per `reads` cycles, with
    reads = sum over input bits i < input_bits and digits j < table.digits of ceil(length / rows_per_read[i][j]), less
    the groups that are left out, and at least 1. A deep pipeline has more stages, whose number is that of the instance.

    Members beside those of BankSignature (`mode` and `load_*` are not used: cells come in by the programming port)
    -------
    table : word-line table (table_shape), constant while steps are in flight.    skip_zero_groups : likewise.
    program_* : programming port of the macro.
    repair_write, repair_word, repair_spare, repair_column : sets the column (from 1 on) that a spare replaces.
    verify_enable, verify_connect, verify_word, verify_lines, verify_column, verify_code : write-verify reads a cell; in
        a deep pipeline with latency 1.
    adc_write, adc_number, adc_parameter, adc_value : sets one parameter of one ADC.
    noise_write, noise_index, noise_value : sets an entry of the noise table.    seed_write, seed : seeds the noise; the
        seed is that of the bank, to which each column adds its own share.
    reading : one word-line read takes place.    saturations : conversions of one that saturated.    lines_on : word
        lines that are on in one; all for the counters.
    """

    EXTRA_LATENCY = 5

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self.EXTRA_LATENCY = memristor_latency(chip)
        super().__init__(
            {
                **BankSignature(chip).members,
                "table": In(table_shape(chip)),
                "program_valid": In(1),
                "program_last": In(1),
                "skip_zero_groups": In(1),
                "program_word": In(range(chip.memristor_words)),
                "program_column": In(range(chip.physical_columns)),
                "program_cells": In(8 * CELLS_PER_WRITE),
                "repair_write": In(1),
                "repair_word": In(range(chip.memristor_words)),
                "repair_spare": In(8),
                "repair_column": In(8),
                "verify_enable": In(1),
                "verify_connect": In(1),
                "verify_word": In(range(chip.memristor_words)),
                "verify_lines": In(chip.rows),
                "verify_column": In(range(chip.physical_columns)),
                "verify_code": Out(chip.conductance_bits),
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
                "lines_on": Out(range(chip.rows + 1)),
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
        filled = Signal(chip.rows)  # rows that the vector fills
        used = Signal(chip.input_planes)  # input bits with a group to read
        slot = Signal.like(self.step.payload.address)
        tag = Signal(TAG_LAYOUT)
        digit = Signal(range(max(digits, 2)))
        bit = Signal(range(chip.input_planes))
        plane = Signal(chip.rows)  # of this bit
        rest = Signal(chip.rows)  # rows that count and are not done with, for this bit and digit
        lowest = Signal(chip.rows)  # the first one of them
        entry = Signal.like(self.table.entries[0])  # of this bit and digit
        inner = Signal(chip.rows)  # rows that are not the first one of a group
        switch = Signal()  # first read of a digit: the column mux connects its bit lines
        first = Signal()
        along, group, remaining = Signal(chip.rows), Signal(chip.rows), Signal(chip.rows)
        later, last_bit = Signal(chip.input_planes), Signal()  # bits of `used` behind this one; there is none
        bit_after, lowest_bit = Signal.like(bit), Signal.like(bit)  # the first one of them; of `used`
        incoming, coming = self.step.payload, Signal(chip.input_planes)  # `used` of the step that comes in
        last_group, last = Signal(), Signal()
        m.d.comb += [
            # A group starts at its first row that counts, and ends before the next multiple of rows_per_read: a one
            # that is added behind that row runs along the rows of the group.
            along.eq(inner + (lowest << 1)),
            group.eq(lowest | (inner & ~along)),
            remaining.eq(rest & ~group),
            last_group.eq(remaining == 0),
            last.eq(last_group & last_bit & (digit + 1 == self.table.digits)),
            coming.eq(
                Mux(
                    self.skip_zero_groups,
                    Cat(incoming.planes[index].any() for index in range(chip.input_planes)),
                    (1 << chip.input_planes) - 1,
                )
                & ((1 << self.input_bits) - 1)
            ),
            self.step.ready.eq(advance & (~busy | last)),
            taken.eq(self.step.ready & self.step.valid),
            macro.read_enable.eq((advance & busy & switch) | self.verify_connect),
            macro.word.eq(Mux(self.verify_enable, self.verify_word, slot * digits + digit)),
            self.reading.eq(advance & busy & (used != 0)),
        ]
        # What the next read of another bit or digit has, and the first one of the step that comes in.
        next_bit, next_digit = Signal.like(bit), Signal.like(digit)
        first_bit, first_filled = Signal.like(bit), Signal.like(filled)
        next_later, first_later = Signal.like(later), Signal.like(later)
        m.d.comb += [
            next_bit.eq(Mux(last_bit, lowest_bit, bit_after)),
            next_later.eq(_without_lowest(Mux(last_bit, used, later))),
            first_later.eq(_without_lowest(coming)),
            next_digit.eq(digit + last_bit),
            first_bit.eq(_lowest(coming)),
            first_filled.eq((1 << incoming.length) - 1),
        ]
        next_read = self._read(m, "next", planes, filled, next_bit, next_digit)
        first_read = self._read(m, "first", incoming.planes, first_filled, first_bit, 0)
        registers = (plane, rest, lowest, entry, inner, bit, later, bit_after, last_bit)
        with m.If(advance & busy):
            m.d.sync += [first.eq(0), switch.eq(0), rest.eq(remaining), lowest.eq(remaining & -remaining)]
            with m.If(last_group):
                m.d.sync += [
                    *_go_to(registers, next_read, next_bit, next_later),
                    digit.eq(next_digit),
                    switch.eq(last_bit),
                ]
            with m.If(last):
                m.d.sync += busy.eq(0)
        with m.If(taken):
            m.d.sync += [
                *_go_to(registers, first_read, first_bit, first_later),
                busy.eq(1),
                first.eq(1),
                switch.eq(1),
                digit.eq(0),
                lowest_bit.eq(first_bit),
                used.eq(coming),
                planes.eq(incoming.planes),
                filled.eq(first_filled),
                slot.eq(incoming.address),
                tag.eq(incoming.tag),
            ]
        # What travels with a read through the stages: valid, last read of a step, its place and its correction.
        layout = data.StructLayout(
            {
                "valid": 1,
                "first": 1,
                "last": 1,
                "reads": 1,  # 0: stands in for a step of which nothing is read
                "tag": TAG_LAYOUT,
                "shift": range(LARGEST_SHIFT + 1),
                "place": range(chip.input_planes + max(mode.places) + 16),
                "bit": range(chip.input_planes),
                "negative": 1,  # the top bit of two's complement
                "top": 1,  # the most significant digit
                "bottom": 1,  # the least significant one
                "lines": range(chip.rows + 1),  # number of word lines on
            }
        )
        driven, settled, sensed, added = (
            Signal(layout, name=name) for name in ("driven", "settled", "sensed", "added")
        )
        # A deep pipeline, which never stands still, has registers within its stages, too.
        deep = chip.deep_pipeline
        summed = delayed(m, settled, deep, "summed")  # current and noise are added
        converted = delayed(m, sensed, ADC_STAGES * deep, "converting")
        placed = delayed(m, added, deep, "placed")  # the codes are shifted to their place

        # Stage 1: word lines on. Stage 2: bit lines settle.
        word_lines = Signal(chip.rows)
        places = Array(mode.places)
        with m.If(advance):
            m.d.sync += [
                word_lines.eq(Mux(busy & (used != 0), plane & group, 0)),  # no read: no line is on
                driven.valid.eq(busy),
                driven.first.eq(first),
                driven.last.eq(last),
                driven.reads.eq(used != 0),
                driven.tag.eq(tag),
                driven.shift.eq(entry.step_shift + Array(mode.step_log2)[digit]),
                driven.place.eq(bit + places[digit] + entry.step_shift),
                driven.bit.eq(bit),
                driven.negative.eq(self.input_signed & (bit + 1 == self.input_bits) if chip.floating_point else 0),
                driven.top.eq(digit == digits - 1),
                driven.bottom.eq(digit == 0),
                settled.eq(driven),
                settled.lines.eq(popcount(m, word_lines, "lines")),
                sensed.eq(summed),
                added.eq(converted),
            ]
        m.d.comb += macro.word_lines.eq(Mux(self.verify_enable, self.verify_lines, word_lines))
        bit_lines = [getattr(macro, f"current{number}") for number in range(chip.physical_columns)]
        code = Array(line[: chip.conductance_bits] for line in bit_lines)[self.verify_column]
        m.d.comb += self.verify_code.eq(delayed(m, code, deep, "verify_code"))
        replaced = self._replaced_columns(m, macro)
        currents = []
        for column in range(chip.memristor_columns):
            connected = bit_lines[column]
            for spare, replaces in enumerate(replaced):
                connected = Mux(replaces == column + 1, bit_lines[chip.memristor_columns + spare], connected)
            current = Signal(current_bits(chip), name=f"settled{column}")
            with m.If(advance):
                m.d.sync += current.eq(connected)
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
            own_seed = (self.seed + (NOISE_STRIDE * (column + 1) & 0xFFFFFFFF))[:32]
            m.submodules[f"noise{column}"] = once(noise, "noise", platform)
            m.d.comb += [
                noise.seed_enable.eq(delayed(m, self.seed_write, deep, f"seed_write{column}", reset_less=True)),
                noise.seed.eq(delayed(m, own_seed, deep, f"seed{column}", reset_less=True)),
                noise.step.eq(advance & settled.valid & settled.reads),
                noise.scale.eq(noise_table.read_data),
            ]
            value = Signal(signed(difference_bits(chip) - 1), name=f"noisy{column}")
            m.d.comb += value.eq(currents[column] + noise.noise)
            noisy.append(delayed(m, value, deep, f"summed{column}"))

        # Stage 4: ADCs convert. Stage 5: codes are added at their place.
        done = Signal()
        stands = done & self.dpv.valid & ~self.dpv.ready
        m.d.comb += [done.eq(placed.valid & placed.last), advance.eq(1 if chip.deep_pipeline else ~stands)]
        with m.If(self.dpv.ready):
            m.d.sync += self.dpv.valid.eq(0)
        with m.If(advance & done):
            m.d.sync += [self.dpv.valid.eq(1), self.dpv.payload.tag.eq(placed.tag)]
        codes, saturated = [], []
        for number in range(chip.adcs):
            difference = Signal(signed(difference_bits(chip)), name=f"difference{number}")
            parameters = Signal(PARAMETERS_LAYOUT, name=f"parameters{number}", reset_less=True)
            code = Signal(chip.adc_bits, name=f"code{number}")
            adc = Adc(chip)
            m.submodules[f"adc{number}"] = once(adc, "adc", platform)
            m.d.comb += [
                adc.difference.eq(difference),
                adc.parameters.eq(parameters),
                adc.shift.eq(sensed.shift),
            ]
            with m.If(advance):
                m.d.sync += [difference.eq(noisy[number] - noisy[-1]), code.eq(adc.code)]
            with m.If(self.adc_write & (self.adc_number == number)), m.Switch(self.adc_parameter):
                for index, name in enumerate(ADC_PARAMETERS):
                    with m.Case(index):
                        m.d.sync += parameters[name].eq(self.adc_value)
            codes.append(code)
            saturated.append(adc.saturated)
        offset = Signal(range((chip.rows + 1) << (chip.input_planes + WEIGHT_BITS)))
        if chip.weight_encoding is Encoding.OFFSET:
            with m.If(added.bottom):
                m.d.comb += offset.eq((added.lines << (WEIGHT_BITS - 1)) << added.bit)
        for kernel in range(chip.channels):
            kept = Signal(signed(SUM_BITS), name=f"kept{kernel}")
            share = Signal(signed(SUM_BITS), name=f"share{kernel}")  # of the read
            total = Signal(signed(SUM_BITS), name=f"total{kernel}")
            before = Mux(placed.first, 0, kept)
            m.d.comb += share.eq(Mux(added.reads, self._digit(codes, kernel, added.top) << added.place, 0) - offset)
            now = delayed(m, share, deep, f"share{kernel}")
            m.d.comb += total.eq(Mux(placed.negative, before - now, before + now))
            with m.If(advance):
                with m.If(placed.valid):
                    m.d.sync += kept.eq(total)
                with m.If(done):
                    m.d.sync += self.dpv.payload.sums[0][kernel].eq(total)
        counted = advance & converted.valid & converted.reads
        over = delayed(m, Mux(counted, Cat(saturated), 0), deep, "over")
        m.d.comb += [
            self.saturations.eq(delayed(m, sum(over, Const(0)), deep, "saturations")),
            self.lines_on.eq(delayed(m, Mux(counted, converted.lines, 0), 2 * deep, "lines_on")),
        ]
        return m

    def _read(self, m: Module, name: str, planes, filled: Value, bit: Value, digit: Value | int) -> list[Signal]:
        """Of an input bit and digit: its plane, the rows that count, their first one, its table entry, and rows that
        start no group."""
        chip = self._chip
        plane, rest, lowest, inner = (
            Signal(chip.rows, name=f"{name}_{part}") for part in ("plane", "rest", "lowest", "inner")
        )
        entry = Signal.like(self.table.entries[0], name=f"{name}_entry")
        m.submodules[f"{name}_groups"] = groups = _inner_rows(chip.rows)
        port = groups.read_port(domain="comb")
        m.d.comb += [
            plane.eq(Array([planes[index] for index in range(chip.input_planes)])[bit]),
            rest.eq(Mux(self.skip_zero_groups, plane, filled)),
            lowest.eq(rest & -rest),
            entry.eq(self.table.entries[bit * len(chip.mode.cells) + digit]),
            port.addr.eq(entry.rows_per_read),
            inner.eq(port.data),
        ]
        return [plane, rest, lowest, entry, inner]

    def _replaced_columns(self, m: Module, macro: MemristorMacro) -> list[Value]:
        """Column (from 1 on; 0: none) that each spare replaces in the word that the macro connects."""
        chip = self._chip
        if not chip.spare_columns:
            return []
        m.submodules.repair = repair = Ram(8 * chip.spare_columns, chip.memristor_words, lanes=chip.spare_columns)
        m.d.comb += [
            repair.write_enable.eq(self.repair_write << self.repair_spare),
            repair.write_address.eq(self.repair_word),
            repair.write_data.eq(self.repair_column.replicate(chip.spare_columns)),
            repair.read_enable.eq(macro.read_enable),
            repair.read_address.eq(macro.word),
        ]
        return [repair.read_data.word_select(spare, 8) for spare in range(chip.spare_columns)]

    def _digit(self, codes: list[Signal], kernel: int, top: Value):
        """Value of a kernel's digit that was read, by the encoding."""
        encoding = self._chip.weight_encoding
        if encoding is Encoding.DIFFERENTIAL:
            return codes[2 * kernel] - codes[2 * kernel + 1]
        if encoding is Encoding.TWOS_COMPLEMENT:
            return Mux(top, -codes[kernel], codes[kernel])
        return codes[kernel]
