"""The ledger behind its link, verilated: once per test process, and kept in the cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fpga.ledger import CLOCK, Ledger
from mixcim.rtl.bridge import SerialBridge
from mixcim.rtl.build import build_library
from mixcim.rtl.serial import SerialSimulator, serial_driver
from mixcim_hdl.verilog import to_verilog

BAUD = 1_000_000
GAP_SECONDS = 0.0005  #: 4000 cycles


@pytest.fixture(scope="session")
def ledger_library() -> Path:
    verilog = to_verilog(Ledger(BAUD, GAP_SECONDS), "ledger", "A host link and something to write.\nFor tests only.")
    return build_library(verilog, "ledger", driver=serial_driver())


@pytest.fixture
def simulator(ledger_library: Path) -> Iterator[SerialSimulator]:
    with SerialSimulator(ledger_library, CLOCK / BAUD) as made:
        yield made


@pytest.fixture
def bridge(simulator: SerialSimulator) -> Iterator[SerialBridge]:
    with SerialBridge(simulator) as made:
        yield made
