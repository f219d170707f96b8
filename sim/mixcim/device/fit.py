"""Fits of device models to measured cells, and how good each is.

Measured cells are put into bins by their conductance right after programming; of each bin, mean and standard deviation
of the change after every time make a `ChangeTable`. `fit_drift` puts a line in log10(time) through each bin's means and
deviations. Goodness: `Goodness.r_squared` = 1 - residual / total sum of squares over the whole table (1: perfect), and
the root mean square residual in uS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .measured import BANDS, LEVELS, Bake, Confusion, MeasuredCells, Relaxation
from .model import Drift, Heat, Spread


@dataclass(frozen=True)
class Goodness:
    """How well a fit meets the data: coefficient of determination and root mean square residual in uS."""

    r_squared: float
    residual_uS: float

    @classmethod
    def of(cls, data: np.ndarray, fitted: np.ndarray) -> Goodness:
        """`data`, `fitted`: same shape, uS."""
        residual = float(((data - fitted) ** 2).sum())
        total = float(((data - data.mean()) ** 2).sum())
        return cls(1 - residual / total if total else 1.0, float(np.sqrt(residual / data.size)))


@dataclass(frozen=True, eq=False)
class ChangeTable:
    """Measured change since programming: `time_s` (times,), `conductance_uS` (bins,), and (times, bins) of each:
    mean and standard deviation in uS, number of cells."""

    time_s: np.ndarray
    conductance_uS: np.ndarray
    mean_uS: np.ndarray
    sigma_uS: np.ndarray
    cells: np.ndarray


def level_bins(initial_uS: np.ndarray, level_uS: float) -> np.ndarray:
    """Level (0..31) of conductances right after programming; what lies above the highest belongs to it."""
    return np.minimum((initial_uS / level_uS).astype(np.int64), LEVELS - 1)


def fit_spread(cells: MeasuredCells) -> tuple[Spread, np.ndarray]:
    """Spread right after programming by conductance: deviation of the cells of each level; and cells of each, (32,).

    The highest level is cut at its upper edge: what programming let through above it are single outliers.
    """
    initial = cells.initial_uS
    initial = initial[initial < LEVELS * cells.level_uS]
    levels = level_bins(initial, cells.level_uS)
    count = np.bincount(levels, minlength=LEVELS)
    mean = np.bincount(levels, initial, LEVELS) / count
    sigma = np.sqrt(np.bincount(levels, (initial - mean[levels]) ** 2, LEVELS) / (count - 1))
    return Spread(tuple(mean.tolist()), tuple(sigma.tolist())), count


def relaxation_changes(data: Relaxation, level_uS: float) -> ChangeTable:
    """Change of the cells of each of the 32 levels; levels with fewer than 10 cells are left out."""
    change = data.conductance_uS - data.initial_uS
    return _binned(data.initial_uS, change, data.time_s, level_uS)


def bake_changes(data: Bake, level_uS: float) -> ChangeTable:
    """The same for storage at a temperature; one time."""
    change = (data.conductance_uS - data.initial_uS)[None]
    return _binned(data.initial_uS, change, np.array([data.time_s]), level_uS)


def _binned(initial: np.ndarray, change: np.ndarray, time_s: np.ndarray, level_uS: float) -> ChangeTable:
    levels = level_bins(initial, level_uS)
    used = [level for level in range(LEVELS) if np.count_nonzero(levels == level) >= 10]
    columns = [change[:, levels == level] for level in used]
    return ChangeTable(
        time_s,
        np.array([initial[levels == level].mean() for level in used]),
        np.stack([column.mean(axis=1) for column in columns], axis=1),
        np.stack([column.std(axis=1, ddof=1) for column in columns], axis=1),
        np.tile([column.shape[1] for column in columns], (len(time_s), 1)),
    )


def confusion_changes(data: Confusion, level_uS: float) -> ChangeTable:
    """Change of the cells of each of the 16 bands, from counts: maximum likelihood.

    Assumed: a written cell lies anywhere in its band alike, and its change is Gaussian. Mean and deviation that make
    the counts most likely are found on a grid that shrinks around its best point. The lowest and the highest band have
    one neighbour, so their counts tell one number, not two: they are given the mean of the band beside them.
    """
    edges = data.edges(level_uS)
    shape = (len(data.time_s), BANDS)
    mean, sigma = np.zeros(shape), np.zeros(shape)
    for time, counts in enumerate(data.counts):
        for band in (*range(1, BANDS - 1), 0, BANDS - 1):
            known = {0: mean[time, 1], BANDS - 1: mean[time, BANDS - 2]}.get(band)
            mean[time, band], sigma[time, band] = _likeliest(edges, band, counts[:, band], level_uS, known)
    return ChangeTable(data.time_s, (edges[:-1] + edges[1:]) / 2, mean, sigma, data.counts.sum(axis=1))


def _likeliest(
    edges: np.ndarray, band: int, counts: np.ndarray, level_uS: float, known_mean: float | None
) -> tuple[float, float]:
    """Mean and deviation of a band's change; `counts` (16,): bands in which its cells were read."""
    nodes = (np.arange(16) + 0.5) / 16
    start = edges[band] + (edges[band + 1] - edges[band]) * nodes
    inner = edges[1:-1]  # what leaves the outer edges is read in the outer bands
    best_mean, best_sigma, reach = known_mean or 0.0, 1.5 * level_uS, 1.4 * level_uS
    for _ in range(12):
        means = best_mean + reach * np.linspace(-1, 1, 9) if known_mean is None else np.array([known_mean])
        sigmas = np.maximum(best_sigma + reach * np.linspace(-1, 1, 9), 1e-3 * level_uS)
        below = normal_share((inner - start[:, None] - means[:, None, None, None]) / sigmas[:, None, None]).mean(axis=2)
        edge = np.ones((*below.shape[:2], 1))
        share = np.diff(np.concatenate([0 * edge, below, edge], axis=2), axis=2)
        likelihood = (counts * np.log(np.maximum(share, 1e-9))).sum(axis=2)
        row, column = np.unravel_index(int(likelihood.argmax()), likelihood.shape)
        best_mean, best_sigma, reach = float(means[row]), float(sigmas[column]), 0.6 * reach
    return best_mean, best_sigma


