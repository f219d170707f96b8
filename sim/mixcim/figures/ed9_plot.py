"""The plots of ED9. Colours: one a level or one a device; points are measured, lines are fits or models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import conductance_unit

from ..device.fit import bake_changes
from ..device.library import TECHNOLOGIES, technology_fit
from ..device.model import MLC_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .ed9 import Sheet

matplotlib.use("Agg")

LEVEL_COLOURS = ("#3b528b", "#21918c", "#e0a100", "#c0392b")
DEVICE_COLOURS = ("#7f7f7f", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
LEVEL_NAMES = tuple(f"{level:02b}" for level in range(MLC_LEVELS))


def draw(sheets: Sequence[Sheet], path: Path, chip: ChipConfig, seed: int) -> Path:
    """Write the figure as PNG; returns its path.

    A row of panels for each measured technology among the sheets (histograms, drift, spread over time, heat), and one
    for all devices (spread over conductance, levels over time, pulses, read noise).
    """
    import matplotlib.pyplot as pyplot

    measured = [sheet for sheet in sheets if sheet.device.name in TECHNOLOGIES]
    rows = 1 + len(measured)
    with pyplot.rc_context({"font.size": 11, "axes.titlesize": 12, "legend.fontsize": 9, "lines.markersize": 5}):
        figure, axes = pyplot.subplots(rows, 4, figsize=(22, 5.2 * rows), squeeze=False, layout="constrained")
        _spread(axes[0, 0], sheets)
        _shift(axes[0, 1], sheets)
        _pulses(axes[0, 2], sheets)
        _noise(axes[0, 3], sheets)
        for row, sheet in zip(axes[1:], measured, strict=True):
            _histograms(row[0], sheet, chip)
            _drift(row[1], sheet, spread=False)
            _drift(row[2], sheet, spread=True)
            _heat(row[3], sheet, chip, seed)
        for axis in axes.flat:
            axis.grid(alpha=0.3)
        figure.suptitle("ED9: device sheet from programmed cells (level step = G_LRS / 4)", fontsize=15)
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
    return path


def _spread(axis: Axes, sheets: Sequence[Sheet]) -> None:
    for sheet, colour in zip(sheets, _colours(len(sheets)), strict=True):
        device = sheet.device
        relative = np.linspace(0.05, 1.0, 100)
        sigma = device.spread.sigma(relative * device.lrs_uS) / device.step_uS
        axis.plot(relative, sigma, color=colour, linewidth=1.3)
        levels = np.array(device.mlc_uS) / device.lrs_uS
        axis.plot(levels, sheet.drawn.std(axis=1), "o", color=colour, label=device.name)
    axis.plot(
        np.arange(1, MLC_LEVELS + 1) / MLC_LEVELS,
        sheets[0].written.std(axis=1),
        "x",
        color="black",
        label=f"write-verify, {sheets[0].device.name}",
    )
    axis.set(title="spread right after programming", xlabel="conductance / G_LRS", ylabel="spread (level steps)")
    axis.set_ylim(0)
    _legend_above(axis, "points: programmed cells, lines: model")


def _shift(axis: Axes, sheets: Sequence[Sheet]) -> None:
    for sheet, colour in zip(sheets, _colours(len(sheets)), strict=True):
        times = list(sheet.aged)
        spread = [np.sqrt((sheet.aged[time].var(axis=1)).mean()) for time in times]
        axis.plot(times, spread, "o-", color=colour, label=sheet.device.name)
    axis.set(
        xscale="log",
        title="spread over time at 25 °C",
        xlabel="time since programming (s)",
        ylabel="spread, all levels (level steps)",
    )
    axis.set_ylim(0)
    axis.legend()


def _pulses(axis: Axes, sheets: Sequence[Sheet]) -> None:
    for sheet, colour in zip(sheets, _colours(len(sheets)), strict=True):
        count = sheet.report.histogram
        label = f"{sheet.device.name}: yield {sheet.report.yielded:.2%}"
        axis.step(np.arange(len(count)), count / count.sum(), where="mid", color=colour, label=label)
    axis.set(title="write-verify from HRS", xlabel="pulses of a cell", ylabel="share of cells")
    axis.legend()


def _noise(axis: Axes, sheets: Sequence[Sheet]) -> None:
    names = [sheet.device.name for sheet in sheets]
    noise = [sheet.noise for sheet in sheets]
    bars = axis.bar(names, noise, color=_colours(len(sheets)))
    axis.bar_label(bars, [f"{value:.4f}" if value else "none\ngiven" for value in noise], padding=2)
    axis.set(title="read noise of one cell, repeated reads", ylabel="standard deviation (level steps)")
    axis.set_ylim(0, 1.2 * max(*noise, 0.005))
    axis.tick_params(axis="x", rotation=20)


def _histograms(axis: Axes, sheet: Sheet, chip: ChipConfig) -> None:
    unit = conductance_unit(chip.conductance_bits)
    step = sheet.device.step_uS
    bins = ((np.arange(-0.5, 6.5 * unit) / unit) * step).tolist()
    for level, colour in enumerate(LEVEL_COLOURS):
        share = np.full(sheet.drawn.shape[1], 1 / sheet.drawn.shape[1])
        name = LEVEL_NAMES[level]
        axis.hist(sheet.aged[1.0][level] * step, bins, weights=share, color=colour, alpha=0.45, label=f"{name}, 1 s")
        axis.hist(
            sheet.aged[1e4][level] * step,
            bins,
            weights=share,
            color=colour,
            histtype="step",
            linewidth=1.5,
            label=f"{name}, 10⁴ s",
        )
        axis.axvline(sheet.device.mlc_uS[level], color=colour, linestyle=":", linewidth=1)
    axis.set(title=f"{sheet.device.name}: programmed cells, 25 °C", xlabel="conductance (uS)", ylabel="share of cells")
    axis.set_xlim(0, 4.8 * step)
    _legend_above(axis, "lines: nominal levels")


def _drift(axis: Axes, sheet: Sheet, spread: bool) -> None:
    """Change since programming: points measured cells, line fit, crosses cells drawn on the chip."""
    device, fit = sheet.device, technology_fit(sheet.device.name)
    table = fit.changes
    times = np.geomspace(table.time_s[0], 1e5, 60)
    drawn_times = list(sheet.aged)
    for level, colour in enumerate(LEVEL_COLOURS):
        nominal = device.mlc_uS[level]
        values = table.sigma_uS if spread else table.mean_uS
        data = [np.interp(nominal, table.conductance_uS, row) for row in values]  # between the two nearest bins
        axis.plot(table.time_s, data, "o", color=colour, label=f"{LEVEL_NAMES[level]}: {nominal:.0f} uS")
        line = [fit.drift.change(np.array(nominal), time)[1 if spread else 0] for time in times]
        axis.plot(times, line, "-", color=colour, linewidth=1.3)
        change = [(sheet.aged[time][level] - sheet.drawn[level]) * device.step_uS for time in drawn_times]
        axis.plot(drawn_times, [item.std() if spread else item.mean() for item in change], "x", color=colour)
    good = fit.drift_sigma if spread else fit.drift_mean
    what = "spread of change" if spread else "mean change"
    axis.set(
        xscale="log",
        title=f"{device.name}: {what}, 25 °C (fit R² {good.r_squared:.3f}, {good.residual_uS:.2f} uS rms)",
        xlabel="time since programming (s)",
        ylabel=f"{what} (uS)",
    )
    _legend_above(axis, "points: measured cells, lines: fit, crosses: drawn on the chip")


def _heat(axis: Axes, sheet: Sheet, chip: ChipConfig, seed: int) -> None:
    """Spread of the change after storage: points measured cells, crosses drawn on the chip, lines the model."""
    from .ed9 import heated

    device, fit = sheet.device, technology_fit(sheet.device.name)
    temperatures = [bake.temperature_c for bake in fit.cells.bakes]
    tables = [bake_changes(bake, fit.cells.level_uS) for bake in fit.cells.bakes]
    smooth = np.linspace(25, max(temperatures), 50)
    drawn = [(heated(device, chip, seed, value) - sheet.drawn) * device.step_uS for value in temperatures]
    for level, colour in enumerate(LEVEL_COLOURS):
        nominal = np.array(device.mlc_uS[level])
        points = [float(np.interp(nominal, table.conductance_uS, table.sigma_uS[0])) for table in tables]
        axis.plot(temperatures, points, "o", color=colour, label=f"{LEVEL_NAMES[level]}: {nominal:.0f} uS")
        line = [float(device.retention(nominal, device.heat.time_s, value)[1]) for value in smooth]
        axis.plot(smooth, line, "-", color=colour, linewidth=1.3)
        axis.plot(temperatures, [item[level].std() for item in drawn], "x", color=colour)
    axis.set(
        title=f"{device.name}: spread of change after {device.heat.time_s:.0f} s of storage",
        xlabel="temperature (°C)",
        ylabel="spread of change (uS)",
    )
    _legend_above(axis, "points: measured cells, lines: model, crosses: drawn on the chip")


def _legend_above(axis: Axes, title: str) -> None:
    """A legend over the data, in room made for it."""
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.3 * (high - low))
    axis.legend(loc="upper left", ncols=2, title=title, title_fontsize=9)


def _colours(count: int) -> list[str]:
    return [DEVICE_COLOURS[index % len(DEVICE_COLOURS)] for index in range(count)]
