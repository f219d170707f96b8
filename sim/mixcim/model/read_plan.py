"""What a read of a memristor bank depends on: cells, word-line table, ADCs, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import ADC_GAIN, ADC_PARAMETERS, Encoding, conductance_unit


@dataclass(frozen=True)
class ReadTable:
    """Word-line table: per input bit (row) and digit (column) the rows read at a time and the ADC step's power of 2."""

    rows_per_read: tuple[tuple[int, ...], ...]
    step_shift: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class ReadPlan:
    """How the windows of one group of a RUN are read through consecutive slots of one bank.

    `cells` uint8 (vectors, tiles, digits, columns, rows): conductance codes. `length`: rows of a window. `input_bits`:
    input bits that are read. `adc` int16 (adcs, parameters) and `noise_table` uint16 (rows + 1,): as in Program.
    `skipped_reads`: reads that the bank does for other groups between two windows of this one.
    """

    chip: ChipConfig
    cells: np.ndarray
    table: ReadTable
    length: int
    input_bits: int
    adc: np.ndarray
    noise_table: np.ndarray
    skipped_reads: int = 0

    @property
    def vectors(self) -> int:
        """Vectors of a window."""
        return self.cells.shape[0]

    @property
    def tiles(self) -> int:
        """Kernel tiles."""
        return self.cells.shape[1]

    @property
    def kernels(self) -> int:
        """Kernels of all tiles."""
        return self.tiles * self.chip.channels

    @property
    def noisy(self) -> bool:
        """Whether reads have noise."""
        return bool(self.noise_table.any())

    @property
    def ideal_adc(self) -> bool:
        """Whether the ADCs have neither offset nor gain error nor non-linearity."""
        ideal = [ADC_GAIN if name == "gain" else 0 for name in ADC_PARAMETERS]
        return bool((self.adc == ideal).all())

    @property
    def signs(self) -> np.ndarray:
        """What a code counts: int64 (digits, columns of a kernel) of +1 and -1."""
        encoding = self.chip.weight_encoding
        signs = np.ones((len(self.chip.mode.cells), encoding.columns), np.int64)
        if encoding is Encoding.DIFFERENTIAL:
            signs[:, 1] = -1
        elif encoding is Encoding.TWOS_COMPLEMENT:
            signs[-1] = -1
        return signs

    @property
    def unit(self) -> int:
        """Conductance codes of an ADC step of shift 0."""
        return conductance_unit(self.chip.conductance_bits)

    @property
    def largest_code(self) -> int:
        """Largest code of the ADC."""
        return (1 << self.chip.adc_bits) - 1

    @property
    def reads(self) -> int:
        """Word-line reads of one window, over all vectors and tiles."""
        return self.tiles * sum(
            -(-self.filled(vector) // rows)
            for vector in range(self.vectors)
            for table_row in self.table.rows_per_read[: self.input_bits]
            for rows in table_row
        )

    def filled(self, vector: int) -> int:
        """Rows of a vector that the window fills."""
        return min(self.chip.rows, self.length - vector * self.chip.rows)
