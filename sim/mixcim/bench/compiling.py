"""How long `mixcim compile` takes, as its user waits for it: a process of its own, from its start to its end."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..errors import MixcimError

_MIXCIM = "import sys; sys.path[:] = {path!r}; from mixcim.cli import main; main()"


def command_seconds(network: Path, repeats: int) -> float:
    """Median of seconds to compile a quantised network for chip demo. Raises MixcimError with what the command says."""
    spent = []
    with tempfile.TemporaryDirectory(prefix="mixcim_bench_") as folder:
        arguments = ["compile", str(network), "-o", str(Path(folder, "program.mixcim"))]
        for _ in range(repeats):
            begin = time.perf_counter()
            code = _MIXCIM.format(path=sys.path)
            result = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
            )
            spent.append(time.perf_counter() - begin)
            if result.returncode:
                raise MixcimError(result.stderr.strip().removeprefix("mixcim: "))
    return statistics.median(spent)
