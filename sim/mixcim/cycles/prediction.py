"""When each command of a program begins: fills in what cycles.cpp, the RTL's state machines without data, needs."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixcim_hdl.commands import Fault, Opcode, TinyMode, command_layout, opcode_words
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.program import Program

from ..errors import MixcimError
from ..host.cycles import command_cycles
from ..model.legality import illegal
from ..native import build_source

_SOURCE = Path(__file__).with_name("cycles.cpp")
_OPTIONS = ("-std=c++20", "-O3", "-fvisibility=hidden", "-Wno-parentheses")

#: Constants of the RTL's classes, which are not imported: Amaranth takes a second. Tests hold them to the classes.
BANK_LATENCY = {UnitKind.MEMRISTOR: 5, UnitKind.SRAM: 2, UnitKind.TINY: 2}  # EXTRA_LATENCY
#: The same of a deep pipeline, where it is another.
DEEP_BANK_LATENCY = {UnitKind.MEMRISTOR: 10, UnitKind.SRAM: 3}
LANE_LATENCY, DEEP_LANE_LATENCY, FLOAT_LANE_LATENCY = 20, 43, 28
ALIGN_LATENCY = 2
POOL_LANE_LATENCY, FLOAT_ADD_LATENCY = 7, 5

#: Fields of `struct Run` in order; the last ones are not fields of the command.
_RUN = (
    "granule_log2", "tap_words", "kernel_width", "kernel_height", "output_width", "output_height", "group_count",
    "first_group", "input_height", "input_width", "stride_x", "stride_y", "pad_left", "pad_top",
    "window_start", "window_step_x", "window_step_y", "row_pitch", "pixel_pitch", "output_pitch",
    "tap_exponents", "weight_slices", "copies", "residual", "floating", "output_base", "residual_base", "output_tiles",
    "pooling", "pool_parameter", "floating_input", "floating_output", "wide", "output_wide", "residual_wide",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prediction:
    """Cycles of one run of a program, counted as the chip's registers count them.

    `begins`: int64 (commands,), cycles from the start to the begin of each command up to END, as in the RTL's log.
    `cycles`: of each of them, as host.cycles.command_cycles gives them. `total`: of the whole run, as in RUN_CYCLES.
    `exact`: False for a program whose memristor banks leave out reads that no word line takes part in
    (skip_zero_groups): how many depends on the data, and the numbers are those of no read left out, an upper bound (but
    for chance: fewer reads may meet more conflicts of memory banks).
    """

    begins: np.ndarray
    cycles: np.ndarray
    total: int
    exact: bool


def predict(program: Program, chip: ChipConfig, *, bound: bool = False) -> Prediction:
    """Begin of every command and the end of the program, to the cycle.

    `bound`: allow a program whose cycles depend on its data (see Prediction.exact). Raises MixcimError for one if not,
    for a RUN that the chip would stop with a fault (LOADs, TABLEs and exponent entries are taken to be right), and
    without a C++ compiler.
    """
    program.check_chip(chip)
    commands, runs, units, exact = _tables(program, chip)
    if not exact and not bound:
        raise MixcimError(
            f"cycles of '{program.network}' depend on its data: its word-line table leaves out reads without a word "
            "line (skip_zero_groups); ask for an upper bound, or run it on the RTL"
        )
    latency = BANK_LATENCY | (DEEP_BANK_LATENCY if chip.deep_pipeline else {})
    kinds = np.array([(chip.engine_of(unit), latency[kind] - 1) for unit, kind in enumerate(chip.units)], np.int32)
    tiles = np.stack([program.word_offset, program.lane_mask, program.exponent_offset], axis=1)
    padded = np.zeros((chip.parameter_tiles, tiles.shape[1]), np.int32)
    padded[: len(tiles)] = tiles
    begins, cause = np.zeros(len(commands), np.int64), np.zeros(3, np.int32)
    arrays = (_sizes(chip), kinds, padded, commands, runs, units, begins, cause)
    total = _library().mixcim_cycles(*(array.ctypes.data for array in arrays))
    if total < 0:
        command, fault, detail = cause.tolist()
        raise _stopped(program, command, Fault(fault), detail)
    return Prediction(begins, command_cycles(program.commands, begins, total), total, exact)


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled simulator. Raises MixcimError without a C++ compiler."""
    library = ctypes.CDLL(str(build_source(_SOURCE, _OPTIONS)))
    library.mixcim_cycles.restype = ctypes.c_int64
    library.mixcim_cycles.argtypes = [ctypes.c_void_p] * 8
    return library


