"""Memristor-CIM bank: bit-serial reads of word-line groups through a saturating ADC.

The definition (commands.py) is evaluated in two ways that give the same sums and the same number of saturations:

* converted: current by matrix product, ADC rounding and clipping, shift and add, for every read. Always right.
* corrected: for a digit whose cells are ideal. Less the reference, every cell of a line is then a whole number >= 0 of
  ADC steps, so the ADC rounds nothing, never clips from below, and its code is min(current, largest) =
  current - max(current - largest, 0). The first term is linear in the input: summed over bits and groups it is an
  ordinary product of codes and digits, which joins the exact product of the lossless units (`Reading.matrix`). Only the
  second term, the excess, is left to do. It is 0 for every column whose cells in the group add up to at most the
  largest code, and for every input with fewer word lines on than the fullest column needs to exceed it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import conductance_unit

from .accumulator import wrapped

#: Share of clipped conversions below which they are corrected one by one and not column by column.
SPARSE = 1 / 64


@dataclass(frozen=True)
class ReadTable:
    """Word-line table: per input bit (row) and digit (column) the rows read at a time and the ADC step's power of 2."""

    rows_per_read: tuple[tuple[int, ...], ...]
    step_shift: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Group:
    """Rows [first, last) of a vector that one read turns on, for one digit.

    `matrix` float32 (last - first, columns): cells less the reference in ADC steps. `fold` float32 (columns, kernels):
    +1 and -1 for a kernel's w+ and w- column. `least`: word lines that must be on before a code can be clipped.
    """

    first: int
    last: int
    matrix: np.ndarray
    fold: np.ndarray
    least: int


class MemristorBank:
    """Cells of one memristor unit: `cells` uint8 (slots, digits, columns, rows) of conductance codes, 0 at reset."""

    def __init__(self, chip: ChipConfig, lines: np.ndarray) -> None:
        """`lines` uint8 (lines, rows): the programmed bit lines from line 0 on, at most as many as the bank has."""
        self.chip = chip
        digits = len(chip.mode.cells)
        cells = np.zeros((chip.memristor_slots * digits * chip.memristor_columns, chip.rows), np.uint8)
        cells[: len(lines)] = lines
        self.cells = cells.reshape(chip.memristor_slots, digits, chip.memristor_columns, chip.rows)

    def reading(
        self, table: ReadTable, slot: int, vectors: int, tiles: int, length: int, input_bits: int, ideal: bool = True
    ) -> Reading:
        """How windows of `length` rows are read through the slots from `slot` on, `tiles` slots per vector.

        `ideal` false does without the corrected way, for tests.
        """
        return Reading(self.chip, self.cells[slot : slot + vectors * tiles], table, tiles, length, input_bits, ideal)


