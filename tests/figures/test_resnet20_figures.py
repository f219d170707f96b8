"""`mixcim figures ed5` and `accuracy`, on few images, and that RTL counters other than the model's are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixcim import cli
from mixcim.compile.compiler import compile_network
from mixcim.compile.load import load_network
from mixcim.errors import MixcimError
from mixcim.figures import accuracy, ed5, resnet20
from mixcim.figures.kept import Kept
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim_hdl.formats import WEIGHT_MODES
from mixcim_hdl.presets import PRESETS
from workloads import WORKLOADS, needs_workloads

DEMO = PRESETS["demo"]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def figure(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mixcim figures` with its results in a folder of the test's own; values of the records by name."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(WORKLOADS))
    monkeypatch.setattr(resnet20, "TUNE_IMAGES", 4)
    monkeypatch.setattr(resnet20, "TUNE_WINDOWS", 16)

    def run(*arguments: str) -> dict[str, Any]:
        assert cli.run(["figures", *arguments, "-o", str(tmp_path), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        (plot,) = document["plots"]
        assert Path(plot).read_bytes().startswith(b"\x89PNG") and Path(plot).stat().st_size > 50_000
        for item in document["records"]:
            assert set(item) == {"name", "value", "unit", "paper", "goal", "met", "how"}
        return {item["name"]: item["value"] for item in document["records"]}

    return run


# ED5.


def digits_case(table: str) -> tuple[ed5.Case, np.ndarray]:
    """The digits network on chip demo with a table, and one image's codes."""
    program = compile_network(load_network(DIGITS_RESNET), DEMO, hidden="memristor", table=table)
    codes = input_codes(program, np.ascontiguousarray(digits_data()[2][:1]))
    nothing = resnet20.Answers(np.zeros(1, int), 0, 0.0)
    return ed5.Case(table, None, program, nothing, 0.0, 0.0, 0.0), codes[0]


def test_rtl_reads_by_layer_are_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ed5, "CHIP", DEMO)
    case, code = digits_case("32")
    kept = Kept(tmp_path)
    run = ed5.rtl_run(case, code, kept, lambda *_: None)
    model = ProcessorModel(DEMO, case.program)
    model.run(code[None])
    assert run.total == model.memristor_reads[0] and sum(run.saturations.values()) == model.adc_saturations[0]
    assert list(run.reads) == [layer.name for layer in case.program.layers if "memristor" in layer.kernels]
    # One layer by hand: windows x kernel tiles x input bits x digits x ceil(rows of each vector / 32).
    assert run.reads["block1.conv2"] == 8 * 8 * 1 * 8 * 4 * (2 + 2 + 1)
    assert run.cycles > run.total
    monkeypatch.setattr(ed5, "rtl_processor", None)  # the second time nothing is simulated
    assert ed5.rtl_run(case, code, kept, lambda *_: None) == run


@pytest.mark.parametrize("counter", ["memristor_reads", "adc_saturations"])
def test_a_counter_that_is_not_the_models_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counter: str
) -> None:
    class Wrong(ProcessorModel):
        def run(self, *arguments: Any, **options: Any) -> np.ndarray:
            output = super().run(*arguments, **options)
            setattr(self, counter, getattr(self, counter) + 1)
            return output

    monkeypatch.setattr(ed5, "CHIP", DEMO)
    monkeypatch.setattr(ed5, "ProcessorModel", Wrong)
    case, code = digits_case("32")
    with pytest.raises(MixcimError, match=f"table 32: {counter.split('_')[1]} are .* on the RTL"):
        ed5.rtl_run(case, code, Kept(tmp_path), lambda *_: None)
    assert not list(tmp_path.iterdir())


def test_a_tensor_that_is_not_the_models_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, code = digits_case("32")

    class Wrong(ProcessorModel):
        def run(self, *arguments: Any, **options: Any) -> np.ndarray:
            output = super().run(*arguments, **options)
            self.captured[case.program.layers[1].output][0, 0, 0, 0] ^= 1
            return output

    monkeypatch.setattr(ed5, "CHIP", DEMO)
    monkeypatch.setattr(ed5, "ProcessorModel", Wrong)
    with pytest.raises(MixcimError, match="table 32: RTL and model differ in '"):
        ed5.rtl_run(case, code, Kept(tmp_path), lambda *_: None)


