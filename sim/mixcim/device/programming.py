"""Programming of a whole program's cells by write-verify, and repair of columns with cells that it gave up.

```
 targets --> lines of the columns --> given up? --> spare after spare: the worst column of every word --> repair
                    |                                        |
                    '--------- LineProgrammer: a chip behind its host port, or CellArray, its model
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program

from ..errors import MixcimError
from .cells import FREE, ROOM_C, conductance_codes, refuse_programmed, stuck_cells, virgin_codes
from .model import DeviceModel
from .readout import with_readout
from .write_verify import ProgrammingReport, WriteVerify, check_programming, program_lines, worn_out

Progress = Callable[[int, int], None]


class LineProgrammer(Protocol):
    """What programs lines: host.Processor, or CellArray. Lines are numbered in their bank, codes are uint8."""

    def set_cells(self, bank: int, first_line: int, codes: np.ndarray) -> None:
        """Set the codes (lines, rows) of lines from `first_line` on, without programming them."""
        ...

    def set_repair(self, bank: int, first_word: int, columns: np.ndarray) -> None:
        """Set what the spares of words from `first_word` on replace: (words, spares), as Program.repair."""
        ...

    def check_programmable(self, bank: int, lines: np.ndarray, endurance: int) -> None:
        """Raise MixcimError if the bank is locked, or one of these lines has been programmed `endurance` times."""
        ...

    def program_lines(
        self, bank: int, lines: np.ndarray, targets: np.ndarray, held: np.ndarray, registers: WriteVerify, seed: int
    ) -> tuple[np.ndarray, ProgrammingReport]:
        """Write-verify the lines of these numbers: codes afterwards (lines, rows), and the report."""
        ...


class CellArray:
    """Model of what the chip's programming port does: `cells` uint8 (banks, lines, rows) and `wear` (banks, lines)."""

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        self.lines = chip.memristor_words * chip.physical_columns
        self.cells = np.zeros((chip.memristor_banks, self.lines, chip.rows), np.uint8)
        self.wear = np.zeros((chip.memristor_banks, self.lines), np.int64)
        self.repair = np.zeros((chip.memristor_banks, chip.memristor_words, chip.spare_columns), np.uint8)

    def set_cells(self, bank: int, first_line: int, codes: np.ndarray) -> None:
        """See LineProgrammer."""
        self.cells[bank, first_line : first_line + len(codes)] = codes

    def set_repair(self, bank: int, first_word: int, columns: np.ndarray) -> None:
        """See LineProgrammer."""
        self.repair[bank, first_word : first_word + len(columns)] = columns

    def check_programmable(self, bank: int, lines: np.ndarray, endurance: int) -> None:
        """See LineProgrammer; there is no lock here."""
        wear = self.wear[bank, lines]
        for line in np.flatnonzero(wear >= endurance)[:1]:
            raise MixcimError(worn_out(bank * self.lines + int(lines[line]), int(wear[line]), endurance))

    def program_lines(
        self, bank: int, lines: np.ndarray, targets: np.ndarray, held: np.ndarray, registers: WriteVerify, seed: int
    ) -> tuple[np.ndarray, ProgrammingReport]:
        """See LineProgrammer. Raises MixcimError, before anything is changed, for a line that is worn out."""
        check_programming(lines, targets, held, seed, self.chip)
        codes, report = program_lines(
            targets, self.cells[bank, lines], registers, seed=seed, lines=bank * self.lines + lines, held=held,
            wear=self.wear[bank, lines],
        )  # fmt: skip
        self.cells[bank, lines], self.wear[bank, lines] = codes, report.wear
        return codes, report


@dataclass(frozen=True, eq=False)
class Programmed:
    """A program whose cells hold what write-verify left. `repaired`: columns replaced by a spare; `left`: cells given
    up in columns that are still in use."""

    program: Program
    report: ProgrammingReport
    repaired: int
    left: int

    def summary(self) -> dict[str, float | int]:
        """Numbers for tables: those of the report, and the repair's."""
        return {**self.report.summary(), "repaired_columns": self.repaired, "given_up_in_use": self.left}


