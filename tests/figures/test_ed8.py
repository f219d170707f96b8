"""`mixcim figures ed8` on few images, and what it computes from answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mixcim import cli
from mixcim.explore.alignment import FORMATS, Method
from mixcim.explore.float_network import FloatNetwork, LayerShape
from mixcim.figures import ed8
from mixcim.figures.ed8 import Accuracy, Numbers
from mixcim_hdl.floating import BF16, FP16, FloatFormat, Rounding
from workloads import WORKLOADS, needs_workloads

SHAPES = [LayerShape("first", 9, 4, 100)]


def accuracies(losses: dict[int, float], format: FloatFormat = BF16) -> dict[Numbers, Accuracy]:
    """Points of the kernel-wise method, loss 0 where none is given."""
    return {
        Numbers(format, Method.KERNEL, Rounding.NEAREST_EVEN, width): Accuracy(0, losses.get(width, 0), 0, 0)
        for width in ed8.WIDTHS
    }


@pytest.mark.parametrize(
    ("losses", "width"),
    [
        ({}, 6),
        ({6: 5, 7: 0.31, 8: 0.3}, 8),
        ({6: -1, 8: 0.5}, 9),  # a narrow width that happens to be right does not count
        ({12: 1}, 16),
        ({16: 1}, None),
    ],
)
def test_needed_width_and_all_wider_ones_are_within_the_loss(losses: dict[int, float], width: int | None) -> None:
    needed = ed8.needed_width(accuracies(losses), SHAPES, BF16, Method.KERNEL)
    assert needed.width == width and (needed.cost is None) == (width is None)
    if needed.cost and width:
        assert needed.cost.adder_bits == 2 * width - 1 + 4


def test_accuracy_is_compared_image_by_image() -> None:
    labels = np.arange(100) % 10
    exact, given = labels.copy(), labels.copy()
    exact[:10] += 1  # 90 right
    given[5:25] += 1  # 80 right: lost 15, won 5; 20 answers differ
    found = ed8.compare(exact, given, labels)
    assert (found.accuracy, found.same) == (80, 80) and found.loss == pytest.approx(10)
    assert found.error == pytest.approx(100 * np.sqrt((0.20 - 0.1**2) / 100))


def test_every_series_has_a_name_of_its_own() -> None:
    runs = [Numbers(*one, width) for one in ed8.series() for width in ed8.WIDTHS]
    runs += [Numbers(), Numbers(BF16, Method.EXACT), Numbers(FP16, Method.EXACT)]
    assert len(ed8.series()) == 16 and len({numbers.name for numbers in runs}) == len(runs)


@needs_workloads
def test_resnet20_gives_what_onnxruntime_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """To float32 accuracy: logits of up to 30 after 22 layers that add up to 576 products in orders of their own."""
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(WORKLOADS))
    path, images, _ = ed8.open_images(8)
    result = FloatNetwork(path).run(images, lambda windows, weights: weights @ windows, lambda values: values)
    (reference,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": images})
    np.testing.assert_allclose(result, np.asarray(reference), rtol=0, atol=1e-4)


@needs_workloads
def test_ed8_of_few_images(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(WORKLOADS))
    monkeypatch.setattr(ed8, "WIDTHS", (6, 16))

    def figure() -> dict[str, float]:
        assert cli.run(["figures", "ed8", "--limit", "4", "-o", str(tmp_path), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        (plot,) = document["plots"]
        assert Path(plot).read_bytes().startswith(b"\x89PNG") and Path(plot).stat().st_size > 20_000
        return {item["name"]: item["value"] for item in document["records"]}

    values = figure()
    stages = 1024 * (27 * 16 + 6 * 144 * 16), 256 * 32 * (144 + 16 + 5 * 288), 64 * 64 * (288 + 32 + 5 * 576)
    assert values["ed8 test images"] == 4 and values["ed8 multiply-accumulates an image"] == sum(stages) + 64 * 100
    names = [name.removesuffix(", accuracy") for name in values if name.endswith(", accuracy")]
    assert len(names) == 3 + 2 * 2 * 4 * 2
    for format in FORMATS:
        for method in ed8.METHODS:
            wide = f"ed8 {format}, {method.value} alignment, nearest, 16 bits"
            assert values[f"{wide}, same answers as FP32"] == 100 and values[f"{wide}, accuracy lost"] == 0
            assert values[f"ed8 {format}, {method.value} alignment, width needed"] in (6, 16)
    assert len(list((tmp_path / "kept").iterdir())) == len(names)
    monkeypatch.setattr(ed8, "classes", None)  # the second time nothing is run
    assert figure() == values


def test_absent_workloads_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXCIM_WORKLOADS", str(tmp_path / "none"))
    assert cli.run(["figures", "ed8", "-o", str(tmp_path / "plots")]) == 2
    text = capsys.readouterr().err
    assert "set MIXCIM_WORKLOADS to the workloads" in text and text.count("\n") == 1
