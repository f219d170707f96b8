"""What a device makes of ideal conductance codes: spread, drift, stuck cells, IR drop, rounding.

Draws. Every bank has a numpy PCG64 generator, seeded with SeedSequence((seed, bank)). Cell (line, row) owns the four
doubles in [0, 1) at place (line * rows + row) * 4 of its sequence: two make two Gaussian numbers by Box-Muller
(programming spread, drift), the third decides whether the cell is stuck, the fourth picks a measured cell. So a cell's
draws depend on seed, bank, line and row only: not on how many lines are worked out, nor on time and temperature. The
same seed at a later time is the same chip, later.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import conductance_unit
from mixcim_hdl.program import Program

from ..errors import MixcimError
from .model import ROOM_C, DeviceModel

DRAWS = 4  #: doubles that a cell owns
FREE, STUCK_HRS, STUCK_LRS = 0, 1, 2  #: kinds of cell, as `stuck_cells` gives them
_CHUNK = 1 << 18  #: cells worked out at a time


def conductance_codes(
    device: DeviceModel,
    targets: np.ndarray,
    chip: ChipConfig,
    *,
    seed: int,
    time_s: float = 1.0,
    temperature_c: float = ROOM_C,
    bank: int = 0,
    first_line: int = 0,
    programmed: bool = False,
) -> np.ndarray:
    """Conductance codes of cells `time_s` seconds after programming, uint8 (lines, rows).

    `targets`: uint8 (lines, rows), ideal codes as in Program.memristor, of the lines from `first_line` on. With
    `programmed` they are what write-verify left (spread is in them already). Raises MixcimError: wrong shape or type,
    seed below 0, time or temperature that the device does not cover, word-line resistance with half a read group.
    """
    if targets.ndim != 2 or targets.shape[1] != chip.rows or targets.dtype != np.uint8:
        raise MixcimError(f"targets must be uint8 (lines, {chip.rows}), not {targets.dtype} {targets.shape}")
    if seed < 0:
        raise MixcimError(f"device seed must be from 0 on, not {seed}")
    columns = chip.physical_columns
    if device.wire.word_line_ohm and first_line % columns:
        raise MixcimError(f"with word-line resistance, lines must start at a multiple of {columns}, not {first_line}")
    device.retention(np.zeros(1), time_s, temperature_c)
    result = np.empty_like(targets)
    step = max(_CHUNK // (chip.rows * columns), 1) * columns
    for first in range(0, len(targets), step):
        part = targets[first : first + step]
        draws = _draws(seed, bank, first_line + first, part.shape)
        conductance = _conductances(device, part, chip, draws, time_s, temperature_c, programmed)
        kinds = _stuck(device, draws[..., 2])
        conductance[kinds == STUCK_HRS] = device.hrs_uS
        conductance[kinds == STUCK_LRS] = device.lrs_uS
        conductance = _after_ir_drop(device, np.maximum(conductance, 0.0), columns)
        result[first : first + step] = device.codes(conductance, chip.conductance_bits)
    return result


def stuck_cells(
    device: DeviceModel, shape: tuple[int, int], *, seed: int, bank: int = 0, first_line: int = 0
) -> np.ndarray:
    """Kind of every cell (FREE, STUCK_HRS, STUCK_LRS), uint8 of `shape` (lines, rows): those that the seed makes."""
    return _stuck(device, _draws(seed, bank, first_line, shape)[..., 2])


def virgin_codes(device: DeviceModel, kinds: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Codes of cells that were never programmed, uint8 like `kinds` (from stuck_cells): HRS, or that of stuck LRS."""
    low, high = device.codes(np.array([device.hrs_uS, device.lrs_uS]), chip.conductance_bits)
    return np.where(kinds == STUCK_LRS, high, low)


def apply_device(
    program: Program,
    chip: ChipConfig,
    device: DeviceModel,
    *,
    seed: int,
    time_s: float = 1.0,
    temperature_c: float = ROOM_C,
) -> Program:
    """The program with the cells of a device, `time_s` seconds after programming; only `memristor` differs.

    Raises MixcimError for a program whose cells are not ideal any more, and as conductance_codes does.
    """
    refuse_programmed(program)
    lines = tuple(
        conductance_codes(device, targets, chip, seed=seed, time_s=time_s, temperature_c=temperature_c, bank=bank)
        for bank, targets in enumerate(program.memristor)
    )
    name = "" if device == DeviceModel() else device.name
    return dataclasses.replace(program, memristor=lines, device=name)


