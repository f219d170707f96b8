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
from .record import Record, record


def build_records(chip_name: str = "demo", quick: bool = False) -> list[Record]:
    """Size of the chip's Verilog and seconds to write it; unless `quick`, also seconds to verilate and compile it."""
    begin = time.perf_counter()
    verilog = write_verilog(PRESETS[chip_name])
    seconds = time.perf_counter() - begin
    records = [
        record(f"Verilog of chip {chip_name}", verilog.count("\n"), "lines", "rtl"),
        record(f"Verilog of chip {chip_name}, size", len(verilog) / 1e6, "MB", "rtl"),
        record(f"Verilog of chip {chip_name}, written in", seconds, "s", "rtl"),
    ]
    if not quick:
        with _empty_cache():
            begin = time.perf_counter()
            build_library(verilog, TOP)
            seconds = time.perf_counter() - begin
        records.append(record(f"simulator of chip {chip_name}, verilated and compiled in", seconds, "s", "rtl"))
    return records


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
