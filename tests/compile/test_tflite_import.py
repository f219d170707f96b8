"""TFLite networks: operators are within one of TFLite's integers, accuracy is TFLite's, unfit files are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixcim.compile.evaluate import evaluate, evaluate_layer
from mixcim.compile.load import dequantise_output, quantise_input
from mixcim.compile.network import LayerKind, Network, Tensor
from mixcim.compile.tflite_import import import_tflite
from mixcim.errors import MixcimError
from tflite_graphs import TfliteGraph
from workloads import WORKLOADS, baseline, needs_workloads

MODELS = {
    "kws_dscnn_int8": "kws_dscnn/kws_dscnn_int8",
    "vww_int8": "vww_mobilenetv1_0.25_96/vww_mobilenetv1_0.25_96_int8",
    "resnet8_cifar10_int8": "resnet8_cifar10/resnet8_cifar10_int8",
    "mobilenetv2_int8ptq": "mobilenetv2_1.0_224_imagenet/mobilenetv2_1.0_224_imagenet_int8ptq",
}
WINDOW = {"Padding": 0, "StrideH": 1, "StrideW": 1}


def load(name: str) -> Network:
    return import_tflite(WORKLOADS / "models" / f"{MODELS[name]}.tflite")


class Trace:
    """Golden tensors of TFLite's reference kernels, found by the network's tensor names."""

    def __init__(self, name: str, network: Network) -> None:
        golden = WORKLOADS / "golden"
        description = json.loads((golden / f"{name}_trace.json").read_text())
        self.arrays = np.load(golden / f"{name}_trace.npz")
        self.samples = description["samples"]
        self.keys = {operator["tensor"]: operator["key"] for operator in description["ops"]}
        self.keys[network.input] = "input"

    def __getitem__(self, key: str) -> np.ndarray:
        """Values of a tensor, or of operator "opNNN", for every sample: (samples, ...)."""
        key = self.keys.get(key, key)
        return np.concatenate([self.arrays[f"s{sample}.{key}"] for sample in range(self.samples)])


@needs_workloads
@pytest.mark.parametrize("name", MODELS)
def test_each_operator_is_within_one_of_the_golden_trace(name: str) -> None:
    network = load(name)
    trace = Trace(name, network)
    compared = different = 0

    def compare(value: np.ndarray, golden: np.ndarray) -> None:
        nonlocal compared, different
        difference = np.abs(value.astype(int) - golden.reshape(value.shape))
        assert difference.max() <= 1
        compared, different = compared + difference.size, different + int(np.sum(difference > 0))

    for layer in network.layers:
        x = trace[layer.input].reshape(-1, *network.tensors[layer.input].shape)
        golden = trace[layer.output]
        if layer.residual is None:
            compare(evaluate_layer(network, layer, x), golden)
            continue
        # The layer is two operators of the file, a convolution and an Add; each gets golden operands.
        key = f"op{int(layer.source[0].split()[1]):03d}"
        own = replace(layer, output="own", residual=None, clamp=layer.residual.clamp)
        shape = network.tensors[layer.output].shape
        tensors = {**network.tensors, "own": Tensor("own", shape, layer.residual.quantisation)}
        compare(evaluate_layer(replace(network, tensors=tensors), own, x), trace[key])
        lone = replace(
            layer,
            kind=LayerKind.IDENTITY,
            input="own",
            kernel=(1, 1),
            stride=(1, 1),
            padding=(0, 0, 0, 0),
            weight=None,
            bias=np.zeros_like(layer.bias),
            scale=np.ones_like(layer.scale),
        )
        other = trace[layer.residual.tensor].reshape(-1, *shape)
        compare(evaluate_layer(replace(network, tensors=tensors), lone, trace[key].reshape(-1, *shape), other), golden)
    # The share is a property of the two roundings; a wrong scale or padding would raise it far above this.
    assert different / compared < 0.01


def inputs_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Every test input as int8, and its label."""
    if name == "kws_dscnn_int8":
        data = np.load(WORKLOADS / "inputs" / "kws_mfcc_int8.npz")
        return data["features"], data["labels"]
    data = np.load(WORKLOADS / "inputs" / ("vww96_val2017.npz" if name == "vww_int8" else "cifar10_test.npz"))
    return (data["images"].astype(np.int16) - 128).astype(np.int8), data["labels"]


@pytest.mark.slow
@needs_workloads
@pytest.mark.parametrize("name", ["kws_dscnn_int8", "vww_int8", "resnet8_cifar10_int8"])
def test_accuracy_is_the_baselines(name: str) -> None:
    network = load(name)
    images, labels = inputs_of(name)
    right = 0
    for start in range(0, len(images), 50):
        codes = quantise_input(network, images[start : start + 50])
        output = dequantise_output(network, evaluate(network, codes)[network.output])
        right += int(np.sum(output.argmax(1) == labels[start : start + 50]))
    top1 = baseline(name.replace("_int8", " int8"))["top1"]
    assert abs(100 * right / len(images) - top1) <= max(0.5, 100 / len(images)) + 0.005  # top1 is printed to 0.01


