"""When each command of a program begins: fills in what cycles.cpp, the RTL's state machines without data, needs."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixcim_hdl.commands import Fault, Opcode, TinyMode, decode_command, opcode_words
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.program import Program

from ..errors import MixcimError
from ..model.legality import illegal
from ..native import build_source

_SOURCE = Path(__file__).with_name("cycles.cpp")
_OPTIONS = ("-std=c++20", "-O3", "-fvisibility=hidden", "-Wno-parentheses")

#: Constants of the RTL's classes, which are not imported: Amaranth takes a second. Tests hold them to the classes.
BANK_LATENCY = {UnitKind.MEMRISTOR: 5, UnitKind.SRAM: 2, UnitKind.TINY: 2}  # EXTRA_LATENCY
LANE_LATENCY, FLOAT_LANE_LATENCY = 20, 28
ALIGN_LATENCY = 2

#: Fields of `struct Run` in order; the last ones are not fields of the command.
_RUN = (
    "granule_log2", "tap_words", "kernel_width", "kernel_height", "output_width", "output_height", "group_count",
    "first_group", "input_height", "input_width", "stride_x", "stride_y", "pad_left", "pad_top",
    "window_start", "window_step_x", "window_step_y", "row_pitch", "pixel_pitch", "output_pitch",
    "tap_exponents", "weight_slices", "copies", "residual", "floating", "output_base", "residual_base", "output_tiles",
    "floating_input", "floating_output", "wide", "output_wide", "residual_wide",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prediction:
    """Cycles of one run of a program, counted as the chip's registers count them.

    `begins`: int64 (commands,), cycles from the start to the begin of each command, as in the RTL's cycle log. `total`:
    of the whole run, as in RUN_CYCLES. `exact`: False for a program whose memristor banks leave out reads that no word
    line takes part in (skip_zero_groups): how many depends on the data, and the numbers are those of no read left out.
    """

    begins: np.ndarray
    total: int
    exact: bool


def predict(program: Program, chip: ChipConfig, *, bound: bool = False) -> Prediction:
    """Begin of every command and the end of the program, to the cycle.

    `bound`: allow a program whose cycles depend on its data (see Prediction.exact). Raises MixcimError for one if not,
    for a program that the chip would stop with a fault, and without a C++ compiler.
    """
    program.check_chip(chip)
    commands, runs, units, exact = _tables(program, chip)
    if not exact and not bound:
        raise MixcimError(
            f"cycles of '{program.network}' depend on its data: its word-line table leaves out reads without a word "
            "line (skip_zero_groups); ask for an upper bound, or run it on the RTL"
        )
    kinds = np.array([(chip.engine_of(unit), BANK_LATENCY[kind] - 1) for unit, kind in enumerate(chip.units)], np.int32)
    tiles = np.stack([program.word_offset, program.lane_mask, program.exponent_offset], axis=1)
    padded = np.zeros((chip.parameter_tiles, tiles.shape[1]), np.int32)
    padded[: len(tiles)] = tiles
    begins, cause = np.zeros(len(commands), np.int64), np.zeros(3, np.int32)
    arrays = (_sizes(chip), kinds, padded, commands)
    total = _library().mixcim_cycles(
        *(array.ctypes.data for array in arrays),
        len(commands),
        *(array.ctypes.data for array in (runs, units, begins, cause)),
    )
    if total < 0:
        command, fault, detail = cause.tolist()
        raise MixcimError(f"command {command} of '{program.network}' stops with {Fault(fault).name}, detail {detail:#x}")
    return Prediction(begins, total, exact)


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled simulator. Raises MixcimError without a C++ compiler."""
    library = ctypes.CDLL(str(build_source(_SOURCE, _OPTIONS)))
    library.mixcim_cycles.restype = ctypes.c_int64
    library.mixcim_cycles.argtypes = [*(ctypes.c_void_p,) * 4, ctypes.c_int64, *(ctypes.c_void_p,) * 4]
    return library


