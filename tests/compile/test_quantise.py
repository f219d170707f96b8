"""Quantisation of float networks, and ResNet-20 and MobileNet-v2 through the whole front end."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mixcim.compile.compiler import compile_network
from mixcim.compile.evaluate import evaluate
from mixcim.compile.load import load_network
from mixcim.compile.onnx_import import import_onnx
from mixcim.compile.quantise import quantise_onnx
from mixcim.compile.reference import operator_counts, optimised_model, reference_tensors
from mixcim.errors import MixcimError
from mixcim.model import ProcessorModel
from mixcim_hdl.commands import Opcode, decode_command
from mixcim_hdl.presets import PRESETS
from onnx_graphs import OnnxGraph
from workloads import WORKLOADS, baseline, cifar100, needs_workloads

DEMO = PRESETS["demo"]
RESNET20 = WORKLOADS / "models" / "resnet20_cifar100"
MOBILENET = WORKLOADS / "models" / "mobilenetv2_1.0_224_imagenet"


def float_network(path: Path, weight: float = 1.0) -> Path:
    """Conv, BatchNormalization, Relu, residual, ReduceMean, MatMul + Add, Softmax in float32."""
    rng = np.random.default_rng(0)
    graph = OnnxGraph((3, 8, 8))

    def constant(*shape: int) -> str:
        return graph.constant((rng.normal(0, 0.3, shape) * weight).astype(np.float32))

    def norm(x: str) -> str:
        statistics = [np.abs(rng.normal(1, 0.1, 8)), rng.normal(0, 0.1, 8), rng.normal(0, 0.1, 8), np.full(8, 0.7)]
        return graph.node("BatchNormalization", x, *[graph.constant(v.astype(np.float32)) for v in statistics])

    a = graph.node("Relu", norm(graph.node("Conv", "input", constant(8, 3, 3, 3), pads=[1, 1, 1, 1])))
    b = norm(graph.node("Conv", a, constant(8, 8, 3, 3), pads=[1, 1, 1, 1]))
    x = graph.node("Relu", graph.node("Add", b, a))
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    x = graph.node("Add", graph.node("MatMul", x, constant(8, 6)), constant(6))
    return graph.save(path, graph.node("Softmax", x, axis=1))


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, 8, 8)).astype(np.float32)


def test_quantised_network_is_integer_throughout_and_onnxruntimes(tmp_path: Path) -> None:
    source, target = float_network(tmp_path / "float.onnx"), tmp_path / "quantised.onnx"
    quantise_onnx(source, images(40), target)
    network = import_onnx(target)
    assert [layer.kind.value for layer in network.layers] == ["convolution"] * 2 + ["average_pool", "convolution"]
    assert network.layers[1].residual is not None and network.host_output == ("softmax",)
    assert operator_counts(optimised_model(target))["QLinearConv"] == 2
    expected = reference_tensors(target, images(20, seed=1))
    values = evaluate(network, expected[network.input])
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name].reshape(value.shape), err_msg=name)


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_narrow_weights_are_onnxruntimes_and_leave_high_digits_unread(tmp_path: Path, bits: int) -> None:
    source, target = float_network(tmp_path / "float.onnx"), tmp_path / "quantised.onnx"
    quantise_onnx(source, images(40), target, bits)
    network = import_onnx(target)
    largest = (1 << bits - 1) - 1
    for layer in network.layers:
        if layer.weight is not None:
            # Every kernel uses its whole range: the scale is that of its largest weight.
            assert (np.abs(layer.weight.astype(int)).reshape(len(layer.weight), -1).max(axis=1) == largest).all()
    expected = reference_tensors(target, images(20, seed=1))
    values = evaluate(network, expected[network.input])
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name].reshape(value.shape), err_msg=name)
    assert len(np.unique(values[network.output])) > 20
    program = compile_network(network, DEMO, ["*=memristor"], table="exact")
    tables = [decode_command(command, DEMO) for command in program.commands if command[0] & 0xFF == Opcode.TABLE]
    digits = [fields["digits"] for _, fields in tables]
    assert digits[0] == -(-(bits - 1) // 2)  # MM-M: two bits a digit; a magnitude has one bit less than the weight
    model = ProcessorModel(DEMO, program)
    codes = model.run(expected[network.input].astype(np.uint8))  # uint8 tensors: their integers are the chip's codes
    np.testing.assert_array_equal(codes, values[network.output])


@pytest.mark.parametrize("bits", [1, 9])
def test_weight_bits_out_of_range_are_refused(tmp_path: Path, bits: int) -> None:
    source, target = float_network(tmp_path / "float.onnx"), tmp_path / "quantised.onnx"
    with pytest.raises(MixcimError, match=f"weight bits must be from 2 to 8, not {bits}"):
        quantise_onnx(source, images(4), target, bits)
    assert not target.exists()
    quantise_onnx(source, images(4), target)
    with pytest.raises(MixcimError, match="is quantised already; its weights cannot be given 4 bits now"):
        load_network(target, None, 4)


@pytest.mark.parametrize("form", ["ReduceMean keepdims", "ReduceMean", "AveragePool"])
def test_average_over_the_whole_image_becomes_a_global_pool(tmp_path: Path, form: str) -> None:
    """Clip of any range, depthwise convolution, padded MaxPool and Dropout on the way there."""
    rng = np.random.default_rng(1)
    graph = OnnxGraph((3, 8, 8))

    def constant(*shape: int) -> str:
        return graph.constant(rng.normal(0, 0.3, shape).astype(np.float32))

    def clip(x: str, low: float, high: float) -> str:
        return graph.node("Clip", x, graph.constant(np.float32(low)), graph.constant(np.float32(high)))

    x = clip(graph.node("Conv", "input", constant(8, 3, 3, 3), constant(8), pads=[1, 1, 1, 1]), 0, 6)
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = clip(graph.node("Conv", x, constant(8, 1, 3, 3), constant(8), group=8, pads=[1, 1, 1, 1]), -0.2, 0.5)
    if form == "AveragePool":
        x = graph.node("AveragePool", x, kernel_shape=[4, 4])
    else:
        x = graph.node("ReduceMean", x, axes=[-1, 2], keepdims=int(form == "ReduceMean keepdims"))
    if form != "ReduceMean":
        x = graph.node("Flatten", x)
    x = graph.node("Gemm", graph.node("Dropout", x), constant(8, 5), constant(5))
    source, target = graph.save(tmp_path / "float.onnx", x), tmp_path / "quantised.onnx"
    quantise_onnx(source, images(40), target)
    network = import_onnx(target)
    kinds = [layer.kind.value for layer in network.layers]
    assert kinds == ["convolution", "max_pool", "depthwise", "average_pool", "convolution"]
    expected = reference_tensors(target, images(30, seed=2))
    for name, value in evaluate(network, expected[network.input]).items():
        np.testing.assert_array_equal(value, expected[name].reshape(value.shape), err_msg=name)


def test_the_same_arguments_give_the_same_file(tmp_path: Path) -> None:
    source = float_network(tmp_path / "float.onnx")
    for name in ("a.onnx", "b.onnx"):
        quantise_onnx(source, images(10), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "float.onnx"]  # nothing left behind


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (images(4)[:, :2], "has shape (4, 2, 8, 8); the network wants (N, 3, 8, 8)"),
        (images(4)[:0], "N > 0"),
        (images(4).astype(np.float64), "is float64; convert it to float32"),
        (np.where(images(4) > 2, np.float32(np.nan), images(4)), "NaN or infinite"),
    ],
)
def test_unfit_calibration_is_refused_and_nothing_is_written(
    tmp_path: Path, calibration: np.ndarray, words: str
) -> None:
    source = float_network(tmp_path / "float.onnx")
    with pytest.raises(MixcimError) as caught:
        quantise_onnx(source, calibration, tmp_path / "quantised.onnx")
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["float.onnx"]


def test_unfit_network_is_refused(tmp_path: Path) -> None:
    source, target = float_network(tmp_path / "float.onnx"), tmp_path / "quantised.onnx"
    quantise_onnx(source, images(4), target)
    before = target.read_bytes()
    with pytest.raises(MixcimError, match="is quantised already"):
        quantise_onnx(target, images(4), tmp_path / "again.onnx")
    with pytest.raises(MixcimError, match="NaN or infinite"):
        quantise_onnx(float_network(tmp_path / "nan.onnx", weight=np.nan), images(4), target)
    with pytest.raises(MixcimError, match="does not exist"):
        quantise_onnx(source, images(4), tmp_path / "absent" / "quantised.onnx")
    assert target.read_bytes() == before


@pytest.fixture(scope="module")
def resnet20(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("resnet20") / "resnet20.onnx"
    quantise_onnx(RESNET20 / "resnet20_cifar100.onnx", cifar100("cifar100_calib_train")[0], target)
    return target


@needs_workloads
def test_resnet20_is_onnxruntimes_on_every_layer(resnet20: Path) -> None:
    counts = operator_counts(optimised_model(resnet20))
    assert counts["QLinearConv"] == 21 and counts["QLinearAdd"] == 9 and counts["QGemm"] == 1 and counts["Conv"] == 0
    assert check_resnet20(resnet20, 0, 50) > 25


@pytest.mark.slow
@needs_workloads
def test_resnet20_on_every_image(resnet20: Path) -> None:
    right = sum(check_resnet20(resnet20, start, start + 100) for start in range(0, 2500, 100))
    assert abs(100 * right / 2500 - baseline("resnet20_cifar100 fp32")["top1"]) < 1  # measured: 68.52 and 68.80


def check_resnet20(path: Path, start: int, end: int) -> int:
    """Assert that every tensor is onnxruntime's on those images; the number that are classified rightly."""
    data, labels = cifar100("cifar100_test")
    network = import_onnx(path)
    expected = reference_tensors(path, data[start:end])
    values = evaluate(network, expected[network.input])
    assert len(values) == 24
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name].reshape(value.shape), err_msg=name)
    return int(np.sum(values[network.output].reshape(end - start, -1).argmax(1) == labels[start:end]))