@needs_workloads
def test_shapes_and_host_output_of_mobilenet() -> None:
    network = load("mobilenetv2_int8ptq")
    assert network.file_shape == (224, 224, 3) and network.output_shape == (1001,)
    assert network.host_output == ("softmax",) and network.input_layout == "NHWC"
    assert network.layers[0].kind is LayerKind.IDENTITY  # uint8 to int8
    assert sum(layer.residual is not None for layer in network.layers) == 10


def small(tmp_path: Path, **changes: Any) -> Path:
    """PAD, CONV_2D, DEPTHWISE_CONV_2D, ADD, MAX_POOL_2D, MEAN, FULLY_CONNECTED, SOFTMAX; `changes` break it."""
    rng = np.random.default_rng(0)
    graph = TfliteGraph()
    dtype = str(changes.get("dtype", "int8"))
    x = source = graph.tensor((1, 6, 6, 4), 0.05, 3, dtype)
    pads = graph.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    x = graph.operator("PAD", [x, pads], graph.tensor((1, 8, 8, 4), 0.05, 3))
    values = rng.integers(-127, 128, (4, 3, 3, 4)).astype(np.int8)
    weight = graph.constant(values, rng.uniform(0.001, 0.01, 4), 0, int(changes.get("zero", 0)))
    bias = graph.constant(rng.integers(-500, 500, 4).astype(np.int32), np.full(4, 1e-4))
    dilation = int(changes.get("dilation", 1))
    options = {**WINDOW, "Padding": 1, "DilationHFactor": dilation, "DilationWFactor": dilation}
    options["FusedActivationFunction"] = int(changes.get("activation", 3))
    conv = graph.operator("CONV_2D", [x, weight, bias], graph.tensor((1, 6, 6, 4), 0.03, -128), **options)
    weight = graph.constant(rng.integers(-127, 128, (1, 3, 3, 4)).astype(np.int8), np.full(4, 0.01), 3)
    options = {**WINDOW, "DilationHFactor": 1, "DilationWFactor": 1, "DepthMultiplier": 1}
    deep = graph.operator("DEPTHWISE_CONV_2D", [conv, weight], graph.tensor((1, 6, 6, 4), 0.06, 10), **options)
    x = graph.operator("ADD", [conv, deep], graph.tensor((1, 6, 6, 4), 0.07, -20), FusedActivationFunction=1)
    pool = {"Padding": 1, "StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2}
    x = graph.operator("MAX_POOL_2D", [x], graph.tensor((1, 3, 3, 4), 0.07, -20), **pool)
    if changes.get("operator"):
        x = graph.operator(str(changes["operator"]), [x], graph.tensor((1, 3, 3, 4), 0.07, -20))
    axes = graph.constant(np.array([1, 2], np.int32))
    x = graph.operator("MEAN", [x, axes], graph.tensor((1, 4), float(changes.get("scale", 0.02)), -7))
    weight = graph.constant(rng.integers(-127, 128, (5, 4)).astype(np.int8), 0.02)
    x = graph.operator("FULLY_CONNECTED", [x, weight, -1], graph.tensor((1, 5), 0.05, 1), WeightsFormat=0)
    x = graph.operator("SOFTMAX", [x], graph.tensor((1, 5), 1 / 256, -128))
    return graph.save(tmp_path / "small.tflite", [source] * int(changes.get("inputs", 1)), [x])


def test_small_network(tmp_path: Path) -> None:
    network = import_tflite(small(tmp_path))
    kinds = [layer.kind.value for layer in network.layers]
    assert kinds == ["convolution", "depthwise", "max_pool", "average_pool", "convolution"]
    first, deep = network.layers[:2]
    assert first.padding == (1, 1, 1, 1) and first.clamp == (-128, 72)  # 6 / 0.03 - 128
    assert deep.residual is not None and deep.residual.order_swapped and deep.clamp == (-20, 127)
    codes = np.random.default_rng(1).integers(-128, 128, (3, 6, 6, 4))
    output = dequantise_output(network, evaluate(network, codes)[network.output])
    assert output.shape == (3, 5) and np.allclose(output.sum(1), 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operator": "TANH"}, "operator 5 is a TANH, which mixcim does not support"),
        ({"zero": 4}, "operator 1 (CONV_2D) has weights with a zero point"),
        ({"dilation": 2}, "dilation (2, 2)"),
        ({"activation": 4}, "has activation TANH"),
        ({"scale": float("nan")}, "scale nan"),
        ({"dtype": "int16"}, "is int16"),
        ({"inputs": 2}, "has 2 inputs"),
    ],
)
def test_unfit_network_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(MixcimError) as caught:
        import_tflite(small(tmp_path, **changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    whole = small(tmp_path).read_bytes()
    rng = np.random.default_rng(2)
    broken = tmp_path / "broken.tflite"
    refused = 0
    for trial in range(200):
        data = bytearray(whole)
        if trial < 50:
            data = data[: int(rng.integers(0, len(data)))]
        else:
            for position in rng.integers(8, len(data), 4):
                data[position] = int(rng.integers(0, 256))
        broken.write_bytes(bytes(data))
        try:
            import_tflite(broken)
        except MixcimError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
    with pytest.raises(MixcimError, match="does not exist"):
        import_tflite(tmp_path / "absent.tflite")
