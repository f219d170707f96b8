"""Accuracy of ResNet-20 with its hidden layers on memristor: over device, time since programming, and N table.

Programs are compiled for ideal cells and then put into a device's cells with its read noise: nothing is trained or
tuned for a device. Every point is the model's, over the same test images, for several chips (device seeds): mean,
smallest and largest accuracy. INT8 on exact units is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from ..compile.table import Tables
from ..device.library import DEVICES, load_device
from ..device.model import DeviceModel
from . import Figure, FigureRequest, record
from .kept import Kept
from .resnet20 import BUDGET, CHIP, answers, open_resnet20, programmed, tuned

LIMIT, SEEDS = 200, 3  #: test images and device seeds of every point
TIMES_S = (1.0, 10.0, 1e2, 1e3, 1e4, 1e5)
TABLE = "16"  #: of the panels over device and time
TUNED = "tuned"  #: the tables that `tune` finds within BUDGET
TABLES = (TABLE, "16,32,64", "24,48,96", "32,64,128", "exact", TUNED)


@dataclass(frozen=True)
class Point:
    """Accuracy in percent of a device at a time since programming with a table, one number a seed."""

    device: str
    time_s: float
    table: str
    accuracies: tuple[float, ...]
    reads: int

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True)
class Panels:
    """Points over devices (TABLE, 1 s), over time (TABLE), and over tables (1 s); `exact`: INT8 on exact units, %."""

    devices: list[Point]
    times: list[Point]
    tables: list[Point]
    exact: float


def make(request: FigureRequest) -> Figure:
    """Measure every point, tabulate, draw. Raises MixcimError if the workloads are absent."""
    kept, seeds = Kept(request.folder / "kept"), request.seeds or SEEDS
    request.advance(0, 1, "opening ResNet-20")
    resnet20 = open_resnet20(request.limit or LIMIT)
    devices = [load_device(name) for name in request.devices or DEVICES]
    programs = {}
    for table in TABLES:
        tables: str | Tables = table
        if table == TUNED:
            tables = tuned(resnet20, BUDGET, request.seed, kept, request.advance)
        programs[table] = resnet20.program(tables)
    runs = [(device, TIMES_S[0], TABLE) for device in devices]
    runs += [(device, time_s, TABLE) for device in devices if drifts(device) for time_s in TIMES_S]
    runs += [(device, TIMES_S[0], table) for device in devices for table in TABLES]
    points: dict[tuple[str, float, str], Point] = {}
    for number, (device, time_s, table) in enumerate(runs):
        where = (device.name, time_s, table)
        if where in points:
            continue
        accuracies, reads = [], 0
        for seed in range(request.seed, request.seed + seeds):
            what = f"point {number + 1} of {len(runs)}: {device.name}, {time_s:g} s, table {table}, seed {seed}"
            program = programmed(programs[table], device, seed, time_s)
            given = answers(program, resnet20.codes, kept, request.advance, what)
            accuracies.append(given.accuracy(resnet20.labels))
            reads = given.reads
        points[where] = Point(*where, tuple(accuracies), reads)
    exact = answers(resnet20.exact, resnet20.codes, kept, request.advance, "INT8 on exact units")
    panels = Panels(
        [points[device.name, TIMES_S[0], TABLE] for device in devices],
        [points[device.name, time_s, TABLE] for device in devices if drifts(device) for time_s in TIMES_S],
        [points[device.name, TIMES_S[0], table] for device in devices for table in TABLES],
        exact.accuracy(resnet20.labels),
    )
    request.advance(1, 1, "drawing")
    from . import accuracy_plot  # matplotlib takes a second to load

    plot = accuracy_plot.draw(panels, len(resnet20.codes), seeds, request.folder / "accuracy.png")
    title = (
        f"accuracy of ResNet-20, hidden layers on memristor, chip {CHIP.name}, model: {len(resnet20.codes)} test "
        f"images, device seeds {request.seed}..{request.seed + seeds - 1}; INT8 on exact units {panels.exact:.1f} %"
    )
    return Figure(
        _records(panels, list(points.values()), len(resnet20.codes), request.seed, seeds),
        [_table(list(points.values()), title)],
        [plot],
    )


def drifts(device: DeviceModel) -> bool:
    """Whether the device's cells change with the time since programming."""
    drift = device.drift
    rows = (drift.mean_uS, drift.mean_per_decade_uS, drift.sigma_uS, drift.sigma_per_decade_uS)
    return any(any(row) for row in rows)


def _records(panels: Panels, points: list[Point], images: int, first: int, seeds: int) -> list[dict[str, Any]]:
    records = [
        record("accuracy test images", images, "images", "model"),
        record("accuracy first device seed", first, "", "model"),
        record("accuracy device seeds of a point", seeds, "seeds", "model"),
        record("accuracy INT8 on exact units", panels.exact, "%", "model"),
    ]
    for point in points:
        name = f"accuracy {point.device}, {point.time_s:g} s, table {point.table}"
        records += [
            record(f"{name}, mean", point.mean, "%", "model"),
            record(f"{name}, smallest", min(point.accuracies), "%", "model"),
            record(f"{name}, largest", max(point.accuracies), "%", "model"),
        ]
    return records


def _table(points: list[Point], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("device")
    table.add_column("time, s", justify="right")
    table.add_column("table")
    for heading in ("reads an image", "accuracy, %", "smallest", "largest"):
        table.add_column(heading, justify="right")
    for point in sorted(points, key=lambda point: [item.device for item in points].index(point.device)):
        table.add_row(
            point.device,
            f"{point.time_s:g}",
            point.table,
            f"{point.reads:,}",
            f"{point.mean:.1f}",
            f"{min(point.accuracies):.1f}",
            f"{max(point.accuracies):.1f}",
        )
    return table
