"""ED8, alignment of floating point: accuracy of ResNet-20 over aligned width for four methods, and what each costs.

Every layer, the first and the last too, is computed in BF16 or FP16 through integers of a given width, as
explore/alignment.py says; tensors between layers are of the format, the logits float32. References: FP32, and the
format without alignment. Nothing is random. Costs are proxies, counted from the network's shapes
(explore/alignment_cost.py), at the least width that a method needs: the accuracy there and at every wider one
is within LOSS points of FP32.
"""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mixcim_hdl.floating import BF16, FloatFormat, Rounding

from ..bench.networks import RESNET20
from ..commands.inputs import read_inputs
from ..device.workloads import VARIABLE, workloads_folder
from ..errors import MixcimError
from ..explore import alignment, float_network
from ..explore.alignment import FORMATS, ROUNDINGS, Method
from ..explore.alignment_cost import Cost, network_cost
from ..explore.float_network import FloatNetwork, LayerShape
from . import Figure, FigureRequest, record
from .kept import Kept

NETWORK = "models/resnet20_cifar100/resnet20_cifar100_bnfolded.onnx"
LIMIT = 400  #: test images
PART = 100  #: images of one kept result
BATCH = 5  #: images evaluated together: their windows fit in the processor's cache
WIDTHS = (6, 7, 8, 9, 10, 11, 12, 16)
METHODS = tuple(method for method in Method if method is not Method.EXACT)
LOSS = 0.3  #: points that a method may lose against FP32


@dataclass(frozen=True)
class Numbers:
    """Arithmetic of a run; None everywhere: FP32. `method` EXACT: the format alone, without width and rounding."""

    format: FloatFormat | None = None
    method: Method | None = None
    rounding: Rounding | None = None
    width: int | None = None

    @property
    def series(self) -> str:
        """All but the width, in words."""
        if self.format is None:
            return "FP32"
        if self.rounding is None:
            return f"{self.format.name} without alignment"
        assert self.method is not None
        return f"{self.format.name}, {self.method.value} alignment, {ROUNDINGS[self.rounding]}"

    @property
    def name(self) -> str:
        """In words."""
        return self.series if self.width is None else f"{self.series}, {self.width} bits"


@dataclass(frozen=True)
class Accuracy:
    """In percent; loss against FP32 in points with its standard error; `same`: percent of FP32's answers."""

    accuracy: float
    loss: float
    error: float
    same: float

    def records(self, name: str, goal: float | None = None) -> list[dict[str, Any]]:
        """What a figure says of it. `goal`: points that may be lost, or gained."""
        met = None if goal is None else abs(self.loss) <= goal
        return [
            record(f"{name}, accuracy", self.accuracy, "%", "model"),
            record(f"{name}, accuracy lost", self.loss, "points", "model", goal=goal, met=met),
            record(f"{name}, standard error of the loss", self.error, "points", "model"),
            record(f"{name}, same answers as FP32", self.same, "%", "model"),
        ]


@dataclass(frozen=True)
class Needed:
    """The least width that a method needs in a format (nearest), and its cost there. None: WIDTHS have none."""

    format: FloatFormat
    method: Method
    width: int | None
    cost: Cost | None


def series() -> list[tuple[FloatFormat, Method, Rounding]]:
    """In the order in which they are measured."""
    return [(format, method, rounding) for rounding in ROUNDINGS for format in FORMATS.values() for method in METHODS]


def make(request: FigureRequest) -> Figure:
    """Measure every width, count costs, tabulate, draw. Raises MixcimError if the workloads are absent."""
    advance, kept = request.advance, Kept(request.folder / "kept")
    advance(0, 1, "opening ResNet-20")
    path, images, labels = open_images(request.limit or LIMIT)
    network = FloatNetwork(path)
    runs = [Numbers(), *(Numbers(format, Method.EXACT) for format in FORMATS.values())]
    runs += [Numbers(*one, width) for one in series() for width in WIDTHS]
    sources = "".join(inspect.getsource(module) for module in (alignment, float_network))
    fixed = (sources.encode(), alignment.SOURCE.read_bytes(), path.read_bytes())
    parts: dict[Numbers, list[np.ndarray]] = {numbers: [] for numbers in runs}
    for first in range(0, len(images), PART):
        part = images[first : first + PART]
        for number, numbers in enumerate(runs):
            advance(first * len(runs) + number * len(part), len(images) * len(runs), numbers.name)
            key = (*fixed, numbers.name.encode(), part.tobytes())
            answers = kept.of(key, lambda numbers=numbers, part=part: {"classes": classes(network, part, numbers)})
            parts[numbers].append(np.array(answers["classes"]))
    found = {numbers: np.concatenate(given) for numbers, given in parts.items()}
    exact = found[Numbers()]
    points = {numbers: compare(exact, given, labels) for numbers, given in found.items()}
    shapes = network.shapes(images[:1])
    needed = [needed_width(points, shapes, format, method) for format in FORMATS.values() for method in METHODS]
    advance(1, 1, "drawing")
    from . import ed8_plot  # matplotlib takes a second to load

    plot = ed8_plot.draw(points, needed, len(images), request.folder / "ed8.png")
    tables = [_accuracy_table(points, len(images)), _cost_table(needed)]
    return Figure(_records(points, needed, shapes, len(images)), tables, [plot])