def _sizes(chip: ChipConfig) -> np.ndarray:
    """`struct Chip`."""
    deep = chip.deep_pipeline
    alignment = ALIGN_LATENCY if chip.floating_point else deep
    lane = DEEP_LANE_LATENCY if deep else LANE_LATENCY
    return np.array(
        [
            *(chip.engines, len(chip.units), chip.vector_queue, chip.activation_words, chip.activation_banks),
            *(chip.channels // chip.output_lanes, chip.output_lanes, chip.parameter_tiles),
            *(chip.rows, chip.feeder_words, chip.window_words, alignment, lane, FLOAT_LANE_LATENCY),
            *(max(chip.channels // chip.output_lanes, FLOAT_ADD_LATENCY), POOL_LANE_LATENCY, deep, chip.load_cycles),
        ],
        np.int32,
    )


def _tables(program: Program, chip: ChipConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """`struct Command` of each command, `struct Run` and `struct UnitRun`s of each RUN, and Prediction.exact."""
    opcodes = program.commands[:, 0] & 0xFF
    unknown = np.flatnonzero(~np.isin(opcodes, list(Opcode)))
    ends = np.flatnonzero(opcodes == Opcode.END)
    if len(unknown) or not len(ends):
        raise MixcimError(f"program '{program.network}' has commands that are none, or no END")
    used = program.commands[: ends[0] + 1]
    opcodes = opcodes[: len(used)]
    at = {opcode: np.flatnonzero(opcodes == opcode) for opcode in Opcode}
    fields = {opcode: decode_commands(used[at[opcode]], opcode, chip) for opcode in Opcode}
    commands = np.zeros((len(used), 5), np.int32)
    commands[:, 0] = opcodes
    commands[:, 1] = np.array([0, *(opcode_words(opcode, chip) for opcode in Opcode)])[opcodes]
    for column, name in ((2, "overlap"), (3, "count")):
        commands[at[Opcode.LOAD], column] = fields[Opcode.LOAD][name]
    commands[:, 4] = -1
    commands[at[Opcode.RUN], 4] = np.arange(len(at[Opcode.RUN]))
    _check(program, at[Opcode.RUN], fields[Opcode.RUN], chip)
    # The word-line table of each RUN is that of the last TABLE before it.
    tables = np.searchsorted(at[Opcode.TABLE], at[Opcode.RUN]) - 1
    units = _units(fields[Opcode.RUN], fields[Opcode.TABLE], tables, chip)
    memristors = [unit for unit, kind in enumerate(chip.units) if kind is UnitKind.MEMRISTOR]
    reading = units[:, memristors, 0].any(axis=1)
    if (reading & (tables < 0)).any():
        raise MixcimError(f"program '{program.network}' reads memristor banks before its first TABLE")
    skips = fields[Opcode.TABLE]["skip_zero_groups"][tables] if len(at[Opcode.TABLE]) else np.zeros(len(tables))
    exact = not (reading & (skips != 0) & (fields[Opcode.RUN]["group_count"] == 1)).any()
    return commands, _runs(fields[Opcode.RUN]), units, bool(exact)


def decode_commands(commands: np.ndarray, opcode: Opcode, chip: ChipConfig) -> dict[str, np.ndarray]:
    """Fields of commands uint32 (commands, words) that have all this opcode: int64 (commands,) each."""
    return {
        name: commands[:, bit // 32].astype(np.int64) >> bit % 32 & (1 << width) - 1
        for name, (bit, width) in command_layout(opcode, chip).items()
    }


def window_rows(fields: Mapping[str, Any]) -> Any:
    """Rows of a window, of one RUN or of many."""
    return fields["kernel_height"] * fields["kernel_width"] * fields["tap_words"] << fields["granule_log2"]


def _check(program: Program, numbers: np.ndarray, fields: Mapping[str, np.ndarray], chip: ChipConfig) -> None:
    """Raise MixcimError for a RUN that the chip refuses; `numbers`: of its commands."""
    rows = np.stack(list(fields.values()), axis=1).tolist()
    for number, row in zip(numbers, rows, strict=True):
        run = dict(zip(fields, row, strict=True))
        if reason := illegal(run, chip):
            raise MixcimError(f"command {number} of '{program.network}': {reason}")
        for unit, kind in enumerate(chip.units):
            if run[f"slot[{unit}]"] + _words(unit, run, chip) > chip.unit_capacity(kind):
                raise _stopped(program, number, Fault.UNIT_ADDRESS, unit)


def _words(unit: int, run: Mapping[str, int], chip: ChipConfig) -> int:
    """Slots or weight words that a unit reads in a RUN."""
    mode, windows = run[f"mode[{unit}]"], run["output_height"] * run["output_width"]
    kind, tiles = chip.units[unit], run[f"tiles[{unit}]"]
    if (kind is UnitKind.TINY and mode == TinyMode.MAX) or run[f"copy[{unit}]"] >= windows:
        return 0
    stride = chip.channels if kind is UnitKind.TINY and mode == TinyMode.BROADCAST else 1
    return run["group_count"] * chip.window_steps(kind, mode, window_rows(run), tiles) * run["weight_slices"] * stride


def _stopped(program: Program, command: int, fault: Fault, detail: int) -> MixcimError:
    """What is said of a program that the chip stops."""
    return MixcimError(f"command {command} of '{program.network}' stops with fault {fault.name}, detail {detail:#x}")


def _runs(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """`struct Run` of each RUN."""
    wide = np.array([item.bytes == 2 for item in ElementFormat])
    more = {
        "floating_input": fields["input_format"] != ElementFormat.INTEGER,
        "floating_output": fields["output_format"] != ElementFormat.INTEGER,
        "wide": wide[fields["input_format"]],
        "output_wide": wide[fields["output_format"]],
        "residual_wide": wide[fields["residual_format"]],
    }
    columns = [more[name] if name in more else fields[name] for name in _RUN]
    # Unsigned 32-bit fields keep their bits.
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.uint32)).view(np.int32)


def _units(
    fields: Mapping[str, np.ndarray], table: Mapping[str, np.ndarray], tables: np.ndarray, chip: ChipConfig
) -> np.ndarray:
    """`struct UnitRun` of every unit of each RUN: int32 (RUNs, units, 7). `tables`: which table each RUN has."""
    length = window_rows(fields)
    lengths = np.stack([np.full_like(length, chip.rows), (length - 1) % chip.rows + 1], axis=1)
    reads = memristor_reads(fields["input_bits"], lengths, table, tables, chip)
    result = np.zeros((len(length), len(chip.units), 7), np.int32)
    for unit, kind in enumerate(chip.units):
        for column, name in enumerate(("tiles", "copy", "parameter")):
            result[:, unit, column] = fields[f"{name}[{unit}]"]
        if kind is UnitKind.SRAM:
            cycles = np.repeat(chip.sram_cycles(fields["input_bits"])[:, None], 2, axis=1)
        elif kind is UnitKind.MEMRISTOR:
            cycles = reads
        else:
            broadcast = fields[f"mode[{unit}]"][:, None] == TinyMode.BROADCAST
            cycles = np.where(broadcast, lengths, -(-lengths // chip.channels))
        result[:, unit, 3:5] = cycles
        modes = fields[f"mode[{unit}]"].tolist()
        result[:, unit, 5:] = [
            [chip.packed_tiles(kind, mode, rows) for rows in pair]
            for mode, pair in zip(modes, lengths.tolist(), strict=True)
        ]
    return result


def memristor_reads(
    input_bits: np.ndarray,
    lengths: np.ndarray,
    table: Mapping[str, np.ndarray],
    tables: np.ndarray,
    chip: ChipConfig,
) -> np.ndarray:
    """Reads of a memristor bank for steps of `lengths` (RUNs, any) rows, none left out: int64 of the same shape.

    `input_bits`, `tables`: (RUNs,). `table`: fields of all TABLEs.
    """
    digits = len(chip.mode.cells)
    result = np.zeros_like(lengths)
    for run in np.flatnonzero(tables >= 0):
        number = tables[run]
        for bit in range(min(int(input_bits[run]), chip.input_planes)):
            for digit in range(int(table["digits"][number])):
                result[run] += -(-lengths[run] // table[f"rows_per_read[{bit * digits + digit}]"][number])
    return result
