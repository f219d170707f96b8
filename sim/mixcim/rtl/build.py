"""Verilog to a shared library, once per content: the same Verilog, driver, flags and tools are never built twice.

Each block of the chip (blocks.py) is kept by itself, too: after a change, only the blocks that changed are built anew.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mixcim.errors import MixcimError
from mixcim.native import cache_folder, compiler, compiler_version, digest, one_at_a_time, processor_features

from . import toolchain
from .blocks import Part, cut

#: Called as progress(steps done, steps in all, what is being done) whenever a step is finished.
Progress = Callable[[int, int, str], None]

#: g++ options for the model itself: of -Os, -O1, -O2, -O3 and -march=native none was faster beyond the noise.
DEFAULT_OPTIMISATION = ("-Os",)
_HERE = Path(__file__).parent
_DRIVER, _BLOCKS_HEADER, _BLOCKS_SOURCE = (_HERE / name for name in ("driver.cpp", "blocks.h", "blocks.cpp"))
_VERILATOR_FLAGS = (
    "-O3",
    "--flatten",  # the whole state in one C++ object, see blocks.h
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-fatal",
    "-Wno-lint",
    "-DMIXCIM_SIMULATOR",
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
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp", "verilated_dpi.cpp")
_TRACE_FORMATS = {
    None: (("-DVM_TRACE=0",), (), ()),
    "vcd": (("-DVM_TRACE=1", "-DVM_TRACE_VCD=1", "-DVM_TRACE_ANY", "-DMIXCIM_TRACE_VCD"), ("verilated_vcd_c.cpp",), ()),
    "fst": (
        ("-DVM_TRACE=1", "-DVM_TRACE_FST=1", "-DVM_TRACE_ANY", "-DMIXCIM_TRACE_FST"),
        ("verilated_fst_c.cpp",),
        ("-llz4", "-lz"),
    ),
}

#: (source, object, g++ options)
_Job = tuple[Path, Path, list[str]]
#: What a pool's threads share: the tools that run in them, to be ended with the pool.
_thread = threading.local()


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
    other. An error or Ctrl-C ends the tools and leaves nothing half built.
    Raises MixcimError when a tool is missing or refuses the Verilog.
    """
    if trace not in _TRACE_FORMATS:
        raise MixcimError(f"trace format must be vcd or fst, not '{trace}'")
    builder = _Builder(trace, tuple(optimisation))
    *blocks, rest = cut(verilog, top)
    parts = [*blocks, dataclasses.replace(rest, glue=_DRIVER.read_text() if driver is None else driver)]
    objects = {part: builder.target(part) for part in parts}
    library = cache_folder() / f"{top}-{digest([path.name for path in objects.values()] + builder.key)}.so"
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
        builder.prepare(work)
        missing = [part for part in parts if not objects[part].exists()]
        report(0, len(missing), "verilating")
        _in_parallel([lambda part=part: builder.verilate(part, work) for part in missing], report, "verilating")
        runtime, jobs = builder.runtime(work)
        jobs += [job for part in missing for job in builder.jobs(part, work)]
        # The largest files first, so that no core ends up compiling one of them alone.
        jobs.sort(key=lambda job: -job[0].stat().st_size)
        _in_parallel([lambda job=job: _compile(job) for job in jobs], report, "compiling")
        for part in missing:
            builder.join(part, work, objects[part])
        linked = [str(path) for path in (*objects.values(), *runtime)]
        _run([*compiler(), *linked, "-o", "library.so", *_LINK_FLAGS, *builder.libraries], work)
        os.replace(work / "library.so", library)
    return library


