"""A pseudo-terminal whose other end is the serial pins of a simulated design: a board, for the real host driver."""

from __future__ import annotations

import os
import queue
import select
import threading
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

#: Clock cycles between two looks at the terminal: some milliseconds, less than the driver's shortest time-out.
_CHUNK = 1000
#: Bytes that are on their way to the pins; the rest waits in the terminal, as in an adapter's buffer.
_AHEAD = 64

#: What a damaged cable makes of bytes.
Damage = Callable[[bytes], bytes]


class Pins(Protocol):
    """What is at the other end of the terminal: a SerialSimulator, or whatever else exchanges bytes."""

    @property
    def waiting(self) -> int:
        """Bytes that it was given and has not taken yet."""
        ...

    def exchange(self, data: bytes, cycles: int) -> bytes:
        """Give it bytes, let so many clock cycles pass, and return the bytes that came meanwhile."""
        ...


class SerialBridge:
    """Runs a simulation in a thread, for as long as the `with` statement lasts, and joins it to a pseudo-terminal.

    `port`: its name, for SerialBus. `to_device`, `to_host`: change what passes; assign them at any time. An exception
    in the thread is raised at the end of the `with` statement.
    """

    def __init__(self, simulator: Pins) -> None:
        self.simulator = simulator
        self.to_device: Damage = bytes
        self.to_host: Damage = bytes
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="serial bridge", daemon=True)

    def __enter__(self) -> SerialBridge:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)
        if self._error is not None and error is None:
            raise self._error

    def on_pause(self, job: Callable[[], None]) -> None:
        """Do something with the simulator in its thread, between two cycles; returns when it is done."""
        done = threading.Event()
        self._jobs.put((job, done))
        while not done.wait(0.1) and self._thread.is_alive():
            pass

    def _run(self) -> None:
        try:
            answer = b""
            while not self._stop.is_set():
                while not self._jobs.empty():
                    job, done = self._jobs.get()
                    job()
                    done.set()
                data = self._taken() if self.simulator.waiting < _AHEAD else b""
                answer += self.to_host(self.simulator.exchange(self.to_device(data), _CHUNK))
                if answer and select.select([], [self._master], [], 0)[1]:
                    answer = answer[os.write(self._master, answer) :]
        except BaseException as error:  # shown at the end of the `with` statement
            self._error = error

    def _taken(self) -> bytes:
        try:
            return os.read(self._master, _AHEAD)
        except BlockingIOError:
            return b""
