"""`Record`: one measured figure, with what the paper and we wanted of it; lists of them as a table and as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from mixcim_hdl.files import write_whole

HOW = ("rtl", "model", "estimate")  #: where a figure comes from; `model`: also everything else that software measures


@dataclass(frozen=True)
class Record:
    """One figure. `paper` and `goal`: the same figure there, None where there is none; `met`: None without a goal."""

    name: str
    value: float
    unit: str
    paper: float | None
    goal: float | None
    met: bool | None
    how: str


def record(
    name: str,
    value: float,
    unit: str,
    how: str,
    *,
    paper: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Record:
    """A record whose goal is a lower or an upper bound. Raises ValueError for an unknown `how`, or two goals."""
    if how not in HOW:
        raise ValueError(f"how must be one of {', '.join(HOW)}, not '{how}'")
    if at_least is not None and at_most is not None:
        raise ValueError(f"record '{name}' has two goals, {at_least} and {at_most}; give one")
    met = None
    if at_least is not None:
        met = bool(value >= at_least)
    if at_most is not None:
        met = bool(value <= at_most)
    return Record(name, float(value), unit, paper, at_most if at_least is None else at_least, met, how)


def as_documents(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as JSON has them: {name, value, unit, paper, goal, met, how}."""
    return [asdict(item) for item in records]


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write the records to a JSON file, whole or not at all; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(as_documents(records), indent=2) + "\n").encode())


def records_table(records: Sequence[Record], title: str) -> Table:
    """Records as a table; columns `paper` and `goal` only if a record has one."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("unit")
    bounds = any(item.goal is not None or item.paper is not None for item in records)
    for heading in ("paper", "goal", "met") if bounds else ():
        table.add_column(heading, justify="right")
    table.add_column("how")
    for item in records:
        cells = [item.name, _number(item.value), item.unit]
        if bounds:
            cells += ["" if value is None else _number(value) for value in (item.paper, item.goal)]
            cells.append({None: "", True: "yes", False: "NO"}[item.met])
        table.add_row(*cells, item.how)
    return table


def _number(value: float) -> str:
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.2f}"
