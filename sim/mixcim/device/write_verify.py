"""Programming of cells by write-verify, as the chip does it: pulses, target band, retry limit, endurance count.

The algorithm is that of commands.py (write-verify). A cell that is held (stuck) is pulsed like any other until it is
given up: the chip cannot know. A held cell whose code lies within the band is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import WRITE_STRIDE
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import conductance_unit

from ..errors import MixcimError
from .model import DeviceModel
from .readout import GAUSS_DEVIATION

WARM_UP = 4  #: steps of a line's generator before its first pulse
FRACTION = 12  #: fraction bits of a pulse step
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class WriteVerify:
    """Registers of the programming state machine, in conductance codes; steps in 1/4096 code."""

    band: int
    coarse: int
    step_mean: int
    step_sigma: int
    fine_shift: int
    retry_limit: int
    endurance: int
    highest: int

    @classmethod
    def of(cls, device: DeviceModel, chip: ChipConfig) -> WriteVerify:
        """The registers for a device on a chip. Coarse pulses are those farther than their mean from the target."""
        unit, pulses = conductance_unit(chip.conductance_bits), device.programming
        return cls(
            band=round(pulses.band * unit),
            coarse=max(round(pulses.step_mean * unit), 1),
            step_mean=round(pulses.step_mean * unit * (1 << FRACTION)),
            step_sigma=round(pulses.step_sigma * unit * (1 << FRACTION) / GAUSS_DEVIATION),
            fine_shift=pulses.fine_shift,
            retry_limit=pulses.retry_limit,
            endurance=pulses.endurance_cycles,
            highest=(1 << chip.conductance_bits) - 1,
        )


@dataclass(frozen=True, eq=False)
class ProgrammingReport:
    """What programming took. `pulses` uint16 and `given_up` bool, (lines, rows); `wear` int64 (lines,): programmings
    of each line so far; `endurance`: how many it survives."""

    pulses: np.ndarray
    given_up: np.ndarray
    wear: np.ndarray
    endurance: int

    @classmethod
    def joined(cls, reports: Sequence[ProgrammingReport]) -> ProgrammingReport:
        """Reports of different lines (at least one) as one."""
        arrays = [np.concatenate([getattr(one, name) for one in reports]) for name in ("pulses", "given_up", "wear")]
        return cls(*arrays, endurance=reports[0].endurance)

    @property
    def histogram(self) -> np.ndarray:
        """Cells that took 0, 1, 2, ... pulses."""
        return np.bincount(self.pulses.ravel())

    @property
    def yielded(self) -> float:
        """Share of the cells that reached their band."""
        return 1.0 - float(self.given_up.mean()) if self.given_up.size else 1.0

    @property
    def endurance_used(self) -> float:
        """Share of its endurance that the most used line has behind it."""
        return float(self.wear.max(initial=0)) / self.endurance

    def summary(self) -> dict[str, float | int]:
        """Numbers for tables: cells, pulses in all, pulses per cell (mean, most), yield, cells given up, endurance."""
        return {
            "cells": int(self.pulses.size),
            "pulses": int(self.pulses.sum()),
            "pulses_per_cell": float(self.pulses.mean()) if self.pulses.size else 0.0,
            "most_pulses": int(self.pulses.max(initial=0)),
            "yield": self.yielded,
            "given_up": int(self.given_up.sum()),
            "endurance_used": self.endurance_used,
        }


def line_states(seed: int, lines: np.ndarray) -> np.ndarray:
    """Generator state of each line before its first pulse: uint32, one for each of the line numbers `lines`."""
    number = lines.astype(np.uint64) + np.uint64(1)
    states = ((np.uint64(seed) + number * np.uint64(WRITE_STRIDE)) & np.uint64(_WORD)).astype(np.uint32)
    states[states == 0] = WRITE_STRIDE
    for _ in range(WARM_UP):
        states = xorshift32(states)
    return states


def xorshift32(states: np.ndarray) -> np.ndarray:
    """One step of the generator, uint32 of any shape (Marsaglia 2003, 13/17/5)."""
    states = states ^ (states << np.uint32(13))
    states = states ^ (states >> np.uint32(17))
    return states ^ (states << np.uint32(5))


def worn_out(line: int, wear: int, endurance: int) -> str:
    """What is said of a line whose endurance is used up."""
    return (
        f"line {line} has been programmed {wear} times, its endurance is {endurance}: it keeps what it holds; "
        f"use other lines, or a device with more endurance_cycles"
    )


def check_programming(lines: np.ndarray, targets: np.ndarray, held: np.ndarray, seed: int, chip: ChipConfig) -> None:
    """Raise MixcimError unless `targets` (uint8) and `held` (bool) are (lines, rows), `lines` are a bank's, and `seed`
    has 32 bits."""
    shape = (len(lines), chip.rows)
    if targets.shape != shape or targets.dtype != np.uint8 or held.shape != shape or held.dtype != bool:
        raise MixcimError(
            f"targets must be uint8 and held bool, both {shape}, not {targets.dtype} {targets.shape} and "
            f"{held.dtype} {held.shape}"
        )
    last = chip.memristor_words * chip.physical_columns - 1
    if len(lines) and not 0 <= int(lines.min()) <= int(lines.max()) <= last:
        raise MixcimError(f"lines must be from 0 to {last} on chip '{chip.name}', not {lines.min()} to {lines.max()}")
    if not 0 <= seed <= _WORD:
        raise MixcimError(f"programming seed must be from 0 to {_WORD}, not {seed}")


def program_lines(
    targets: np.ndarray,
    codes: np.ndarray,
    registers: WriteVerify,
    *,
    seed: int,
    lines: np.ndarray | None = None,
    held: np.ndarray | None = None,
    wear: np.ndarray | None = None,
) -> tuple[np.ndarray, ProgrammingReport]:
    """Program lines: the cells' codes afterwards, uint8 (lines, rows), and the report.

    `targets`, `codes` (before): uint8 (lines, rows). `lines`: their numbers among the lines of all banks, integers
    (default: from 0 on). `held`: bool (lines, rows), cells that do not move. `wear`: programmings of each line so far,
    integers (lines,). Lines are independent: any split gives the same codes. Raises MixcimError before anything is
    changed: shapes that differ, a seed that is not 32 bits, endurance used up.
    """
    if targets.shape != codes.shape or targets.ndim != 2 or targets.dtype != np.uint8 or codes.dtype != np.uint8:
        raise MixcimError(
            f"targets and codes must be uint8 (lines, rows) alike, not {targets.dtype} {targets.shape} and "
            f"{codes.dtype} {codes.shape}"
        )
    if not 0 <= seed <= _WORD:
        raise MixcimError(f"programming seed must be from 0 to {_WORD}, not {seed}")
    count, rows = targets.shape
    numbers = np.arange(count) if lines is None else lines
    used = np.zeros(count, np.int64) if wear is None else np.array(wear, np.int64)
    worn = np.flatnonzero(used >= registers.endurance)
    if len(worn):
        raise MixcimError(worn_out(int(numbers[worn[0]]), int(used[worn[0]]), registers.endurance))
    still = np.zeros(targets.shape, bool) if held is None else held
    target = targets.astype(np.int64)
    cells = codes.astype(np.int64)
    pulses, given_up = np.zeros(targets.shape, np.uint16), np.zeros(targets.shape, bool)
    states, row = line_states(seed, numbers), np.zeros(count, np.int64)
    busy = np.arange(count if rows else 0)
    while len(busy):  # every line that is not through does one verify, and a pulse if it needs one
        here = busy, row[busy]
        error = target[here] - cells[here]
        outside = np.abs(error) > registers.band
        spent = pulses[here] >= registers.retry_limit
        given_up[here] = outside & spent
        pulsing = outside & ~spent
        _pulse(busy[pulsing], row, error[pulsing], cells, still, states, registers)
        pulses[busy[pulsing], row[busy[pulsing]]] += 1
        row[busy[~pulsing]] += 1
        busy = busy[row[busy] < rows]
    used += (pulses > 0).any(axis=1)
    return cells.astype(np.uint8), ProgrammingReport(pulses, given_up, used, registers.endurance)


def _pulse(
    lines: np.ndarray,
    row: np.ndarray,
    error: np.ndarray,
    cells: np.ndarray,
    held: np.ndarray,
    states: np.ndarray,
    registers: WriteVerify,
) -> None:
    """One pulse on the present row of `lines` (indices); `error`: target less code of each. Changes cells, states."""
    state = xorshift32(states[lines])
    states[lines] = state
    noise = sum((state >> np.uint32(shift) & np.uint32(255)).astype(np.int64) for shift in (0, 8, 16, 24)) - 510
    step = np.maximum(registers.step_mean + noise * registers.step_sigma, 0)
    step = np.where(np.abs(error) < registers.coarse, step >> registers.fine_shift, step)
    step = (step + (1 << FRACTION - 1)) >> FRACTION
    place = lines, row[lines]
    moved = np.clip(cells[place] + np.where(error > 0, step, -step), 0, registers.highest)
    cells[place] = np.where(held[place], cells[place], moved)
