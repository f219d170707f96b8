"""`mixcim cycles`: what it prints is what predict says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cycles.test_prediction import TINY, reading_everything, small_program
from mixcim import cli
from mixcim.cycles import predict
from model.random_program import random_program


def test_program_as_json_and_as_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = reading_everything(random_program(TINY, 1)[0], TINY)
    path = tmp_path / "random.mixcim"
    program.save(path)
    prediction = predict(program, TINY)
    assert cli.run(["cycles", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["chip"], document["cycles"], document["exact"]) == ("tiny", prediction.total, True)
    assert document["begins"] == prediction.begins.tolist()
    assert cli.run(["cycles", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1].startswith(f"{prediction.total:,} cycles for one input")


def test_what_depends_on_the_input_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.mixcim"
    small_program(TINY, skip=1).save(path)
    assert cli.run(["cycles", str(path)]) == 0
    text = capsys.readouterr().out
    assert "at most" in text and "depends on the input" in text


def test_options_of_compile_are_for_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.mixcim"
    small_program(TINY).save(path)
    assert cli.run(["cycles", str(path), "--hidden", "sram"]) == 2
    assert "is compiled already" in capsys.readouterr().err
