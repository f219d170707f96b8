"""The netlist that yosys makes for ECP5, as Verilog of its cells' models: what the FPGA does, cell by cell."""

from __future__ import annotations

from pathlib import Path

from amaranth.lib import wiring

from .build import synthesise
from .models import ecp5_models
from .tools import run_tool

#: The models take the places of the cells; yosys' own, which are the vendor's cells, where it has them.
_SCRIPT = """
read_json top.json; delete =A:blackbox =A:whitebox; read_verilog -overwrite +/ecp5/cells_sim.v
delete {own}; read_verilog -overwrite models.v
setattr -mod -unset keep_hierarchy -unset whitebox -unset lib_whitebox =*
hierarchy -check -top {top}; proc -noopt; flatten -wb; opt_reduce; opt_expr; wreduce; opt_clean -purge
memory_collect; rename -hide w:*; rename -hide c:*; rename -enumerate -pattern n%; write_verilog -noattr netlist.v
"""
_OWN = "=DP16KD =LUT4 =CCU2C =TRELLIS_DPR16X4"  #: cells of models.py


def netlist_verilog(component: wiring.Component, top: str, folder: Path) -> str:
    """Verilog, of one module `top`, of the netlist of a component; `folder` takes the tools' files.

    Ports are those of `top`. Raises BoardError when a tool fails.
    """
    synthesise(component, top, folder)
    (folder / "models.v").write_text(ecp5_models())
    (folder / "netlist.ys").write_text(_SCRIPT.format(top=top, own=_OWN))
    run_tool("yosys", ["-q", "-s", "netlist.ys"], folder)
    return (folder / "netlist.v").read_text()
