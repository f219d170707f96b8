"""Measured cells of a technology, read at run time from the workload pack, and drawing straight from them.

Three kinds of measurement (MIT-licensed data of akashlevy/RRAM-Relaxation-Master-Model, see the pack's SOURCES.md):

* relaxation: cells programmed to 32 levels and read again at room temperature at several times: `Relaxation`.
* confusion: of the cells written to band w of 16, how many were read in band r after a time: `Confusion`. Band 0 is the
  lowest of 32 equal levels, band k levels 2k - 1 and 2k, band 15 the three highest.
* bake: cells read before and after storage at 100 to 260 C: `Bake`.

Which measured cells stand for a nominal conductance: those that write-verify with a band of one of the 32 levels would
accept for it, i.e. whose conductance right after programming is within half a level's width of it (for HRS: the lowest
level). Cells are drawn with replacement. One number picks the cell, so a drawn cell keeps its history over time.
"""

from __future__ import annotations

import functools
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import MixcimError
from .model import ROOM_C
from .workloads import device_file

LEVELS = 32  #: levels of the measured cells
BANDS = 16  #: bands of the confusion counts
_SLACK = 1.1  #: nominal time points are kept to within a tenth


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Cells at room temperature: `initial_uS` (cells,), `time_s` (times,) ascending, `conductance_uS` (times, cells).

    Only cells that were read at every time. `level_uS`: width of a level, from the levels that the file states: median
    of the highest conductance of each, over its number counted from 1.
    """

    level_uS: float
    initial_uS: np.ndarray
    time_s: np.ndarray
    conductance_uS: np.ndarray


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts at room temperature: `time_s` (times,), `counts` int64 (times, band read, band written)."""

    time_s: np.ndarray
    counts: np.ndarray

    def edges(self, level_uS: float) -> np.ndarray:
        """Edges of the bands in uS, (17,), for levels of that width."""
        return level_uS * np.array([0, *range(1, LEVELS - 2, 2), LEVELS], np.float64)


@dataclass(frozen=True, eq=False)
class Bake:
    """Cells stored at one temperature: `initial_uS`, `conductance_uS` (cells,), `time_s` between the two readings."""

    temperature_c: float
    time_s: float
    initial_uS: np.ndarray
    conductance_uS: np.ndarray


