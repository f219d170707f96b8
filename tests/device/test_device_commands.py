"""`--device` of `mixcim compile` and `mixcim run`, and `mixcim figures ed9`."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixcim import cli
from mixcim.device import load_device
from mixcim.device.cells import apply_device
from mixcim.device.readout import noise_table
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program
from workloads import WORKLOADS, needs_workloads

DEVICE = """
mlc_uS = [30.0, 60.0, 90.0, 120.0]
read_noise = 0.05
[spread]
conductance_uS = [0.0, 120.0]
sigma_uS = [2.0, 2.0]
[drift]
conductance_uS = [0.0]
mean_uS = [0.0]
mean_per_decade_uS = [-1.0]
sigma_uS = [0.0]
sigma_per_decade_uS = [0.1]
"""
COMPILE = ["compile", str(DIGITS_RESNET), "--hidden", "memristor"]


@pytest.fixture
def device_file(tmp_path: Path) -> str:
    path = tmp_path / "noisy.toml"
    path.write_text(DEVICE)
    return str(path)


def test_compile_applies_the_device_with_its_seed_and_time(tmp_path: Path, device_file: str) -> None:
    plain, noisy = tmp_path / "plain.mixcim", tmp_path / "noisy.mixcim"
    assert cli.run([*COMPILE, "-o", str(plain)]) == 0
    options = ["--device", device_file, "--device-seed", "5", "--time", "100"]
    assert cli.run([*COMPILE, "-o", str(noisy), *options]) == 0
    chip, device, program = PRESETS["demo"], load_device(device_file), Program.load(plain)
    expected = apply_device(program, chip, device, seed=5, time_s=100.0)
    made = Program.load(noisy)
    np.testing.assert_array_equal(made.memristor[0], expected.memristor[0])
    np.testing.assert_array_equal(made.noise_table, noise_table(device, chip))
    assert made.noise_seed == 5 and (made.memristor[0] != program.memristor[0]).mean() > 0.5


def test_run_applies_the_device(tmp_path: Path, device_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, images, labels = digits_data()
    inputs = tmp_path / "digits.npz"
    np.savez(inputs, images=images[:20], labels=labels[:20])
    outputs = []
    for options in ([], ["--device", "ideal"], ["--device", device_file], ["--device", device_file, "--time", "1e9"]):
        arguments = ["run", str(DIGITS_RESNET), "--hidden", "memristor", "--inputs", str(inputs), "--json", *options]
        assert cli.run(arguments) == 0
        outputs.append(json.loads(capsys.readouterr().out)["outputs"])
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2] != outputs[3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "flash"], "neither a file nor one of"),
        (["--device", "ideal", "--device-sampling", "cells"], "no measured cells"),
        (["--device", "FILE", "--time", "-1"], "time since programming"),
        (["--device", "FILE", "--temperature", "90"], "not at 90 C"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, device_file: str, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    options = [device_file if option == "FILE" else option for option in options]
    assert cli.run([*COMPILE, "-o", str(tmp_path / "x.mixcim"), *options]) == 2
    text = capsys.readouterr().err
    assert words in text and text.count("\n") == 1 and not (tmp_path / "x.mixcim").exists()


def test_ed9_of_a_file_prints_records_and_writes_a_plot(
    tmp_path: Path, device_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert cli.run(["figures", "ed9", "--device", device_file, "-o", str(tmp_path / "plots"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["plots"][0]).read_bytes().startswith(b"\x89PNG")
    values = {item["name"]: item["value"] for item in document["records"]}
    for item in document["records"]:
        assert set(item) == {"name", "value", "unit", "paper", "goal", "met", "how"}
    assert values["ed9 noisy level 01 as programmed, mean"] == pytest.approx(60.0, abs=0.2)
    assert values["ed9 noisy level 01 as programmed, spread"] == pytest.approx(2.0, abs=0.1)
    assert values["ed9 noisy level 01 after 10000 s, mean"] == pytest.approx(56.0, abs=0.2)
    assert values["ed9 noisy read noise of a cell"] == pytest.approx(0.05 * 30, rel=0.02)
    assert values["ed9 noisy write-verify yield"] == 1.0


@needs_workloads
def test_ed9_shows_every_device_and_its_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(WORKLOADS))
    assert cli.run(["figures", "ed9", "-o", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for word in ("ideal", "wan2022", "milo2021", "techA", "techB", "fit of drift, spread, R squared", "ed9.png"):
        assert word in text
    assert (tmp_path / "ed9.png").stat().st_size > 100_000


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert cli.run(["figures", "ed9", "--device", "ideal", "-o", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
