"""ED2, number formats: accuracy of ResNet-20 in every pair of input and weight format, and over the aligned width.

Every layer, the first and the last too, has the pair's formats; a tensor between layers is of the input format. Weights
and floating-point inputs are aligned to WIDTH bits (MODES: to each of WIDTHS), nearest even. The compiled program runs
on the model, bit for bit as the chip would, on exact units. INT4 and INT8 inputs are calibrated with the workloads' own
images; nothing is trained. Losses are against FP32 (onnxruntime) on the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from . import Figure, FigureRequest, record
from .ed8 import Accuracy, compare
from .kept import Kept
from .number_formats import NAMES, Network, classes, open_resnet20, reference

INPUTS = ("int4", "int8", "fp8_e4m3", "fp8_e5m2", "bf16", "fp16")
WEIGHTS = INPUTS
WIDTH = 12  #: aligned bits of the matrix
MATRIX_LIMIT = 500  #: test images of the matrix
#: Pairs over the aligned width, on every test image: the pure ones, and the paper's two mixed ones.
MODES = (
    ("bf16", "bf16"),
    ("fp16", "fp16"),
    ("fp8_e4m3", "fp8_e4m3"),
    ("fp8_e5m2", "fp8_e5m2"),
    ("bf16", "int8"),
    ("int8", "bf16"),
)
WIDTHS = (9, 12)
#: Points that pure BF16 and FP16 may lose against FP32, in either direction, by aligned width.
GOALS = {12: 0.1, 9: 0.3}


@dataclass(frozen=True)
class Pair:
    """Formats of inputs and weights, and the aligned width (None: nothing is aligned)."""

    inputs: str
    weights: str
    width: int | None

    @property
    def name(self) -> str:
        """In words."""
        formats = f"{NAMES[self.inputs]}/{NAMES[self.weights]}"
        return formats if self.width is None else f"{formats}, {self.width} bits"


def make(request: FigureRequest) -> Figure:
    """Measure every pair, tabulate, draw. Raises MixcimError if the workloads are absent."""
    kept = Kept(request.folder / "kept")
    request.advance(0, 1, "opening ResNet-20")
    resnet20 = open_resnet20(request.limit)
    few = resnet20.first(MATRIX_LIMIT)
    matrix = [Pair(inputs, weights, _width(inputs, weights, WIDTH)) for inputs in INPUTS for weights in WEIGHTS]
    modes = [Pair(*mode, width) for mode in MODES for width in WIDTHS]

    def measured(network: Network, pairs: list[Pair], what: str) -> dict[Pair, Accuracy]:
        exact = reference(network, kept)
        found = {}
        for number, pair in enumerate(pairs):
            title = f"{what} {number + 1} of {len(pairs)}: {pair.name}"
            given = classes(network, pair.inputs, pair.weights, pair.width, kept, request.advance, title)
            found[pair] = compare(exact, given, network.labels)
        return found

    wide = measured(resnet20, modes, "mode")
    pairs = measured(few, matrix, "pair")
    exact = {network: 100 * float(np.mean(reference(network, kept) == network.labels)) for network in (resnet20, few)}
    request.advance(1, 1, "drawing")
    from . import ed2_plot  # matplotlib takes a second to load

    plot = ed2_plot.draw(pairs, exact[few], len(few.labels), wide, exact[resnet20], len(resnet20.labels),
                         request.folder / "ed2.png")  # fmt: skip
    tables = [_matrix(pairs, exact[few], len(few.labels)), _modes(wide, exact[resnet20], len(resnet20.labels))]
    records = [
        record("ed2 test images of the matrix", len(few.labels), "images", "model"),
        record("ed2 test images of the modes", len(resnet20.labels), "images", "model"),
        record("ed2 aligned width of the matrix", WIDTH, "bits", "model"),
        record("ed2 matrix FP32, accuracy", exact[few], "%", "model"),
        record("ed2 mode FP32, accuracy", exact[resnet20], "%", "model"),
    ]
    for pair, point in pairs.items():
        name = f"ed2 matrix {Pair(pair.inputs, pair.weights, None).name}"
        records.append(record(f"{name}, accuracy", point.accuracy, "%", "model"))
    for pair, point in wide.items():
        records += point.records(f"ed2 mode {pair.name}", _goal(pair))
    return Figure(records, tables, [plot])


def _width(inputs: str, weights: str, width: int) -> int | None:
    """`width`, or None where both formats are integers."""
    return None if inputs.startswith("int") and weights.startswith("int") else width


def _goal(pair: Pair) -> float | None:
    """Points that a pair may lose; None for pairs without a goal."""
    pure = pair.inputs == pair.weights and pair.inputs in ("bf16", "fp16")
    return GOALS.get(pair.width or 0) if pure else None


def _matrix(pairs: dict[Pair, Accuracy], exact: float, images: int) -> Table:
    title = (
        f"ED2: accuracy in percent, {WIDTH} aligned bits, {images} test images, model; FP32 {exact:.2f} %, standard "
        f"error of a difference up to {max(point.error for point in pairs.values()):.2f}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("inputs")
    for weights in WEIGHTS:
        table.add_column(f"weights {NAMES[weights]}", justify="right")
    for inputs in INPUTS:
        row = [point.accuracy for pair, point in pairs.items() if pair.inputs == inputs]
        table.add_row(NAMES[inputs], *(f"{accuracy:.2f}" for accuracy in row))
    return table


def _modes(modes: dict[Pair, Accuracy], exact: float, images: int) -> Table:
    title = f"ED2: accuracy lost against FP32 ({exact:.2f} %) in points, {images} test images, model"
    table = Table(title=title, title_justify="left")
    table.add_column("inputs/weights")
    for width in WIDTHS:
        table.add_column(f"{width} aligned bits", justify="right")
    for inputs, weights in MODES:
        row = [modes[Pair(inputs, weights, width)] for width in WIDTHS]
        table.add_row(Pair(inputs, weights, None).name, *(f"{point.loss:+.2f} ± {point.error:.2f}" for point in row))
    return table
