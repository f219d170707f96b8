"""Networks that pool floating point: RTL = model on every tensor; maxima are ONNX Runtime's, averages next to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from mixcim.compile.compiler import compile_network
from mixcim.compile.formats import parse_formats
from mixcim.compile.load import load_network, quantise_input
from mixcim.compile.network import LayerKind, Network
from mixcim.model import ProcessorModel, floating
from mixcim_hdl.commands import Opcode, Pooling, decode_command
from mixcim_hdl.floating import ElementFormat, FloatFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program
from onnx_graphs import OnnxGraph
from system.networks import assert_rtl_is_the_model

CHIP = PRESETS["tiny"]
SHAPE = (6, 9, 8)  # two words of four channels, one of them half empty
FLOATING = [item for item in ElementFormat if item.floating]
MAXIMUM: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
AVERAGE: dict[str, Any] = {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 1, 0, 1], "count_include_pad": 1}


def pooling_network(folder: Path, item: ElementFormat, output: str | None = None) -> Network:
    """Convolution, average, maximum, a Relu and an Add that stand alone, global average, classifier."""
    random = np.random.default_rng(0)
    graph = OnnxGraph(SHAPE)
    x = graph.node("Conv", "input", graph.constant(random.normal(0, 0.4, (6, 6, 3, 3)).astype(np.float32)))
    average = graph.node("AveragePool", x, **AVERAGE)
    maximum = graph.node("MaxPool", average, **MAXIMUM)
    added = graph.node("Add", graph.node("Relu", maximum), maximum)
    mean = graph.node("Flatten", graph.node("GlobalAveragePool", added))
    weight = graph.constant(random.normal(0, 0.4, (5, 6)).astype(np.float32))
    path = graph.save(folder / "net.onnx", graph.node("Gemm", mean, weight, transB=1))
    return load_network(path, formats=parse_formats([item.name.lower()], CHIP.aligned_bits, output=output))


def runtime(kind: str, x: np.ndarray, **attributes: Any) -> np.ndarray:
    """What ONNX Runtime makes of x float32 (height, width, channels) by one operator."""
    node = helper.make_node(kind, ["x"], ["y"], **attributes)
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4) for name in ("x", "y")]
    graph = helper.make_graph([node], "one", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": np.ascontiguousarray(x.transpose(2, 0, 1)[None])})
    return np.asarray(y)[0].transpose(1, 2, 0)


def run_fields(program: Program, name: str) -> dict[str, int]:
    """Fields of the one RUN of a layer, which has no LOAD."""
    (record,) = (layer for layer in program.layers if layer.name == name)
    (command,) = record.commands
    opcode, fields = decode_command(program.commands[command], CHIP)
    assert opcode is Opcode.RUN
    return fields


@pytest.mark.parametrize("item", FLOATING, ids=lambda item: item.name)
def test_pools_are_onnx_runtimes_and_the_rtl_is_the_model(tmp_path: Path, item: ElementFormat) -> None:
    network = pooling_network(tmp_path, item)
    average, maximum, identity = LayerKind.AVERAGE_POOL, LayerKind.MAX_POOL, LayerKind.IDENTITY
    kinds = [layer.kind for layer in network.layers if layer.weight is None]
    assert kinds == [average, maximum, identity, identity, average]
    program = compile_network(network, CHIP, keep_all=True)
    values = np.random.default_rng(item.value).normal(0, 1, (1, *SHAPE)).astype(np.float32)
    code = quantise_input(network, values)[0]
    model = ProcessorModel(CHIP, program)
    model.run(code[None], capture=list(program.tensors))
    for layer in network.layers:
        if layer.weight is not None:
            continue
        fields = run_fields(program, layer.name)
        assert fields["pooling"] and not any(fields[f"tiles[{unit}]"] for unit in range(len(CHIP.units)))
        (record,) = (record for record in program.layers if record.name == layer.name)
        assert record.kernels == {"pool": 6}
        element, written = (program.tensors[name].element.floating for name in (layer.input, layer.output))
        assert element and written
        x = floating.decode(model.captured[layer.input][0], element)
        y = floating.decode(model.captured[layer.output][0], written)
        if layer.kind is LayerKind.MAX_POOL:
            assert fields["pooling"] == Pooling.MAXIMUM
            np.testing.assert_array_equal(y, runtime("MaxPool", x, **MAXIMUM))
        elif layer.kind is LayerKind.AVERAGE_POOL:
            whole = layer.kernel == x.shape[:2]
            want = runtime("GlobalAveragePool", x) if whole else runtime("AveragePool", x, **AVERAGE)
            # The format's own rounding, and a tie that a sum in another order sees otherwise.
            np.testing.assert_allclose(y, want, rtol=2.0**-written.mantissa_bits, atol=2.0**written.smallest_exponent)
    assert_rtl_is_the_model(program, code, CHIP)


@pytest.mark.parametrize("item", [ElementFormat.BF16, ElementFormat.FP16], ids=lambda item: item.name)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_elements_far_below_the_largest_survive(tmp_path: Path, item: ElementFormat, kind: str) -> None:
    """Aligned to 12 bits, what is below 2**-11 of the largest element of four channels' windows was 0."""
    graph = OnnxGraph((4, 4, 4))
    pool = graph.node(kind, "input", kernel_shape=[2, 2], strides=[2, 2])
    network = load_network(
        graph.save(tmp_path / "net.onnx", pool, rank=4), formats=parse_formats([item.name.lower()], 12)
    )
    program = compile_network(network, CHIP)
    values = np.random.default_rng(1).uniform(-1, 1, (1, 4, 4, 4)) * 2.0 ** -np.array([0, 4, 9, 12]).reshape(1, 4, 1, 1)
    code = quantise_input(network, values.astype(np.float32))[0]
    assert item.floating
    x = floating.decode(code, item.floating)
    model = ProcessorModel(CHIP, program)
    got = floating.decode(model.run(code[None])[0], item.floating)
    want = runtime(kind, x, kernel_shape=[2, 2], strides=[2, 2])
    largest = np.abs(x).max(axis=2)
    assert largest.max() > 2.0**11 * np.abs(want)[..., 3].max() > 0
    if kind == "MaxPool":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_array_equal(got, floating.decode(floating.encode(want, item.floating), item.floating))
    assert_rtl_is_the_model(program, code, CHIP)


