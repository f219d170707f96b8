"""MobileNet-v2 for ImageNet in floating point on the model: accuracy against FP32 over format and aligned width."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from . import Figure, FigureRequest, record
from .ed2 import Pair
from .ed8 import compare
from .kept import Kept
from .number_formats import classes, open_mobilenet, reference

PAIRS = (Pair("bf16", "bf16", 12), Pair("bf16", "bf16", 9))


def make(request: FigureRequest) -> Figure:
    """Measure every pair and tabulate. Raises MixcimError if the workloads are absent."""
    kept = Kept(request.folder / "kept")
    request.advance(0, 1, "opening MobileNet-v2")
    network = open_mobilenet(request.limit)
    exact = reference(network, kept)
    accuracy = 100 * float(np.mean(exact == network.labels))
    title = f"MobileNet-v2 ImageNet, {len(exact)} test images, model; FP32 {accuracy:.2f} %"
    table = Table(title=title, title_justify="left")
    table.add_column("inputs/weights")
    for heading in ("accuracy, %", "lost against FP32, points", "same answers as FP32, %"):
        table.add_column(heading, justify="right")
    records = [
        record("mobilenet test images", len(exact), "images", "model"),
        record("mobilenet FP32, accuracy", accuracy, "%", "model"),
    ]
    for pair in PAIRS:
        given = classes(network, pair.inputs, pair.weights, pair.width, kept, request.advance, pair.name)
        point = compare(exact, given, network.labels)
        lost = f"{point.loss:+.2f} ± {point.error:.2f}"
        table.add_row(pair.name, f"{point.accuracy:.2f}", lost, f"{point.same:.2f}")
        records += point.records(f"mobilenet {pair.name}")
    request.advance(1, 1, "done")
    return Figure(records, [table], [])
