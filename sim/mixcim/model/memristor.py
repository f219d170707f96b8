"""Memristor-CIM bank: its cells and readout, and which way of working out its reads is taken.

All ways give the same sums, saturations and noise: `definition` (slow), `kernel` (the same in C++, where there is a
compiler), `corrected` (where cells and ADCs are ideal and there is no noise: an exact product and what clips).
"""

from __future__ import annotations

import enum
from typing import Protocol

import numpy as np

from mixcim_hdl.config import ChipConfig

from .corrected import CorrectedReading, is_correctable
from .definition import DefinedReading
from .kernel import KernelReading, kernel_library
from .read_plan import ReadPlan, ReadTable


class Method(enum.Enum):
    """Way of working out reads. FASTEST: kernel and correction together, each where it can be had.

    CORRECTED: correction by numpy. KERNEL: the kernel without correction.
    """

    FASTEST = "fastest"
    CORRECTED = "corrected"
    KERNEL = "kernel"
    DEFINITION = "definition"


class Reading(Protocol):
    """A way of reading windows. `matrix` int64 (length, kernels) or None: what the caller must multiply and add."""

    matrix: np.ndarray | None
    plan: ReadPlan

    def __call__(self, windows: np.ndarray, states: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See DefinedReading."""
        ...


class MemristorBank:
    """One memristor unit: `cells` uint8 (slots, digits, columns, rows) of conductance codes, 0 at reset.

    A column's cells are those of the spare that replaces it, where one does.
    """

    def __init__(
        self, chip: ChipConfig, lines: np.ndarray, repair: np.ndarray, adc: np.ndarray, noise_table: np.ndarray
    ) -> None:
        """As in Program, of this bank: `lines` uint8 (lines, rows), `repair` uint8 (words, spare columns), `adc` int16
        (adcs, parameters), `noise_table` uint16 (rows + 1,). Words that are not there are 0."""
        self.chip, self.adc, self.noise_table = chip, adc, noise_table
        columns = chip.memristor_columns
        physical = lines.reshape(-1, chip.physical_columns, chip.rows)
        cells = np.zeros((chip.memristor_words, columns, chip.rows), np.uint8)
        cells[: len(physical)] = physical[:, :columns]
        for spare in range(chip.spare_columns):
            words = np.flatnonzero(repair[:, spare])
            cells[words, repair[words, spare] - 1] = physical[words, columns + spare]
        self.cells = cells.reshape(chip.memristor_slots, -1, columns, chip.rows)

    def reading(
        self,
        table: ReadTable,
        slot: int,
        vectors: int,
        tiles: int,
        length: int,
        input_bits: int,
        groups: int = 1,
        method: Method = Method.FASTEST,
        *,
        signed: bool = False,
        wide: bool = False,
    ) -> Reading:
        """How windows of `length` rows are read through the slots from `slot` on, `tiles` slots per vector.

        `groups`: groups of the RUN. `signed`, `wide`: as in ReadPlan. CORRECTED falls
        back to DEFINITION where it does not apply; KERNEL raises MixcimError without compiler.
        """
        cells = self.cells[slot : slot + vectors * tiles].reshape(vectors, tiles, *self.cells.shape[1:])
        cells = cells[:, :, : table.digits]
        plan = ReadPlan(self.chip, cells, table, length, input_bits, self.adc, self.noise_table, groups, signed, wide)
        native = method in (Method.FASTEST, Method.KERNEL) and kernel_library() is not None
        if method in (Method.FASTEST, Method.CORRECTED) and is_correctable(plan):
            return KernelReading(plan, correct=True) if native else CorrectedReading(plan)
        return KernelReading(plan) if native or method is Method.KERNEL else DefinedReading(plan)
