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
from mixcim_fpga.models import ecp5_models
from mixcim_fpga.netlist import netlist_verilog
from mixcim_fpga.tools import run_tool
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.processor import Processor as Hardware

#: The chip of the smallest board, with what the larger boards' chip has beside it: a weight store that is cut up.
CHIP = dataclasses.replace(PRESETS["ecp5-25f"], name="cut", weight_words=2440)


@pytest.mark.slow
def test_netlist_runs_the_demo_network(tmp_path):
    network = load_network(DIGITS_RESNET)
    program = compile_network(network, CHIP, (), "16")
    codes = input_codes(program, digits_data()[2][:3])
    verilog = netlist_verilog(Hardware(CHIP), "mixcim", tmp_path)
    assert verilog.count("\nmodule ") == 1  # every cell has become its model
    processor = Processor(Simulator(build_library(verilog, "mixcim", optimisation=("-O1",))), CHIP)
    processor.load(program)
    outputs = []
    for code in codes:
        output, _ = processor.infer(code)
        outputs.append(output)
    np.testing.assert_array_equal(outputs, ProcessorModel(CHIP, program).run(codes))


@pytest.mark.parametrize("cell", ["LUT4", "CCU2C"])
def test_small_cells_are_those_of_yosys(cell, tmp_path):
    """Our models beside yosys' own, for parameters by a seed, by SAT."""
    (tmp_path / "models.v").write_text(ecp5_models())
    generator = np.random.default_rng(7)
    for _ in range(6):
        first, second = (f"16'h{value:04x}" for value in generator.integers(0, 1 << 16, 2))
        yes, no = ("YES", "NO") if generator.integers(0, 2) else ("NO", "YES")
        parameters = {
            "LUT4": f"-set INIT {first}",
            "CCU2C": f'-set INIT0 {first} -set INIT1 {second} -set INJECT1_0 "{yes}" -set INJECT1_1 "{no}"',
        }[cell]
        script = (
            f"read_verilog -overwrite +/ecp5/cells_sim.v; chparam {parameters} {cell}; hierarchy -top {cell}; proc; "
            "flatten -wb; "
            "rename -top theirs; setattr -mod -unset whitebox -unset lib_whitebox =*; design -stash theirs; "
            f"read_verilog models.v; chparam {parameters} {cell}; hierarchy -top {cell}; proc; flatten; "
            "rename -top ours; design -stash ours; "
            "design -copy-from theirs -as theirs theirs; design -copy-from ours -as ours ours; "
            "miter -equiv -flatten theirs ours miter; sat -verify -prove trigger 0 miter"
        )
        run_tool("yosys", ["-q", "-p", script], tmp_path)  # fails if they differ
