"""Programming of cells by write-verify, as the chip does it: pulses, target band, retry limit, endurance count.

All numbers are unsigned integers unless said otherwise. A line's cells are done one after the other, row 0 first. Each
line has its own noise generator: xorshift32, the one of the read noise. Pseudo code of one line:

    if cycles[line] == endurance: refuse the line                    # nothing is changed, the host is told
    x = (seed + (line + 1) * 0x9E3779B1) mod 2**32                   # consecutive lines: one adder
    if x == 0: x = 0x9E3779B1
    repeat 4 times: x = xorshift32(x)                                # x ^= x << 13; x ^= x >> 17; x ^= x << 5
    pulsed = 0
    for row in 0 .. rows - 1:
        pulses = 0
        loop:
            code  = cell[line][row]                                  # verify: a read of one cell
            error = target[line][row] - code                         # signed
            if abs(error) <= band:          done                     # accepted
            if pulses == retry_limit:       given_up; done
            x      = xorshift32(x)
            noise  = x[7:0] + x[15:8] + x[23:16] + x[31:24] - 510    # signed, deviation 147.80
            step   = max(step_mean + noise * step_sigma, 0)          # in 1/4096 code
            if abs(error) < coarse:         step = step >> fine_shift
            step   = (step + 2048) >> 12                             # in codes, rounded half up
            if cell is not stuck:
                if error > 0: code = min(code + step, 2**conductance_bits - 1)   # SET
                else:         code = max(code - step, 0)                         # RESET
                cell[line][row] = code
            pulses = pulses + 1
            pulsed = 1
    cycles[line] = cycles[line] + pulsed

A cell that is stuck is pulsed like any other until it is given up: the chip cannot know. A stuck cell whose code lies
within the band is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import conductance_unit

from ..errors import MixcimError
from .cells import FREE, GAUSS_DEVIATION, STUCK_HRS
from .model import DeviceModel

LINE_STRIDE = 0x9E3779B1  #: seeds of consecutive lines differ by it
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
    hrs_code: int
    lrs_code: int

    @classmethod
    def of(cls, device: DeviceModel, chip: ChipConfig) -> WriteVerify:
        """The registers for a device on a chip. Coarse pulses are those farther than their mean from the target."""
        unit, pulses = conductance_unit(chip.conductance_bits), device.programming
        ends = device.codes(np.array([device.hrs_uS, device.lrs_uS]), chip.conductance_bits)
        return cls(
            band=round(pulses.band * unit),
            coarse=max(round(pulses.step_mean * unit), 1),
            step_mean=round(pulses.step_mean * unit * (1 << FRACTION)),
            step_sigma=round(pulses.step_sigma * unit * (1 << FRACTION) / GAUSS_DEVIATION),
            fine_shift=pulses.fine_shift,
            retry_limit=pulses.retry_limit,
            endurance=pulses.endurance_cycles,
            highest=(1 << chip.conductance_bits) - 1,
            hrs_code=int(ends[0]),
            lrs_code=int(ends[1]),
        )


@dataclass(frozen=True, eq=False)
class ProgrammingReport:
    """What programming took. `pulses` uint16 and `given_up` bool, (lines, rows); `cycles` int64 (lines,): programmings
    of each line so far; `endurance`: how many it survives."""

    pulses: np.ndarray
    given_up: np.ndarray
    cycles: np.ndarray
    endurance: int

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
        return float(self.cycles.max(initial=0)) / self.endurance

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


def line_states(seed: int, first_line: int, lines: int) -> np.ndarray:
    """Generator state of each line before its first pulse: uint32 (lines,)."""
    number = np.arange(first_line + 1, first_line + lines + 1, dtype=np.uint64)
    states = ((np.uint64(seed) + number * np.uint64(LINE_STRIDE)) & np.uint64(_WORD)).astype(np.uint32)
    states[states == 0] = LINE_STRIDE
    for _ in range(WARM_UP):
        states = xorshift32(states)
    return states


def xorshift32(states: np.ndarray) -> np.ndarray:
    """One step of the generator, uint32 of any shape (Marsaglia 2003, 13/17/5)."""
    states = states ^ (states << np.uint32(13))
    states = states ^ (states >> np.uint32(17))
    return states ^ (states << np.uint32(5))


def program_lines(
    targets: np.ndarray,
    codes: np.ndarray,
    registers: WriteVerify,
    *,
    seed: int,
    first_line: int = 0,
    stuck: np.ndarray | None = None,
    cycles: np.ndarray | None = None,
) -> tuple[np.ndarray, ProgrammingReport]:
    """Program lines: the cells' codes afterwards, uint8 (lines, rows), and the report.

    `targets`, `codes` (before): uint8 (lines, rows). `stuck`: kinds as cells.stuck_cells gives them. `cycles`:
    programmings of each line so far, integers (lines,). Lines are independent: any split gives the same codes. Raises
    MixcimError before anything is changed: shapes that differ, a seed that is not 32 bits, endurance used up.
    """
    if targets.shape != codes.shape or targets.ndim != 2 or targets.dtype != np.uint8 or codes.dtype != np.uint8:
        raise MixcimError(
            f"targets and codes must be uint8 (lines, rows) alike, not {targets.dtype} {targets.shape} and "
            f"{codes.dtype} {codes.shape}"
        )
    if not 0 <= seed <= _WORD:
        raise MixcimError(f"programming seed must be from 0 to {_WORD}, not {seed}")
    lines, rows = targets.shape
    used = np.zeros(lines, np.int64) if cycles is None else np.array(cycles, np.int64)
    worn = np.flatnonzero(used >= registers.endurance)
    if len(worn):
        raise MixcimError(
            f"line {first_line + int(worn[0])} has been programmed {int(used[worn[0]])} times, its endurance is "
            f"{registers.endurance}: {len(worn)} lines are worn out, nothing is programmed; use other lines"
        )
    kinds = np.full(targets.shape, FREE, np.uint8) if stuck is None else stuck
    target = targets.astype(np.int64)
    cells = codes.astype(np.int64)
    held = kinds != FREE
    cells[held] = np.where(kinds[held] == STUCK_HRS, registers.hrs_code, registers.lrs_code)
    pulses, given_up = np.zeros(targets.shape, np.uint16), np.zeros(targets.shape, bool)
    states, row = line_states(seed, first_line, lines), np.zeros(lines, np.int64)
    busy = np.arange(lines if rows else 0)
    while len(busy):  # every line that is not through does one verify, and a pulse if it needs one
        here = busy, row[busy]
        error = target[here] - cells[here]
        outside = np.abs(error) > registers.band
        spent = pulses[here] >= registers.retry_limit
        given_up[here] = outside & spent
        pulsing = outside & ~spent
        _pulse(busy[pulsing], row, error[pulsing], cells, held, states, registers)
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