def test_sums_go_row_by_row(tmp_path: Path) -> None:
    """In float32 2**30 + 1 is 2**30: what comes between it and its negative is lost, what comes after is not."""
    far = 2.0**30
    windows = [(far, 1, -far, 8), (far, -far, 1, 8), (1, far, -far, 8), (1, 8, far, -far)]
    sums = [8, 9, 8, 0]
    graph = OnnxGraph((4, 2, 8))
    pool = graph.node("AveragePool", "input", kernel_shape=[2, 2], strides=[2, 2])
    network = load_network(graph.save(tmp_path / "net.onnx", pool, rank=4), formats=parse_formats(["bf16"], 12))
    program = compile_network(network, CHIP)
    row = np.array(windows).reshape(4, 2, 2).transpose(1, 0, 2).reshape(2, 8)
    code = quantise_input(network, np.stack([np.stack([row] * 4)]).astype(np.float32))[0]
    (got,) = ProcessorModel(CHIP, program).run(code[None])
    means = floating.decode(got, floating_format(program))
    np.testing.assert_array_equal(means[0], np.stack([np.array(sums) / 4] * 4, axis=1))
    assert_rtl_is_the_model(program, code, CHIP)


def test_a_pool_may_write_integers(tmp_path: Path) -> None:
    """The last pooling layer's output in int8: one rounding from FP32 to the code."""
    graph = OnnxGraph((4, 4, 4))
    pool = graph.node("MaxPool", "input", kernel_shape=[2, 2])
    values = np.random.default_rng(2).normal(0, 1, (8, 4, 4, 4)).astype(np.float32)
    path = graph.save(tmp_path / "net.onnx", pool, rank=4)
    network = load_network(path, values, formats=parse_formats(["bf16"], 12, output="int8"))
    program = compile_network(network, CHIP)
    code = quantise_input(network, values[:1])[0]
    (got,) = ProcessorModel(CHIP, program).run(code[None])
    place = program.tensors[program.output]
    largest = runtime("MaxPool", floating.decode(code, floating_format(program)), kernel_shape=[2, 2])
    scaled = largest * (np.float32(1) / np.float32(place.scale))
    np.testing.assert_array_equal(got, np.clip(np.rint(scaled) + place.zero_point, 0, 255))
    assert_rtl_is_the_model(program, code, CHIP)


def floating_format(program: Program) -> FloatFormat:
    """Format of a program's input."""
    format = program.tensors[program.input].element.floating
    assert format is not None
    return format
