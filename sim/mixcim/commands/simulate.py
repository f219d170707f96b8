"""Inputs on simulated chips in several processes: results in order, progress while they run, a clean end on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program

from ..errors import MixcimError
from ..host.processor import Counters, Processor
from ..rtl.build import trace_format
from ..rtl.processor import processor_library
from ..rtl.simulator import Simulator
from .report import Advance

#: send(what, input number, content...): how a share of the inputs gets on.
_Send = Callable[..., None]


@dataclass(frozen=True, eq=False)
class ChipRun:
    """What a chip, or several, gave: outputs (N, height, width, channels) and counters of each input, cycles of each
    command for the last input, and seconds without building and loading."""

    outputs: np.ndarray
    counters: list[Counters]
    command_cycles: np.ndarray
    seconds: float


def simulate(
    program: Program, chip: ChipConfig, codes: np.ndarray, jobs: int | None, advance: Advance, wave: Path | None = None
) -> ChipRun:
    """Run inputs, codes (N, height, width, channels), on the chip's RTL: the same for every number of processes `jobs`
    (default: one per core; with `wave`, a waveform file, there is one). Each process has a chip of its own."""
    library = processor_library(chip, None if wave is None else trace_format()[0], advance)
    jobs = 1 if wave is not None else min(jobs or os.cpu_count() or 1, len(codes))
    results = _Results(len(codes), advance)
    shares = [{number: codes[number] for number in range(first, len(codes), jobs)} for first in range(jobs)]
    if jobs == 1:
        _run_share(library, chip, program, shares[0], wave, results.take)
        return results.simulated()
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    arguments = [(library, chip, program, share, None, messages) for share in shares]
    processes = [context.Process(target=_work, args=item, daemon=True) for item in arguments]
    with _ended(processes):
        while not results.complete:
            try:
                results.take(*messages.get(timeout=1))
            except queue.Empty:
                for process in processes:
                    if process.exitcode:
                        text = f"a simulation ended with exit code {process.exitcode}: is there enough memory?"
                        raise MixcimError(text) from None
        return results.simulated()


class _Results:
    """Collects what the shares send, and shows how far they are."""

    def __init__(self, count: int, advance: Advance) -> None:
        self._done: dict[int, tuple[np.ndarray, Counters, np.ndarray]] = {}
        self._count, self._advance = count, advance
        self._running: dict[int, str] = {}
        self._begin = self._end = 0.0

    @property
    def complete(self) -> bool:
        return len(self._done) == self._count

    def take(self, what: str, number: int, *content: Any) -> None:
        """A message of a share. Raises MixcimError if it failed."""
        if what == "error":
            raise MixcimError(content[0])
        self._end = time.perf_counter()
        if what == "loaded":
            self._begin = self._begin or self._end  # time counts from the moment when the first one is ready
        elif what == "at":
            layer, cycles = content
            self._running[number] = f"{layer} at cycle {cycles:,}"
        else:
            self._done[number] = (content[0], content[1], content[2])
            self._running.pop(number, None)
        done = len(self._done)
        rate = f"{done / (self._end - self._begin):.2g} images/s" if done else ""
        places = [self._running[running] for running in sorted(self._running)]
        self._advance(done, self._count, "; ".join(filter(None, ["RTL", *places, rate])))

    def simulated(self) -> ChipRun:
        """All results, in order."""
        results = [self._done[number] for number in range(self._count)]
        outputs = np.array([output for output, _, _ in results])
        counters = [counters for _, counters, _ in results]
        return ChipRun(outputs, counters, results[-1][2], self._end - self._begin)


def _run_share(
    library: Path, chip: ChipConfig, program: Program, codes: dict[int, np.ndarray], wave: Path | None, send: _Send
) -> None:
    """Load a chip with the program, and run inputs by their number."""
    with Simulator(library) as simulator:
        if wave is not None:
            simulator.trace(wave)
        processor = Processor(simulator, chip)
        processor.open_back_door()
        processor.load(program)
        send("loaded", 0)
        for number, code in codes.items():
            simulator.on_progress = lambda number=number: send("at", number, *processor.position())
            output, counters = processor.infer(code)
            send("done", number, output, counters, processor.command_cycles())


def _work(
    library: Path, chip: ChipConfig, program: Program, codes: dict[int, np.ndarray], wave: Path | None, messages: Any
) -> None:
    """A process for a share. The first process ends it; should that be killed, it ends by itself."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run_share(library, chip, program, codes, wave, lambda *message: messages.put(message))
    except Exception as error:  # whatever it is: the first process would wait for ever, and shows it
        text = str(error) if isinstance(error, MixcimError) else f"a simulation failed: {error!r}"
        messages.put(("error", 0, text))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _ended(processes: list[Any]) -> Iterator[None]:
    """Starts processes; whatever happens then, none of them is left.

    Ctrl-C reaches every process of a terminal, but they never see it: they inherit that it is blocked.
    """
    started = []
    try:
        for process in processes:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                process.start()
                started.append(process)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()
