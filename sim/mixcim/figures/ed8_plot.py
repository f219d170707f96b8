"""The plots of ED8: accuracy over aligned width, and costs at the width that each method needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from mixcim_hdl.floating import BF16, FP16, Rounding

from ..explore.alignment import FORMATS, ROUNDINGS, Method

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .ed8 import Accuracy, Needed, Numbers

matplotlib.use("Agg")

COLOURS = {Method.PRODUCT: "#9467bd", Method.INPUT: "#4f9a5a", Method.LAYER: "#2f6db3", Method.KERNEL: "#c44e3b"}
STYLES = {(BF16, Rounding.NEAREST_EVEN): "-o", (FP16, Rounding.NEAREST_EVEN): "--s", (BF16, Rounding.TRUNCATE): ":^"}
SHOWN = 10  #: points of accuracy below FP32 that the plot shows


def draw(points: dict[Numbers, Accuracy], needed: Sequence[Needed], images: int, path: Path) -> Path:
    """Write the figure as PNG; returns its path."""
    import matplotlib.pyplot as pyplot

    with pyplot.rc_context({"font.size": 11, "axes.titlesize": 12, "legend.fontsize": 10}):
        figure, axes = pyplot.subplots(1, 2, figsize=(18, 7.5), layout="constrained", width_ratios=(1, 1.1))
        _accuracy(axes[0], points, images)
        _costs(axes[1], needed)
        figure.suptitle("ED8: floating point through integer units, ResNet-20 CIFAR-100, all layers, model")
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
    return path


def _accuracy(axis: Axes, points: dict[Numbers, Accuracy], images: int) -> None:
    from .ed8 import LOSS, METHODS, WIDTHS, Numbers

    places = {width: place for place, width in enumerate(WIDTHS)}
    best = points[Numbers()].accuracy
    for (format, rounding), style in STYLES.items():
        for method in METHODS:
            values = [points[Numbers(format, method, rounding, width)].accuracy for width in WIDTHS]
            axis.plot(list(places.values()), values, style, color=COLOURS[method], markersize=5, linewidth=1.3)
    for method in METHODS:
        axis.plot([], [], color=COLOURS[method], linewidth=3, label=f"{method.value} alignment")
    for (format, rounding), style in STYLES.items():
        axis.plot([], [], style, color="black", markersize=5, label=f"{format.name}, {ROUNDINGS[rounding]}")
    axis.axhline(best, color="black", linewidth=1)
    axis.axhspan(best - LOSS, best, color="black", alpha=0.12, label=f"FP32 {best:.2f} %, and {LOSS} points less")
    axis.set_xticks(list(places.values()), [str(width) for width in WIDTHS])
    axis.set(
        title=f"accuracy over {images} test images (lower ones are in the table)",
        xlabel="aligned width (bits, sign included)",
        ylabel="accuracy (%)",
    )
    axis.set_ylim(best - SHOWN, best + SHOWN / 4)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def _costs(axis: Axes, needed: Sequence[Needed]) -> None:
    from .ed8 import LOSS, METHODS

    costs = {(item.format, item.method): item for item in needed}
    names = next((list(item.cost.named().items()) for item in needed if item.cost), [])
    bars = [(format, method) for method in METHODS for format in FORMATS.values()]
    width = 0.84 / len(bars)
    for number, (format, method) in enumerate(bars):
        item = costs[format, method]
        text = f"{item.width} bits" if item.width else "not reached"
        values = [value for value, _ in item.cost.named().values()] if item.cost else [np.nan] * len(names)
        axis.bar(
            np.arange(len(names)) + (number - (len(bars) - 1) / 2) * width,
            values,
            width,
            color=COLOURS[method],
            hatch="///" if format is FP16 else "",
            edgecolor="white",
            label=f"{method.value}, {format.name}: {text}",
        )
    for container in axis.containers:
        axis.bar_label(container, fmt="{:.3g}", rotation=90, padding=3, fontsize=9)  # type: ignore[arg-type]
    labels = [f"{name}\n({unit})".replace(" times", "\ntimes") for name, (_, unit) in names]
    axis.set_xticks(range(len(names)), labels)
    axis.set_yscale("log")
    axis.set_ylim(top=axis.get_ylim()[1] * 20)
    axis.set(title=f"cost at the least width within {LOSS} points of FP32 (nearest)", ylabel="cost, in the unit below")
    axis.grid(alpha=0.3, axis="y")
    axis.legend(loc="upper left", ncols=2)
