"""Real networks on the whole path: file -> program -> model = ONNX Runtime, golden trace or baseline; RTL = model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compile.random_networks import FORMATS, random_codes, random_network, random_rules
from compile.test_tflite_import import MODELS, Trace, load
from mixcim.compile.compiler import compile_network
from mixcim.compile.load import load_network
from mixcim.compile.network import LayerKind
from mixcim.compile.reference import reference_tensors
from mixcim.device import apply_device, load_device
from mixcim.device.readout import with_readout
from mixcim.host.values import fold_pixels, input_codes, output_values
from mixcim.model import ProcessorModel
from mixcim_hdl.presets import PRESETS
from onnx_graphs import OnnxGraph
from system.networks import (
    DEMO,
    assert_rtl_is_the_model,
    floating_resnet20,
    resnet20_file,
    resnet20_program,
    split_sums,
    tflite_program,
)
from workloads import WORKLOADS, baseline, cifar100, needs_workloads

ROOT = Path(__file__).parents[2]
ON_DEMO = ["kws_dscnn_int8", "vww_int8", "resnet8_cifar10_int8"]
Record = Callable[[str, object], None]


def right_answers(values: np.ndarray, labels: np.ndarray) -> int:
    return int(np.sum(values.reshape(len(values), -1).argmax(axis=1) == labels))


# INT8 TFLite.


@needs_workloads
@pytest.mark.parametrize("name", ON_DEMO)
def test_accuracy_of_the_model_is_the_baselines(name: str, record_property: Record) -> None:
    program, codes, labels = tflite_program(name)
    right = right_answers(output_values(program, ProcessorModel(DEMO, program).run(codes)), labels)
    expected = baseline(name.replace("_int8", " int8"))
    record_property("accuracy", f"{100 * right / len(codes):.2f} %, baseline {expected['top1']} %")
    assert len(codes) == expected["n"]
    assert abs(100 * right / len(codes) - expected["top1"]) <= max(0.5, 100 / len(codes)) + 0.005  # printed to 0.01


@needs_workloads
@pytest.mark.parametrize("name", MODELS)
def test_each_layer_of_the_model_is_within_one_of_the_golden_trace(name: str, record_property: Record) -> None:
    """Every command of the program gets the tensors that TFLite's reference kernels had there.

    A sum is an operator of its own in the file. Fused to the convolution before it, the chip passes on what that was
    off by, times a factor that may be above 1; so the two get golden tensors each.
    """
    chip = PRESETS["large"] if name.startswith("mobilenet") else DEMO
    whole = load(name)
    network, keys = split_sums(whole)
    assert len(network.layers) - len(whole.layers) == len(keys)
    program, trace = compile_network(network, chip), Trace(name, whole)
    model = ProcessorModel(chip, program)

    def golden(tensor: str) -> np.ndarray:
        place = program.tensors[tensor]
        values = trace[keys.get(tensor, tensor)].astype(np.int16) + (128 if place.signed else 0)
        if network.tensors[tensor].shape != place.shape:
            values = fold_pixels(values, place.shape, program.fold, place.zero_point)
        return values.astype(np.uint8).reshape(-1, *place.shape)

    compared = different = 0
    for number, layer in enumerate(network.layers):
        inputs = [layer.input, *([layer.residual.tensor] if layer.residual else [])]
        output = model.run_layer(number, {tensor: golden(tensor) for tensor in inputs})
        difference = np.abs(output.astype(int) - golden(layer.output))
        assert difference.max() <= 1, layer.name
        compared, different = compared + difference.size, different + int(np.sum(difference > 0))
    record_property("share of values one off", f"{different / compared:.4%} of {compared}")
    print(f"{name}: {different} of {compared} values ({different / compared:.3%}) are one off")
    # The share is a property of the two roundings; a wrong scale or padding would raise it far above this.
    assert different / compared < 0.01


@needs_workloads
@pytest.mark.parametrize("name", ON_DEMO)
def test_every_tensor_on_the_rtl_is_the_models(name: str) -> None:
    program, codes, _ = tflite_program(name)
    assert_rtl_is_the_model(program, codes[0])


def image_files(count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` ImageNet pictures, spread over the folder, uint8 (count, 224, 224, 3), and their classes 0..999."""
    files = sorted((WORKLOADS / "inputs" / "imagenet224_eval").glob("*.jpg"))
    files = [files[index * len(files) // count] for index in range(count)]
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    return np.stack(pictures), np.array([int(file.name.split("_")[0]) for file in files])


@needs_workloads
def test_mobilenet_classifies_ten_images_on_the_model(record_property: Record) -> None:
    chip = PRESETS["large"]
    program = compile_network(load("mobilenetv2_int8ptq"), chip)
    pictures, labels = image_files(10)
    values = output_values(program, ProcessorModel(chip, program).run(input_codes(program, pictures)))
    right = right_answers(values[:, 1:], labels)  # output 0 is no class
    record_property("right", f"{right} of 10")
    # 88.33 % of all images; 5 or fewer of ten have a probability below 1 in 200 at that rate.
    assert baseline("mobilenetv2 int8 ptq")["top1"] > 88 and right >= 6


# ResNet-20, quantised from float.


def assert_model_is_onnxruntimes(first: int, end: int) -> int:
    """Every tensor of ResNet-20 on those images; the number that are classified rightly."""
    images, labels = cifar100("cifar100_test")
    program = resnet20_program()
    expected = reference_tensors(resnet20_file(), images[first:end])
    model = ProcessorModel(DEMO, program)
    output = model.run(input_codes(program, images[first:end]), capture=list(program.tensors))
    assert len(model.captured) == 24
    for name, codes in model.captured.items():
        assert expected[name].dtype == np.uint8
        np.testing.assert_array_equal(codes, expected[name].reshape(codes.shape), err_msg=name)
    return right_answers(output_values(program, output), labels[first:end])


@needs_workloads
def test_resnet20_on_exact_units_is_onnxruntimes_on_every_image(record_property: Record) -> None:
    program = resnet20_program()
    assert {unit for layer in program.layers for unit in layer.kernels} == {"sram", "tiny"}
    right = sum(assert_model_is_onnxruntimes(first, first + 100) for first in range(0, 2500, 100))
    record_property("accuracy", f"{right / 25:.2f} %")
    assert abs(right / 25 - baseline("resnet20_cifar100 fp32")["top1"]) < 1  # measured: 68.52 and 68.80


@needs_workloads
@pytest.mark.parametrize("number", [0, 1, 2])
def test_resnet20_on_the_rtl_is_the_model(number: int) -> None:
    program = resnet20_program()
    assert_rtl_is_the_model(program, input_codes(program, cifar100("cifar100_test")[0])[number])


@needs_workloads
def test_resnet20_with_every_non_ideality_is_the_model() -> None:
    """Spread, drift, stuck cells, IR drop, read noise, ADC errors; zero groups left out: every tensor and counter."""
    program = resnet20_program("memristor", "16,32,64", skip_zero_groups=True)
    device = load_device(str(ROOT / "docs" / "everything.toml"))
    program = apply_device(program, DEMO, device, seed=7, time_s=1e3)
    program = with_readout(program, DEMO, device, 7)
    assert program.noise_table.any() and len(np.unique(program.adc[..., 1])) > 4
    assert_rtl_is_the_model(program, input_codes(program, cifar100("cifar100_test")[0][:1])[0])


@pytest.mark.slow
@needs_workloads
@pytest.mark.parametrize("table", ["16", "16,32,64", "exact"])
def test_resnet20_on_memristor_is_the_model(table: str) -> None:
    program = resnet20_program("memristor", table)
    hidden = [layer for layer in program.layers if "memristor" in layer.kernels]
    assert len(hidden) == 20 and all(layer.kernels.keys() == {"memristor"} for layer in hidden)
    assert_rtl_is_the_model(program, input_codes(program, cifar100("cifar100_test")[0][:1])[0])


@pytest.mark.slow
@needs_workloads
def test_exact_reads_change_nothing_and_saturated_ones_little(record_property: Record) -> None:
    """As many word lines as the ADC holds: ONNX Runtime's integers. More: other integers, almost the same answers."""
    images, labels = cifar100("cifar100_test")
    images, labels = images[:40], labels[:40]
    expected = reference_tensors(resnet20_file(), images)
    lossless, answers = resnet20_program(), {}
    for table in ("exact", "16,32,64"):
        program = resnet20_program("memristor", table)
        model = ProcessorModel(DEMO, program)
        output = model.run(input_codes(program, images))
        equal = np.array_equal(output, expected[program.output].reshape(output.shape))
        answers[table] = output_values(program, output).argmax(axis=1)
        saturations = int(model.adc_saturations.sum())
        record_property(table, f"{np.mean(answers[table] == labels):.2%}, {saturations} saturated conversions")
        assert (equal, saturations > 0) == ((True, False) if table == "exact" else (False, True))
    exact = output_values(lossless, expected[lossless.output].reshape(40, 1, 1, 100)).argmax(axis=1)
    np.testing.assert_array_equal(answers["exact"], exact)
    assert np.mean(answers["16,32,64"] == exact) > 0.9


# Floating point.

#: Several units of each kind that accumulate one tile at a time; every aligned width.
CROWDED = dataclasses.replace(
    PRESETS["tiny"], name="crowded", memristor_banks=2, memristor_slots=4096, sram_banks=2, tiny_banks=2,
    tiny_words=1024, accumulator_tiles=1, activation_words=8192, weight_words=8192, program_commands=512,
    parameter_tiles=512, aligned_bits=16,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("placement", ["default", "scattered", "memristor"])
def test_random_floating_networks_on_the_rtl_are_the_model(placement: str, seed: int) -> None:
    """All formats, mixed with integer layers: every tensor and counter."""
    network = random_network(seed, formats=FORMATS, aligned_bits=CROWDED.aligned_bits)
    rules = {"default": [], "scattered": random_rules(network, seed, CROWDED.channels), "memristor": ["*=memristor"]}
    program = compile_network(network, CROWDED, rules[placement], table="4")  # with saturations
    place = program.tensors[program.input]
    values = random_codes(network, 1, seed)[0] + (128 if place.signed else 0)
    assert_rtl_is_the_model(program, values.astype(place.type), CROWDED)


FLOATING = {
    "bf16": ("bf16",),
    "fp16/bf16": ("fp16/bf16",),
    "mixed": ("bf16/int8", "layer2=fp8_e4m3/fp8_e4m3", "layer3=int8/bf16", "layer4=fp8_e5m2/fp16"),
}


@pytest.mark.slow
@needs_workloads
@pytest.mark.parametrize(
    ("rules", "hidden"), [*((rules, None) for rules in FLOATING), ("mixed", "memristor")]
)  # weights of two slices are too many for the memristor banks of demo
def test_floating_resnet20_on_the_rtl_is_the_model(rules: str, hidden: str | None) -> None:
    program = floating_resnet20(FLOATING[rules], hidden)
    assert any("/" in layer.format and not layer.format.startswith("uint8") for layer in program.layers)
    assert_rtl_is_the_model(program, input_codes(program, cifar100("cifar100_test")[0][:1])[0])


@needs_workloads
def test_resnet20_in_bf16_is_as_accurate_as_in_float(record_property: Record) -> None:
    images, labels = cifar100("cifar100_test")
    program = floating_resnet20(("bf16",))
    output = ProcessorModel(DEMO, program).run(input_codes(program, images[:200]))
    right = right_answers(output_values(program, output), labels[:200])
    expected = reference_tensors(resnet20_file(), images[:200])[resnet20_program().output]
    quantised = right_answers(expected, labels[:200])
    record_property("right", f"{right} of 200, quantised to integers {quantised}")
    assert abs(right - quantised) <= 10


def dyadic_network(path: Path) -> Path:
    """A residual network whose scales are powers of two: float32 holds every intermediate value, so that rounding is
    the only thing that evaluators could do differently. Many sums end in a half; zero points are even, since
    onnxruntime's Add rounds after it has added them, where ONNX rounds before."""
    rng = np.random.default_rng(0)
    graph = OnnxGraph((1, 8, 8))

    def conv(x: str, kernels: int, channels: int, *, groups: int = 1) -> str:
        weight = graph.weight(rng.integers(-127, 128, (kernels, channels // groups, 3, 3)).astype(np.int8), 2.0**-9)
        return graph.node("Conv", x, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=groups)

    x = graph.fake("input", 2.0**-8, 0)
    first = graph.fake(graph.node("Relu", conv(x, 24, 1)), 2.0**-6, 0)
    deep = graph.fake(conv(first, 24, 24, groups=24), 2.0**-5, 120)
    second = graph.fake(conv(deep, 24, 24), 2.0**-3, 132)
    total = graph.fake(graph.node("Add", second, first), 2.0**-3, 130)
    pooled = graph.fake(graph.node("MaxPool", total, kernel_shape=[2, 2], strides=[2, 2]), 2.0**-3, 130)
    mean = graph.fake(graph.node("GlobalAveragePool", pooled), 2.0**-4, 128)
    flat = graph.node("Flatten", mean)
    weight = graph.weight(rng.integers(-127, 128, (10, 24)).astype(np.int8), 2.0**-7)
    logits = graph.fake(graph.node("Gemm", flat, weight, transB=1), 2.0**-3, 100)
    return graph.save(path, logits)


@pytest.mark.parametrize("hidden", [None, "memristor"])
def test_model_is_onnx_reference_and_onnxruntime_on_a_small_network(tmp_path: Path, hidden: str | None) -> None:
    path = dyadic_network(tmp_path / "dyadic.onnx")
    network = load_network(path)
    assert {LayerKind.DEPTHWISE, LayerKind.MAX_POOL} < {layer.kind for layer in network.layers}
    images = np.random.default_rng(1).uniform(0, 1, (6, 1, 8, 8)).astype(np.float32)
    program = compile_network(network, DEMO, hidden=hidden, table="exact")
    model = ProcessorModel(DEMO, program)
    model.run(input_codes(program, images), capture=list(program.tensors))
    for evaluator in ("onnx", "onnxruntime"):
        expected = reference_tensors(path, images, evaluator)
        for name, codes in model.captured.items():
            np.testing.assert_array_equal(codes, expected[name].reshape(codes.shape), err_msg=f"{evaluator}: {name}")
        assert all(len(np.unique(codes)) > 8 for codes in model.captured.values())