def refuse_programmed(program: Program) -> None:
    """Raise MixcimError if the program's cells are not ideal any more."""
    if program.device:
        raise MixcimError(
            f"program '{program.network}' has the cells of a device already, '{program.device}': compile it without "
            f"--device"
        )


def _draws(seed: int, bank: int, first_line: int, shape: tuple[int, int]) -> np.ndarray:
    generator = np.random.PCG64(np.random.SeedSequence((seed, bank)))
    generator.advance(first_line * shape[1] * DRAWS)
    return np.random.Generator(generator).random((*shape, DRAWS))


def _stuck(device: DeviceModel, draw: np.ndarray) -> np.ndarray:
    kinds = np.full(draw.shape, FREE, np.uint8)
    kinds[draw < device.stuck_hrs + device.stuck_lrs] = STUCK_LRS
    kinds[draw < device.stuck_hrs] = STUCK_HRS
    return kinds


def _conductances(
    device: DeviceModel,
    targets: np.ndarray,
    chip: ChipConfig,
    draws: np.ndarray,
    time_s: float,
    temperature_c: float,
    programmed: bool,
) -> np.ndarray:
    """Conductances in uS, before stuck cells and IR drop."""
    unit = conductance_unit(chip.conductance_bits)
    # What write-verify left are codes as they are; targets stand for levels.
    start = targets * (device.step_uS / unit) if programmed else device.nominal_uS(targets, unit)
    if device.sampling == "cells":
        assert device.cells is not None
        result = np.empty(targets.shape)
        for code in np.unique(targets):
            here = targets == code
            nominal = float(start[here][0])
            first, later = device.cells.draw(nominal, time_s, temperature_c, draws[here, 3], draws[here, 0])
            result[here] = nominal + later - first if programmed else later
        return result
    radius = np.sqrt(-2 * np.log1p(-draws[..., 0]))
    angle = 2 * np.pi * draws[..., 1]
    mean, sigma = device.retention(start, time_s, temperature_c)
    result = start + mean + sigma * radius * np.sin(angle)
    spread = device.spread.sigma(start)
    if programmed:  # what is more than the band came after the pulses: relaxation
        within = device.programming.band * device.step_uS / math.sqrt(3)
        spread = np.sqrt(np.maximum(spread**2 - within**2, 0.0)) if time_s > 0 else np.zeros_like(start)
    return result + spread * radius * np.cos(angle)


def _after_ir_drop(device: DeviceModel, conductance: np.ndarray, columns: int) -> np.ndarray:
    """Conductances in uS (lines, rows) as the sense amplifiers see them, first order in the line resistance.

    Row 0 is next to the sense amplifier, column 0 (of the `columns` that are read together) next to the row driver. A
    cell's own current flows through all the wire up to it; the current of every other cell on the line, through the
    wire that both share. On a bit line `active_word_lines` of the rows conduct, on a row line all columns.
    """
    wire = device.wire
    drop = np.zeros_like(conductance)
    if wire.bit_line_ohm:
        rows = conductance.shape[1]
        share = min(max((wire.active_word_lines - 1) / max(rows - 1, 1), 0.0), 1.0)
        drop += 1e-6 * wire.bit_line_ohm * _shared_wire(conductance, share)
    if wire.word_line_ohm:
        padded = np.zeros((-(-len(conductance) // columns) * columns, conductance.shape[1]))
        padded[: len(conductance)] = conductance
        groups = padded.reshape(-1, columns, conductance.shape[1]).transpose(0, 2, 1)
        load = _shared_wire(groups, 1.0).transpose(0, 2, 1).reshape(padded.shape)
        drop += 1e-6 * wire.word_line_ohm * load[: len(conductance)]
    return conductance * np.maximum(1 - drop, 0.0)


def _shared_wire(conductance: np.ndarray, share: float) -> np.ndarray:
    """Sum over the cells k of the last axis of G_k x wire pieces that k and the cell have in common; others x share."""
    from_here = np.cumsum(conductance[..., ::-1], axis=-1)[..., ::-1]  # current through the piece before each cell
    own = conductance * np.arange(1, conductance.shape[-1] + 1)
    return share * np.cumsum(from_here, axis=-1) + (1 - share) * own
