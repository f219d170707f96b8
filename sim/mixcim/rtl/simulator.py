"""The processor's RTL, running: clock, reset, interrupt and an AXI4-Lite bus, in compiled C++."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

from mixcim.errors import MixcimError

from ..host.bus import BusError, check_range, words_to_write

#: Cycles of the first call into C++, and seconds that a call is to take at most, in which Ctrl-C waits.
_FIRST_CHUNK, _CALL_SECONDS = 1_000, 0.1
#: Seconds between two calls of `on_progress`.
_PROGRESS_SECONDS = 0.5

_HANDLE, _WORD, _COUNT, _POINTER = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
_PROTOTYPES = {
    "mixcim_create": (_HANDLE, []),
    "mixcim_destroy": (None, [_HANDLE]),
    "mixcim_reset": (None, [_HANDLE, _COUNT]),
    "mixcim_cycles": (_COUNT, [_HANDLE]),
    "mixcim_interrupt": (ctypes.c_int, [_HANDLE]),
    "mixcim_run": (_COUNT, [_HANDLE, _COUNT, ctypes.c_int]),
    "mixcim_write": (ctypes.c_int, [_HANDLE, _WORD, _WORD, _POINTER, _COUNT, ctypes.POINTER(_COUNT)]),
    "mixcim_read": (ctypes.c_int, [_HANDLE, _WORD, _WORD, _POINTER, _COUNT, ctypes.POINTER(_COUNT)]),
    "mixcim_memories": (_COUNT, [_HANDLE]),
    "mixcim_memory": (
        ctypes.c_char_p,
        [_HANDLE, _COUNT, ctypes.POINTER(_POINTER), ctypes.POINTER(_COUNT), ctypes.POINTER(_COUNT)],
    ),
    "mixcim_wake": (None, [_HANDLE]),
    "mixcim_blocks": (_COUNT, [_HANDLE]),
    "mixcim_resting": (_COUNT, [_HANDLE]),
    "mixcim_trace_format": (ctypes.c_char_p, []),
    "mixcim_trace": (ctypes.c_int, [_HANDLE, ctypes.c_char_p]),
}


class Simulator:
    """One verilated processor, from `build_library`. Objects are independent; each takes one thread at a time.

    The module has the ports `clk`, `rst`, `interrupt` (out) and `s_axi_*`, AXI4-Lite with 32-bit address and data.
    Freshly made, it has been reset. Use it in a `with` statement, or `close()` it.
    """

    def __init__(self, library: Path | str) -> None:
        self._handle = None
        #: Called now and then while it runs; may use the bus.
        self.on_progress: Callable[[], None] | None = None
        self._chunk = _FIRST_CHUNK
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise MixcimError(f"simulator library '{library}' cannot be loaded ({error}); build it again") from None
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._handle = self._library.mixcim_create()
        if not self._handle:
            raise MixcimError(f"simulator library '{library}' needs more memory than there is")
        self.reset()

    def close(self) -> None:
        """End the simulation and its waveform file; further calls are errors."""
        if self._handle:
            self._library.mixcim_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def cycle(self) -> int:
        """Clock cycles since this object was made, resets included."""
        return self._library.mixcim_cycles(self._live())

    @property
    def interrupt(self) -> bool:
        """State of the interrupt line."""
        return bool(self._library.mixcim_interrupt(self._live()))

    def reset(self, cycles: int = 2) -> None:
        """Hold `rst` for some cycles. Registers go to their reset values; memories keep their contents."""
        self._library.mixcim_reset(self._live(), cycles)

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        """Write `words` (uint32, any shape, in C order) to `address`, `address + step`, ... bytes.

        Back to back: one word per cycle as long as the chip takes them. Returns when every write is acknowledged.
        Raises BusError at the first word that is refused; the words after it are not written (but for those which
        were under way).
        """
        data = words_to_write(words)
        check_range("write", address, data.size, step)
        failed = _COUNT()
        status = self._library.mixcim_write(
            self._live(), address, step, data.ctypes.data, data.size, ctypes.byref(failed)
        )
        if status:
            raise BusError("write", address + failed.value * step, status)

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        """Read `count` words from `address`, `address + step`, ... bytes. Returns uint32[count]. Raises BusError."""
        check_range("read", address, count, step)
        data = np.zeros(count, np.uint32)
        failed = _COUNT()
        status = self._library.mixcim_read(self._live(), address, step, data.ctypes.data, count, ctypes.byref(failed))
        if status:
            raise BusError("read", address + failed.value * step, status)
        return data

    def run(self, cycles: int) -> None:
        """Advance the clock by `cycles` with the bus idle, whatever the interrupt does."""
        self._run(cycles, stop_at_interrupt=False)

    def run_until_interrupt(self, max_cycles: int) -> int:
        """Advance the clock until the interrupt is up, at most `max_cycles`; returns the cycles taken.

        `interrupt` tells which of the two it was. Other Python threads run meanwhile, and Ctrl-C works.
        """
        return self._run(max_cycles, stop_at_interrupt=True)

    def memories(self) -> dict[str, np.ndarray]:
        """Contents of every memory of the chip by its path in the Verilog, less the top module's name.

        Each is uint8 (depth, bytes of a word), low bits first, and is the memory itself: writing to it changes the
        chip, without a clock cycle. Call `wake` afterwards. Not to be used after `close`.
        """
        found = {}
        for index in range(self._library.mixcim_memories(self._live())):
            data, word, depth = _POINTER(), _COUNT(), _COUNT()
            path = self._library.mixcim_memory(
                self._live(), index, ctypes.byref(data), ctypes.byref(word), ctypes.byref(depth)
            )
            contents = memoryview((ctypes.c_uint8 * (word.value * depth.value)).from_address(data.value or 0))
            name = path.decode().removeprefix("top.").partition(".")[2]
            found[name] = np.frombuffer(contents, np.uint8).reshape(depth.value, word.value)
        return found

    def wake(self) -> None:
        """Tell the simulator that contents of memories were changed."""
        self._library.mixcim_wake(self._live())

    @property
    def blocks(self) -> tuple[int, int]:
        """(blocks that are simulated each for itself, those of them that rest now): see docs/simulation.md."""
        handle = self._live()
        return self._library.mixcim_blocks(handle), self._library.mixcim_resting(handle)

    def trace(self, path: Path | str | None) -> None:
        """Begin a waveform file (10 time units per cycle), or end it with None.

        Raises MixcimError when the library was built without `trace`, or the file cannot be written.
        """
        waveform = self._library.mixcim_trace_format().decode()
        if path is not None and not waveform:
            raise MixcimError(f"waveform '{path}': this library has no waveforms; build it with trace='vcd'")
        if self._library.mixcim_trace(self._live(), None if path is None else str(path).encode()):
            raise MixcimError(f"waveform '{path}' cannot be written; choose another folder")

    def _run(self, cycles: int, *, stop_at_interrupt: bool) -> int:
        done, reported = 0, time.monotonic()
        while done < cycles:
            chunk, begin = min(self._chunk, cycles - done), time.monotonic()
            ran = self._library.mixcim_run(self._live(), chunk, stop_at_interrupt)
            done += ran
            if ran < chunk:
                break
            now = time.monotonic()
            if now - begin > _CALL_SECONDS:
                self._chunk = max(chunk // 2, 1)
            elif now - begin < _CALL_SECONDS / 4 and chunk == self._chunk:
                self._chunk *= 2
            if self.on_progress is not None and now - reported > _PROGRESS_SECONDS:
                reported = now
                self.on_progress()
        return done

    def _live(self) -> int:
        if not self._handle:
            raise MixcimError("the simulator is closed; make a new one")
        return self._handle
