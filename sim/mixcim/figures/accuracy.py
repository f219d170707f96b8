"""Accuracy of ResNet-20 with its hidden layers on memristor: over device and weight mode, time, and N table.

Programs are compiled for ideal cells and then put into a device's cells with its read noise: nothing is trained or
tuned for a device. Every point is the model's, over the same test images, for several chips (device seeds): mean,
smallest and largest accuracy. INT8 on exact units is the reference.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from mixcim_hdl.formats import WEIGHT_MODES
from mixcim_hdl.program import Program

from ..device.library import DEVICES, load_device
from ..device.model import DeviceModel
from . import Figure, FigureRequest, record
from .kept import Kept
from .resnet20 import BUDGET, CHIP, answers, open_resnet20, programmed, tuned

LIMIT, SEEDS = 200, 3  #: test images and device seeds of every point
TIMES_S = (1.0, 10.0, 1e2, 1e3, 1e4, 1e5)
TABLE = "16"  #: of the panels over weight mode and time
MODE = "MM-2"  #: of the panels over time and table
TUNED = "tuned"  #: the tables that `tune` finds within BUDGET
TABLES = (TABLE, "16,32,64", "24,48,96", "32,64,128", "exact", TUNED)


@dataclass(frozen=True)
class Point:
    """Accuracy in percent of a device in a weight mode, at a time since programming, with a table; one a seed."""

    device: str
    mode: str
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
    """Points over weight modes (TABLE; at 1 s, and at the last time for devices that drift), over time (MODE, TABLE),
    and over tables (MODE, 1 s); `exact`: INT8 on exact units, %."""

    modes: list[Point]
    times: list[Point]
    tables: list[Point]
    exact: float


def make(request: FigureRequest) -> Figure:
    """Measure every point, tabulate, draw. Raises MixcimError if the workloads are absent."""
    kept, seeds = Kept(request.folder / "kept"), request.seeds or SEEDS
    request.advance(0, 1, "opening ResNet-20")
    resnet20 = open_resnet20(request.limit or LIMIT)
    devices = [load_device(name) for name in request.devices or DEVICES]
    chips = {mode: dataclasses.replace(CHIP, weight_mode=mode) for mode in WEIGHT_MODES}
    later = {device.name: TIMES_S if drifts(device) else TIMES_S[:1] for device in devices}
    modes = [
        (device, mode, time_s, TABLE)
        for mode in chips
        for device in devices
        for time_s in dict.fromkeys((later[device.name][0], later[device.name][-1]))
    ]
    drifting = [device for device in devices if drifts(device)]
    times = [(device, MODE, time_s, TABLE) for device in drifting for time_s in TIMES_S]
    tables = [(device, MODE, TIMES_S[0], table) for device in devices for table in TABLES]
    runs = [*modes, *times, *tables]

    @functools.cache
    def compiled(mode: str, table: str) -> Program:
        if table == TUNED:
            found = tuned(resnet20, BUDGET, request.seed, kept, request.advance, chips[mode])
            return resnet20.program(found, chips[mode])
        return resnet20.program(table, chips[mode])

    points: dict[tuple[str, str, float, str], Point] = {}
    for number, (device, mode, time_s, table) in enumerate(runs):
        where = (device.name, mode, time_s, table)
        if where in points:
            continue
        accuracies, reads = [], 0
        for seed in range(request.seed, request.seed + seeds):
            what = f"point {number + 1} of {len(runs)}: {device.name}, {mode}, {time_s:g} s, table {table}, seed {seed}"
            program = programmed(compiled(mode, table), device, seed, time_s, chips[mode])
            given = answers(program, resnet20.codes, kept, request.advance, what, chips[mode])
            accuracies.append(given.accuracy(resnet20.labels))
            reads = given.reads
        points[where] = Point(*where, tuple(accuracies), reads)
    exact = answers(resnet20.exact, resnet20.codes, kept, request.advance, "INT8 on exact units")

    def measured(runs: list[tuple[DeviceModel, str, float, str]]) -> list[Point]:
        return [points[device.name, mode, time_s, table] for device, mode, time_s, table in runs]

    panels = Panels(measured(modes), measured(times), measured(tables), exact.accuracy(resnet20.labels))
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
        name = f"accuracy {point.device}, {point.mode}, {point.time_s:g} s, table {point.table}"
        records += [
            record(f"{name}, mean", point.mean, "%", "model"),
            record(f"{name}, smallest", min(point.accuracies), "%", "model"),
            record(f"{name}, largest", max(point.accuracies), "%", "model"),
        ]
    return records


def _table(points: list[Point], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("device")
    table.add_column("weight mode")
    table.add_column("time, s", justify="right")
    table.add_column("table")
    for heading in ("reads an image", "accuracy, %", "smallest", "largest"):
        table.add_column(heading, justify="right")
    for point in sorted(points, key=lambda point: [item.device for item in points].index(point.device)):
        table.add_row(
            point.device,
            point.mode,
            f"{point.time_s:g}",
            point.table,
            f"{point.reads:,}",
            f"{point.mean:.1f}",
            f"{min(point.accuracies):.1f}",
            f"{max(point.accuracies):.1f}",
        )
    return table
