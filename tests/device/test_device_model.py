"""Device models: files, their mistakes, published models, and the ideal device."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mixcim.device import DEVICES, DeviceModel, load_device
from mixcim.device.model import Drift, Spread
from mixcim.device.readout import noise_table
from mixcim.errors import MixcimError
from mixcim_hdl.presets import PRESETS
from workloads import WORKLOADS, needs_workloads

FILE = """
name = "mine"
hrs_uS = 1.0
mlc_uS = [30.0, 60.0, 90.0, 120.0]
stuck_hrs = 0.01
read_noise = 0.1
[spread]
conductance_uS = [0.0, 120.0]
sigma_uS = [1.0, 2.0]
[drift]
conductance_uS = [0.0, 120.0]
mean_uS = [0.0, -1.0]
mean_per_decade_uS = [0.1, -0.1]
sigma_uS = [1.0, 1.0]
sigma_per_decade_uS = [0.2, 0.4]
[heat]
time_s = 1000.0
temperature_c = [100.0, 200.0]
conductance_uS = [0.0, 120.0]
mean_uS = [[0.0, -1.0], [0.0, -5.0]]
sigma_uS = [[0.0, 1.0], [0.0, 6.0]]
[wire]
bit_line_ohm = 2.0
active_word_lines = 8
[programming]
retry_limit = 9
"""


def loaded(folder: Path, text: str) -> DeviceModel:
    path = folder / "device.toml"
    path.write_text(text)
    return load_device(str(path))


def test_a_file_holds_every_field(tmp_path: Path) -> None:
    device = loaded(tmp_path, FILE)
    assert (device.name, device.hrs_uS, device.lrs_uS, device.step_uS) == ("mine", 1.0, 120.0, 30.0)
    assert device.spread == Spread((0.0, 120.0), (1.0, 2.0))
    assert (device.wire.bit_line_ohm, device.wire.active_word_lines, device.wire.word_line_ohm) == (2.0, 8, 0.0)
    assert device.programming.retry_limit == 9
    mean, sigma = device.retention(np.array([0.0, 60.0, 120.0]), 100.0, 25.0)
    np.testing.assert_allclose(mean, [0.2, -0.5, -1.2])
    np.testing.assert_allclose(sigma, [1.4, 1.6, 1.8])
    mean, sigma = device.retention(np.array([120.0]), 1000.0, 150.0)  # half way between two temperatures, full time
    np.testing.assert_allclose([mean[0], sigma[0]], [-1.3 - 3.0, np.hypot(2.2, 3.5)])


MISTAKES = {
    "missing level": ("mlc_uS = [30.0, 60.0, 90.0, 120.0]", "mlc_uS = [30.0, 60.0, 120.0]", "4 conductances"),
    "levels fall": ("mlc_uS = [30.0, 60.0", "mlc_uS = [60.0, 30.0", "each above the one before, not 1, 60, 30"),
    "leaky HRS": ("hrs_uS = 1.0", "hrs_uS = 31.0", "each above the one before"),
    "negative HRS": ("hrs_uS = 1.0", "hrs_uS = -1.0", "from 0 on"),
    "negative spread": ("sigma_uS = [1.0, 2.0]", "sigma_uS = [1.0, -2.0]", "spread.sigma_uS must be a spread from 0"),
    "negative drift": ("sigma_uS = [1.0, 1.0]", "sigma_uS = [-1.0, 1.0]", "drift.sigma_uS must be a spread from 0"),
    "negative heat": ("[0.0, 6.0]]", "[0.0, -6.0]]", "heat.sigma_uS must be a spread from 0"),
    "short column": ("sigma_uS = [1.0, 2.0]", "sigma_uS = [1.0]", "spread.sigma_uS must be 2 numbers"),
    "knots fall": ("[spread]\nconductance_uS = [0.0, 120.0]", "[spread]\nconductance_uS = [9.0, 1.0]", "each above"),
    "not finite": ("mean_uS = [0.0, -1.0]", "mean_uS = [0.0, nan]", "drift.mean_uS must be finite"),
    "heat rows": ("mean_uS = [[0.0, -1.0], [0.0, -5.0]]", "mean_uS = [[0.0, -1.0]]", "must be 2 rows"),
    "temperatures": ("temperature_c = [100.0, 200.0]", "temperature_c = [10.0, 200.0]", "temperatures above 25 C"),
    "probability": ("stuck_hrs = 0.01", "stuck_hrs = 1.5", "stuck_hrs must be from 0 to 1, not 1.5"),
    "unknown field": ("name =", 'colour = "red"\nname =', "unknown field 'colour'"),
    "unknown inside": ("[wire]", "[wire]\nlength = 1", "unknown field 'wire.length'"),
    "text for number": ("hrs_uS = 1.0", 'hrs_uS = "low"', "hrs_uS must be a number"),
    "truth for number": ("hrs_uS = 1.0", "hrs_uS = true", "hrs_uS must be a number"),
    "number for row": ("sigma_uS = [1.0, 2.0]", "sigma_uS = 1.0", "spread.sigma_uS must be a row of numbers"),
    "part of a word line": ("active_word_lines = 8", "active_word_lines = 8.5", "must be a whole number"),
    "no retries": ("retry_limit = 9", "retry_limit = 0", "retry_limit must be from 1 to 255"),
    "unknown base": ("name =", 'base = "flash"\nname =', "base must be one of ideal"),
    "not TOML": ("name =", "name ", "is not TOML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, mistake: str) -> None:
    old, new, expected = MISTAKES[mistake]
    assert old in FILE
    with pytest.raises(MixcimError) as error:
        loaded(tmp_path, FILE.replace(old, new, 1))
    assert expected in str(error.value) and "\n" not in str(error.value) and "device" in str(error.value)


def test_a_number_for_a_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MixcimError, match="'drift' must be a section"):
        loaded(tmp_path, "drift = 1")


def test_unknown_names_and_samplings_are_refused() -> None:
    with pytest.raises(MixcimError, match="neither a file nor one of ideal, wan2022"):
        load_device("wan2023")
    with pytest.raises(MixcimError, match="sampling must be one of fit, cells"):
        load_device("ideal", "guess")
    with pytest.raises(MixcimError, match="'ideal' has no measured cells"):
        load_device("ideal", "cells")


@pytest.mark.parametrize("name", [name for name in DEVICES if name != "ideal"])
def test_absent_data_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from mixcim.device import library, measured, published

    for cached in (library.technology_fit, measured.read_measured, published._published):
        cached.cache_clear()
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(tmp_path))
    with pytest.raises(MixcimError, match="does not exist: set MIXCIM_WORKLOADS") as error:
        load_device(name)
    assert str(tmp_path) in str(error.value)


def test_time_and_temperature_outside_the_model_are_refused(tmp_path: Path) -> None:
    device = loaded(tmp_path, FILE)
    for time, temperature, words in ((-1.0, 25.0, "time since"), (float("nan"), 25.0, "time since"), (1.0, 201.0, "C")):
        with pytest.raises(MixcimError, match=words):
            device.retention(np.ones(1), time, temperature)


def test_nothing_has_changed_at_time_0(tmp_path: Path) -> None:
    mean, sigma = loaded(tmp_path, FILE).retention(np.array([60.0]), 0.0, 25.0)
    assert mean[0] == sigma[0] == 0


def test_a_spread_that_shrinks_with_time_ends_at_0() -> None:
    drift = Drift(0.01, (0.0,), (0.0,), (0.0,), (1.0,), (-1.0,))
    assert drift.change(np.zeros(1), 100.0)[1] == 0.0


def test_codes_and_conductances_are_inverse() -> None:
    device = dataclasses.replace(DeviceModel(), hrs_uS=5.0, mlc_uS=(20.0, 50.0, 70.0, 100.0))
    np.testing.assert_allclose(
        device.nominal_uS(np.array([0, 32, 64, 96, 128, 192]), 32), [5.0, 20.0, 50.0, 70.0, 100.0, 150.0]
    )
    conductance = np.array([0.0, 100.0, 100.0 * 1.49 / 128, 100.0 * 1.5 / 128, 1e6])
    assert device.codes(conductance, 8).tolist() == [0, 128, 1, 2, 255]


def test_the_noise_table_grows_with_the_root_of_the_cells() -> None:
    chip = PRESETS["demo"]
    table = noise_table(dataclasses.replace(DeviceModel(), read_noise=0.1), chip)
    assert table.shape == (chip.rows + 1,) and table[0] == 0
    sigma = 0.1 * 32 * 4096 / 147.8  # 0.1 level steps of 32 codes, in the table's unit
    np.testing.assert_allclose(table[[1, 4, 64]], sigma * np.array([1, 2, 8]), atol=1)
    with pytest.raises(MixcimError, match="more than the chip's noise table"):
        noise_table(dataclasses.replace(DeviceModel(), read_noise=4.0), chip)


@needs_workloads
def test_published_models_say_what_their_sources_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(WORKLOADS))
    wan, milo = load_device("wan2022"), load_device("milo2021")
    # Wan et al.: polynomial in g / 40 uS, at 20 uS after 1 s.
    polynomial = 0.348 + 16.03 / 2 - 43.853 / 4 + 45.393 / 8 - 16.815 / 16
    assert float(wan.spread.sigma(np.array(20.0))) == pytest.approx(polynomial)
    day = np.hypot(polynomial, wan.retention(np.array([20.0]), 86400.0, 25.0)[1])[0]
    assert day == pytest.approx(0.701 + 22.086 / 2 - 50.773 / 4 + 47.095 / 8 - 16.458 / 16, rel=0.05)
    assert float(milo.spread.sigma(np.array(225.0))) == pytest.approx(4.782321 - 0.009107 * 225)
    assert wan.mlc_uS == (10.0, 20.0, 30.0, 40.0) and milo.lrs_uS == 225.0
    with pytest.raises(MixcimError, match="known from -50 to 25 C"):
        wan.retention(np.ones(1), 1.0, 85.0)