def _sizes(chip: ChipConfig) -> np.ndarray:
    """`struct Chip`."""
    alignment = ALIGN_LATENCY if chip.floating_point else 0
    return np.array(
        [
            *(chip.engines, len(chip.units), chip.vector_queue, chip.activation_words, chip.activation_banks),
            *(chip.channels // chip.output_lanes, chip.output_lanes, chip.parameter_tiles),
            *(chip.rows, chip.feeder_words, chip.window_words, alignment, LANE_LATENCY, FLOAT_LANE_LATENCY),
        ],
        np.int32,
    )


def _tables(program: Program, chip: ChipConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """`struct Command` of each command, `struct Run` and `struct UnitRun`s of each RUN, and Prediction.exact."""
    commands, runs, units, exact = [], [], [], True
    table: dict[str, int] = {}
    for number, words in enumerate(program.commands):
        try:
            opcode, fields = decode_command(words, chip)
        except ValueError as error:
            raise MixcimError(f"command {number} of '{program.network}': {error}") from None
        if opcode is Opcode.TABLE:
            table = fields
        if opcode is Opcode.RUN:
            if reason := illegal(fields, chip):
                raise MixcimError(f"command {number} of '{program.network}': {reason}")
            skips = table.get("skip_zero_groups") and fields["group_count"] == 1
            used = {kind for unit, kind in enumerate(chip.units) if fields[f"tiles[{unit}]"]}
            exact &= not (skips and UnitKind.MEMRISTOR in used)
            runs.append(_run(fields))
            units.append(_units(fields, table, chip))
        commands.append(
            (
                *(int(opcode), opcode_words(opcode, chip), fields.get("overlap", 0), fields.get("count", 0)),
                len(runs) - 1 if opcode is Opcode.RUN else -1,
            )
        )
        if opcode is Opcode.END:
            break
    else:
        raise MixcimError(f"program '{program.network}' has no END")
    return (
        np.array(commands, np.int32),
        np.array(runs, np.int32).reshape(-1, len(_RUN)),
        np.array(units, np.int32).reshape(-1, len(chip.units), 5),
        exact,
    )


def _run(fields: Mapping[str, int]) -> list[int]:
    """`struct Run`."""
    formats = {name: ElementFormat(fields[f"{name}_format"]) for name in ("input", "output", "residual")}
    more = {
        "floating_input": formats["input"] is not ElementFormat.INTEGER,
        "floating_output": formats["output"] is not ElementFormat.INTEGER,
        "wide": formats["input"].bytes == 2,
        "output_wide": formats["output"].bytes == 2,
        "residual_wide": formats["residual"].bytes == 2,
    }
    return [int({**fields, **more}[name]) for name in _RUN]


def _units(fields: Mapping[str, int], table: Mapping[str, int], chip: ChipConfig) -> list[tuple[int, ...]]:
    """`struct UnitRun` of every unit."""
    length = fields["kernel_height"] * fields["kernel_width"] * fields["tap_words"] << fields["granule_log2"]
    last = (length - 1) % chip.rows + 1
    result = []
    for unit, kind in enumerate(chip.units):
        tiles, mode = fields[f"tiles[{unit}]"], fields[f"mode[{unit}]"]
        cycles = [step_cycles(kind, mode, rows, fields, table, chip) if tiles else 1 for rows in (chip.rows, last)]
        result.append((tiles, fields[f"copy[{unit}]"], fields[f"parameter[{unit}]"], *cycles))
    return result


def step_cycles(
    kind: UnitKind, mode: int, length: int, fields: Mapping[str, int], table: Mapping[str, int], chip: ChipConfig
) -> int:
    """Cycles that a bank works on a step of `length` rows, no read left out; the banks' docstrings state them."""
    if kind is UnitKind.SRAM:
        return fields["input_bits"]
    if kind is UnitKind.TINY:
        return length if mode == TinyMode.BROADCAST else -(-length // chip.channels)
    digits = len(chip.mode.cells)
    return sum(
        -(-length // table[f"rows_per_read[{bit * digits + digit}]"])
        for bit in range(fields["input_bits"])
        for digit in range(table["digits"])
    )