def open_images(limit: int) -> tuple[Path, np.ndarray, np.ndarray]:
    """Network file, and the first images, normalised float32 (N, 3, 32, 32), with labels."""
    folder = workloads_folder()
    network, inputs = folder / NETWORK, folder / RESNET20.inputs
    for path in (network, inputs):
        if not path.is_file():
            raise MixcimError(f"this figure needs '{path}', which does not exist: set {VARIABLE} to the workloads")
    values, arrays = read_inputs(inputs, (3, 32, 32), "NCHW", RESNET20.mean, RESNET20.std)
    return network, values[:limit], arrays["labels"][:limit]


def classes(network: FloatNetwork, images: np.ndarray, numbers: Numbers) -> list[int]:
    """The network's answers."""
    format, method = numbers.format, numbers.method

    def product(windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if format is None or method is None:
            return weights @ windows
        if numbers.width is None or numbers.rounding is None:
            return alignment.dot_products(windows, weights, method, format)
        return alignment.dot_products(windows, weights, method, format, numbers.width, numbers.rounding)

    rounded = functools.partial(alignment.rounded, format=format) if format else lambda values: values
    batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
    return np.concatenate([network.run(batch, product, rounded).argmax(axis=1) for batch in batches]).tolist()


def compare(exact: np.ndarray, given: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Against FP32; the standard error of the loss is that of the images that are right in one case only."""
    right = given == labels
    difference = (exact == labels).astype(float) - right
    return Accuracy(
        100 * float(right.mean()),
        100 * float(difference.mean()),
        100 * float(difference.std()) / math.sqrt(len(labels)),
        100 * float(np.mean(given == exact)),
    )


def needed_width(
    points: dict[Numbers, Accuracy], shapes: list[LayerShape], format: FloatFormat, method: Method
) -> Needed:
    """The least width from which on the loss stays within LOSS, rounding to nearest."""
    width = None
    for candidate in reversed(WIDTHS):
        if points[Numbers(format, method, Rounding.NEAREST_EVEN, candidate)].loss > LOSS:
            break
        width = candidate
    return Needed(format, method, width, network_cost(shapes, method, format, width) if width else None)


def _records(
    points: dict[Numbers, Accuracy], needed: list[Needed], shapes: list[LayerShape], images: int
) -> list[dict[str, Any]]:
    work = sum(shape.multiply_accumulates for shape in shapes)
    records = [
        record("ed8 test images", images, "images", "model"),
        record("ed8 multiply-accumulates an image", work, "MAC", "model"),
        record("ed8 loss allowed", LOSS, "points", "model"),
    ]
    for numbers, point in points.items():
        records += point.records(f"ed8 {numbers.name}")
    for item in needed:
        if item.width is None or item.cost is None:
            continue
        name = f"ed8 {item.format.name}, {item.method.value} alignment"
        records.append(record(f"{name}, width needed", item.width, "bits", "model"))
        records += [
            record(f"{name}, {what}", value, unit, "estimate") for what, (value, unit) in item.cost.named().items()
        ]
    return records


def _accuracy_table(points: dict[Numbers, Accuracy], images: int) -> Table:
    references = [f"{numbers.name} {point.accuracy:.2f} %" for numbers, point in points.items() if not numbers.width]
    title = f"ED8: accuracy in percent over {images} test images, model; {', '.join(references)}"
    table = Table(title=title, title_justify="left")
    for heading in ("format", "alignment", "rounding"):
        table.add_column(heading)
    for width in WIDTHS:
        table.add_column(f"{width} bits", justify="right")
    for format, method, rounding in series():
        cells = [f"{points[Numbers(format, method, rounding, width)].accuracy:.2f}" for width in WIDTHS]
        table.add_row(format.name, method.value, ROUNDINGS[rounding], *cells, end_section=method is METHODS[-1])
    return table


def _cost_table(needed: list[Needed]) -> Table:
    title = f"ED8: cost at the least width within {LOSS} points of FP32, rounding to nearest; counted from shapes"
    table = Table(title=title, title_justify="left")
    for heading in ("format", "alignment"):
        table.add_column(heading)
    headings = next((list(item.cost.named().items()) for item in needed if item.cost), [])
    table.add_column("width needed, bits", justify="right")
    for name, (_, unit) in headings:
        table.add_column(f"{name}, {unit}", justify="right")
    for item in needed:
        cells = [f"{value:,.4g}" for value, _ in item.cost.named().values()] if item.cost else [""] * len(headings)
        table.add_row(
            item.format.name,
            item.method.value,
            f"{item.width}" if item.width else f"more than {WIDTHS[-1]}",
            *cells,
            end_section=item.format is BF16 and item.method is METHODS[-1],
        )
    return table
