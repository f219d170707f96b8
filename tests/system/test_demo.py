"""The main job as users call it, and `mixcim run --on both`: exit code 0 if all agree, 1 if one integer differs."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixcim import cli
from mixcim.commands import demo, run
from mixcim.host.processor import Counters, Processor
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data

DEMO = ["demo", "--images", "4", "--tensors", "1"]


def test_demo_agrees_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*DEMO, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    for key in ("rtl_equals_onnxruntime", "rtl_equals_model", "model_equals_onnxruntime", "tensors_equal"):
        assert document[key] is True
    assert document["tensors_compared"] == 9 and document["adc_saturations"] == 0
    assert set(document["accuracy"].values()) == {1.0}  # of the first four images
    units = {unit for layer in document["layers"] for unit in layer["kernels"]}
    assert units == {"memristor", "sram", "tiny"}
    assert any(set(layer["kernels"]) == {"memristor", "sram"} for layer in document["layers"])
    rest = document["cycles_per_image"] - sum(layer["cycles"] for layer in document["layers"])
    assert 0 < rest < 64  # END has to be fetched, too


class WrongProcessor(Processor):
    """An RTL whose output has one wrong integer."""

    def infer(self, codes: np.ndarray) -> tuple[np.ndarray, Counters]:
        output, counters = super().infer(codes)
        output[0, 0, 3] ^= 1
        return output, counters


class WrongTensor(Processor):
    """An RTL whose intermediate tensors have one wrong integer each."""

    def run_stepwise(self, codes, on_tensor) -> None:
        def altered(name: str, tensor: np.ndarray) -> None:
            tensor = tensor.copy()
            tensor[-1, -1, -1] ^= 1
            on_tensor(name, tensor)

        super().run_stepwise(codes, altered)


class WrongModel(ProcessorModel):
    """A model whose outputs have one wrong integer."""

    def run(self, input_codes: np.ndarray, **options) -> np.ndarray:
        output = super().run(input_codes, **options)
        output[0, 0, 0, 0] ^= 1
        return output


class WrongCount(ProcessorModel):
    """A model that counts one conversion too many."""

    def run(self, input_codes: np.ndarray, **options) -> np.ndarray:
        output = super().run(input_codes, **options)
        self.adc_saturations[0] += 1
        return output


@pytest.mark.parametrize(
    ("wrong", "lines"),
    [
        (WrongProcessor, ["NO   RTL = model, every output", "NO   RTL = ONNX Runtime, every output"]),
        (
            WrongTensor,
            [
                "yes  RTL = model, every output",
                "NO   RTL = model = ONNX",
                "differs: image 0: pool_QuantizeLinear_Output",
            ],
        ),
        (WrongModel, ["NO   RTL = model, every output", "yes  RTL = ONNX Runtime, every output"]),
    ],
)
def test_demo_fails_if_one_integer_differs(
    wrong: type, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if issubclass(wrong, ProcessorModel):
        monkeypatch.setattr(demo, "ProcessorModel", wrong)
    else:
        monkeypatch.setattr("mixcim.rtl.processor.Processor", wrong)
    assert cli.run(DEMO) == 1
    printed = capsys.readouterr().out
    for line in lines:
        assert line in printed


@pytest.fixture
def both(tmp_path: Path) -> list[str]:
    """`mixcim run --on both` of the digits, memristor reads included, on two images."""
    np.savez(tmp_path / "digits.npz", images=digits_data()[2][:2], labels=digits_data()[3][:2])
    inputs = ["--inputs", str(tmp_path / "digits.npz")]
    return ["run", str(DIGITS_RESNET), *inputs, "--on", "both", "--place", "block2.conv2=memristor", "--table", "48"]


def test_run_on_both_agrees(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*both, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rtl_equals_model"] is True and document["on"] == "both"
    assert document["memristor_reads"] > 0 and document["cycles"] > 0 and len(document["classes"]) == 2
    assert cli.run(both) == 0
    assert "yes  RTL = model, every output and the sums of all counters" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [WrongProcessor, WrongModel, WrongCount])
def test_run_on_both_fails_if_one_integer_differs(
    wrong: type, both: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if issubclass(wrong, ProcessorModel):
        monkeypatch.setattr(run, "ProcessorModel", wrong)
    else:
        monkeypatch.setattr("mixcim.commands.simulate.Processor", wrong)
    # In one process: others would not know of what is patched here.
    assert cli.run([*both, "--jobs", "1"]) == 1
    assert "NO   RTL = model" in capsys.readouterr().out
