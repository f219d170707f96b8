"""Rules of number formats, the formats that they give tensors and layers, and the weights in them."""

from pathlib import Path

import numpy as np
import pytest

from mixcim.compile.align import aligned_weights, tensor_formats
from mixcim.compile.calibrate import range_quantisation, tensor_ranges
from mixcim.compile.float_import import RealNetwork, import_real
from mixcim.compile.formats import NUMBER_FORMATS, LayerFormat, parse_formats
from mixcim.compile.load import load_network
from mixcim.compile.network import Quantisation
from mixcim.compile.onnx_file import read_onnx
from mixcim.errors import MixcimError
from mixcim.model import floating
from mixcim.networks.digits import DIGITS_RESNET
from mixcim_hdl.floating import BF16, FP8_E4M3, FP8_E5M2, FP16, ElementFormat, FloatFormat, Rounding
from onnx_graphs import OnnxGraph
from workloads import WORKLOADS, needs_workloads

IMAGE = (4, 6, 6)


def real_network(folder: Path) -> RealNetwork:
    """conv a -> conv b and conv c, whose sum goes through a pool to conv d."""
    random = np.random.default_rng(0)
    graph = OnnxGraph(IMAGE)

    def conv(x: str, name: str) -> str:
        weight = graph.constant(random.normal(0, 1, (4, 4, 1, 1)).astype(np.float32))
        result = graph.node("Conv", x, weight)
        graph.nodes[-1].name = name
        return result

    a = conv("input", "a")
    pooled = graph.node("MaxPool", graph.node("Add", conv(a, "b"), conv(a, "c")), kernel_shape=[2, 2])
    graph.nodes[-1].name = "pool"
    return import_real(read_onnx(graph.save(folder / "net.onnx", conv(pooled, "d"), rank=4)), "net")


def test_rules_are_read() -> None:
    formats = parse_formats(["bf16/int8", "a=FP8_E4M3", " b = int8 / fp16 "], 16, 9, 12, Rounding.TRUNCATE, "fp16")
    bf16, int8, fp16, fp8 = (NUMBER_FORMATS[name] for name in ("bf16", "int8", "fp16", "fp8_e4m3"))
    assert formats.default == LayerFormat(bf16, int8)
    assert formats.rules == {"a": LayerFormat(fp8, fp8), "b": LayerFormat(int8, fp16)}
    assert (formats.aligned_bits, formats.weight_aligned_bits) == (9, 12)
    assert formats.rounding is Rounding.TRUNCATE and formats.output == fp16
    assert str(formats.default) == "bf16/int8"
    assert parse_formats(["x=bf16"], 16).default == LayerFormat(int8, int8)
    assert parse_formats([" * = bf16/int8"], 16) == parse_formats(["bf16/int8"], 16)


@pytest.mark.parametrize(("chip", "wanted"), [(16, 12), (12, 12), (9, 9), (0, 12)])
def test_aligned_bits_are_12_or_what_the_chip_can(chip: int, wanted: int) -> None:
    formats = parse_formats(["bf16" if chip else "int8"], chip)
    assert formats.aligned_bits == formats.weight_aligned_bits == wanted


@pytest.mark.parametrize(
    ("rules", "output", "bits"),
    [
        (["int8"], None, 8),
        (["int8"], "int8", 8),
        (["int8/int4"], None, 4),
        (["a=int8"], None, 8),
        (["int4"], None, None),
        (["int8"], "fp16", None),
        (["int8", "a=int8/int4"], None, None),
        (["int8/fp16"], None, None),
    ],
)
def test_what_is_quantised_as_a_whole(rules: list[str], output: str | None, bits: int | None) -> None:
    assert parse_formats(rules, 12, output=output).integer_weight_bits == bits


