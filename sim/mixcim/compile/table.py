"""Word-line tables: how many rows of a memristor bank are read at a time, by input bit and by weight digit.

More rows at a time means fewer reads, but a bit line whose sum exceeds the ADC's largest code saturates. It is written

    "16"          the same number of rows everywhere
    "16,32,64"    high x high, mixed, low x low: an input bit is high from place 4 on, and so is a digit
    "exact"       per digit the most rows at which no group of the layer's own weights can saturate, whatever the input
    a file        JSON or TOML with `rows_per_read` (8 lists, one an input bit, of one number a digit; wider inputs are
                  read in their upper bits as in bit 7) and, if wanted, `step_shift` of the same form (ADC step as a
                  power of two of a digit; default 0: saturate instead);
                  `layers`: such a table for each layer named in it, which `mixcim tune` writes
                  `skip_zero_groups`: true leaves out reads whose input bits are all 0
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixcim_hdl.commands import TABLE_ENTRY_FIELDS
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import ACTIVATION_BITS

from ..errors import MixcimError
from .weights import Window, weight_digits

EXACT = "exact"
_HIGH_PLACE = 4


@dataclass(frozen=True)
class WordLineTable:
    """`rows_per_read` and `step_shift`: tuples [input bit][digit], as the TABLE command takes them.

    Input bits beyond the last one are read like it.
    """

    rows_per_read: tuple[tuple[int, ...], ...]
    step_shift: tuple[tuple[int, ...], ...]

    def fields(self, chip: ChipConfig) -> dict[str, int]:
        """Entries of the TABLE command, for every input plane of the chip."""
        return {
            f"{name}[{bit * len(table[0]) + digit}]": value
            for name, table in (("rows_per_read", self.rows_per_read), ("step_shift", self.step_shift))
            for bit in range(chip.input_planes)
            for digit, value in enumerate(table[min(bit, len(table) - 1)])
        }


@dataclass(frozen=True)
class Tables:
    """Tables of a network. `default`: for layers that `layers` does not name; None is "exact".

    `skip_zero_groups`: leave out reads that no word line takes part in.
    """

    default: WordLineTable | None
    layers: Mapping[str, WordLineTable] = field(default_factory=dict)
    skip_zero_groups: bool = False

    def of(self, layer: str) -> WordLineTable | None:
        """The layer's table; None is "exact"."""
        return self.layers.get(layer, self.default)


def read_table(text: str, chip: ChipConfig) -> Tables:
    """The tables that `text` describes (see the head of this file).

    Raises MixcimError for text that is neither, an unreadable file, another number of entries, or rows or steps that
    the chip's macro cannot do.
    """
    text = text.strip()
    if text == EXACT:
        return Tables(None)
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        return _from_file(text, chip)
    if len(numbers) not in (1, 3):
        raise MixcimError(
            f"table '{text}' must be one number, or three (high x high, mixed, low x low), not {len(numbers)}"
        )
    numbers = numbers if len(numbers) == 3 else numbers * 3
    rows = [
        [numbers[(bit < _HIGH_PLACE) + (place < _HIGH_PLACE)] for place in chip.mode.places]
        for bit in range(ACTIVATION_BITS)
    ]
    return Tables(_checked(f"table '{text}'", rows, [[0] * len(row) for row in rows], chip))


def exact_table(slots: np.ndarray, chip: ChipConfig) -> WordLineTable:
    """Most rows per digit at which no group of ideal cells can exceed the ADC's largest code, even if all inputs are 1.

    `slots`: int8 (slots, rows, channels), all weights that the table is to serve. The same rows for every input bit: a
    plane that counts negative is read like the others.
    """
    largest_code = (1 << chip.adc_bits) - 1
    digits = weight_digits(slots, chip)
    rows = []
    for digit in range(digits.shape[1]):
        # Sums of groups are differences of running sums, whatever the size of the groups.
        running = np.pad(np.cumsum(digits[:, digit].reshape(-1, chip.rows), axis=1, dtype=np.int16), ((0, 0), (1, 0)))
        rows.append(next(n for n in range(chip.rows, 0, -1) if _largest_group(running, n) <= largest_code))
    return _checked(f"table '{EXACT}'", [rows] * ACTIVATION_BITS, [[0] * len(rows)] * ACTIVATION_BITS, chip)


