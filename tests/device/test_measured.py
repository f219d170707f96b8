"""Measured technologies: fits meet the data, and cells drawn straight from it have its statistics."""

import numpy as np
import pytest

from mixcim.device import conductance_codes, load_device
from mixcim.device.fit import Goodness, confusion_changes, normal_share
from mixcim.device.library import technology_fit
from mixcim.device.measured import BANDS, Confusion, read_measured, upper_edge
from mixcim.errors import MixcimError
from mixcim_hdl.presets import PRESETS
from workloads import WORKLOADS, needs_workloads

CHIP = PRESETS["demo"]


@pytest.fixture(autouse=True)
def workload_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(WORKLOADS))


def drawn(name: str, sampling: str, code: int, time: float, temperature: float = 25.0) -> np.ndarray:
    """Conductances in uS of 25,600 cells of an ideal code."""
    device = load_device(name, sampling)
    targets = np.full((400, CHIP.rows), code, np.uint8)
    codes = conductance_codes(device, targets, CHIP, seed=6, time_s=time, temperature_c=temperature)
    return codes * (device.step_uS / 32)


@needs_workloads
@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("time", [1.0, 1e4])
def test_cells_of_technology_b_are_the_measured_ones(level: int, time: float) -> None:
    device, cells = load_device("techB", "cells"), read_measured("techB")
    assert cells.relaxation is not None
    near = np.abs(cells.relaxation.initial_uS - device.mlc_uS[level - 1]) <= cells.level_uS / 2
    data = cells.relaxation.conductance_uS[list(cells.relaxation.time_s).index(time), near]
    values = drawn("techB", "cells", 32 * level, time)
    # 25,600 draws with replacement: 5 standard errors, and half a code for rounding and clipping.
    bound = 5 * data.std() / np.sqrt(values.size) + device.step_uS / 64
    assert abs(values.mean() - np.clip(data, 0, None).mean()) < bound
    assert abs(values.std() - data.std()) < 0.03 * data.std() + device.step_uS / 64
    assert set(np.unique(values)) <= set(np.unique(np.floor(data / device.step_uS * 32 + 0.5) / 32 * device.step_uS))


@needs_workloads
@pytest.mark.parametrize(("name", "mean_bound", "sigma_bound"), [("techA", 0.35, 0.8), ("techB", 0.3, 0.6)])
def test_fits_meet_the_measured_cells(name: str, mean_bound: float, sigma_bound: float) -> None:
    fit = technology_fit(name)
    assert fit.drift_mean.residual_uS < mean_bound and fit.drift_sigma.residual_uS < sigma_bound
    assert fit.drift_mean.r_squared > 0.8 and fit.drift_sigma.r_squared > 0.95
    assert fit.heat_mean.residual_uS < 0.1 and fit.heat_sigma.residual_uS < 0.6
    # Cells right after programming fill a level's width evenly.
    assert np.median(fit.spread.sigma_uS) == pytest.approx(fit.cells.level_uS / np.sqrt(12), rel=0.05)


@needs_workloads
@pytest.mark.parametrize("temperature", [100.0, 180.0, 260.0])
def test_heated_fits_have_the_baked_cells_spread(temperature: float) -> None:
    device, cells = load_device("techB"), read_measured("techB")
    bake = next(item for item in cells.bakes if item.temperature_c == temperature)
    near = np.abs(bake.initial_uS - device.mlc_uS[1]) <= 2 * cells.level_uS
    data = bake.conductance_uS[near]
    values = drawn("techB", "fit", 64, bake.time_s, temperature)
    error = data.std() / np.sqrt(data.size)
    assert abs(values.mean() - data.mean()) < 4 * error and abs(values.std() - data.std()) < 0.15 * data.std()


