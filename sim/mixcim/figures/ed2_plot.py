"""The plot of ED2: accuracy of every pair of formats as a matrix, and losses over the aligned width."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from .ed8 import Accuracy
from .number_formats import NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .ed2 import Pair

matplotlib.use("Agg")

COLOURS = ("#c7dcef", "#6aa3d5", "#2f6db3", "#16395f")


def draw(
    matrix: dict[Pair, Accuracy], exact: float, images: int, modes: dict[Pair, Accuracy], all_exact: float,
    all_images: int, path: Path,
) -> Path:  # fmt: skip
    """Write the figure as PNG; returns its path. `exact`: FP32's accuracy on the matrix's images, %."""
    import matplotlib.pyplot as pyplot

    with pyplot.rc_context({"font.size": 12}):
        figure, axes = pyplot.subplots(1, 2, figsize=(18, 7), layout="constrained", width_ratios=(1, 1.2))
        _matrix(axes[0], matrix)
        axes[0].set_title(f"every pair, {images} images; FP32: {exact:.2f} %")
        _modes(axes[1], modes)
        axes[1].set_title(f"over aligned width, {all_images} images; FP32: {all_exact:.2f} %")
        figure.suptitle("ResNet-20 CIFAR-100, inputs and weights of all layers in these formats, model")
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
    return path


def _matrix(axis: Axes, matrix: dict[Pair, Accuracy]) -> None:
    inputs = list(dict.fromkeys(pair.inputs for pair in matrix))
    weights = list(dict.fromkeys(pair.weights for pair in matrix))
    values = np.full((len(inputs), len(weights)), np.nan)
    for pair, point in matrix.items():
        values[inputs.index(pair.inputs), weights.index(pair.weights)] = point.accuracy
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    shown = axis.imshow(values, cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > middle else "black"
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(weights)), [NAMES[name] for name in weights])
    axis.set_yticks(range(len(inputs)), [NAMES[name] for name in inputs])
    axis.set(xlabel="weights", ylabel="inputs")
    axis.figure.colorbar(shown, ax=axis, label="accuracy (%)")


def _modes(axis: Axes, modes: dict[Pair, Accuracy]) -> None:
    names = list(dict.fromkeys((pair.inputs, pair.weights) for pair in modes))
    widths = list(dict.fromkeys(pair.width for pair in modes))
    bar = 0.8 / len(widths)
    for number, width in enumerate(widths):
        points = [next(point for pair, point in modes.items() if pair.width == width and
                       (pair.inputs, pair.weights) == name) for name in names]  # fmt: skip
        places = np.arange(len(names)) + (number - (len(widths) - 1) / 2) * bar
        losses, errors = [point.loss for point in points], [point.error for point in points]
        axis.bar(places, losses, bar, yerr=errors, capsize=3, color=COLOURS[number], label=f"{width} aligned bits")
    axis.axhline(0, color="black", linewidth=1)
    axis.set_xticks(range(len(names)), [f"{NAMES[inputs]} /\n{NAMES[weights]}" for inputs, weights in names])
    axis.set(xlabel="inputs / weights", ylabel="accuracy lost against FP32 (points), ± standard error")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="best")
