"""`mixcim write-verify`: programs the memristor cells of a program as the chip does, on the model, RTL or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from mixcim_hdl.program import Program

from ..device.library import load_device
from ..device.programming import CellArray, Programmed, program_cells
from ..errors import MixcimError
from ..rtl.processor import rtl_processor
from .inputs import chip_of
from .options import FILE, DeviceChoice, device_options, json_option
from .report import console, print_json, progress_bar

_BINS = 8  #: rows of the histogram


def same(first: Programmed, second: Programmed) -> bool:
    """Whether two ways of programming left the same codes and repair and took the same pulses."""
    pairs = [
        *zip(first.program.memristor, second.program.memristor, strict=True),
        *zip(first.program.repair, second.program.repair, strict=True),
        *((getattr(first.report, name), getattr(second.report, name)) for name in ("pulses", "given_up", "wear")),
    ]
    return all(np.array_equal(one, other) for one, other in pairs)


@click.command()
@click.argument("program_file", metavar="PROGRAM", type=FILE)
@click.option("-o", "--output", type=FILE, help="Program file to write, with the cells as they are afterwards.")
@click.option("--on", "engine", type=click.Choice(["model", "rtl", "both"]), default="model", show_default=True)
@click.option("--chip", "chip_name", help="Chip; default: the program's own.")
@device_options
@json_option
def command(
    program_file: Path,
    output: Path | None,
    engine: str,
    chip_name: str | None,
    device_choice: DeviceChoice,
    as_json: bool,
) -> int:
    """Program the memristor cells of PROGRAM (from mixcim compile) by write-verify and repair columns by spares.

    Every cell is pulsed until it lies in the device's band around its target, or given up after its retry limit; the
    spare columns replace the columns with the most cells given up. Then --time passes. --on both compares every cell,
    pulse and repair of RTL and model; exit code 1 if they differ.
    """
    if output is not None and not output.parent.is_dir():
        raise MixcimError(f"folder '{output.parent}' of the output does not exist; create it first")
    program = Program.load(program_file)
    chip = chip_of(program, chip_name)
    device = load_device(device_choice.device or "ideal", device_choice.device_sampling)
    results: list[Programmed] = []
    with progress_bar(as_json) as advance:
        ports = [] if engine == "rtl" else [CellArray(chip)]
        for port in ports if engine == "model" else [*ports, rtl_processor(chip, progress=advance)]:
            name = "model" if isinstance(port, CellArray) else "RTL"
            programmed = program_cells(
                port, program, chip, device,
                seed=device_choice.device_seed, time_s=device_choice.time_s,
                temperature_c=device_choice.temperature_c,
                progress=lambda done, total, name=name: advance(done, total, f"{name}: bank"),
            )  # fmt: skip
            results.append(programmed)
    equal = same(results[0], results[1]) if len(results) == 2 else None
    result = results[-1]
    if output is not None:
        result.program.save(output)
    summary: dict[str, Any] = {
        "program": str(program_file), "chip": chip.name, "on": engine, "device": device.name,
        "seed": device_choice.device_seed, "time_s": device_choice.time_s, **result.summary(),
        "rtl_equals_model": equal,
    }  # fmt: skip
    if as_json:
        print_json({**summary, "cells_by_pulses": result.report.histogram.tolist()})
        return 1 if equal is False else 0
    screen = console()
    screen.print(_table(summary, result))
    for line in _lines(summary, output):
        screen.print(line, soft_wrap=True)
    return 1 if equal is False else 0


def _table(summary: dict[str, Any], result: Programmed) -> Table:
    """Cells by the pulses that they took."""
    histogram = result.report.histogram
    table = Table(title=f"write-verify of {summary['program']}, device {summary['device']}, seed {summary['seed']}")
    for heading in ("pulses", "cells", "share"):
        table.add_column(heading, justify="right")
    width = max(-(-len(histogram) // _BINS), 1)
    for first in range(0, len(histogram), width):
        last = min(first + width, len(histogram)) - 1
        cells = int(histogram[first : last + 1].sum())
        table.add_row(
            f"{first}" if first == last else f"{first} - {last}",
            f"{cells:,}",
            f"{cells / result.report.pulses.size:.2%}",
        )
    return table


def _lines(summary: dict[str, Any], output: Path | None) -> list[str]:
    lines = [
        f"{summary['cells']:,} cells, {summary['pulses']:,} pulses, {summary['pulses_per_cell']:.2f} a cell "
        f"(most {summary['most_pulses']}); most used line: {summary['endurance_used']:.2%} of its endurance",
        f"yield {summary['yield']:.4%}: {summary['given_up']:,} cells given up; "
        f"{summary['repaired_columns']:,} columns replaced by spares, {summary['given_up_in_use']:,} such cells in use",
    ]
    if summary["rtl_equals_model"] is not None:
        lines.append(f"{'yes ' if summary['rtl_equals_model'] else 'NO  '} RTL = model, every cell, pulse and repair")
    if output is not None:
        lines.append(f"written: {output}")
    return lines