@dataclass(frozen=True, eq=False)
class MeasuredCells:
    """All measurements of a technology. `level_uS`: width of one of its 32 levels; `relaxation` may be missing."""

    name: str
    level_uS: float
    bakes: tuple[Bake, ...]
    relaxation: Relaxation | None
    confusion: Confusion | None

    @property
    def initial_uS(self) -> np.ndarray:
        """Conductances of every measured cell right after programming, (cells,)."""
        parts = [bake.initial_uS for bake in self.bakes]
        return np.concatenate(parts if self.relaxation is None else [*parts, self.relaxation.initial_uS])

    def accepted(self, initial_uS: np.ndarray, target_uS: float) -> np.ndarray:
        """Indices of the cells that stand for a nominal conductance, by the rule above. MixcimError if none does."""
        half = self.level_uS / 2
        centre = max(target_uS, half)  # HRS: the lowest level
        chosen = np.flatnonzero(np.abs(initial_uS - centre) <= half)
        if not len(chosen):
            raise MixcimError(f"device '{self.name}' has no measured cell near {target_uS:g} uS: use sampling 'fit'")
        return chosen

    def draw(
        self, target_uS: float, time_s: float, temperature_c: float, pick: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `model.CellSource`. Raises MixcimError for a time or temperature at which nothing was measured.

        Between two times of a relaxation measurement each cell is interpolated in log time.
        """
        if abs(temperature_c - ROOM_C) > 5:
            bake = min(self.bakes, key=lambda bake: abs(bake.temperature_c - temperature_c))
            if abs(bake.temperature_c - temperature_c) > 5:
                known = ", ".join(f"{item.temperature_c:g}" for item in self.bakes)
                raise MixcimError(
                    f"device '{self.name}' has measured cells at {ROOM_C:g}, {known} C, not at {temperature_c:g} C: "
                    "use sampling 'fit'"
                )
            self._check_time(time_s, bake.time_s, bake.time_s, f" at {bake.temperature_c:g} C")
            chosen = _picked(self.accepted(bake.initial_uS, target_uS), pick)
            initial = bake.initial_uS[chosen]
            return initial, initial if time_s == 0 else bake.conductance_uS[chosen]
        if self.relaxation is not None:
            return self._draw_relaxed(self.relaxation, target_uS, time_s, pick)
        assert self.confusion is not None
        return self._draw_band(self.confusion, target_uS, time_s, pick, inside)

    def _draw_relaxed(
        self, data: Relaxation, target_uS: float, time_s: float, pick: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen = _picked(self.accepted(data.initial_uS, target_uS), pick)
        initial = data.initial_uS[chosen]
        if time_s == 0:
            return initial, initial
        self._check_time(time_s, data.time_s[0], data.time_s[-1])
        before, share = _between(data.time_s, time_s)
        after = min(before + 1, len(data.time_s) - 1)
        first, last = data.conductance_uS[before, chosen], data.conductance_uS[after, chosen]
        return initial, first + share * (last - first)

    def _draw_band(
        self, data: Confusion, target_uS: float, time_s: float, pick: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Band read after the time, from the counts; a cell's place in its band is uniform, and kept."""
        edges = data.edges(self.level_uS)
        initial = max(target_uS - self.level_uS / 2, 0.0) + self.level_uS * inside
        if time_s == 0:
            return initial, initial
        self._check_time(time_s, data.time_s[0], data.time_s[-1])
        written = int(np.clip(np.searchsorted(edges, target_uS, "right") - 1, 0, BANDS - 1))
        before, share = _between(data.time_s, time_s)
        values = []
        for index in (before, min(before + 1, len(data.time_s) - 1)):
            share_below = np.cumsum(data.counts[index, :, written]) / data.counts[index, :, written].sum()
            band = np.minimum(np.searchsorted(share_below, pick, "right"), BANDS - 1)
            place = edges[band] + inside * (edges[band + 1] - edges[band])
            values.append(np.where(band == written, initial, place))
        return initial, values[0] + share * (values[1] - values[0])

    def _check_time(self, time_s: float, first: float, last: float, where: str = "") -> None:
        if time_s and not first / _SLACK <= time_s <= last * _SLACK:
            raise MixcimError(
                f"device '{self.name}' has measured cells after 0 and {first:g} to {last:g} s{where}, "
                f"not after {time_s:g} s: use sampling 'fit'"
            )


def _picked(chosen: np.ndarray, pick: np.ndarray) -> np.ndarray:
    return chosen[(pick * len(chosen)).astype(np.int64)]


def _between(times: np.ndarray, time_s: float) -> tuple[int, float]:
    """Index of the last time <= time_s, and how far in log time it is from there to the next."""
    place = float(np.interp(np.log10(time_s), np.log10(times), np.arange(len(times))))
    return int(place), place - int(place)


@functools.lru_cache(maxsize=4)
def read_measured(name: str) -> MeasuredCells:
    """Measurements of technology `name`, e.g. "techA". Raises MixcimError: files absent or not what they should be.

    Read: rram_bake_NAME.npz, and rram_relaxation_NAME.npz or else rram_confusion16_NAME.npz.
    """
    bake = device_file(f"rram_bake_{name}.npz", name)
    relaxed = bake.with_name(f"rram_relaxation_{name}.npz")
    relaxation = _read_relaxation(_arrays(relaxed)) if relaxed.is_file() else None
    confused = bake.with_name(f"rram_confusion16_{name}.npz")
    if relaxation is None and not confused.is_file():
        device_file(relaxed.name, name)
    confusion = _read_confusion(_arrays(confused)) if confused.is_file() else None
    bakes = _read_bakes(_arrays(bake))
    if relaxation is None:
        level_uS = upper_edge(np.concatenate([bake.initial_uS for bake in bakes])) / LEVELS
    else:
        level_uS = relaxation.level_uS
    return MeasuredCells(name, level_uS, bakes, relaxation, confusion)


def upper_edge(initial_uS: np.ndarray) -> float:
    """Upper edge in uS of the highest level: where the density of freshly programmed cells falls to half.

    The levels are of equal width and filled alike, so the density is flat up to there; outliers lie above.
    """
    low, high = np.percentile(initial_uS, [25, 75])
    bins = low + (high - low) / 120 * np.arange(240)
    count, edges = np.histogram(initial_uS, bins)
    plateau = np.median(count[:120])
    last = int(np.flatnonzero(count >= plateau / 2)[-1])
    # Between the centres of the last bin above half and the next, where a straight line crosses half.
    share = (count[last] - plateau / 2) / (count[last] - count[last + 1])
    return float((edges[last] + edges[last + 1]) / 2 + share * (edges[1] - edges[0]))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise MixcimError(f"'{path}' is not a numpy file of measured cells: fetch the workloads again") from None


def _read_relaxation(data: dict[str, np.ndarray]) -> Relaxation:
    times = np.unique(data["timepoint_s"])
    address, column = np.unique(data["addr"], return_inverse=True)
    table = np.full((len(times), len(address)), np.nan)
    table[np.searchsorted(times, data["timepoint_s"]), column] = data["g_uS"]
    table = table[:, ~np.isnan(table).any(axis=0)]
    highest = np.zeros(LEVELS)
    np.maximum.at(highest, data["level"], data["g_initial_uS"])
    level_uS = float(np.median(highest / np.arange(1, LEVELS + 1)))
    return Relaxation(level_uS, table[0], times[1:].astype(np.float64), table[1:])


def _read_confusion(data: dict[str, np.ndarray]) -> Confusion:
    times = sorted((float(key[2:-1]), key) for key in data)
    counts = np.array([data[key] for time, key in times if time > 0], np.int64)
    return Confusion(np.array([time for time, _ in times if time > 0]), counts)


def _read_bakes(data: dict[str, np.ndarray]) -> tuple[Bake, ...]:
    bakes = []
    for temperature in np.unique(data["temp_C"]):
        here = data["temp_C"] == temperature
        order = np.lexsort((data["time_s"][here], data["addr"][here]))
        pairs = data["g_uS"][here][order].reshape(-1, 2).astype(np.float64)
        time = float(np.median(data["time_s"][here][order].reshape(-1, 2)[:, 1]))
        bakes.append(Bake(float(temperature), time, pairs[:, 0], pairs[:, 1]))
    return tuple(bakes)