def test_loss_and_its_standard_error() -> None:
    labels = np.arange(100) % 10
    exact, given = labels.copy(), labels.copy()
    exact[:10] += 1  # 90 right
    given[5:25] += 1  # 80 right: lost 15, won 5
    loss, error = ed5._loss(exact, given, labels)
    assert loss == pytest.approx(10) and error == pytest.approx(100 * np.sqrt((0.20 - 0.1**2) / 100))


@pytest.mark.slow
@needs_workloads
def test_ed5_of_few_images(figure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ed5, "BUDGETS", (ed5.BUDGET,))
    values = figure("ed5", "--limit", "4")
    tuned = f"ed5 table tuned, budget {ed5.BUDGET:g}"
    assert values["ed5 table 16, reads an image"] == values["ed5 table 16, reads an image, model"] == 5_046_272
    layers = [value for name, value in values.items() if name.startswith(f"{tuned}, reads of ")]
    assert len(layers) == 20 and sum(layers) == values[f"{tuned}, reads an image"]
    assert values[f"{tuned}, change of reads"] < -66 and values["ed5 table 16, accuracy lost"] == 0
    assert values[f"{tuned}, cycles an image, all layers"] < values["ed5 table 16, cycles an image, all layers"]


# Accuracy.


@pytest.mark.slow
@needs_workloads
def test_accuracy_of_few_images(figure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "TIMES_S", (1.0, 1e5))
    arguments = ["accuracy", "--limit", "3", "--seeds", "2", "--device", "ideal", "--device", "techA"]
    values = figure(*arguments)
    assert values["accuracy ideal, MM-M, 1 s, table 16, mean"] == values["accuracy INT8 on exact units"]
    points = {name.split(", ", 1)[0] for name in values if name.endswith("mean")}
    assert points == {"accuracy ideal", "accuracy techA"}
    # A point for each weight mode (techA's later, too), and for each further table in one mode.
    assert sum(name.endswith(", mean") for name in values) == 3 * len(WEIGHT_MODES) + 2 * (len(accuracy.TABLES) - 1)
    for name, value in values.items():
        if name.endswith(", mean"):
            point = name.removesuffix(", mean")
            assert 0 <= values[f"{point}, smallest"] <= value <= values[f"{point}, largest"] <= 100
    monkeypatch.setattr(ProcessorModel, "run", None)  # the second time nothing is run
    assert figure(*arguments) == values


# What both need.


@pytest.mark.parametrize("name", ["ed5", "accuracy"])
def test_absent_workloads_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(tmp_path / "none"))
    assert cli.run(["figures", name, "-o", str(tmp_path / "plots")]) == 2
    text = capsys.readouterr().err
    assert "set MIXCIM_WORKLOADS to the workloads" in text and text.count("\n") == 1
    assert not list((tmp_path / "plots").iterdir())


def test_noise_seeds_of_a_longer_run_begin_with_those_of_a_shorter_one(tmp_path: Path) -> None:
    """So that a run over more images takes the parts of a run over fewer from the folder."""
    case, code = digits_case("32")
    calls: list[str] = []
    advance = lambda *arguments: calls.append(arguments[-1])  # noqa: E731
    codes = np.repeat(code[None], 2 * resnet20.PART, axis=0)
    first = resnet20.answers(case.program, codes[: resnet20.PART], Kept(tmp_path), advance, "short", DEMO)
    (path,) = tmp_path.iterdir()
    both = resnet20.answers(case.program, codes, Kept(tmp_path), advance, "long", DEMO)
    assert path in tmp_path.iterdir() and len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(both.classes[: resnet20.PART], first.classes)
    assert calls == ["short", "long", "long"] and both.reads == first.reads
