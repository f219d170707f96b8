"""Write-verify: programs the cells of a line by pulses until each lies within a band around its target."""

from __future__ import annotations

import enum

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import WRITE_STRIDE
from ..config import ChipConfig
from ..interfaces import WRITE_LAYOUT
from ..primitives.delayed import delayed
from ..primitives.ram import Ram
from ..registers import CELLS_PER_WRITE, WEAR_BITS, WRITTEN_FIELDS
from .noise import gauss, xorshift32

_WARM_UP = 4  # steps of a line's generator before its first pulse
_FRACTION = 12  # fraction bits of a pulse's change


def memristor_lines(chip: ChipConfig) -> int:
    """Lines of all memristor banks together, at least 1."""
    return max(chip.memristor_banks, 1) * chip.memristor_words * chip.physical_columns


class State(enum.Enum):
    """OPEN connects the line's word, CHECK looks at its wear, SELECT reads a cell, PULSE verifies and pulses it."""

    IDLE = 0
    OPEN = 1
    CHECK = 2
    WARM_UP = 3
    SELECT = 4
    PULSE = 5
    COMMIT = 6


class WriteVerify(wiring.Component):
    """Programs four cells at a time as commands.py says; the last four of a line write it and count its wear.

    The emulated cell under the pulses is a register here: it starts as what the macro's read gives, moves with every
    pulse unless it is held, and goes back to the macro with the rest of its line. `busy` for about (2 + pulses) cycles
    a cell, in a deep pipeline (4 + 2 * pulses): half of a pulse's arithmetic is done a cycle before.

    Members
    -------
    start, bank, word, column, first, last, targets, held : four targets of a line, in one cycle; `first`, `last`: the
        first and last four of the line; `held`: cells of the whole line that do not move.
    registers : WRITE_LAYOUT.    busy : until the four cells are done.    refused, wear : of the last line.
    active_bank, active_word, active_column : of the cells at work.    connect : the macro shall connect the word.
    word_lines : one-hot, the cell that is read.    code : its code, combinational from word_lines, in a deep pipeline
        a cycle later.
    program_valid, program_last, program_cells : to the macro's programming port.
    written_read, written_address, written_data : what became of each cell of the line (latency 1, WRITTEN_FIELDS).
    wear_read, wear_address, wear_data : wear of a line of all banks (latency 1), while not busy.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "start": In(1),
                "bank": In(8),
                "word": In(range(chip.memristor_words)),
                "column": In(range(chip.physical_columns)),
                "first": In(1),
                "last": In(1),
                "targets": In(8 * CELLS_PER_WRITE),
                "held": In(chip.rows),
                "registers": In(WRITE_LAYOUT),
                "busy": Out(1),
                "refused": Out(1),
                "wear": Out(WEAR_BITS),
                "active_bank": Out(8),
                "active_word": Out(range(chip.memristor_words)),
                "active_column": Out(range(chip.physical_columns)),
                "connect": Out(1),
                "word_lines": Out(chip.rows),
                "code": In(chip.conductance_bits),
                "program_valid": Out(1),
                "program_last": Out(1),
                "program_cells": Out(8 * CELLS_PER_WRITE),
                "wear_read": In(1),
                "wear_address": In(range(memristor_lines(chip))),
                "wear_data": Out(WEAR_BITS),
                "written_read": In(1),
                "written_address": In(range(chip.rows)),
                "written_data": Out(data.StructLayout(WRITTEN_FIELDS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        deep = chip.deep_pipeline
        registers = delayed(m, self.registers, deep, "registers")
        bits = chip.conductance_bits
        lines = chip.memristor_words * chip.physical_columns
        state = Signal(State)
        first, last, pulsed = Signal(), Signal(), Signal()
        targets = Signal(data.ArrayLayout(8, CELLS_PER_WRITE))
        row = Signal(range(chip.rows))
        line = Signal(range(memristor_lines(chip)))
        cell = Signal(bits)
        pulses = Signal(8)
        generator = Signal(32)
        count = Signal(range(_WARM_UP))
        done = Signal(8 * CELLS_PER_WRITE)

        m.submodules.wear = wear = Ram(WEAR_BITS, memristor_lines(chip))
        m.submodules.written = written = Ram(self.written_data.shape().size, chip.rows)
        m.d.comb += [
            line.eq(self.active_bank * lines + self.active_word * chip.physical_columns + self.active_column),
            wear.read_enable.eq((state == State.OPEN) | self.wear_read),
            wear.read_address.eq(Mux(self.wear_read, self.wear_address, line)),
            self.wear_data.eq(wear.read_data),
            wear.write_address.eq(line),
            wear.write_data.eq(wear.read_data + pulsed),
            written.read_enable.eq(self.written_read),
            written.read_address.eq(self.written_address),
            written.write_address.eq(row),
            self.written_data.eq(written.read_data),
            self.busy.eq(state != State.IDLE),
            self.connect.eq(state == State.OPEN),
            self.word_lines.eq(1 << row),
            self.program_cells.eq(done),
            self.program_valid.eq(state == State.COMMIT),
            self.program_last.eq(last),
        ]

        # One verify, and the pulse that follows from it.
        error = Signal(signed(bits + 2))
        distance = Signal(bits + 1)
        after = Signal(32)
        coarse_step = Signal(signed(26))
        share = Signal(32)  # of the line, in the seed
        # Of a deep pipeline: coarse_step is that of the generator, and target, held and `code` are those of the row.
        prepared = Signal(init=1)
        step = Signal(26)
        moved = Signal(signed(28))
        target = Array([targets[cell] for cell in range(CELLS_PER_WRITE)])[row[: (CELLS_PER_WRITE - 1).bit_length()]]
        target, held = delayed(m, target, deep, "target"), delayed(m, self.held.bit_select(row, 1), deep, "held")
        accepted, spent = Signal(), Signal()
        result = Signal(data.StructLayout(WRITTEN_FIELDS))
        byte = Signal(8)  # the cell, for the programming port
        m.d.comb += [
            byte.eq(cell),
            error.eq(target - cell),
            distance.eq(Mux(error < 0, -error, error)),
            accepted.eq(distance <= registers.band),
            spent.eq(pulses == registers.retry_limit),
            after.eq(xorshift32(m, generator, "pulse")),
            step.eq(
                (
                    (Mux(coarse_step < 0, 0, coarse_step) >> Mux(distance < registers.coarse, registers.fine_shift, 0))
                    + (1 << _FRACTION - 1)
                )
                >> _FRACTION
            ),
            moved.eq(Mux(error > 0, cell + step, cell - step)),
            result.code.eq(cell),
            result.pulses.eq(pulses),
            result.given_up.eq(~accepted),
            written.write_data.eq(result),
        ]
        drawn = registers.step_mean + gauss(after) * registers.step_sigma
        m.d.sync += share.eq((line + 1) * WRITE_STRIDE)
        m.d.comb += coarse_step.eq(delayed(m, drawn, deep, "drawn"))
        if deep:
            m.d.sync += prepared.eq(((state == State.SELECT) | (state == State.PULSE)) & ~prepared)

        largest = (1 << bits) - 1
        with m.Switch(state):
            with m.Case(State.IDLE), m.If(self.start):
                m.d.sync += [
                    self.active_bank.eq(self.bank),
                    self.active_word.eq(self.word),
                    self.active_column.eq(self.column),
                    first.eq(self.first),
                    last.eq(self.last),
                    targets.eq(self.targets),
                    state.eq(State.OPEN),
                ]
            with m.Case(State.OPEN):
                m.d.sync += state.eq(State.CHECK)
            with m.Case(State.CHECK):
                m.d.sync += self.wear.eq(wear.read_data)
                m.d.sync += state.eq(Mux(self.refused, State.IDLE, State.SELECT))
                with m.If(first):
                    seed = Signal(32)
                    worn = wear.read_data >= registers.endurance
                    m.d.comb += seed.eq(registers.seed + share)
                    m.d.sync += [
                        generator.eq(Mux(seed == 0, WRITE_STRIDE, seed)),
                        row.eq(0),
                        pulsed.eq(0),
                        self.refused.eq(worn),
                        state.eq(Mux(worn, State.IDLE, State.WARM_UP)),
                    ]
            with m.Case(State.WARM_UP):
                m.d.sync += [generator.eq(after), count.eq(count + 1)]
                with m.If(count == _WARM_UP - 1):
                    m.d.sync += [count.eq(0), state.eq(State.SELECT)]
            with m.Case(State.SELECT), m.If(prepared):
                m.d.sync += [cell.eq(self.code), pulses.eq(0), state.eq(State.PULSE)]
            with m.Case(State.PULSE), m.If(prepared):
                with m.If(accepted | spent):
                    m.d.comb += written.write_enable.eq(1)
                    m.d.sync += [done.eq(Cat(done[8:], byte)), row.eq(row + 1)]
                    with m.If(row[: (CELLS_PER_WRITE - 1).bit_length()] == CELLS_PER_WRITE - 1):
                        m.d.sync += state.eq(State.COMMIT)
                    with m.Else():
                        m.d.sync += state.eq(State.SELECT)
                with m.Else():
                    m.d.sync += [generator.eq(after), pulses.eq(pulses + 1), pulsed.eq(1)]
                    with m.If(~held):
                        m.d.sync += cell.eq(Mux(moved < 0, 0, Mux(moved > largest, largest, moved)))
            with m.Case(State.COMMIT):
                m.d.comb += wear.write_enable.eq(last)
                with m.If(last):
                    m.d.sync += self.wear.eq(wear.write_data)
                m.d.sync += state.eq(State.IDLE)
        return m
