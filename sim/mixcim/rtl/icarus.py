"""The processor's Verilog in Icarus Verilog, where it is installed: replays what a host did on another simulator."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixcim.errors import MixcimError
from mixcim_hdl.config import ChipConfig

from ..host.processor import Bus
from .processor import processor_verilog

_BENCH = Path(__file__).with_name("icarus_bench.v")


def icarus_installed() -> bool:
    """Whether `iverilog` and `vvp` are on PATH."""
    return all(shutil.which(name) for name in ("iverilog", "vvp"))


@dataclass
class Recorder:
    """A bus that passes everything on and keeps it: (address, word) of every write, and of every read with its answer.

    `waits`: how many writes there were at each wait for the interrupt.
    """

    bus: Bus
    writes: list[tuple[int, int]] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        self.bus.write(address, words, step)
        values = np.ascontiguousarray(words).reshape(-1).tolist()
        self.writes += [(address + index * step, value) for index, value in enumerate(values)]

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        values = self.bus.read(address, count, step)
        self.reads += [(address + index * step, int(value)) for index, value in enumerate(values)]
        return values

    def run_until_interrupt(self, max_cycles: int) -> int:
        self.waits.append(len(self.writes))
        return self.bus.run_until_interrupt(max_cycles)


def replay(chip: ChipConfig, writes: list[tuple[int, int]], reads: list[tuple[int, int]]) -> tuple[int, float, bool]:
    """Do the writes, of which the last one starts the program, wait for the interrupt, and compare the reads.

    Returns clock cycles from start to interrupt, the seconds that they took, and whether every answer was as given.
    Raises MixcimError when Icarus refuses the Verilog or does not finish.
    """
    with tempfile.TemporaryDirectory(prefix="mixcim_icarus_") as folder:
        work = Path(folder)
        (work / "chip.v").write_text(processor_verilog(chip))
        for name, accesses in (("writes", writes), ("reads", reads)):
            (work / f"{name}.hex").write_text("".join(f"{address:08x}{word:08x}\n" for address, word in accesses))
        # Verilog of 2005: its processes wake up at the initial values of declarations, those of SystemVerilog do not.
        command = ["iverilog", "-g2005", f"-DWRITES={len(writes)}", f"-DREADS={len(reads)}", "-o", "bench.vvp"]
        result = subprocess.run(
            [*command, "-s", "icarus_bench", str(_BENCH), "chip.v"],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise MixcimError(f"iverilog refused the Verilog: {(result.stderr.splitlines() or ['no message'])[0]}")
        lines: dict[str, tuple[float, str]] = {}
        with subprocess.Popen(["vvp", "-n", "bench.vvp"], cwd=work, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                word, _, rest = line.strip().partition(" ")
                lines[word] = (time.perf_counter(), rest)
    if "done" not in lines:
        raise MixcimError("Icarus ended before the program did; run the same program with `mixcim run --on rtl`")
    return int(lines["done"][1]), lines["done"][0] - lines["loaded"][0], "equal" in lines