@pytest.mark.parametrize(
    ("rules", "options", "words"),
    [
        (["fp32"], {}, "format 'fp32': number format must be one of int8, int4, bf16, fp16, fp8_e4m3, fp8_e5m2"),
        (["bf16/"], {}, "format 'bf16/': number format must be one of"),
        (["a="], {}, "format 'a=': number format must be one of"),
        (["bf16", "int8"], {}, "format 'int8': the network has a format already"),
        (["bf16", "*=int8"], {}, "format '*=int8': the network has a format already"),
        (["a=bf16", "a=int8"], {}, "format 'a=int8': layer 'a' has a format already"),
        (["bf16"], {"aligned_bits": 13}, "--aligned-bits must be one of 8, 9, 10, 11, 12, 16, not 13"),
        (["bf16"], {"weight_aligned_bits": 7}, "--weight-aligned-bits must be one of"),
        (["bf16"], {"aligned_bits": 16}, "--aligned-bits 16: the chip aligns to 12 bits at most"),
        (["bf16"], {"largest_aligned_bits": 0}, "the chip has no floating point (aligned_bits = 0)"),
        ([], {"largest_aligned_bits": 0, "output": "fp16"}, "but a format is fp16"),
        (["bf16"], {"output": "float"}, "--output-format: number format must be one of"),
        (["bf16"], {"output": "int4"}, "an output of 4 bits"),
    ],
)
def test_unfit_rules_are_one_line(rules: list[str], options: dict, words: str) -> None:
    with pytest.raises(MixcimError) as caught:
        parse_formats(rules, **{"largest_aligned_bits": 12, **options})
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "output", "words"),
    [
        (["bf16", "b=int8"], None, "layers 'b' and 'c' read tensor 'Conv0' as int8 and bf16; give both the same"),
        (["bf16", "layer2=int8"], None, "layers 'b' and 'c' read tensor"),
        (["=bf16"], None, "format '=bf16/bf16': network 'net' has no layer ''"),
        (["e=bf16"], None, "format 'e=bf16/bf16': network 'net' has no layer 'e'; it has layer1 to layer5"),
        (["a=bf16", "layer1=fp16"], None, "format 'layer1=fp16/fp16': layer 'a' has one as 'a'; give one rule"),
    ],
)
def test_rules_that_do_not_fit_the_network_are_one_line(
    tmp_path: Path, rules: list[str], output: str | None, words: str
) -> None:
    with pytest.raises(MixcimError) as caught:
        tensor_formats(real_network(tmp_path).network, parse_formats(rules, 12, output=output))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "output", "wanted"),
    [
        # input, result of a, of b (second operand), of the Add in c, of the pool, of d
        (["bf16"], None, ["bf16"] * 6),
        (["fp8_e5m2"], None, ["fp8_e5m2"] * 5 + ["fp16"]),
        (["fp8_e5m2"], "int8", ["fp8_e5m2"] * 5 + ["int8"]),
        (["bf16/int8"], None, ["bf16"] * 6),
        (["int8/bf16"], None, ["int8"] * 6),
        (["int4", "d=fp16"], None, ["int4", "int4", "int4", "int4", "fp16", "fp16"]),
        (["b=bf16", "c=bf16/int8"], None, ["int8", "bf16", "bf16", "int8", "int8", "int8"]),
        (["fp16", "pool=bf16"], None, ["fp16", "fp16", "fp16", "bf16", "fp16", "fp16"]),
    ],
)
def test_tensors_have_the_formats_of_their_readers(
    tmp_path: Path, rules: list[str], output: str | None, wanted: list[str]
) -> None:
    network = real_network(tmp_path).network
    assert [layer.name for layer in network.layers] == ["a", "b", "c", "pool", "d"]
    formats = tensor_formats(network, parse_formats(rules, 12, output=output))
    order = [network.input, *(layer.output for layer in network.layers)]
    assert [formats[name].name for name in order] == wanted


def test_layers_have_the_widths_that_they_need(tmp_path: Path) -> None:
    graph = OnnxGraph(IMAGE)
    weight = graph.constant(np.random.default_rng(0).normal(0, 1, (4, 4, 1, 1)).astype(np.float32))
    x = graph.node("MaxPool", graph.node("Conv", "input", weight), kernel_shape=[2, 2])
    path = graph.save(tmp_path / "net.onnx", graph.node("Conv", x, weight), rank=4)
    calibration = np.random.default_rng(0).normal(0, 1, (4, *IMAGE)).astype(np.float32)
    formats = parse_formats(["bf16", "layer3=int8/fp16"], 16, 11, 9, Rounding.TRUNCATE)
    first, pool, last = load_network(path, calibration, formats=formats).layers
    assert first.floating and pool.floating and last.floating
    arithmetic = (first.floating, pool.floating, last.floating)
    assert [item.input_bits for item in arithmetic] == [11, 11, 9]
    assert [item.weight_format.name for item in arithmetic] == ["BF16", "INTEGER", "FP16"]
    assert first.weight is not None and first.weight.dtype == np.int32
    largest = np.abs(first.weight).max(axis=(1, 2, 3))
    assert largest.min() >= 128 and largest.max() < 256
    assert first.floating.rounding is Rounding.TRUNCATE
    assert pool.clamp == (0, 255) and last.bias.dtype == np.float32


@pytest.mark.parametrize("format", [BF16, FP16, FP8_E4M3, FP8_E5M2], ids=lambda item: item.name)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_weights_are_rounded_to_their_format_and_aligned(format: FloatFormat, bits: int) -> None:
    random = np.random.default_rng(bits)
    values = (random.normal(0, 1, (200, 3, 3, 5)) * 2.0 ** random.integers(-4, 5, (200, 1, 1, 1))).astype(np.float32)
    values[0] = 0
    integers, scale = aligned_weights(values, format, bits, Rounding.NEAREST_EVEN, "x")
    flat = np.abs(integers.reshape(200, -1)).max(axis=1)
    assert (flat[1:] >= 1 << bits - 2).all() and (flat < 1 << bits - 1).all() and not integers[0].any()
    assert (np.frexp(scale)[0] == 0.5).all()
    # Half a unit of the format, and half a unit of the alignment.
    step = np.exp2(np.floor(np.log2(np.maximum(np.abs(values), 1e-30))) - format.mantissa_bits)
    unit = scale.reshape(-1, 1, 1, 1)
    # Subnormal numbers of the format have a fixed step; FP8 puts the kernel's largest into the top binade.
    lowest = 2.0 ** (format.smallest_exponent - format.mantissa_bits)
    largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
    if format.bits == 8:
        lowest = lowest * largest * 2.0**-format.largest_exponent * 2
    error = np.abs(integers * unit.astype(np.float64) - values)
    saturated = np.abs(integers) == (1 << bits - 1) - 1
    assert (error <= np.maximum(step, lowest) / 2 + unit * np.where(saturated, 1, 0.5)).all()