def reads_of(fields: Mapping[str, int], input_bits: int, window: Window, chip: ChipConfig) -> int:
    """Word-line reads of one kernel tile and slice for all vectors of a window. `fields`: of TABLE.

    Reads that are left out because no word line takes part are counted.
    """
    digits = len(chip.mode.cells)
    full, rest = divmod(window.rows, chip.rows)
    return sum(
        -(-length // fields[f"rows_per_read[{bit * digits + digit}]"]) * count
        for length, count in ((chip.rows, full), (rest, 1))
        for bit in range(input_bits)
        for digit in range(fields["digits"])
    )


def _largest_group(running: np.ndarray, rows: int) -> int:
    edges = np.append(np.arange(0, running.shape[1] - 1, rows), running.shape[1] - 1)
    return int(np.diff(running[:, edges], axis=1).max(initial=0))


def _from_file(text: str, chip: ChipConfig) -> Tables:
    path = Path(text)
    if not path.is_file():
        raise MixcimError(f"table '{text}' is neither 'exact', nor numbers such as '16' or '16,32,64', nor a file")
    try:
        content = path.read_text(encoding="utf-8")
        fields = json.loads(content) if content.lstrip().startswith("{") else tomllib.loads(content)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise MixcimError(f"table file '{text}' is neither JSON nor TOML: {error}") from None
    layers = fields.pop("layers", {}) if isinstance(fields, dict) else {}
    skip = fields.pop("skip_zero_groups", False) if isinstance(fields, dict) else False
    if not isinstance(skip, bool):
        raise MixcimError(f"table file '{text}': skip_zero_groups must be true or false, not {skip!r}")
    if not isinstance(layers, dict):
        raise MixcimError(f"table file '{text}': layers must be a table of layers, not {type(layers).__name__}")
    tables = {name: _table(f"table file '{text}', layer '{name}'", entry, chip) for name, entry in layers.items()}
    return Tables(_table(f"table file '{text}'", fields, chip), tables, skip)


def _table(name: str, fields: object, chip: ChipConfig) -> WordLineTable:
    """The table in one part of a file; `name`: what errors call it."""
    if not isinstance(fields, dict) or "rows_per_read" not in fields:
        raise MixcimError(f"{name} has no 'rows_per_read': write 8 lists of {len(chip.mode.cells)} numbers")
    unknown = set(fields) - {"rows_per_read", "step_shift"}
    if unknown:
        raise MixcimError(f"{name} has an unknown field '{min(unknown)}'; known: rows_per_read, step_shift")
    rows = fields["rows_per_read"]
    zeros = [[0] * len(chip.mode.cells)] * ACTIVATION_BITS
    return _checked(name, rows, fields.get("step_shift", zeros), chip)


def _checked(name: str, rows: list[list[int]], shifts: list[list[int]], chip: ChipConfig) -> WordLineTable:
    digits = len(chip.mode.cells)
    largest_shift = (1 << TABLE_ENTRY_FIELDS["step_shift"]) - 1
    tables = []
    for item, table, low, high in (("rows_per_read", rows, 1, chip.rows), ("step_shift", shifts, 0, largest_shift)):
        shaped = isinstance(table, list) and all(isinstance(row, list) and len(row) == digits for row in table)
        if not shaped or len(table) != ACTIVATION_BITS:
            raise MixcimError(
                f"{name}: {item} must have {ACTIVATION_BITS} lists (input bits) of {digits} numbers "
                f"(digits of weight mode {chip.weight_mode})"
            )
        for value in (value for row in table for value in row):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise MixcimError(f"{name}: {item} must be from {low} to {high} on chip '{chip.name}', not {value}")
        tables.append(tuple(tuple(row) for row in table))
    return WordLineTable(tables[0], tables[1])
