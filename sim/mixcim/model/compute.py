"""The compute units: what each of them makes of the windows of a group, slices of weights put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import SramMode, TinyMode
from mixcim_hdl.formats import ACTIVATION_BITS, SLICE_BITS, SUM_BITS
from mixcim_hdl.registers import Event

from .accumulator import ExactProduct, wrapped
from .copies import Share, places_of
from .exact import exact_product
from .memristor import MemristorBank, Method, Reading
from .sram import SramBank
from .state import State
from .tiny import TinyBank


@dataclass(frozen=True)
class _Work:
    """What one unit does with the windows of a group: a share of the exact product, memristor reads, the sum of both,
    or (neither) a maximum. `matrix`: integers (length, kernels). `states` uint32 (inputs, columns): the bank's noise
    generators at the next window, where there is noise: the state's own, which reading moves on."""

    unit: int
    tiles: int
    matrix: np.ndarray | None
    reading: Reading | None = None
    states: np.ndarray | None = None


def bits_on(codes: np.ndarray) -> np.ndarray:
    """Ones in all codes of each input: int64 (inputs,), of codes uint8 or uint16 (inputs, pixels, length)."""
    flat = np.ascontiguousarray(codes).reshape(len(codes), -1).view(np.uint8)
    words = flat.shape[1] // 8 * 8  # eight bytes are counted at a time
    result = np.bitwise_count(flat[:, words:]).sum(axis=1, dtype=np.int64)
    result += np.bitwise_count(flat[:, :words].view(np.uint64)).sum(axis=1, dtype=np.int64)
    return result


class GroupSums:
    """A share's sums over its windows of a group; counts events on the way."""

    def __init__(
        self, state: State, fields: Mapping[str, int], group: int, share: Share, length: int, method: Method
    ) -> None:
        """`length`: rows of a window. Raises FaultError for slots past a unit's memory."""
        self.state, self.fields, self.length, self.method = state, fields, length, method
        self.bits, self.slices = fields["input_bits"], fields["weight_slices"]
        self.signed, self.wide = bool(fields["input_signed"]), bool(fields["floating"])
        self.sum_bits = state.chip.accumulator_bits if self.wide else SUM_BITS
        self.works = [self._work(unit, group) for unit in share.units]
        matrices = [work.matrix for work in self.works if work.matrix is not None]
        largest = 1 << self.bits - 1 if self.signed else (1 << min(self.bits, ACTIVATION_BITS)) - 1
        product = ExactProduct if self.wide else exact_product
        self.product = product(np.concatenate(matrices, axis=1), largest, self.signed) if matrices else None

    def _work(self, unit: int, group: int) -> _Work:
        """A unit's share of the group."""
        fields, state, bank = self.fields, self.state, self.state.units[unit]
        tiles, mode = fields[f"tiles[{unit}]"], fields[f"mode[{unit}]"]
        if isinstance(bank, TinyBank) and mode == TinyMode.MAX:
            return _Work(unit, tiles, None)
        places = places_of(state, fields, unit, group, self.length)
        slot, each = places.slots.start, places.each
        vectors = -(-self.length // state.chip.rows)
        if isinstance(bank, MemristorBank):
            assert state.table is not None
            arguments = state.table, slot, vectors, each, self.length, self.bits, fields["group_count"], self.method
            key = unit, *arguments, self.signed, self.wide
            if key not in state.readings:
                state.readings[key] = bank.reading(*arguments, signed=self.signed, wide=self.wide)
            reading = state.readings[key]
            states = state.states[unit] if reading.plan.noisy else None
            matrix = None if reading.matrix is None else self._joined(reading.matrix, tiles)
            return _Work(unit, tiles, matrix, reading, states)
        if isinstance(bank, SramBank):
            matrix = bank.matrix(SramMode(mode), slot, self.length, tiles, self.slices)
        else:
            matrix = bank.matrix(TinyMode(mode), slot, vectors, each)[: self.length]
        return _Work(unit, tiles, matrix if self.slices == 1 else self._joined(matrix.astype(np.int64), tiles))

    def _joined(self, parts: np.ndarray, tiles: int) -> np.ndarray:
        """Sums of the slices' integers (rows, tiles * slices * channels), times 2**(SLICE_BITS * slice), same type."""
        if self.slices == 1:
            return parts
        parts = parts.reshape(len(parts), tiles, self.slices, -1)
        return (
            (parts << SLICE_BITS * np.arange(self.slices, dtype=parts.dtype)[:, None])
            .sum(axis=2, dtype=parts.dtype)
            .reshape(len(parts), -1)
        )

    def __call__(self, integers: np.ndarray, inputs: slice) -> np.ndarray:
        """Sums (windows, kernels of the units) of windows X (inputs, pixels, length) in uint8, int16 or float32.

        Wrapped: int32, or in a floating RUN exact integers in int64, float32 or float64.
        """
        flat = integers.reshape(-1, self.length)
        exact = self.product(flat) if self.product is not None else np.zeros((len(flat), 0), np.int32)
        if not self.wide or exact.dtype == np.int64:
            exact = wrapped(exact, self.sum_bits)
        codes = self._codes(integers) if any(work.reading is not None for work in self.works) else None
        parts, first = [], 0
        for work in self.works:
            part = None
            if work.matrix is not None:
                part = exact[:, first : first + work.matrix.shape[1]]
                first += work.matrix.shape[1]
            if work.reading is not None:
                assert codes is not None
                rest = self._joined(self._read(work, work.reading, codes, inputs), work.tiles)
                part = wrapped(rest if part is None else part.astype(rest.dtype) + rest, self.sum_bits)
            if part is None:
                bank = self.state.units[work.unit]
                assert isinstance(bank, TinyBank)
                part = bank.maximum(flat, work.tiles)
            parts.append(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _codes(self, integers: np.ndarray) -> np.ndarray:
        """Integers modulo 2**input_bits, as a Reading takes them."""
        if integers.dtype == np.uint8:
            return integers if self.bits <= 8 else integers.astype(np.uint16)
        codes = integers.astype(np.int16).view(np.uint16) & np.uint16((1 << self.bits) - 1)
        return codes.astype(np.uint8) if self.bits <= 8 else codes

    def _read(self, work: _Work, reading: Reading, codes: np.ndarray, inputs: slice) -> np.ndarray:
        """Sums of a memristor bank's reads that are not in its matrix; counts events."""
        state, plan = self.state, reading.plan
        sums, clipped, left_out = reading(codes, None if work.states is None else work.states[inputs])
        reads = plan.reads * codes.shape[1] - left_out
        state.skips[inputs] += left_out
        # Every tile and digit reads each line that is on once.
        lines = bits_on(codes)
        for event, count in (
            (Event.MEMRISTOR_READS, reads),
            (Event.ADC_CONVERSIONS, reads * state.chip.adcs),
            (Event.ADC_SATURATIONS, clipped),
            (Event.WORD_LINES_ON, lines * plan.tiles * plan.table.digits),
        ):
            state.events[event][inputs] += count
        return sums
