"""The synthesised netlist, simulated cell by cell, against the model: the demo network on a chip small enough."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mixcim.compile.compiler import compile_network
from mixcim.compile.load import load_network
from mixcim.host.processor import Processor
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim.rtl.build import build_library
from mixcim.rtl.simulator import Simulator
from mixcim_fpga.netlist import netlist_verilog
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.processor import Processor as Hardware

#: The board's chip with a quarter of its array, two planes a cycle like it.
CHIP = dataclasses.replace(
    PRESETS["ulx3s"], name="netlist", rows=32, channels=8, weight_words=1024, activation_words=1024, output_lanes=1
)


@pytest.mark.slow
def test_netlist_runs_the_demo_network(tmp_path):
    network = load_network(DIGITS_RESNET)
    program = compile_network(network, CHIP, (), "16")
    codes = input_codes(program, digits_data()[2][:3])
    verilog = netlist_verilog(Hardware(CHIP), "mixcim", tmp_path)
    assert verilog.count("\nmodule ") == 1  # every cell has become its model
    processor = Processor(Simulator(build_library(verilog, "mixcim")), CHIP)
    processor.load(program)
    outputs = []
    for code in codes:
        output, _ = processor.infer(code)
        outputs.append(output)
    np.testing.assert_array_equal(outputs, ProcessorModel(CHIP, program).run(codes))
