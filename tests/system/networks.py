"""Real networks of the workload pack: loaded, compiled, their inputs as codes, and a run compared tensor by tensor."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from compile.test_tflite_import import MODELS, inputs_of
from mixcim.compile.compiler import compile_network
from mixcim.compile.formats import parse_formats
from mixcim.compile.load import load_network
from mixcim.compile.network import LayerKind, Network, Tensor
from mixcim.compile.onnx_import import import_onnx
from mixcim.compile.quantise import quantise_onnx
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Event
from workloads import WORKLOADS, cifar100

DEMO = PRESETS["demo"]
RESNET20 = WORKLOADS / "models" / "resnet20_cifar100" / "resnet20_cifar100.onnx"


@functools.cache
def tflite_program(name: str) -> tuple[Program, np.ndarray, np.ndarray]:
    """Program for chip demo, input codes uint8 (N, height, width, channels) of the whole test set, and its labels."""
    program = compile_network(load_network(WORKLOADS / "models" / f"{MODELS[name]}.tflite"), DEMO)
    values, labels = inputs_of(name)
    return program, input_codes(program, values), labels


@functools.cache
def resnet20_file() -> Path:
    """ResNet-20 for CIFAR-100, quantised with all the calibration images; kept as long as the process runs."""
    # An object that lives in this cache removes its folder at the end of the process.
    folder = tempfile.TemporaryDirectory(prefix="mixcim_test_")
    resnet20_file.folder = folder  # type: ignore[attr-defined]
    path = Path(folder.name, "resnet20.onnx")
    quantise_onnx(RESNET20, cifar100("cifar100_calib_train")[0], path)
    return path


@functools.cache
def resnet20_program(hidden: str | None = None, table: str = "16", skip_zero_groups: bool = False) -> Program:
    """ResNet-20 for chip demo; `hidden`: kind of unit of its hidden layers, None: exact units only."""
    network = import_onnx(resnet20_file())
    return compile_network(network, DEMO, table=table, hidden=hidden, skip_zero_groups=skip_zero_groups)


def split_sums(network: Network) -> tuple[Network, dict[str, str]]:
    """The network with every layer that adds a residual cut in two, and what the tensor in between is called in the
    golden trace: new name -> key of the operator."""
    tensors, layers, keys = dict(network.tensors), [], {}
    for layer in network.layers:
        if layer.residual is None or layer.kind is LayerKind.IDENTITY:
            layers.append(layer)
            continue
        own = f"{layer.output} before the sum"
        keys[own] = f"op{int(layer.source[0].split()[1]):03d}"
        shape = tensors[layer.output].shape
        tensors[own] = Tensor(own, shape, layer.residual.quantisation)
        layers.append(replace(layer, output=own, residual=None, clamp=layer.residual.clamp))
        nothing = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "weight": None}
        identity = replace(
            layer,
            name=f"{layer.name} sum",
            kind=LayerKind.IDENTITY,
            input=own,
            bias=np.zeros_like(layer.bias),
            scale=np.ones_like(layer.scale),
            **nothing,
        )
        layers.append(identity)
    return replace(network, tensors=tensors, layers=layers), keys


@functools.cache
def floating_resnet20(rules: tuple[str, ...], hidden: str | None = None) -> Program:
    """ResNet-20 for CIFAR-100 on chip demo in formats as --format takes them, calibrated where they need it."""
    formats = parse_formats(rules, DEMO.aligned_bits)
    network = load_network(RESNET20, cifar100("cifar100_calib_train")[0][:64], formats=formats)
    return compile_network(network, DEMO, hidden=hidden, table="exact")


def assert_rtl_is_the_model(program: Program, code: np.ndarray, chip: ChipConfig = DEMO) -> None:
    """One input, codes or patterns (height, width, channels): every tensor of a run in single steps, and output and
    counters of a run in one go, are the model's."""
    model = ProcessorModel(chip, program)
    model.run(code[None], capture=list(program.tensors))
    processor = rtl_processor(chip)
    processor.load(program)
    seen: dict[str, np.ndarray] = {}
    processor.run_stepwise(code, seen.__setitem__)
    assert seen.keys() == program.tensors.keys()
    for name, tensor in seen.items():
        np.testing.assert_array_equal(tensor, model.captured[name][0], err_msg=name)
    output, counters = processor.infer(code)
    np.testing.assert_array_equal(output, model.captured[program.output][0])
    for name in (event.name.lower() for event in Event):
        assert getattr(counters, name) == getattr(model, name)[0], name
    assert counters.cycles == processor.command_cycles().sum()