class _Builder:
    """Tools and their options for one kind of library. `key`: all that their results depend on beside the sources."""

    def __init__(self, trace: str | None, optimisation: tuple[str, ...]) -> None:
        defines, sources, libraries = _TRACE_FORMATS[trace]
        self.libraries = libraries
        self._runtime = (*_RUNTIME, *sources)
        self._optimisation = optimisation
        self._verilate = [*_VERILATOR_FLAGS, *([f"--trace-{trace}"] if trace else [])]
        include = toolchain.verilator_root() / "include"
        # A cache folder may be shared between machines, so an instruction is used only by name.
        counts = "popcnt" in processor_features().split() and platform.machine() == "x86_64"
        self._flags = [*_COMPILE_FLAGS, *defines, *(["-mpopcnt"] if counts else [])]
        self._paths = [f"-I{include}", f"-I{include / 'vltstd'}"]
        tools = [toolchain.verilator_version(), *compiler(), compiler_version(), platform.machine()]
        self._texts = [_BLOCKS_HEADER.read_text(), _BLOCKS_SOURCE.read_text()]
        self.key = [*self._verilate, *self._flags, *optimisation, *libraries, *tools, *self._texts]

    def prepare(self, work: Path) -> None:
        """Copy our own sources: what is kept under their hash must not depend on their being edited meanwhile."""
        for path, text in zip((_BLOCKS_HEADER, _BLOCKS_SOURCE), self._texts, strict=True):
            (work / path.name).write_text(text)

    def target(self, part: Part) -> Path:
        """Where the object of a part is kept."""
        parts = [part.model, part.top, part.verilog, part.glue, *self.key]
        return cache_folder() / f"{part.model}-{digest(parts)}.o"

    def verilate(self, part: Part, work: Path) -> None:
        """C++ of a part, into a folder of its own."""
        folder = work / part.model
        folder.mkdir()
        (folder / "part.v").write_text(part.verilog)
        (folder / "glue.cpp").write_text(part.glue)
        names = ["--prefix", part.model, "--top-module", part.top, "--Mdir", "generated"]
        _run([str(toolchain.verilator_binary()), "--cc", *self._verilate, *names, "part.v"], folder)

    def jobs(self, part: Part, work: Path) -> list[_Job]:
        """What there is to compile of a verilated part."""
        folder = work / part.model
        options = [*self._flags, f"-I{folder / 'generated'}", *self._paths, *_ours(work)]
        jobs = []
        for source in (*folder.glob("generated/*.cpp"), folder / "glue.cpp"):
            # Code that runs once at the start is compiled for the time that takes, not for speed.
            level = ("-O0",) if "__Slow" in source.name else self._optimisation
            jobs.append((source, folder / f"{source.stem}.o", [*options, *level]))
        return jobs

    def join(self, part: Part, work: Path, target: Path) -> None:
        """Make one object of those of a part, and keep it."""
        folder = work / part.model
        _run([*compiler(), "-r", "-nostdlib", *map(str, sorted(folder.glob("*.o"))), "-o", "part"], folder)
        os.replace(folder / "part", target)

    def runtime(self, work: Path) -> tuple[list[Path], list[_Job]]:
        """(objects of Verilator's runtime and ours, which no chip changes; jobs for those not in the cache)."""
        include = toolchain.verilator_root() / "include"
        folder = cache_folder() / f"runtime-{digest(self.key)}"
        folder.mkdir(parents=True, exist_ok=True)
        sources = [*(include / name for name in self._runtime), work / _BLOCKS_SOURCE.name]
        options = [*self._flags, "-Os", *self._paths, *_ours(work)]
        jobs = [(source, folder / f"{source.stem}.o", options) for source in sources]
        return [target for _, target, _ in jobs], [job for job in jobs if not job[1].exists()]


def _ours(work: Path) -> list[str]:
    """Options with which a source finds blocks.h; every memory in a verilated part needs it."""
    return [f"-I{work}", "-include", str(work / _BLOCKS_HEADER.name)]


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


def _compile(job: _Job) -> None:
    """Run g++; the object appears whole or not at all."""
    source, target, options = job
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    _run([*compiler(), *options, "-c", str(source), "-o", str(partial)], target.parent)
    os.replace(partial, target)


def _in_parallel(jobs: Sequence[Callable[[], None]], report: Progress, what: str) -> None:
    """Do jobs in this order, one per core at a time. An exception ends the tools that run for others."""
    running: set[subprocess.Popen[str]] = set()
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1), initializer=_share, initargs=(running,)) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                report(done, len(jobs), what)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(running):
                process.kill()
            raise


def _share(running: set[subprocess.Popen[str]]) -> None:
    _thread.running = running


def _run(command: list[str], folder: Path) -> None:
    """Run a tool; its first error line becomes a MixcimError."""
    running = getattr(_thread, "running", set())
    with subprocess.Popen(
        command, cwd=folder, env=toolchain.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        running.add(process)
        try:
            _, messages = process.communicate()
        finally:
            running.discard(process)
    if process.returncode:
        lines = [line for line in messages.splitlines() if line.strip()]
        reason = next((line for line in lines if "rror" in line), lines[-1] if lines else "no message")
        program = Path(command[0]).name
        raise MixcimError(
            f"{program} failed (exit {process.returncode}): {reason.strip()}; keep the Verilog and report it"
        )