@pytest.mark.parametrize("format", [FP8_E4M3, FP8_E5M2], ids=lambda item: item.name)
def test_fp8_kernels_use_the_top_of_the_format(format: FloatFormat) -> None:
    """Powers of two change nothing but the scale, and the largest weight neither saturates nor leaves the top."""
    random = np.random.default_rng(1)
    values = random.uniform(-1, 1, (64, 1, 1, 9)).astype(np.float32)
    values[:, 0, 0, 0] = random.uniform(1, 2, 64)
    integers, scale = aligned_weights(values, format, 16, Rounding.NEAREST_EVEN, "x")
    for power in (-30, 11):
        others, other_scale = aligned_weights(np.ldexp(values, power), format, 16, Rounding.NEAREST_EVEN, "x")
        np.testing.assert_array_equal(others, integers)
        np.testing.assert_array_equal(other_scale, np.ldexp(scale, power))
    top = integers[:, 0, 0, 0] * scale
    assert (np.abs(top - values[:, 0, 0, 0]) <= 2.0 ** -(format.mantissa_bits + 1)).all()
    factor = 2.0**format.largest_exponent
    factor = np.where(values[:, 0, 0, 0] * factor > format.largest, factor / 2, factor)
    patterns = floating.encode((values[:, 0, 0] * factor[:, None]).astype(np.float32), format)
    np.testing.assert_allclose(integers[:, 0, 0] * scale[:, None], floating.decode(patterns, format) / factor[:, None])


def test_weights_beyond_the_format_are_refused() -> None:
    values = np.full((2, 1, 1, 3), 70000, np.float32)
    with pytest.raises(MixcimError, match="layer 'x' has weights beyond FP16, up to 70000; use bf16"):
        aligned_weights(values, FP16, 12, Rounding.NEAREST_EVEN, "x")
    assert np.isfinite(aligned_weights(values, FP8_E5M2, 12, Rounding.NEAREST_EVEN, "x")[1]).all()


def test_ranges_are_those_of_all_inputs(tmp_path: Path) -> None:
    graph = OnnxGraph(IMAGE)
    y = graph.node("Conv", "input", graph.constant(np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1) * 3))
    path = graph.save(tmp_path / "net.onnx", graph.node("Relu", y), rank=4)
    data = np.random.default_rng(0).normal(0, 1, (37, *IMAGE)).astype(np.float32)
    data[36, 0, 0, 0], data[20, 1, 2, 3] = -9, 11
    ranges = tensor_ranges(read_onnx(path), ["input", "Conv0", "Relu1"], data)
    assert ranges == {"input": (-9, 11), "Conv0": (-27, 33), "Relu1": (0, 33)}


def test_quantisation_of_a_range() -> None:
    assert range_quantisation("x", (-1, 1.55), 255) == Quantisation(float(np.float32(0.01)), 100, False)
    assert range_quantisation("x", (2, 5.1), 255) == Quantisation(float(np.float32(0.02)), 0, False)
    assert range_quantisation("x", (-3, -1), 15) == Quantisation(float(np.float32(0.2)), 15, False)
    assert range_quantisation("x", (0, 0), 255) == Quantisation(1.0, 0, False)
    assert range_quantisation("x", (-1e-40, 1e-37), 255) == Quantisation(1.0, 0, False)
    with pytest.raises(MixcimError, match="tensor 'x' has quantisation scale inf"):
        range_quantisation("x", (0, np.inf), 255)


def test_quantised_files_take_no_formats() -> None:
    with pytest.raises(MixcimError, match="is quantised already; its layers cannot be given formats"):
        load_network(DIGITS_RESNET, formats=parse_formats(["bf16"], 12))


@needs_workloads
def test_float_tflite_is_not_called_quantised() -> None:
    path = WORKLOADS / "models" / "resnet8_cifar10" / "resnet8_cifar10_float.tflite"
    with pytest.raises(MixcimError, match="is a float network; convert it"):
        load_network(path, formats=parse_formats(["bf16"], 12))


def test_every_element_format_has_a_name() -> None:
    assert {item.element for item in NUMBER_FORMATS.values()} == set(ElementFormat)