def program_cells(
    port: LineProgrammer,
    program: Program,
    chip: ChipConfig,
    device: DeviceModel,
    *,
    seed: int,
    time_s: float = 0.0,
    temperature_c: float = ROOM_C,
    progress: Progress | None = None,
) -> Programmed:
    """Program the cells of a compiled program, repair columns, and let `time_s` seconds pass at `temperature_c`.

    `seed`, 32 bits: of the stuck cells, the pulses, the drift, the ADCs and the read noise. `progress(done, total)`:
    banks. What the port holds afterwards is what the program holds. Raises MixcimError for a program whose cells are
    not ideal any more or that has none, for a locked bank, and for endurance used up (before anything is changed), and
    as conductance_codes does.
    """
    if not sum(map(len, program.memristor)):
        raise MixcimError(f"program '{program.network}' has no cells: place kernels on memristor when compiling it")
    program.check_chip(chip)
    refuse_programmed(program)
    program = with_readout(program, chip, device, seed)
    registers = WriteVerify.of(device, chip)
    device.retention(np.zeros(1), time_s, temperature_c)
    for bank, targets in enumerate(program.memristor):  # all of them before the first cell is changed
        port.check_programmable(bank, np.arange(len(targets)), registers.endurance)
    cells, repairs, reports, left = [], [], [], 0
    for bank, targets in enumerate(program.memristor):
        if progress is not None:
            progress(bank, len(program.memristor))
        codes, repair, report, remaining = _program_bank(port, bank, targets, chip, device, registers, seed)
        if len(codes):
            codes = conductance_codes(
                device, codes, chip, seed=seed, time_s=time_s, temperature_c=temperature_c, bank=bank, programmed=True
            )
            port.set_cells(bank, 0, codes)
        cells.append(codes)
        repairs.append(repair)
        reports.append(report)
        left += remaining
    result = dataclasses.replace(program, memristor=tuple(cells), repair=tuple(repairs), device=device.name)
    repaired = sum(len({*row[row > 0].tolist()}) for repair in repairs for row in repair)
    return Programmed(result, ProgrammingReport.joined(reports), repaired, left)


def _program_bank(
    port: LineProgrammer,
    bank: int,
    targets: np.ndarray,
    chip: ChipConfig,
    device: DeviceModel,
    registers: WriteVerify,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, ProgrammingReport, int]:
    """Codes (lines, rows), repair (words, spares), report, and cells given up in columns that are in use."""
    columns, words = chip.memristor_columns, len(targets) // chip.physical_columns
    kinds = stuck_cells(device, targets.shape, seed=seed, bank=bank)
    held = kinds != FREE
    codes = virgin_codes(device, kinds, chip)
    port.set_cells(bank, 0, codes)
    wanted = targets.reshape(words, chip.physical_columns, chip.rows)
    line = np.arange(len(targets)).reshape(words, chip.physical_columns)
    repair = np.zeros((words, chip.spare_columns), np.uint8)

    def programmed(lines: np.ndarray, line_targets: np.ndarray) -> ProgrammingReport:
        codes[lines], report = port.program_lines(bank, lines, line_targets, held[lines], registers, seed)
        return report

    reports = [programmed(line[:, :columns].ravel(), wanted[:, :columns].reshape(-1, chip.rows))]
    bad = reports[0].given_up.sum(axis=1).reshape(words, columns)
    for spare in range(chip.spare_columns):
        worst = bad.argmax(axis=1)
        word = np.flatnonzero(bad.max(axis=1, initial=0))
        if not len(word):
            break
        report = programmed(line[word, columns + spare], wanted[word, worst[word]])
        reports.append(report)
        remaining = report.given_up.sum(axis=1)
        better = remaining < bad[word, worst[word]]
        repair[word[better], spare] = worst[word[better]] + 1
        bad[word[better], worst[word[better]]] = remaining[better]
    port.set_repair(bank, 0, repair)
    return codes, repair, ProgrammingReport.joined(reports), int(bad.sum())