def normal_share(values: np.ndarray) -> np.ndarray:
    """Share of a standard normal distribution below each value, to 1e-7 (Abramowitz and Stegun 7.1.26)."""
    x = np.abs(values) / np.sqrt(2.0)
    t = 1 / (1 + 0.3275911 * x)
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * polynomial * np.exp(-x * x)
    return np.where(values < 0, tail, 1 - tail)


def fit_drift(table: ChangeTable) -> tuple[Drift, Goodness, Goodness]:
    """Lines in log10(time) through means and deviations of each bin, by least squares; goodness of both."""
    decades = np.log10(table.time_s)
    design = np.stack([np.ones_like(decades), decades], axis=1)
    lines = [np.linalg.lstsq(design, values, rcond=None)[0] for values in (table.mean_uS, table.sigma_uS)]
    columns = [tuple(row.tolist()) for line in lines for row in line]
    # A deviation of the line at 1 s is not below 0, whatever the scatter of nearly perfect cells makes of it.
    drift = Drift(
        float(table.time_s[0]),
        tuple(table.conductance_uS.tolist()),
        columns[0],
        columns[1],
        tuple(max(value, 0.0) for value in columns[2]),
        columns[3],
    )
    fitted = [drift.change(table.conductance_uS, float(time)) for time in table.time_s]
    return (
        drift,
        Goodness.of(table.mean_uS, np.array([mean for mean, _ in fitted])),
        Goodness.of(table.sigma_uS, np.array([sigma for _, sigma in fitted])),
    )


