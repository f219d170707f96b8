"""Loading a network file of any kind, the shipped network, and the codes at both ends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mixcim.compile.evaluate import evaluate
from mixcim.compile.load import dequantise_output, load_network, quantise_input
from mixcim.compile.reference import session_options
from mixcim.errors import MixcimError
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from onnx_graphs import OnnxGraph
from tflite_graphs import TfliteGraph

RNG = np.random.default_rng(0)


def float_file(path: Path) -> Path:
    graph = OnnxGraph((2, 4, 4))
    weight = graph.constant(RNG.normal(0, 1, (3, 2, 3, 3)).astype(np.float32))
    return graph.save(path, graph.node("Conv", "input", weight))


def test_shipped_network_is_small_and_accurate() -> None:
    train_images, train_labels, images, labels = digits_data()
    assert len(images) == 360 and len(train_images) == len(train_labels) == 1797 - 360
    assert DIGITS_RESNET.stat().st_size < 300_000
    network = load_network(DIGITS_RESNET)
    output = dequantise_output(network, evaluate(network, quantise_input(network, images))[network.output])
    assert output.shape == (360, 10) and np.mean(output.argmax(1) == labels) > 0.975
    np.testing.assert_array_equal(
        output,
        onnxruntime.InferenceSession(str(DIGITS_RESNET), session_options(signed=False)).run(None, {"image": images})[0],
    )


def test_a_quantised_onnx_file_is_compiled_without_slow_imports() -> None:
    code = f"""import sys; sys.path[:] = {sys.path!r}
import mixcim.commands.compile
from mixcim.compile.load import load_network
load_network({str(DIGITS_RESNET)!r})
print(sorted({{"onnxruntime", "tflite", "matplotlib", "sklearn", "amaranth"}} & set(sys.modules)))"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    named = tmp_path / "digits.tflite"
    named.write_bytes(DIGITS_RESNET.read_bytes())
    assert len(load_network(named).layers) == 8
    graph = TfliteGraph()
    x = graph.tensor((1, 2, 2, 3))
    y = graph.operator("QUANTIZE", [x], graph.tensor((1, 2, 2, 3), 0.02, 5))
    network = load_network(graph.save(tmp_path / "requantise.onnx", [x], [y]))
    assert network.input_layout == "NHWC" and network.output_shape == (2, 2, 3)


def test_float_network_needs_calibration_and_a_quantised_one_has_none(tmp_path: Path) -> None:
    source = float_file(tmp_path / "net.onnx")
    calibration = RNG.normal(0, 1, (8, 2, 4, 4)).astype(np.float32)
    with pytest.raises(MixcimError, match="give calibration data"):
        load_network(source)
    network = load_network(source, calibration)
    assert network.name == "net" and network.output_shape == (3, 2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(MixcimError, match="leave the calibration data out"):
        load_network(DIGITS_RESNET, calibration)


def test_image_output_is_in_the_files_layout(tmp_path: Path) -> None:
    source = float_file(tmp_path / "net.onnx")
    images = RNG.normal(0, 1, (8, 2, 4, 4)).astype(np.float32)
    network = load_network(source, images)
    output = dequantise_output(network, evaluate(network, quantise_input(network, images))[network.output])
    expected = np.asarray(onnxruntime.InferenceSession(str(source)).run(None, {"input": images})[0])
    assert output.shape == expected.shape
    # Two quantisations, of input and output, and rounded weights lie between the two.
    assert np.max(np.abs(output - expected)) < 0.05 * np.ptp(expected)


def test_input_codes_are_quantize_linears(tmp_path: Path) -> None:
    graph = OnnxGraph((1, 1, 4001))
    x = graph.fake("input", 0.0371, 77)
    path = graph.save(tmp_path / "ends.onnx", graph.fake(graph.node("Relu", x), 0.1, 3))
    network = load_network(path)
    values = np.linspace(-8, 12, 4001, dtype=np.float32).reshape(1, 1, 1, 4001)
    values[..., :256] = (np.arange(256, dtype=np.float32) - 77 + np.float32(0.5)) * np.float32(0.0371)  # ties
    only = OnnxGraph((1, 1, 4001))
    quantise = only.save(tmp_path / "q.onnx", only.quantise("input", 0.0371, 77), 2)
    expected = np.asarray(onnxruntime.InferenceSession(str(quantise)).run(None, {"input": values})[0])
    np.testing.assert_array_equal(quantise_input(network, values)[0, 0, :, 0], expected[0, 0, 0])


def test_codes_are_accepted_as_they_are() -> None:
    network = load_network(DIGITS_RESNET)
    codes = RNG.integers(0, 256, (3, 1, 8, 8)).astype(np.uint8)
    np.testing.assert_array_equal(quantise_input(network, codes), codes.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 8, 8, 1), np.float32), "has shape (3, 8, 8, 1); the network wants (N, 1, 8, 8)"),
        (np.zeros((3, 1, 8, 8)), "is float64"),
        (np.zeros((3, 1, 8, 8), np.int8), "is int8"),
        (np.full((3, 1, 8, 8), np.inf, np.float32), "NaN or infinite"),
    ],
)
def test_unfit_input_is_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(MixcimError) as caught:
        quantise_input(load_network(DIGITS_RESNET), values)
    assert words in str(caught.value)


def test_unfit_codes_are_refused() -> None:
    network = load_network(DIGITS_RESNET)
    with pytest.raises(MixcimError, match="wants"):
        evaluate(network, np.zeros((1, 1, 8, 8), int))
    with pytest.raises(MixcimError, match="quantise them first"):
        evaluate(network, np.zeros((1, 8, 8, 1)))
    with pytest.raises(MixcimError, match="reach from 0 to 256"):
        evaluate(network, np.arange(64).reshape(1, 8, 8, 1) * 256 // 63)
    with pytest.raises(MixcimError, match="expected integers"):
        dequantise_output(network, np.zeros((1, 10), int))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MixcimError, match="does not exist"):
        load_network(tmp_path / "absent.onnx")
