"""The masked sum's ECP5 form against its arithmetic, for all inputs: proved by yosys' SAT solver, cell by cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.sim import Simulator

from mixcim_fpga.errors import BoardError
from mixcim_fpga.tools import run_tool
from mixcim_hdl.primitives.masked_sum import ADDERS_MODULE, MASKED_SUM_MODULE, MASKED_SUM_VERILOG, MaskedSum

_PROOF = """
read_verilog sum.v; chparam {parameters} {module}; hierarchy -top {module}; proc; flatten; rename {module} gold
design -stash gold
read_verilog -DMIXCIM_ECP5 sum.v
read_verilog -overwrite +/ecp5/cells_sim.v; chparam {parameters} {module}; hierarchy -top {module}
proc; flatten; rename {module} gate
design -copy-from gold -as gold gold
miter -equiv -flatten gold gate miter
opt_clean; sat -verify -prove trigger 0 miter
"""


def prove(folder: Path, verilog: str, module: str, **parameters: int) -> None:
    """Raises BoardError if the two forms of a module differ for any input."""
    (folder / "sum.v").write_text(verilog)
    setting = " ".join(f"-set {name} {value}" for name, value in parameters.items())
    (folder / "proof.ys").write_text(_PROOF.format(parameters=setting, module=module))
    run_tool("yosys", ["-q", "-s", "proof.ys"], folder)


@pytest.mark.parametrize(
    ("count", "width", "masked"), [(1, 8, 1), (4, 8, 1), (2, 9, 0), (2, 10, 0), (1, 12, 0), (4, 12, 0), (3, 13, 1)]
)
def test_adders_of_carry_cells(tmp_path, count, width, masked):
    prove(tmp_path, MASKED_SUM_VERILOG, ADDERS_MODULE, COUNT=count, WIDTH=width, MASKED=masked)


def test_sum_of_eight_words(tmp_path):
    prove(tmp_path, MASKED_SUM_VERILOG, MASKED_SUM_MODULE, WORDS=8, WIDTH=4, RESULT=7)


@pytest.mark.parametrize(
    ("right", "wrong"), [("16'h7888", "16'h7880"), ("cell ? ADD : 16'h0000", "ADD")], ids=["mask", "carry"]
)
def test_a_wrong_cell_is_found(tmp_path, right, wrong):
    """Also one that takes the carry of the adder before it in the chain."""
    assert right in MASKED_SUM_VERILOG
    with pytest.raises(BoardError, match="proof did fail"):
        prove(tmp_path, MASKED_SUM_VERILOG.replace(right, wrong), ADDERS_MODULE, COUNT=2, WIDTH=8, MASKED=1)


@pytest.mark.parametrize(("count", "width"), [(1, 8), (2, 8), (16, 8), (4, 12)])
def test_sum_in_amaranth(count, width):
    masked, rng = MaskedSum(count, width), np.random.default_rng(count)
    low, high = -1 << width - 1, (1 << width - 1) - 1

    async def bench(ctx):
        cases = [np.full(count, low), np.full(count, high), *rng.integers(low, high + 1, (20, count))]
        for words in cases:
            mask = rng.integers(0, 2, count) if (words != words[0]).any() else np.ones(count, int)
            ctx.set(masked.words, sum(int(word) % (1 << width) << index * width for index, word in enumerate(words)))
            ctx.set(masked.mask, sum(int(bit) << index for index, bit in enumerate(mask)))
            await ctx.delay(1e-9)
            value = ctx.get(masked.sum)
            assert (value + (1 << len(masked.sum) - 1)) % (1 << len(masked.sum)) - (1 << len(masked.sum) - 1) == int(
                (words * mask).sum()
            )

    simulator = Simulator(masked)
    simulator.add_testbench(bench)
    simulator.run()
