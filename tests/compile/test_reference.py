"""The reference itself: it reads onnxruntime's fused integers without disturbing them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mixcim.compile.evaluate import evaluate
from mixcim.compile.load import load_network, quantise_input
from mixcim.compile.reference import operator_counts, optimised_model, reference_tensors, session_options
from mixcim.errors import MixcimError
from mixcim.networks.digits import DIGITS_RESNET, digits_data


def test_digits_network_runs_in_fused_integer_operators() -> None:
    counts = operator_counts(optimised_model(DIGITS_RESNET))
    assert counts["QLinearConv"] == 6 and counts["QLinearAdd"] == 2
    assert counts["QLinearGlobalAveragePool"] == 1 and counts["QGemm"] == 1
    assert counts["Conv"] == counts["Add"] == counts["Gemm"] == 0


def test_final_output_is_an_untouched_sessions() -> None:
    images = digits_data()[2]
    tensors = reference_tensors(DIGITS_RESNET, images)
    network = load_network(DIGITS_RESNET)
    logits = onnxruntime.InferenceSession(str(DIGITS_RESNET), session_options(signed=False)).run(
        None, {"image": images}
    )[0]
    quantisation = network.tensors[network.output].quantisation
    centred = (tensors[network.output].astype(np.int32) - quantisation.zero_point).astype(np.float32)
    np.testing.assert_array_equal(centred * np.float32(quantisation.scale), logits)


def test_every_tensor_of_the_network_is_there_in_channels_last_order() -> None:
    network = load_network(DIGITS_RESNET)
    images = digits_data()[2][:40]
    tensors = reference_tensors(DIGITS_RESNET, images)
    np.testing.assert_array_equal(quantise_input(network, images), tensors[network.input])
    values = evaluate(network, tensors[network.input])
    for name, value in values.items():
        assert tensors[name].dtype == np.uint8
        np.testing.assert_array_equal(value, tensors[name].reshape(value.shape), err_msg=name)


def test_onnx_reference_evaluator_agrees_but_for_float_rounding() -> None:
    """It convolves dequantised float32 values: close to a half it may round the other way."""
    network = load_network(DIGITS_RESNET)
    images = digits_data()[2][:4]
    onnxruntimes = reference_tensors(DIGITS_RESNET, images)
    evaluators = reference_tensors(DIGITS_RESNET, images, evaluator="onnx")
    np.testing.assert_array_equal(evaluators[network.input], onnxruntimes[network.input])
    for layer in network.layers:
        difference = np.abs(evaluators[layer.output].astype(int) - onnxruntimes[layer.output])
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.02


def test_unknown_evaluator_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MixcimError, match="evaluator 'tvm' is unknown; choose onnxruntime or onnx"):
        reference_tensors(DIGITS_RESNET, digits_data()[2][:1], evaluator="tvm")
    with pytest.raises(MixcimError, match="does not exist"):
        reference_tensors(tmp_path / "absent.onnx", np.zeros((1, 1, 8, 8), np.float32))


def test_optimised_model_leaves_the_file_alone(tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(DIGITS_RESNET.read_bytes())
    assert isinstance(optimised_model(copy), onnx.ModelProto)
    assert copy.read_bytes() == DIGITS_RESNET.read_bytes() and list(tmp_path.iterdir()) == [copy]
