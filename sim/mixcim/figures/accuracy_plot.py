"""The plot of accuracy: panels over device, time since programming and N table; bars are the seeds' spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from .resnet20 import CHIP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .accuracy import Panels, Point

matplotlib.use("Agg")

COLOURS = ("#7f7f7f", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")


def draw(panels: Panels, images: int, seeds: int, path: Path) -> Path:
    """Write the figure as PNG; returns its path."""
    import matplotlib.pyplot as pyplot

    names = list(dict.fromkeys(point.device for point in panels.devices))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    with pyplot.rc_context({"font.size": 11, "axes.titlesize": 12, "legend.fontsize": 10}):
        figure, axes = pyplot.subplots(1, 3, figsize=(19, 6), layout="constrained", width_ratios=(1, 1.1, 1.5))
        _devices(axes[0], panels.devices, colours)
        _lines(axes[1], panels.times, colours)
        _tables(axes[2], panels.tables, colours)
        for axis in axes:
            label = f"INT8, exact units: {panels.exact:.1f} %"
            axis.axhline(panels.exact, color="black", linestyle="--", linewidth=1, label=label)
            axis.set_ylim(0, 100)
            axis.set_ylabel("accuracy (%)")
            axis.grid(alpha=0.3)
            axis.legend(loc="upper right", ncols=2)
        figure.suptitle(
            f"ResNet-20 CIFAR-100, hidden layers on memristor ({CHIP.mode.name}), chip {CHIP.name}, model: {images} "
            f"test images; mean and range of {seeds} device seeds"
        )
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
    return path


def _ranges(points: Sequence[Point]) -> tuple[list[float], np.ndarray]:
    """Means, and how far the smallest and the largest accuracy are off: (2, points)."""
    means = [point.mean for point in points]
    lowest = [point.mean - min(point.accuracies) for point in points]
    highest = [max(point.accuracies) - point.mean for point in points]
    return means, np.array([lowest, highest])


def _devices(axis: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    means, ranges = _ranges(points)
    names = [point.device for point in points]
    axis.bar(names, means, yerr=ranges, capsize=4, color=[colours[name] for name in names])
    for number, (mean, above) in enumerate(zip(means, ranges[1], strict=True)):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axis.text(number, mean + above + 2, f"{mean:.1f}", ha="center", bbox=box)
    axis.set(title=f"freshly programmed: {points[0].time_s:g} s, N = {points[0].table}", xlabel="device")


def _lines(axis: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    for name in dict.fromkeys(point.device for point in points):
        here = [point for point in points if point.device == name]
        means, ranges = _ranges(here)
        times = [point.time_s for point in here]
        axis.errorbar(times, means, ranges, fmt="o-", capsize=4, color=colours[name], label=name)
    axis.set(xscale="log", xlabel="time since programming (s), 25 °C")
    axis.set_title(f"over time, N = {points[0].table}" if points else "over time: no device drifts")


def _tables(axis: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    names = list(dict.fromkeys(point.device for point in points))
    tables = list(dict.fromkeys(point.table for point in points))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        here = [point for point in points if point.device == name]
        means, ranges = _ranges(here)
        places = np.arange(len(here)) + (number - (len(names) - 1) / 2) * width
        axis.bar(places, means, width, yerr=ranges, capsize=2, color=colours[name], label=name)
    reads = {point.table: point.reads for point in points}
    axis.set_xticks(range(len(tables)), [f"{table}\n{reads[table] / 1e6:.2f} M" for table in tables])
    axis.set(title=f"over N tables, {points[0].time_s:g} s", xlabel="word lines per read (N), and reads an image")