def fit_heat(cells: MeasuredCells, drift: Drift, first_s: float = 0.01) -> tuple[Heat, Goodness, Goodness]:
    """What storage at each temperature adds to `drift`, at the 32 levels; goodness over all bakes, of mean and sigma.

    The bakes last between 4,490 and 7,165 s: each is scaled in log time, from `first_s` on, to their geometric mean.
    """
    tables = [bake_changes(bake, cells.level_uS) for bake in cells.bakes]
    time = float(np.exp(np.mean([np.log(bake.time_s) for bake in cells.bakes])))
    knots = (np.arange(LEVELS) + 0.5) * cells.level_uS
    means, sigmas = [], []
    for bake, table in zip(cells.bakes, tables, strict=True):
        share = np.log10(bake.time_s / first_s) / np.log10(time / first_s)
        mean, sigma = drift.change(knots, bake.time_s)
        measured_mean = np.interp(knots, table.conductance_uS, table.mean_uS[0])
        measured_sigma = np.interp(knots, table.conductance_uS, table.sigma_uS[0])
        means.append(tuple(((measured_mean - mean) / share).tolist()))
        sigmas.append(tuple((np.sqrt(np.maximum(measured_sigma**2 - sigma**2, 0.0)) / share).tolist()))
    temperatures = tuple(bake.temperature_c for bake in cells.bakes)
    heat = Heat(time, temperatures, tuple(knots.tolist()), tuple(means), tuple(sigmas))
    fitted_mean, fitted_sigma = [], []
    for bake, table in zip(cells.bakes, tables, strict=True):
        mean, sigma = drift.change(table.conductance_uS, bake.time_s)
        extra_mean, extra_sigma = heat.change(table.conductance_uS, bake.time_s, bake.temperature_c)
        fitted_mean.append(mean + extra_mean)
        fitted_sigma.append(np.hypot(sigma, extra_sigma))
    data_mean = np.concatenate([table.mean_uS[0] for table in tables])
    data_sigma = np.concatenate([table.sigma_uS[0] for table in tables])
    return (
        heat,
        Goodness.of(data_mean, np.concatenate(fitted_mean)),
        Goodness.of(data_sigma, np.concatenate(fitted_sigma)),
    )


def fit_read_noise(data: Relaxation) -> float:
    """Deviation in uS of one reading of a cell, an upper bound: relaxation between the two readings is in it.

    From the first two readings (10 and 100 ms) of every cell: 1.4826 x median absolute difference / sqrt(2).
    """
    difference = data.conductance_uS[1] - data.conductance_uS[0]
    return float(1.4826 * np.median(np.abs(difference - np.median(difference))) / np.sqrt(2))


@dataclass(frozen=True, eq=False)
class TechnologyFit:
    """Everything fitted to one technology, with the data that it was fitted to."""

    cells: MeasuredCells
    changes: ChangeTable
    spread: Spread
    drift: Drift
    heat: Heat
    drift_mean: Goodness
    drift_sigma: Goodness
    heat_mean: Goodness
    heat_sigma: Goodness
    read_noise_uS: float


def fit_technology(cells: MeasuredCells) -> TechnologyFit:
    """All fits of a technology. Without relaxation data, drift is from the confusion counts and read noise is 0."""
    if cells.relaxation is not None:
        changes = relaxation_changes(cells.relaxation, cells.level_uS)
        noise = fit_read_noise(cells.relaxation)
    else:
        assert cells.confusion is not None
        changes, noise = confusion_changes(cells.confusion, cells.level_uS), 0.0
    spread, _ = fit_spread(cells)
    drift, drift_mean, drift_sigma = fit_drift(changes)
    heat, heat_mean, heat_sigma = fit_heat(cells, drift)
    return TechnologyFit(cells, changes, spread, drift, heat, drift_mean, drift_sigma, heat_mean, heat_sigma, noise)
