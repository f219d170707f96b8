"""The plots of ED5: reads of every layer by table, rows per read of the tuned table, accuracy over reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from .resnet20 import CHIP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .ed5 import Case, RtlRun

matplotlib.use("Agg")

COLOURS = ("#9aa5ab", "#2f6db3", "#c44e3b")  #: uniform, three numbers, tuned


def draw(cases: Sequence[Case], chosen: Sequence[Case], runs: Sequence[RtlRun], images: int, path: Path) -> Path:
    """Write the figure as PNG; returns its path. `chosen` and `runs` go together, the tuned one last."""
    import matplotlib.pyplot as pyplot

    with pyplot.rc_context({"font.size": 11, "axes.titlesize": 12, "legend.fontsize": 10}):
        figure = pyplot.figure(figsize=(16, 11), layout="constrained")
        grid = figure.add_gridspec(2, 2)
        _layers(figure.add_subplot(grid[0, :]), chosen, runs)
        _rows(figure.add_subplot(grid[1, 0]), figure, chosen[-1])
        _trade(figure.add_subplot(grid[1, 1]), cases, chosen[-1], images)
        figure.suptitle(f"ED5: word lines per read, ResNet-20 CIFAR-100, hidden layers on memristor, chip {CHIP.name}")
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
    return path


def _layers(axis: Axes, chosen: Sequence[Case], runs: Sequence[RtlRun]) -> None:
    layers = list(runs[0].reads)
    width = 0.8 / len(runs)
    for number, (case, run) in enumerate(zip(chosen, runs, strict=True)):
        places = np.arange(len(layers)) + (number - (len(runs) - 1) / 2) * width
        reads = np.array([run.reads[layer] for layer in layers]) / 1e3
        change = "" if run is runs[0] else f" ({run.total / runs[0].total - 1:+.1%})"
        label = f"N = {case.name}: {run.total / 1e6:.2f} million reads{change}"
        bars = axis.bar(places, reads, width, color=COLOURS[number], label=label)
        if case is chosen[-1]:
            uniform = runs[0].reads
            shares = [f"{run.reads[layer] / uniform[layer] - 1:+.0%}" for layer in layers]
            for bar, share in zip(bars, shares, strict=True):
                axis.annotate(share, (bar.get_x(), bar.get_height()), (2, 3), textcoords="offset points", fontsize=9)
    names = [layer.split(";")[0].strip("/").replace("/Conv", "") for layer in layers]
    axis.set_xticks(range(len(layers)), names, rotation=30, ha="right", fontsize=9)
    axis.set(title="reads of every layer, counted by the RTL (one image)", ylabel="word-line reads (thousands)")
    axis.set_xlim(-0.6, len(layers) - 0.4)
    axis.grid(alpha=0.3, axis="y")
    axis.set_ylim(0, 1.2 * axis.get_ylim()[1])
    axis.legend(loc="upper center", ncols=len(runs))


def _rows(axis: Axes, figure: Figure, case: Case) -> None:
    """Word lines per read over input bit and digit, mean over the layers."""
    assert case.tables is not None
    tables = case.tables.layers.values()
    rows = np.mean([table.rows_per_read for table in tables], axis=0)
    image = axis.imshow(rows, cmap="viridis", origin="lower", aspect="auto", vmin=0, vmax=CHIP.rows)
    for (bit, digit), value in np.ndenumerate(rows):
        colour = "black" if value > 0.6 * CHIP.rows else "white"
        axis.text(digit, bit, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=11)
    places = [f"{digit}\n(x {1 << place})" for digit, place in enumerate(CHIP.mode.places)]
    axis.set_xticks(range(rows.shape[1]), places)
    axis.set_yticks(range(len(rows)), [f"{bit}  (x {1 << bit})" for bit in range(len(rows))])
    axis.set(
        title=f"{case.name}: mean over {len(tables)} layers",
        xlabel=f"weight digit of {CHIP.weight_mode} (place value)",
        ylabel="input bit (place value)",
    )
    figure.colorbar(image, ax=axis, label="word lines per read (N)")


def _trade(axis: Axes, cases: Sequence[Case], claimed: Case, images: int) -> None:
    from .ed5 import GOAL_CHANGE, GOAL_LOSS, PAPER_CHANGE, PAPER_LOSS

    for case in cases:
        colour = COLOURS[2] if case.tables else COLOURS[1]
        axis.errorbar(case.change, -case.loss, case.error, fmt="o", color=colour, capsize=3)
    tuned = [case for case in cases if case.tables]
    tuned = [case for case in cases if case.tables]
    axis.plot([case.change for case in tuned], [-case.loss for case in tuned], color=COLOURS[2], linewidth=1)
    for case in (*cases[:2], tuned[0], claimed, tuned[-1]):
        axis.annotate(
            case.name.removeprefix("tuned, budget "),
            (case.change, case.error - case.loss),
            textcoords="offset points",
            xytext=(0, 5),
            ha="center",
            fontsize=12 if case is claimed else 10,
            weight="bold" if case is claimed else "normal",
        )
    axis.plot(PAPER_CHANGE, -PAPER_LOSS, "k*", markersize=12, label="paper")
    axis.plot([], [], "o", color=COLOURS[1], label="one table for all layers")
    axis.plot([], [], "o", color=COLOURS[2], label="tuned, at its budget (codes r.m.s.)")
    axis.axhline(0, color="black", linewidth=1)
    low, high = axis.get_ylim()
    span = max(-low, high) * 1.3
    axis.set_ylim(-span, span)
    axis.set_xlim(-85, 5)
    axis.fill_between([-85, GOAL_CHANGE], -GOAL_LOSS, span, color="#4f9a5a", alpha=0.15, label="goal")
    axis.set(
        title=f"accuracy over {images} test images (bars: standard error)",
        xlabel="change of word-line reads (%)",
        ylabel="accuracy against INT8 (points)",
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
