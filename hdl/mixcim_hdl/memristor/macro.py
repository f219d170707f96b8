"""Memristor macro: an emulated cell array with its word lines, bit lines and programming port.

Has the ports of a foundry macro, so that one can take its place. Cells are data (conductance codes), not logic:
programming spread, drift and stuck cells are written into them like any other code.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..emission import once
from ..primitives.popcount import popcount
from ..primitives.ram import Ram
from ..registers import CELLS_PER_WRITE


class BitLine(wiring.Component):
    """All cells that the column mux can connect to one ADC: one cell per row of every word.

    Members
    -------
    program_enable, program_address, program_data : writes the cells of all rows of one word, as bit planes: bit b of
        row r's code is bit b * rows + r.
    read_enable, read_address : the column mux: connects that word from the next cycle on.
    word_lines : rows that are on.    current : combinational, sum of the conductance codes of the rows that are on.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self._depth = chip.memristor_words
        super().__init__(
            {
                "program_enable": In(1),
                "program_address": In(range(self._depth)),
                "program_data": In(chip.rows * chip.conductance_bits),
                "read_enable": In(1),
                "read_address": In(range(self._depth)),
                "word_lines": In(chip.rows),
                "current": Out(current_bits(chip)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cells = memory = Ram(self._chip.rows * self._chip.conductance_bits, self._depth)
        m.d.comb += [
            memory.write_enable.eq(self.program_enable),
            memory.write_address.eq(self.program_address),
            memory.write_data.eq(self.program_data),
            memory.read_enable.eq(self.read_enable),
            memory.read_address.eq(self.read_address),
        ]
        # A column sum is the popcounts of its bit planes at their places: few wide words instead of many small adders.
        rows = self._chip.rows
        on = [memory.read_data.word_select(bit, rows) & self.word_lines for bit in range(self._chip.conductance_bits)]
        m.d.comb += self.current.eq(sum(popcount(m, plane, f"plane{bit}") << bit for bit, plane in enumerate(on)))
        return m


def current_bits(chip: ChipConfig) -> int:
    """Width of a bit-line current: all rows on, every cell at the largest code."""
    return chip.conductance_bits + chip.rows.bit_length() - 1


class MemristorMacro(wiring.Component):
    """Bit lines of one bank: those of every kernel (formats.Encoding), the reference, and the spare columns.

    Members
    -------
    program_valid, program_word, program_column, program_cells : the programming port takes four cells a cycle, row 0
        first; with the last four of a line the whole line is written.
    read_enable, word, word_lines : as in BitLine, for all bit lines at once.
    current<b> : current of bit line b, combinational from word_lines.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        word = range(chip.memristor_words)
        super().__init__(
            {
                "program_valid": In(1),
                "program_last": In(1),
                "program_word": In(word),
                "program_column": In(range(chip.physical_columns)),
                "program_cells": In(8 * CELLS_PER_WRITE),
                "read_enable": In(1),
                "word": In(word),
                "word_lines": In(chip.rows),
                **{f"current{column}": Out(current_bits(chip)) for column in range(chip.physical_columns)},
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        bits = chip.conductance_bits
        line = Signal(chip.rows * bits, reset_less=True)  # cells of the line so far, filled from the top
        new = Signal(CELLS_PER_WRITE * bits)
        filled = Signal.like(line)
        for cell in range(CELLS_PER_WRITE):
            m.d.comb += new.word_select(cell, bits).eq(self.program_cells.word_select(cell, 8))
        m.d.comb += filled.eq((line >> len(new)) | (new << (len(line) - len(new))))
        with m.If(self.program_valid):
            m.d.sync += line.eq(filled)
        planes = Signal.like(line)  # the same, as bit planes
        m.d.comb += planes.eq(Cat(filled[bit::bits] for bit in range(bits)))
        for column in range(chip.physical_columns):
            bit_line = BitLine(chip)
            m.submodules[f"bit_line{column}"] = once(bit_line, "bit_line", platform)
            m.d.comb += [
                bit_line.program_enable.eq(self.program_valid & self.program_last & (self.program_column == column)),
                bit_line.program_address.eq(self.program_word),
                bit_line.program_data.eq(planes),
                bit_line.read_enable.eq(self.read_enable),
                bit_line.read_address.eq(self.word),
                bit_line.word_lines.eq(self.word_lines),
                getattr(self, f"current{column}").eq(bit_line.current),
            ]
        return m