@needs_workloads
def test_width_of_a_level_agrees_between_its_two_rules() -> None:
    cells = read_measured("techB")
    edge = upper_edge(np.concatenate([bake.initial_uS for bake in cells.bakes]))
    assert cells.level_uS == pytest.approx(4.0, rel=0.005)
    assert edge / 32 == pytest.approx(cells.level_uS, rel=0.02)


@needs_workloads
def test_bands_of_technology_a_are_read_as_often_as_counted() -> None:
    device, cells = load_device("techA", "cells"), read_measured("techA")
    assert cells.relaxation is None and cells.confusion is not None
    counts = cells.confusion.counts[list(cells.confusion.time_s).index(1e5)]
    edges = cells.confusion.edges(cells.level_uS)
    written = int(np.searchsorted(edges, device.mlc_uS[1])) - 1
    share = counts[:, written] / counts[:, written].sum()
    values = drawn("techA", "cells", 64, 1e5)
    read = np.histogram(values, edges)[0] / values.size
    # 5 standard errors, and codes of 1.9 uS that lie across the edge of a band of 15 uS.
    assert (np.abs(read - share) < 5 * np.sqrt(share / values.size) + 0.08 * share.max()).all()


@needs_workloads
def test_times_and_temperatures_without_cells_are_refused() -> None:
    for name, time, temperature, words in (
        ("techB", 1e5, 25.0, "after 0 and 0.01 to 10000 s, not after 100000 s"),
        ("techB", 1.0, 60.0, "not at 60 C: use sampling 'fit'"),
        ("techA", 100.0, 180.0, "at 180 C, not after 100 s"),
        ("techA", 1e6, 25.0, "not after 1e\\+06 s"),
    ):
        with pytest.raises(MixcimError, match=words):
            drawn(name, "cells", 64, time, temperature)


@needs_workloads
def test_a_file_may_build_on_measured_cells(tmp_path) -> None:
    path = tmp_path / "leaky.toml"
    path.write_text('base = "techB"\nstuck_lrs = 0.5\n[wire]\nbit_line_ohm = 1.0\n')
    device = load_device(str(path), "cells")
    assert device.name == "leaky" and device.stuck_lrs == 0.5 and device.cells is read_measured("techB")
    assert device.drift == load_device("techB").drift


def test_damaged_measurements_are_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "device").mkdir()
    for name in ("rram_bake_techB.npz", "rram_relaxation_techB.npz"):
        (tmp_path / "device" / name).write_bytes(b"PK\x03\x04 nothing")
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(tmp_path))
    read_measured.cache_clear()
    with pytest.raises(MixcimError, match="is not a numpy file of measured cells"):
        read_measured("techB")


def test_changes_are_found_again_from_counts_that_they_make() -> None:
    generator = np.random.default_rng(2)
    level, cells = 4.0, 40_000
    data = Confusion(np.array([1.0]), np.zeros((1, BANDS, BANDS), np.int64))
    edges = data.edges(level)
    for band in range(BANDS):
        start = generator.uniform(edges[band], edges[band + 1], cells)
        read = np.clip(np.searchsorted(edges, start + generator.normal(-0.7, 2.5, cells)) - 1, 0, BANDS - 1)
        data.counts[0, :, band] = np.bincount(read, minlength=BANDS)
    table = confusion_changes(data, level)
    np.testing.assert_allclose(table.mean_uS, -0.7, atol=0.15)
    np.testing.assert_allclose(table.sigma_uS, 2.5, atol=0.15)


def test_normal_share_is_the_normal_distribution() -> None:
    from math import erf, sqrt

    values = np.linspace(-6, 6, 101)
    expected = [0.5 * (1 + erf(value / sqrt(2))) for value in values]
    np.testing.assert_allclose(normal_share(values), expected, atol=2e-7)


def test_goodness_of_a_perfect_and_of_a_useless_fit() -> None:
    data = np.array([1.0, 2.0, 3.0])
    assert Goodness.of(data, data) == Goodness(1.0, 0.0)
    assert Goodness.of(data, np.full(3, 2.0)).r_squared == 0.0
