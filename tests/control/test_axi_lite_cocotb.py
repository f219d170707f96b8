"""The AXI4-Lite slave in Verilog, driven by cocotbext-axi's master through cocotb and Verilator."""

from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from mixcim.rtl.toolchain import environment
from mixcim_hdl.verilog import to_verilog
from rtl.toy import Toy


def test_an_independent_master_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    source = tmp_path / "toy.v"
    source.write_text(to_verilog(Toy(), "toy", "AXI4-Lite test top"))
    runner = get_runner("verilator")
    runner.build(
        sources=[source],
        hdl_toplevel="toy",
        build_dir=tmp_path / "build",
        build_args=["-Wno-fatal", "-Wno-lint", "-Wno-PROCASSINIT", "--timing"],
        timescale=("1ns", "1ps"),
        log_file=tmp_path / "build.log",
    )
    results = runner.test(
        hdl_toplevel="toy", test_module="axi_lite_bench", build_dir=tmp_path / "build", log_file=tmp_path / "test.log"
    )
    tests, failed = get_results(results)
    assert (tests, failed) == (4, 0), (tmp_path / "test.log").read_text()[-3000:]