@pytest.mark.slow
@needs_workloads
@pytest.mark.parametrize("suffix", ["", "_bnfolded"])
def test_mobilenet_is_onnxruntimes_on_every_layer(tmp_path: Path, suffix: str) -> None:
    """Ranges from noise: what the network then sees is nonsense, but its arithmetic is that of any other."""
    noise = np.random.default_rng(0).uniform(-1, 1, (4, 3, 224, 224)).astype(np.float32)
    target = tmp_path / "mobilenet.onnx"
    quantise_onnx(MOBILENET / f"mobilenetv2_1.0_224_imagenet{suffix}.onnx", noise, target)
    network = import_onnx(target)
    assert len(network.layers) == 54 and sum(layer.residual is not None for layer in network.layers) == 10
    expected = reference_tensors(target, noise[:1])
    for name, value in evaluate(network, expected[network.input]).items():
        np.testing.assert_array_equal(value, expected[name].reshape(value.shape), err_msg=name)


def test_fixed_batch_is_calibrated_and_run_in_full_batches(tmp_path: Path) -> None:
    source, target = float_network(tmp_path / "float.onnx"), tmp_path / "quantised.onnx"
    model = onnx.load(str(source))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    del model.graph.output[0].type.tensor_type.shape.dim[0]
    model.graph.output[0].type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=4))
    onnx.save(model, str(source))
    quantise_onnx(source, images(10), target)
    network = import_onnx(target)
    expected = reference_tensors(target, images(6, seed=3))
    values = evaluate(network, expected[network.input])
    assert len(values[network.output]) == 6
    np.testing.assert_array_equal(values[network.output].reshape(6, -1), expected[network.output])
