"""What a read of a memristor bank depends on: cells, word-line table, ADCs, noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import ADC_GAIN, ADC_PARAMETERS, Encoding, conductance_unit


@dataclass(frozen=True)
class ReadTable:
    """Word-line table: per input bit (row) and digit (column) the rows read at a time and the ADC step's power of 2.

    It has as many columns as digits are read. `skip_zero_groups`: as in commands.py.
    """

    rows_per_read: tuple[tuple[int, ...], ...]
    step_shift: tuple[tuple[int, ...], ...]
    skip_zero_groups: bool = False

    @property
    def digits(self) -> int:
        """Digits that are read, from the least significant one on."""
        return len(self.rows_per_read[0])


@dataclass(frozen=True, eq=False)
class ReadPlan:
    """How the windows of one group of a RUN are read through consecutive slots of one bank.

    `cells` uint8 (vectors, tiles, digits, columns, rows): conductance codes of the digits that are read. `length`: rows
    of a window. `input_bits`: input bits that are read; `signed`: the top one counts negative. `adc` int16 (adcs,
    parameters) and `noise_table` uint16 (rows + 1,): as in Program. `groups`: groups of the RUN. `wide`: a window's
    sums are int64, sums of its vectors' dot-product values, which are int32 and wrap; else int32, and all wraps.

    A tile is what has a slot of its own in every vector: a kernel tile, or each slice of one.
    """

    chip: ChipConfig
    cells: np.ndarray
    table: ReadTable
    length: int
    input_bits: int
    adc: np.ndarray
    noise_table: np.ndarray
    groups: int = 1
    signed: bool = False
    wide: bool = False

    @property
    def vectors(self) -> int:
        """Vectors of a window."""
        return self.cells.shape[0]

    @property
    def tiles(self) -> int:
        """Tiles."""
        return self.cells.shape[1]

    @property
    def kernels(self) -> int:
        """Kernels of all tiles."""
        return self.tiles * self.chip.channels

    @property
    def sum_type(self) -> type[np.signedinteger]:
        """numpy's type of a window's sums."""
        return np.int64 if self.wide else np.int32

    @property
    def code_type(self) -> type[np.unsignedinteger]:
        """numpy's type of a window's integers, modulo 2**input_bits."""
        return np.uint8 if self.input_bits <= 8 else np.uint16

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
    def skips(self) -> bool:
        """Whether reads that no word line takes part in are left out."""
        return self.table.skip_zero_groups and self.groups == 1

    @property
    def signs(self) -> np.ndarray:
        """What a code counts: int64 (digits that are read, columns of a kernel) of +1 and -1."""
        encoding = self.chip.weight_encoding
        signs = np.ones((len(self.chip.mode.cells), encoding.columns), np.int64)
        if encoding is Encoding.DIFFERENTIAL:
            signs[:, 1] = -1
        elif encoding is Encoding.TWOS_COMPLEMENT:
            signs[-1] = -1
        return signs[: self.table.digits]

    @property
    def steps(self) -> np.ndarray:
        """Conductance codes of each digit's ADC step of shift 0: int64 (digits that are read,)."""
        return conductance_unit(self.chip.conductance_bits) << np.array(self.chip.mode.step_log2[: self.table.digits])

    @property
    def largest_code(self) -> int:
        """Largest code of the ADC."""
        return (1 << self.chip.adc_bits) - 1

    @cached_property
    def reads(self) -> int:
        """Word-line reads of one window, over all vectors and tiles, if none is left out."""
        return self.tiles * sum(
            -(-self.filled(vector) // rows)
            for vector in range(self.vectors)
            for table_row in self.table.rows_per_read[: self.input_bits]
            for rows in table_row
        )

    def place_value(self, bit: int) -> int:
        """What an input bit counts: 2**bit, the top bit of signed integers negative."""
        return -(1 << bit) if self.signed and bit == self.input_bits - 1 else 1 << bit

    def zero_groups(self, windows: np.ndarray) -> np.ndarray:
        """Reads without any word line on, over all tiles: int64 (inputs, pixels), of windows as a Reading has them."""
        result = np.zeros(windows.shape[:2], np.int64)
        for first in range(0, self.length, self.chip.rows):
            codes = windows[:, :, first : first + self.chip.rows]
            lit = {}  # input bits that are on anywhere in a group, by rows read at a time
            for rows in np.unique(self.table.rows_per_read[: self.input_bits]).tolist():
                lit[rows] = np.bitwise_or.reduceat(codes, np.arange(0, codes.shape[2], rows), axis=2)
            for bit, table_row in enumerate(self.table.rows_per_read[: self.input_bits]):
                for rows in table_row:
                    result += np.count_nonzero(~lit[rows] & windows.dtype.type(1 << bit), axis=2)
        return result * self.tiles

    def filled(self, vector: int) -> int:
        """Rows of a vector that the window fills."""
        return min(self.chip.rows, self.length - vector * self.chip.rows)
