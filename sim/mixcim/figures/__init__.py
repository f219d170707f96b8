"""Figures that the project shows, each made by `mixcim figures NAME`.

A figure is a module here with a function `make(request: FigureRequest) -> Figure`; `FIGURES` names it. It measures,
turns every number that it shows into a record, draws plots from the same numbers and says where it wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

#: Figure -> one line of help. The module of the same name is imported when the figure is made.
FIGURES = {
    "ed2": "Number formats: accuracy of ResNet-20 in every pair of input and weight format, and over aligned width.",
    "ed5": "Word lines per read: reads of every layer of ResNet-20, uniform against tuned tables, RTL and model.",
    "ed8": "Alignment of floating point: accuracy of ResNet-20 over aligned width, four methods, and their costs.",
    "ed9": "Device sheet: levels, spread, drift, noise and programming, measured from programmed cells.",
    "accuracy": "Accuracy of ResNet-20 on memristor, over device, time since programming and word-line table.",
    "mobilenet": "MobileNet-v2 in floating point: accuracy against FP32.",
}


@dataclass(frozen=True)
class FigureRequest:
    """What the user asked for. `devices` empty: the figure's own choice. `folder` exists; plots are written there.

    `limit`: test images, `seeds`: device seeds from `seed` on; None: the figure's own choice.
    """

    folder: Path
    devices: tuple[str, ...]
    seed: int
    advance: Callable[[int, int, str], None]
    limit: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Figure:
    """`records`: dicts as `record` makes them. `tables`: for people, from the records. `plots`: files written."""

    records: Sequence[dict[str, Any]]
    tables: Sequence[Table]
    plots: Sequence[Path]


def record(
    name: str,
    value: float | int,
    unit: str,
    how: str,
    *,
    paper: float | None = None,
    goal: float | None = None,
    met: bool | None = None,
) -> dict[str, Any]:
    """One number that the project claims. `how`: rtl, model or estimate; `met` is null where there is no goal."""
    if (goal is None) != (met is None):
        raise ValueError(f"record '{name}': goal and met go together")
    return {"name": name, "value": value, "unit": unit, "paper": paper, "goal": goal, "met": met, "how": how}