class Reading:
    """One group of a RUN on one bank.

    `matrix` int64 (length, kernels): the part of the sums that is linear in the codes, to be multiplied by the caller;
    calling the object gives the rest. `reads`: word-line reads per window.
    """

    def __init__(
        self, chip: ChipConfig, cells: np.ndarray, table: ReadTable, tiles: int, length: int, bits: int, ideal: bool
    ) -> None:
        self.chip, self.table, self.bits, self.length = chip, table, bits, length
        self.largest = (1 << chip.adc_bits) - 1
        self.kernels = tiles * chip.channels
        self.matrix = np.zeros((length, self.kernels), np.int64)
        self.reads = 0
        unit = conductance_unit(chip.conductance_bits)
        digits = len(chip.mode.cells)
        net = cells[:, :, :-1].astype(np.int32) - cells[:, :, -1:]
        # Axes: vector, digit, row, polarity, tile, kernel of the tile. Columns: every w+, then every w-.
        net = net.reshape(-1, tiles, digits, chip.channels, 2, chip.rows).transpose(0, 2, 5, 4, 1, 3)
        net = np.ascontiguousarray(net).reshape(-1, digits, chip.rows, 2 * self.kernels)
        self.vectors: list[dict[tuple[int, int, int], list[_Group]]] = []
        self.corrected = []
        for digit in range(digits):
            finest = unit << max(table.step_shift[bit][digit] for bit in range(bits))
            cut = net[:, digit]
            self.corrected.append(ideal and bool((cut >= 0).all() and not (cut % finest).any()))
        self.fold = np.concatenate([np.eye(self.kernels), -np.eye(self.kernels)]).astype(np.float32)
        self.dtype = np.float32
        for vector, lines in enumerate(net):
            filled = min(chip.rows, length - vector * chip.rows)
            self._plan(vector, lines[:, :filled], unit)

    def _plan(self, vector: int, lines: np.ndarray, unit: int) -> None:
        """Prepare the groups of one vector; `lines` int32 (digits, filled rows, 2 * kernels)."""
        filled, bound, plan = lines.shape[1], 0, {}
        start = vector * self.chip.rows
        for digit, place in enumerate(self.chip.mode.places):
            if self.corrected[digit]:
                whole = lines[digit].astype(np.int64) // unit << place
                self.matrix[start : start + filled] += whole[:, : self.kernels] - whole[:, self.kernels :]
                bound += int(whole.sum(axis=0).max()) << (self.bits + 1)
            for bit in range(self.bits):
                rows, shift = self.table.rows_per_read[bit][digit], self.table.step_shift[bit][digit]
                groups = -(-filled // rows)
                self.reads += groups * (self.kernels // self.chip.channels)
                if not self.corrected[digit]:
                    bound += groups * self.largest << (bit + place + shift)
                if (digit, rows, shift) not in plan:
                    steps = (lines[digit] / (unit << shift)).astype(np.float32)  # exact: a power of two
                    build = self._excess_group if self.corrected[digit] else self._converted_group
                    parts = [build(first, steps[first : first + rows]) for first in range(0, filled, rows)]
                    plan[digit, rows, shift] = [part for part in parts if part is not None]
        self.vectors.append(plan)
        if bound >= 1 << 24:  # float32 would round; 2**53 is out of reach of one vector
            self.dtype = np.float64

    def _converted_group(self, first: int, steps: np.ndarray) -> _Group:
        return _Group(first, first + len(steps), steps, self.fold, 0)

    def _excess_group(self, first: int, steps: np.ndarray) -> _Group | None:
        """The group's columns that can exceed the largest code; None without any."""
        columns = np.flatnonzero(steps.sum(axis=0) > self.largest)
        if not len(columns):
            return None
        steps = np.ascontiguousarray(steps[:, columns])
        # The largest current that n word lines can cause: n largest cells of the fullest column.
        highest = np.cumsum(np.sort(steps, axis=0)[::-1], axis=0).max(axis=1)
        least = int(np.argmax(highest > self.largest)) + 1
        return _Group(first, first + len(steps), steps, self.fold[columns], least)

    def __call__(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the ADC makes of windows uint8 (inputs, pixels, length), beyond windows @ `matrix`.

        Returns sums int32 (inputs * pixels, kernels), wrapped, and the clipped conversions of each input, int64.
        """
        inputs, pixels, length = windows.shape
        codes = windows.reshape(-1, length)
        sums = np.zeros((len(codes), self.kernels), np.int32)
        clipped = np.zeros(inputs, np.int64)
        for vector, plan in enumerate(self.vectors):
            if not any(plan.values()):
                continue
            part = codes[:, vector * self.chip.rows : (vector + 1) * self.chip.rows]
            total = np.zeros(sums.shape, self.dtype)
            for bit in range(self.bits):
                self._read_bit(bit, part, plan, total, clipped, pixels)
            sums += wrapped(total)
        return sums, clipped

    def _read_bit(
        self, bit: int, codes: np.ndarray, plan: dict, total: np.ndarray, clipped: np.ndarray, pixels: int
    ) -> None:
        """Add all reads of one input bit of one vector to `total` and `clipped`."""
        plane = (codes >> np.uint8(bit) & np.uint8(1)).astype(np.float32)
        lines_on: dict[tuple[int, int], np.ndarray] = {}
        for digit, place in enumerate(self.chip.mode.places):
            rows, shift = self.table.rows_per_read[bit][digit], self.table.step_shift[bit][digit]
            weight = self.dtype(1 << (bit + place + shift))
            for group in plan[digit, rows, shift]:
                lines = plane[:, group.first : group.last]
                if not self.corrected[digit]:
                    self._convert(lines, group, weight, total, clipped, pixels)
                    continue
                key = group.first, group.last
                if key not in lines_on:
                    lines_on[key] = lines @ np.ones(group.last - group.first, np.float32)
                busy = np.flatnonzero(lines_on[key] >= group.least)
                if len(busy):
                    self._correct(lines, busy, group, weight, total, clipped, pixels)

    def _convert(self, lines, group, weight, total, clipped, pixels) -> None:
        """The definition: current, round half up, clip, w+ less w-, shift and add."""
        current = lines @ group.matrix
        current += np.float32(0.5)
        np.floor(current, out=current)
        over = current > self.largest
        if over.any():
            clipped += np.count_nonzero(over.reshape(len(clipped), -1), axis=1)
        np.clip(current, 0, self.largest, out=current)
        difference = current[:, : self.kernels] - current[:, self.kernels :]
        difference = difference.astype(self.dtype, copy=False)
        difference *= weight
        total += difference

    def _correct(self, lines, busy, group, weight, total, clipped, pixels) -> None:
        """Take the excess over the largest code from the linear product, for the windows `busy`."""
        everything = 2 * len(busy) > len(lines)
        if everything:
            busy = np.arange(len(lines))
        current = (lines if everything else lines[busy]) @ group.matrix
        over = current > self.largest
        hits = np.flatnonzero(over)
        if not len(hits):
            return
        window = busy[hits // current.shape[1]]
        clipped += np.bincount(window // pixels, minlength=len(clipped))
        if len(hits) < SPARSE * over.size:
            excess = current.ravel()[hits] - np.float32(self.largest)
            np.subtract.at(total, window, (excess[:, None] * group.fold[hits % current.shape[1]]) * weight)
            return
        np.maximum(current, self.largest, out=current)
        current -= np.float32(self.largest)
        folded = (current @ group.fold).astype(self.dtype, copy=False)
        folded *= weight
        if everything:
            total -= folded
        else:
            total[busy] -= folded
