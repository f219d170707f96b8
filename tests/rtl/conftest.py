"""The toy of this folder as Verilog and as simulator libraries, made once per test process and kept in the cache."""

from pathlib import Path

import pytest

from mixcim.rtl.build import build_library
from mixcim_hdl.verilog import to_verilog
from rtl.toy import Toy


@pytest.fixture(scope="session")
def toy_verilog() -> str:
    return to_verilog(Toy(), "toy", "A memory and a counter.\nFor tests only.")


@pytest.fixture(scope="session")
def toy_library(toy_verilog: str) -> Path:
    return build_library(toy_verilog, "toy")
