"""The cycle formula of the manual against the cycle log of the RTL: weights of one slice and of two, pooling."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mixcim.compile.compiler import compile_network
from mixcim.compile.formats import parse_formats
from mixcim.compile.load import load_network, quantise_input
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.commands import Opcode, decode_command
from mixcim_hdl.presets import PRESETS
from onnx_graphs import OnnxGraph

SCRIPT = Path(__file__).parents[1] / "scripts" / "cycle_formula.py"
IMAGE = (4, 8, 8)
MOST_BEYOND = 110  #: cycles of fetch, filling and draining


def check(path: Path, format: str, rules: list[str]) -> list[dict[str, int]]:
    """Compares every RUN of the network in a file; their fields."""
    spec = importlib.util.spec_from_file_location("cycle_formula", SCRIPT)
    assert spec and spec.loader
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    network, chip = load_network(path, formats=parse_formats([format], 12)), PRESETS["tiny"]
    program = compile_network(network, chip, rules)
    processor = rtl_processor(chip)
    processor.load(program)
    values = np.random.default_rng(1).normal(0, 1, (1, *IMAGE)).astype(np.float32)
    processor.infer(quantise_input(network, values)[0])
    table: dict[str, int] = {}
    runs = []
    for words, cycles in zip(program.commands, processor.command_cycles(), strict=False):
        opcode, fields = decode_command(words, chip)
        if opcode is Opcode.TABLE:
            table = fields
        if opcode is Opcode.RUN:
            assert 0 < int(cycles) - formula.run_cycles(fields, table, chip) <= MOST_BEYOND
            runs.append(fields)
    return runs


@pytest.mark.parametrize("format", ["bf16", "bf16/int8"])
def test_runs_take_what_the_formula_says(tmp_path: Path, format: str) -> None:
    random = np.random.default_rng(0)
    graph = OnnxGraph(IMAGE)
    x = "input"
    for channels, kernels in ((4, 4), (4, 8), (8, 4)):
        weight = graph.constant(random.normal(0, 0.3, (kernels, channels, 3, 3)).astype(np.float32))
        x = graph.node("Relu", graph.node("Conv", x, weight))
    path = graph.save(tmp_path / "net.onnx", x, rank=4)
    runs = check(path, format, ["layer1=tiny", "layer2=memristor", "layer3=sram"])
    assert [fields["weight_slices"] for fields in runs] == [2 if format == "bf16" else 1] * 3


@pytest.mark.parametrize("format", ["bf16", "fp8_e4m3"])
def test_pooling_runs_take_what_the_formula_says(tmp_path: Path, format: str) -> None:
    """Windows of several words, and of so few that results follow each other as fast as they can."""
    graph = OnnxGraph(IMAGE)
    x = graph.node("MaxPool", "input", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = graph.node("MaxPool", x, kernel_shape=[1, 1])
    x = graph.node("AveragePool", x, kernel_shape=[2, 1])
    runs = check(graph.save(tmp_path / "net.onnx", x, rank=4), format, [])
    assert [fields["pooling"] for fields in runs] == [2, 2, 1]
