"""ED9, the device sheet: levels, spread, drift, noise and programming of each device, measured from programmed cells.

Cells of each MLC level are programmed on chip `demo` by write-verify (the chip's algorithm), and apart from that drawn
from the device as it is programmed (its own spread); they age by `conductance_codes` and are read back as codes. All
numbers are in level steps (G_LRS / 4) or uS, from those codes. Fits are shown over the measured cells that they are of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import conductance_unit, ideal_conductance
from mixcim_hdl.presets import PRESETS

from ..device.cells import FREE, conductance_codes, stuck_cells, virgin_codes
from ..device.library import DEVICES, TECHNOLOGIES, load_device, technology_fit
from ..device.model import MLC_LEVELS, DeviceModel
from ..device.readout import NOISE_FRACTION, noise_table
from ..device.write_verify import ProgrammingReport, WriteVerify, line_states, program_lines, xorshift32
from . import Figure, FigureRequest, record

LINES = 128  #: lines programmed to each level
TIMES_S = (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
MLC_BITS = 2  #: bits of a cell with those levels
READS = 256  #: readings of each cell for its noise
_SHOWN_S = (1.0, 1e4)  #: times of the histograms and of the table


@dataclass(frozen=True, eq=False)
class Sheet:
    """Measurements of one device; conductances in level steps.

    `written` (levels, cells): right after write-verify. `drawn` (levels, cells): right after programming with the
    device's spread. `aged` time -> (levels, cells): the drawn cells later. `noise`: deviation of one reading of a cell.
    """

    device: DeviceModel
    written: np.ndarray
    drawn: np.ndarray
    aged: dict[float, np.ndarray]
    noise: float
    report: ProgrammingReport


def measure(device: DeviceModel, chip: ChipConfig, seed: int) -> Sheet:
    """Program, age and read cells of every MLC level."""
    unit = conductance_unit(chip.conductance_bits)
    levels = [ideal_conductance(digit, MLC_BITS, chip.conductance_bits) for digit in range(MLC_LEVELS)]
    targets = np.repeat(np.array(levels, np.uint8), LINES * chip.rows).reshape(-1, chip.rows)

    def steps(codes: np.ndarray) -> np.ndarray:
        return codes.reshape(MLC_LEVELS, -1) / unit

    kinds = stuck_cells(device, targets.shape, seed=seed)
    virgin = virgin_codes(device, kinds, chip)
    written, report = program_lines(targets, virgin, WriteVerify.of(device, chip), seed=seed, held=kinds != FREE)
    drawn = {time: conductance_codes(device, targets, chip, seed=seed, time_s=time) for time in (0.0, *TIMES_S)}
    return Sheet(
        device,
        steps(written),
        steps(drawn[0.0]),
        {time: steps(drawn[time]) for time in TIMES_S},
        _read_noise(device, chip, seed),
        report,
    )


def _read_noise(device: DeviceModel, chip: ChipConfig, seed: int) -> float:
    """Deviation of repeated readings of one cell, in level steps: the chip's generator and noise table, one line on."""
    states, values = line_states(seed, np.arange(LINES)), []
    entry = int(noise_table(device, chip)[1])
    for _ in range(READS):
        states = xorshift32(states)
        gauss = np.ascontiguousarray(states).view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.int64) - 510
        values.append(gauss * entry / (1 << NOISE_FRACTION))
    return float(np.std(values)) / conductance_unit(chip.conductance_bits)


def make(request: FigureRequest) -> Figure:
    """Measure every device, draw, and tabulate. Raises MixcimError if a device's data files are absent."""
    chip = PRESETS["demo"]
    names = request.devices or DEVICES
    sheets: list[Sheet] = []
    for number, name in enumerate(names):
        request.advance(number, len(names) + 1, f"programming cells of {name}")
        sheets.append(measure(load_device(name), chip, request.seed))
    request.advance(len(names), len(names) + 1, "drawing")
    from . import ed9_plot  # matplotlib takes a second to load

    records = [item for sheet in sheets for item in _sheet_records(sheet)]
    for name in names:
        if name in TECHNOLOGIES:
            records += _fit_records(name)
    plot = ed9_plot.draw(sheets, request.folder / "ed9.png", chip, request.seed)
    return Figure(records, [_table(sheets), _fit_table(records)] if _fits(records) else [_table(sheets)], [plot])


