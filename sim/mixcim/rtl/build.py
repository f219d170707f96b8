"""Verilog to a shared library, once per content: the same Verilog, driver, flags and tools are never built twice."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mixcim.errors import MixcimError
from mixcim.native import cache_folder, compiler, compiler_version, digest, one_at_a_time

from . import toolchain

#: Called as progress(steps done, steps in all, what is being done) whenever a step is finished.
Progress = Callable[[int, int, str], None]

#: g++ options for the model itself: of -Os, -O1, -O2, -O3 and -march=native none was faster beyond the noise.
DEFAULT_OPTIMISATION = ("-Os",)
_DRIVER = Path(__file__).with_name("driver.cpp")
_VERILATOR_FLAGS = (
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-fatal",
    "-Wno-lint",
    "--output-split",
    "8000",
)
_COMPILE_FLAGS = (
    "-std=c++20",
    "-fPIC",
    "-fvisibility=hidden",
    "-DVERILATOR=1",
    "-DVL_TIME_CONTEXT",
    "-DVM_COVERAGE=0",
    "-DVM_SC=0",
    "-DVM_TIMING=0",
)
_LINK_FLAGS = ("-shared", "-pthread", "-latomic")
_TRACE_FORMATS = {
    None: (("-DVM_TRACE=0",), (), ()),
    "vcd": (("-DVM_TRACE=1", "-DVM_TRACE_VCD=1", "-DVM_TRACE_ANY", "-DMIXCIM_TRACE_VCD"), ("verilated_vcd_c.cpp",), ()),
    "fst": (
        ("-DVM_TRACE=1", "-DVM_TRACE_FST=1", "-DVM_TRACE_ANY", "-DMIXCIM_TRACE_FST"),
        ("verilated_fst_c.cpp",),
        ("-llz4", "-lz"),
    ),
}


def trace_format() -> tuple[str, str]:
    """(best waveform format here, one sentence that says why): FST is a tenth of VCD's size but needs two headers."""
    if toolchain.has_headers("lz4.h", "zlib.h"):
        return "fst", "Waveforms are written as FST."
    return "vcd", "Waveforms are written as VCD; install liblz4-dev and zlib1g-dev for the much smaller FST."


def build_library(
    verilog: str,
    top: str,
    *,
    trace: str | None = None,
    optimisation: Sequence[str] = DEFAULT_OPTIMISATION,
    driver: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Shared library that simulates module `top` of a Verilog text; give it to `Simulator`.

    `driver`: C++ around the model, whose class is `Vtop`; default: the one for `Simulator`, whose ports `top` then has.
    `trace`: None, "vcd" or "fst" (see `trace_format`).
    Returns the library in the cache folder, at once if it is there. Processes that want the same one wait for each
    other.
    Raises MixcimError when a tool is missing or refuses the Verilog.
    """
    if trace not in _TRACE_FORMATS:
        raise MixcimError(f"trace format must be vcd or fst, not '{trace}'")
    defines, extra_sources, libraries = _TRACE_FORMATS[trace]
    verilate = [*_VERILATOR_FLAGS, "--prefix", "Vtop", "--top-module", top, *([f"--trace-{trace}"] if trace else [])]
    flags = [*_COMPILE_FLAGS, *defines]
    driver = _DRIVER.read_text() if driver is None else driver
    parts = [verilog, driver, *verilate, *flags, *optimisation, *libraries, platform.machine()]
    parts += [toolchain.verilator_version(), *compiler(), compiler_version()]
    library = cache_folder() / f"{top}-{digest(parts)}.so"
    if library.exists():
        return library
    report = progress or (lambda done, total, what: None)
    library.parent.mkdir(parents=True, exist_ok=True)
    with (
        one_at_a_time(library),
        tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder,
    ):
        if library.exists():
            return library  # another process has built it meanwhile
        work = Path(folder)
        report(0, 1, "verilating")
        (work / "top.v").write_text(verilog)
        (work / "driver.cpp").write_text(driver)
        _run([str(toolchain.verilator_binary()), "--cc", *verilate, "--Mdir", "generated", "top.v"], work)
        include = toolchain.verilator_root() / "include"
        paths = [f"-I{work / 'generated'}", f"-I{include}", f"-I{include / 'vltstd'}"]
        # The largest files first, so that no core ends up compiling one of them alone.
        generated = sorted((work / "generated").glob("*.cpp"), key=lambda path: -path.stat().st_size)
        runtime, jobs = _runtime_jobs(("verilated.cpp", "verilated_threads.cpp", *extra_sources), flags)
        for source in (*generated, work / "driver.cpp"):
            # Code that runs once at the start is compiled for the time that takes, not for speed.
            level = ("-O0",) if "__Slow" in source.name else optimisation
            jobs.append((source, work / f"{source.stem}.o", [*flags, *level, *paths]))
        _compile(jobs, report)
        objects = [str(path) for path in (*sorted(work.glob("*.o")), *runtime)]
        _run([*compiler(), *objects, "-o", "library.so", *_LINK_FLAGS, *libraries], work)
        os.replace(work / "library.so", library)
    return library


def lint(verilog: str, top: str) -> list[str]:
    """Warnings of `verilator -Wall` on a Verilog text, one line each, without those in LINT_WAIVERS."""
    # Imported here: building and running need no Amaranth, and start much faster without it.
    from mixcim_hdl.verilog import LINT_WAIVERS

    with tempfile.TemporaryDirectory(prefix="mixcim_lint_") as folder:
        Path(folder, "top.v").write_text(verilog)
        command = [str(toolchain.verilator_binary()), "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top]
        command += [f"-Wno-{name}" for name in LINT_WAIVERS]
        result = subprocess.run(
            [*command, "top.v"], cwd=folder, env=toolchain.environment(), capture_output=True, text=True, check=False
        )
    return [line for line in result.stderr.splitlines() if line.startswith(("%Warning", "%Error"))]


def _compile(jobs: Sequence[tuple[Path, Path, list[str]]], report: Progress) -> None:
    """Compile (source, object, options) jobs, a process per core; an object appears whole or not at all."""

    def one(job: tuple[Path, Path, list[str]]) -> None:
        source, target, options = job
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        _run([*compiler(), *options, "-c", str(source), "-o", str(partial)], target.parent)
        os.replace(partial, target)

    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                report(done, len(jobs), "compiling")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _runtime_jobs(names: Sequence[str], flags: list[str]) -> tuple[list[Path], list[tuple[Path, Path, list[str]]]]:
    """(objects of Verilator's runtime, which no chip changes; jobs for those of them that are not in the cache)."""
    include = toolchain.verilator_root() / "include"
    tools = [toolchain.verilator_version(), *compiler(), compiler_version(), platform.machine()]
    folder = cache_folder() / f"runtime-{digest([*tools, *flags])}"
    folder.mkdir(parents=True, exist_ok=True)
    options = [*flags, "-Os", f"-I{include}", f"-I{include / 'vltstd'}"]
    objects = [folder / f"{Path(name).stem}.o" for name in names]
    jobs = [(include / name, target, options) for name, target in zip(names, objects, strict=True)]
    return objects, [job for job in jobs if not job[1].exists()]


def _run(command: list[str], folder: Path) -> None:
    """Run a tool; its first error line becomes a MixcimError."""
    result = subprocess.run(
        command, cwd=folder, env=toolchain.environment(), capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if "rror" in line), lines[-1] if lines else "no message")
        program = Path(command[0]).name
        raise MixcimError(
            f"{program} failed (exit {result.returncode}): {reason.strip()}; keep the Verilog and report it"
        )
