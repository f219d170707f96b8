"""Memristor reads of ideal cells through ideal ADCs without noise: an exact product, less what the ADC clips.

Less the reference, every cell is then a whole number >= 0 of ADC steps, so the ADC rounds nothing, never clips from
below, and its code is min(current, largest) = current - max(current - largest, 0). The first term is linear in the
input: summed over bits and groups it is an ordinary product of codes and digits, which joins the exact product of the
lossless units (`matrix`). Only the second term, the excess, is left to do. It is 0 for every column whose cells in the
group add up to at most the largest code, and for every input with fewer word lines on than the fullest column needs to
exceed it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.formats import SUM_BITS, WEIGHT_BITS, Encoding

from .read_plan import ReadPlan

#: Share of clipped conversions below which they are corrected one by one and not column by column.
SPARSE = 1 / 64


@dataclass(frozen=True)
class _Group:
    """Rows [first, last) of a vector that one read turns on, for one digit.

    `matrix` float32 (last - first, columns): cells less the reference in ADC steps. `fold` float32 (columns, kernels):
    what a column counts for each kernel, +1, -1 or 0. `least`: word lines that must be on before a code can be clipped.
    """

    first: int
    last: int
    matrix: np.ndarray
    fold: np.ndarray
    least: int


def is_correctable(plan: ReadPlan) -> bool:
    """Whether reads have no noise, ADCs no errors, and all cells are whole ADC steps above the reference.

    And, for sums of 64 bits, whether no dot-product value is large enough to wrap.
    """
    if plan.noisy or not plan.ideal_adc:
        return False
    net = plan.cells[:, :, :, :-1].astype(np.int16) - plan.cells[:, :, :, -1:]
    coarsest = plan.steps << np.max(plan.table.step_shift[: plan.input_bits], axis=0)
    if (net < 0).any() or any((net[:, :, digit] % step).any() for digit, step in enumerate(coarsest)):
        return False
    if not plan.wide:
        return True
    digits = net // plan.steps[:, None, None] << np.array(plan.chip.mode.places[: plan.table.digits])[:, None, None]
    columns = digits.sum(axis=(2, 4)).reshape(plan.vectors, -1, plan.chip.weight_encoding.columns)
    largest = int(columns.sum(axis=2).max()) + (plan.chip.rows << WEIGHT_BITS - 1)
    return largest << plan.input_bits < 1 << SUM_BITS - 1


def linear_part(plan: ReadPlan) -> np.ndarray:
    """What a correctable plan's sums are without clipping, per unit of each row's integer: int64 (length, kernels)."""
    net = plan.cells[:, :, :, :-1].astype(np.int64) - plan.cells[:, :, :, -1:]
    net = net.reshape(plan.vectors, plan.tiles, plan.table.digits, plan.chip.channels, -1, plan.chip.rows)
    net //= plan.steps[:, None, None, None]
    weights = plan.signs << np.array(plan.chip.mode.places[: plan.table.digits])[:, None]
    matrix = np.einsum("vtdkcr,dc->vrtk", net, weights).reshape(-1, plan.kernels)[: plan.length]
    return matrix - (1 << WEIGHT_BITS - 1) if plan.chip.weight_encoding is Encoding.OFFSET else matrix


class CorrectedReading:
    """`matrix` int64 (length, kernels): the part of the sums that is linear in the codes, which the caller multiplies;
    calling the object gives the rest."""

    def __init__(self, plan: ReadPlan) -> None:
        """`plan` is correctable."""
        self.plan, self.chip, self.table, self.bits = plan, plan.chip, plan.table, plan.input_bits
        self.largest, self.kernels = plan.largest_code, plan.kernels
        self.matrix: np.ndarray | None = linear_part(plan)
        digits, columns = self.table.digits, self.chip.weight_encoding.columns
        net = plan.cells[:, :, :, :-1].astype(np.int32) - plan.cells[:, :, :, -1:]
        # Axes: vector, digit, row, column of a kernel, tile, kernel of the tile.
        net = net.reshape(-1, plan.tiles, digits, self.chip.channels, columns, self.chip.rows)
        net = np.ascontiguousarray(net.transpose(0, 2, 5, 4, 1, 3))
        net = net.reshape(-1, digits, self.chip.rows, columns, self.kernels)
        self.folds = [
            np.concatenate([sign * np.eye(self.kernels, dtype=np.float32) for sign in signs]) for signs in plan.signs
        ]
        self.dtype = np.float32
        self.vectors: list[dict[tuple[int, int, int], list[_Group]]] = []
        for vector, lines in enumerate(net):
            self._prepare(lines[:, : plan.filled(vector)])

    def _prepare(self, lines: np.ndarray) -> None:
        """Prepare the groups of one vector; `lines` int32 (digits, filled rows, columns of a kernel, kernels)."""
        filled, bound, groups = lines.shape[1], 0, {}
        for digit, place in enumerate(self.chip.mode.places[: self.table.digits]):
            whole = lines[digit].astype(np.int64) // self.plan.steps[digit] << place
            bound += int(whole.sum(axis=0).max()) << (self.bits + 1)
            columns = lines[digit].reshape(filled, -1)
            for bit in range(self.bits):
                rows, shift = self.table.rows_per_read[bit][digit], self.table.step_shift[bit][digit]
                if (digit, rows, shift) not in groups:
                    steps = (columns / (self.plan.steps[digit] << shift)).astype(np.float32)  # exact: a power of two
                    parts = [self._group(digit, first, steps[first : first + rows]) for first in range(0, filled, rows)]
                    groups[digit, rows, shift] = [part for part in parts if part is not None]
        self.vectors.append(groups)
        if bound >= 1 << 24:  # float32 would round; 2**53 is out of reach of one vector
            self.dtype = np.float64

    def _group(self, digit: int, first: int, steps: np.ndarray) -> _Group | None:
        """The group's columns that can exceed the largest code; None without any."""
        columns = np.flatnonzero(steps.sum(axis=0) > self.largest)
        if not len(columns):
            return None
        steps = np.ascontiguousarray(steps[:, columns])
        # The largest current that n word lines can cause: n largest cells of the fullest column.
        highest = np.cumsum(np.sort(steps, axis=0)[::-1], axis=0).max(axis=1)
        least = int(np.argmax(highest > self.largest)) + 1
        return _Group(first, first + len(steps), steps, self.folds[digit][columns], least)

    def __call__(self, windows: np.ndarray, states: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the ADC makes of windows plan.code_type (inputs, pixels, length), beyond integers @ `matrix`.

        Returns sums plan.sum_type (inputs * pixels, kernels), and the clipped conversions and left out reads of each
        input, int64. `states` is not looked at: there is no noise.
        """
        inputs, pixels, length = windows.shape
        codes = windows.reshape(-1, length)
        sums = np.zeros((len(codes), self.kernels), self.plan.sum_type)
        clipped = np.zeros(inputs, np.int64)
        # Without offset and noise, a read without any word line on counts 0: leaving it out changes nothing else.
        left_out = self.plan.zero_groups(windows).sum(axis=1) if self.plan.skips else np.zeros(inputs, np.int64)
        for vector, groups in enumerate(self.vectors):
            if not any(groups.values()):
                continue
            part = codes[:, vector * self.chip.rows : (vector + 1) * self.chip.rows]
            total = np.zeros(sums.shape, self.dtype)
            for bit in range(self.bits):
                self._read_bit(bit, part, groups, total, clipped, pixels)
            sums += total.astype(np.int64).astype(self.plan.sum_type)
        return sums, clipped, left_out

    def _read_bit(
        self, bit: int, codes: np.ndarray, groups: dict, total: np.ndarray, clipped: np.ndarray, pixels: int
    ) -> None:
        """Take the excess in all reads of one input bit of one vector from `total`, count it in `clipped`."""
        plane = (codes >> codes.dtype.type(bit) & codes.dtype.type(1)).astype(np.float32)
        lines_on: dict[tuple[int, int], np.ndarray] = {}
        for digit, place in enumerate(self.chip.mode.places[: self.table.digits]):
            rows, shift = self.table.rows_per_read[bit][digit], self.table.step_shift[bit][digit]
            weight = self.dtype(self.plan.place_value(bit) << place + shift)
            for group in groups[digit, rows, shift]:
                lines = plane[:, group.first : group.last]
                key = group.first, group.last
                if key not in lines_on:
                    lines_on[key] = lines @ np.ones(group.last - group.first, np.float32)
                busy = np.flatnonzero(lines_on[key] >= group.least)
                if len(busy):
                    self._correct(lines, busy, group, weight, total, clipped, pixels)

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
