"""The host link in Verilog, driven by cocotbext-uart through cocotb and Verilator: a second opinion on the UART."""

from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from fpga.conftest import BAUD, GAP_SECONDS
from fpga.ledger import Ledger
from mixcim.rtl.toolchain import environment
from mixcim_hdl.verilog import to_verilog


@pytest.mark.slow
def test_an_independent_uart_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    source = tmp_path / "ledger.v"
    source.write_text(to_verilog(Ledger(BAUD, GAP_SECONDS), "ledger", "Host link test top"))
    runner = get_runner("verilator")
    runner.build(
        sources=[source],
        hdl_toplevel="ledger",
        build_dir=tmp_path / "build",
        build_args=["-Wno-fatal", "-Wno-lint", "-Wno-PROCASSINIT", "--timing"],
        timescale=("1ns", "1ps"),
        log_file=tmp_path / "build.log",
    )
    results = runner.test(
        hdl_toplevel="ledger", test_module="uart_bench", build_dir=tmp_path / "build", log_file=tmp_path / "test.log"
    )
    tests, failed = get_results(results)
    assert (tests, failed) == (2, 0), (tmp_path / "test.log").read_text()[-3000:]