def _sheet_records(sheet: Sheet) -> list[dict[str, Any]]:
    name, step, how = sheet.device.name, sheet.device.step_uS, "model"
    records = []
    for level in range(MLC_LEVELS):
        what = f"ed9 {name} level {level:02b}"
        records.append(record(f"{what} nominal", sheet.device.mlc_uS[level], "uS", how))
        records.append(record(f"{what} as programmed, mean", float(sheet.drawn[level].mean()) * step, "uS", how))
        records.append(record(f"{what} as programmed, spread", float(sheet.drawn[level].std()) * step, "uS", how))
        records.append(
            record(f"{what} after write-verify, spread", float(sheet.written[level].std()) * step, "uS", how)
        )
        for time in _SHOWN_S:
            aged = sheet.aged[time][level]
            records.append(record(f"{what} after {time:g} s, mean", float(aged.mean()) * step, "uS", how))
            records.append(record(f"{what} after {time:g} s, spread", float(aged.std()) * step, "uS", how))
    numbers = sheet.report.summary()
    records.append(record(f"ed9 {name} read noise of a cell", sheet.noise * step, "uS", how))
    records.append(record(f"ed9 {name} pulses per cell", numbers["pulses_per_cell"], "pulses", how))
    records.append(record(f"ed9 {name} most pulses of a cell", numbers["most_pulses"], "pulses", how))
    records.append(record(f"ed9 {name} write-verify yield", numbers["yield"], "share of cells", how))
    records.append(record(f"ed9 {name} cells given up", numbers["given_up"], "cells", how))
    records.append(record(f"ed9 {name} endurance used", numbers["endurance_used"], "share", how))
    return records


def _fit_records(name: str) -> list[dict[str, Any]]:
    """How well the fits meet the measured cells."""
    fit, how = technology_fit(name), "model"
    records = []
    for what, good in (("drift, mean", fit.drift_mean), ("drift, spread", fit.drift_sigma)):
        records.append(record(f"ed9 {name} fit of {what}, R squared", good.r_squared, "", how))
        records.append(record(f"ed9 {name} fit of {what}, residual", good.residual_uS, "uS", how))
    # [heat] is a table through the bakes' own points, so a coefficient of determination would say nothing.
    for what, good in (("heat, mean", fit.heat_mean), ("heat, spread", fit.heat_sigma)):
        records.append(record(f"ed9 {name} fit of {what}, residual", good.residual_uS, "uS", how))
    return records


def _fits(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in records if " fit of " in item["name"]]


def _table(sheets: list[Sheet]) -> Table:
    table = Table(
        title="device sheet (ED9): programmed cells, uS; spread is one standard deviation", title_justify="left"
    )
    for heading in ("device", "level"):
        table.add_column(heading)
    headings = ["nominal", "written", *(f"{time:g} s" for time in _SHOWN_S), "pulses", "given up", "read noise"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for sheet in sheets:
        step, numbers = sheet.device.step_uS, sheet.report.summary()
        for level in range(MLC_LEVELS):
            values = [sheet.drawn[level], *(sheet.aged[time][level] for time in _SHOWN_S)]
            cells = [f"{value.mean() * step:.1f} ± {value.std() * step:.2f}" for value in values]
            last = level == 0
            table.add_row(
                sheet.device.name if last else "",
                f"{level:02b}",
                f"{sheet.device.mlc_uS[level]:.1f}",
                *cells,
                f"{numbers['pulses_per_cell']:.1f}" if last else "",
                f"{numbers['given_up']}" if last else "",
                f"{sheet.noise * step:.2f}" if last else "",
                end_section=level == MLC_LEVELS - 1,
            )
    return table


def _fit_table(records: list[dict[str, Any]]) -> Table:
    table = Table(title="fits over the measured cells", title_justify="left")
    table.add_column("fit")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for item in _fits(records):
        table.add_row(item["name"].removeprefix("ed9 "), f"{item['value']:.3f}", item["unit"])
    return table


def heated(device: DeviceModel, chip: ChipConfig, seed: int, temperature_c: float) -> np.ndarray:
    """Cells of every level after the device's bake time at a temperature: (levels, cells) in level steps."""
    levels = [ideal_conductance(digit, MLC_BITS, chip.conductance_bits) for digit in range(MLC_LEVELS)]
    targets = np.repeat(np.array(levels, np.uint8), LINES * chip.rows).reshape(-1, chip.rows)
    codes = conductance_codes(
        device,
        targets,
        chip,
        seed=seed,
        time_s=device.heat.time_s,
        temperature_c=temperature_c,
    )
    return codes.reshape(MLC_LEVELS, -1) / conductance_unit(chip.conductance_bits)
