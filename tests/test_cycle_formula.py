"""The cycle formula of the manual against the cycle log of the RTL, for RUNs with weights of one slice and of two."""

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


@pytest.mark.parametrize("format", ["bf16", "bf16/int8"])
def test_runs_take_what_the_formula_says(tmp_path: Path, format: str) -> None:
    spec = importlib.util.spec_from_file_location("cycle_formula", SCRIPT)
    assert spec and spec.loader
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    random = np.random.default_rng(0)
    graph = OnnxGraph(IMAGE)
    x = "input"
    for channels, kernels in ((4, 4), (4, 8), (8, 4)):
        weight = graph.constant(random.normal(0, 0.3, (kernels, channels, 3, 3)).astype(np.float32))
        x = graph.node("Relu", graph.node("Conv", x, weight))
    path = graph.save(tmp_path / "net.onnx", x, rank=4)
    network, chip = load_network(path, formats=parse_formats([format], 12)), PRESETS["tiny"]
    program = compile_network(network, chip, ["layer1=tiny", "layer2=memristor", "layer3=sram"])
    processor = rtl_processor(chip)
    processor.load(program)
    processor.infer(quantise_input(network, random.normal(0, 1, (1, *IMAGE)).astype(np.float32))[0])
    table: dict[str, int] = {}
    for words, cycles in zip(program.commands, processor.command_cycles(), strict=False):
        opcode, fields = decode_command(words, chip)
        if opcode is Opcode.TABLE:
            table = fields
        if opcode is Opcode.RUN:
            assert fields["weight_slices"] == (2 if format == "bf16" else 1)
            assert 0 < int(cycles) - formula.run_cycles(fields, table, chip) <= MOST_BEYOND
