"""Memristor reads exactly as commands.py defines them, one read of all windows after the other."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.formats import ADC_PARAMETERS, ADC_SEGMENTS, WEIGHT_BITS, Encoding, conductance_unit

from .noise import gauss, placed, stepped
from .read_plan import ReadPlan

_NAMES = list(ADC_PARAMETERS)


class DefinedReading:
    """Reads windows by the definition, for any cells, ADCs and noise. `matrix` None: nothing is left to a product."""

    matrix: np.ndarray | None = None

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        adc = plan.adc.astype(np.int32)
        self.gain, self.offset = adc[:, _NAMES.index("gain")], adc[:, _NAMES.index("offset")]
        self.inl = adc[:, _NAMES.index("inl0") :][:, :ADC_SEGMENTS]

    def __call__(self, windows: np.ndarray, states: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums plan.sum_type (inputs * pixels, kernels); clipped conversions and left out reads, int64 (inputs,) each.

        `windows` plan.code_type (inputs, pixels, length). `states` uint32 (inputs, columns), overwritten: the noise
        generators before the first of these windows and, afterwards, before the one that follows. Not looked at without
        noise.
        """
        plan, chip = self.plan, self.plan.chip
        inputs, pixels, length = windows.shape
        codes = windows.reshape(-1, length)
        sums = np.zeros((len(codes), plan.tiles, chip.channels), np.int64)
        clipped = np.zeros(inputs, np.int64)
        left_out = plan.zero_groups(windows) if plan.skips else np.zeros((inputs, pixels), np.int64)
        now = None
        if plan.noisy:
            assert states is not None
            reads = plan.reads - left_out
            now = placed(states, reads.cumsum(axis=1) - reads)
        for vector in range(plan.vectors):
            part = codes[:, vector * chip.rows : (vector + 1) * chip.rows]
            for tile in range(plan.tiles):
                value = np.zeros((len(codes), chip.channels), np.int64)
                now = self._slot(plan.cells[vector, tile], part, value, clipped, now)
                sums[:, tile] += value.astype(np.int32)
        if now is not None:
            assert states is not None
            states[...] = now[:, -1]
        return sums.reshape(len(codes), -1).astype(plan.sum_type), clipped, left_out.sum(axis=1)

    def _slot(
        self, cells: np.ndarray, codes: np.ndarray, sums: np.ndarray, clipped: np.ndarray, now: np.ndarray | None
    ) -> np.ndarray | None:
        """Add one slot's reads to `sums` (windows, channels) and `clipped`; the generators' states after them."""
        plan, chip = self.plan, self.plan.chip
        table, signs = plan.table, plan.signs
        for digit, place in enumerate(chip.mode.places[: table.digits]):
            conductance = cells[digit].T.astype(np.float32)  # (rows, columns)
            for bit in range(plan.input_bits):
                plane = (codes >> codes.dtype.type(bit) & codes.dtype.type(1)).astype(np.float32)
                value = plan.place_value(bit)
                rows, shift = table.rows_per_read[bit][digit], table.step_shift[bit][digit]
                for first in range(0, codes.shape[1], rows):
                    on = plane[:, first : first + rows]
                    lines_on = on.sum(axis=1).astype(np.int64)
                    read = lines_on[:, None] > (0 if plan.skips else -1)
                    # Below 2**24, so float32 holds every partial sum.
                    current = (on @ conductance[first : first + on.shape[1]]).astype(np.int32)
                    if now is not None:
                        strength = plan.noise_table[lines_on].astype(np.int32)[:, None]
                        current += gauss(now).reshape(current.shape) * strength + (1 << 11) >> 12
                        now = np.where(read.reshape(*now.shape[:2], 1), stepped(now), now)
                    code = self._convert(current[:, :-1] - current[:, -1:], digit, shift)
                    over = read & (code > plan.largest_code)
                    clipped += np.count_nonzero(over.reshape(len(clipped), -1), axis=1)
                    code = read * code.clip(0, plan.largest_code)
                    digits = (code.reshape(len(code), chip.channels, -1) * signs[digit]).sum(axis=2)
                    sums += (digits << place + shift) * value
                    if chip.weight_encoding is Encoding.OFFSET and digit == 0:
                        sums -= (lines_on[:, None] << WEIGHT_BITS - 1) * value
        return now

    def _convert(self, net: np.ndarray, digit: int, shift: int) -> np.ndarray:
        """ADC codes int64 before they are limited, of currents less the reference's (windows, adcs)."""
        chip = self.plan.chip
        shift += chip.mode.step_log2[digit]
        step = conductance_unit(chip.conductance_bits) << shift
        value = (net * self.gain >> 8) + self.offset
        part = np.clip(value // (step << chip.adc_bits - 3), 0, ADC_SEGMENTS - 1)
        value += self.inl[np.arange(value.shape[1]), part] << shift
        return ((value + step // 2) // step).astype(np.int64)
