"""The plot of accuracy: panels over weight mode, time since programming and N table; bars are the seeds' spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from mixcim_hdl.formats import WEIGHT_MODES

from .resnet20 import CHIP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .accuracy import Panels, Point

matplotlib.use("Agg")

COLOURS = ("#7f7f7f", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")


def draw(panels: Panels, images: int, seeds: int, path: Path) -> Path:
    """Write the figure as PNG; returns its path."""
    import matplotlib.pyplot as pyplot

    names = list(dict.fromkeys(point.device for point in panels.modes))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    with pyplot.rc_context({"font.size": 11, "axes.titlesize": 12, "legend.fontsize": 10}):
        figure, axes = pyplot.subplots(1, 3, figsize=(20, 7), layout="constrained", width_ratios=(1.3, 1, 1.5))
        _modes(axes[0], panels.modes, colours)
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
            f"ResNet-20 CIFAR-100, hidden layers on memristor, chip {CHIP.name}, model: {images} "
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


def _modes(axis: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    first = points[0].time_s
    modes = list(dict.fromkeys(point.mode for point in points))
    fresh = [point for point in points if point.time_s == first]
    _groups(axis, fresh, colours, [point.mode for point in fresh])
    width, names = 0.8 / len(colours), list(colours)
    old = [point for point in points if point.time_s != first]
    for point in old:
        place = modes.index(point.mode) + (names.index(point.device) - (len(names) - 1) / 2) * width
        label = f"after {point.time_s:g} s" if point is old[0] else None
        axis.plot(place, point.mean, "kv", markersize=7, markerfacecolor="white", label=label)
    cells = {mode: WEIGHT_MODES[mode].cells for mode in modes}
    axis.set_xticks(range(len(modes)), [f"{m}\n{cells[m].count(1)} SLC + {cells[m].count(2)} MLC" for m in modes])
    axis.set(title=f"over weight mode: {first:g} s, N = {points[0].table}", xlabel="cells of a weight")


def _groups(axis: Axes, points: Sequence[Point], colours: dict[str, str], keys: Sequence[str]) -> None:
    """Bars of every device side by side, for each of the keys (one a point)."""
    width, order = 0.8 / len(colours), list(dict.fromkeys(keys))
    for number, name in enumerate(colours):
        here = [(order.index(key), point) for key, point in zip(keys, points, strict=True) if point.device == name]
        means, ranges = _ranges([point for _, point in here])
        places = np.array([place for place, _ in here]) + (number - (len(colours) - 1) / 2) * width
        axis.bar(places, means, width, yerr=ranges, capsize=2, color=colours[name], label=name)


def _lines(axis: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    for name in dict.fromkeys(point.device for point in points):
        here = [point for point in points if point.device == name]
        means, ranges = _ranges(here)
        times = [point.time_s for point in here]
        axis.errorbar(times, means, ranges, fmt="o-", capsize=4, color=colours[name], label=name)
    axis.set(xscale="log", xlabel="time since programming (s), 25 °C")
    title = f"over time, {points[0].mode}, N = {points[0].table}" if points else "over time: no device drifts"
    axis.set_title(title)


def _tables(axis: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    reads = {point.table: point.reads for point in points}
    _groups(axis, points, colours, [point.table for point in points])
    axis.set_xticks(range(len(reads)), [f"{table}\n{count / 1e6:.2f} M" for table, count in reads.items()])
    title = f"over N tables, {points[0].mode}, {points[0].time_s:g} s"
    axis.set(title=title, xlabel="word lines per read (N), and reads an image")
