"""What it takes to get a chip's simulator: writing its Verilog, verilating and compiling it, into an empty cache."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mixcim_hdl.presets import PRESETS

from ..rtl.build import build_library
from ..rtl.processor import TOP, write_verilog
from ..rtl.simulator import Simulator
from .record import Record, record

_IDLE_CYCLES = 5_000


def build_records(chip_name: str = "demo", quick: bool = False) -> list[Record]:
    """Size of the chip's Verilog and seconds to write it; unless `quick`, also seconds to verilate and compile it, and
    the cycles a second that it simulates when nothing is to do.

    "CPU" seconds count every core's work and none of what else the machine does.
    """
    begin, cpu = time.perf_counter(), _cpu_seconds()
    verilog = write_verilog(PRESETS[chip_name])
    seconds, cpu = time.perf_counter() - begin, _cpu_seconds() - cpu
    records = [
        record(f"Verilog of chip {chip_name}", verilog.count("\n"), "lines", "rtl"),
        record(f"Verilog of chip {chip_name}, size", len(verilog) / 1e6, "MB", "rtl"),
        record(f"Verilog of chip {chip_name}, written in", seconds, "s", "rtl"),
        record(f"Verilog of chip {chip_name}, written in, CPU", cpu, "s", "rtl"),
    ]
    if quick:
        return records
    started: dict[str, tuple[float, float]] = {}

    def note(done: int, total: int, what: str) -> None:
        started.setdefault(what, (time.perf_counter(), _cpu_seconds()))
        if done == total:
            started[f"{what} done"] = time.perf_counter(), _cpu_seconds()

    with _empty_cache():
        begin = time.perf_counter()
        library = build_library(verilog, TOP, progress=note)
        seconds = time.perf_counter() - begin
        with Simulator(library) as simulator:
            simulator.run(_IDLE_CYCLES)
            cpu = time.process_time()
            simulator.run(_IDLE_CYCLES)
            cpu = time.process_time() - cpu
    records.append(record(f"simulator of chip {chip_name}, verilated and compiled in", seconds, "s", "rtl"))
    verilated, compiled = started["verilating done"], started["compiling done"]
    for what, first, last in (("verilated", started["verilating"], verilated), ("compiled", verilated, compiled)):
        name = f"simulator of chip {chip_name}, {what} in"
        records.append(record(name, last[0] - first[0], "s", "rtl"))
        records.append(record(f"{name}, CPU", last[1] - first[1], "s", "rtl"))
    records.append(record(f"simulator of chip {chip_name}, idle", _IDLE_CYCLES / cpu, "cycles/s", "rtl"))
    return records


def _cpu_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


@contextmanager
def _empty_cache() -> Iterator[None]:
    """Builds go to a folder of their own, which is removed afterwards."""
    before = os.environ.get("MIXCIM_CACHE")
    with tempfile.TemporaryDirectory(prefix="mixcim_bench_") as folder:
        os.environ["MIXCIM_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["MIXCIM_CACHE"]
            else:
                os.environ["MIXCIM_CACHE"] = before
