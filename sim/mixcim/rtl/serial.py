"""A verilated design with a UART, running: a host's UART at its pins, in compiled C++; for a board's top, too."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType

from mixcim.errors import MixcimError

_DRIVER = Path(__file__).with_name("serial.cpp")
_ROOM = 65536  #: bytes that come back from one call at most

_HANDLE, _COUNT, _BYTES = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p
_PROTOTYPES = {
    "create": (_HANDLE, [ctypes.c_double]),
    "destroy": (None, [_HANDLE]),
    "reset": (None, [_HANDLE, _COUNT]),
    "cycles": (_COUNT, [_HANDLE]),
    "framing_errors": (_COUNT, [_HANDLE]),
    "disturbances": (_COUNT, [_HANDLE]),
    "lights": (ctypes.c_int, [_HANDLE]),
    "waiting": (_COUNT, [_HANDLE]),
    "noise": (None, [_HANDLE, _COUNT, ctypes.c_uint32, ctypes.c_uint32]),
    "exchange": (_COUNT, [_HANDLE, _BYTES, _COUNT, _COUNT, ctypes.c_void_p, _COUNT]),
}


def serial_driver(
    clock: str = "clk",
    reset: str | None = "rst",
    *,
    reset_active: bool = True,
    busy: str | None = "busy",
    fault: str | None = "fault",
) -> str:
    """C++ around the model of a design, for build_library: with ports `rx` and `tx`, and others by their names.

    `reset_active`: level at which `reset` resets. None: there is no such port. For a board's top, and for its netlist.
    """
    names = {"CLOCK": clock, "RESET": reset, "BUSY": busy, "FAULT": fault, "RESET_ACTIVE": str(int(reset_active))}
    lines = [f"#define MIXCIM_{name} {value}" for name, value in names.items() if value is not None]
    return "\n".join([*lines, _DRIVER.read_text()])


class SerialSimulator:
    """One verilated design, from `build_library` with `serial_driver`. It takes one thread at a time.

    `bit`: length of the host's bits in clock cycles. Freshly made, the design has been reset. Use it in a `with`
    statement, or `close()` it. Raises MixcimError for a library that cannot be loaded.
    """

    def __init__(self, library: Path | str, bit: float) -> None:
        self._handle = None
        try:
            loaded = ctypes.CDLL(str(library))
        except OSError as error:
            raise MixcimError(f"simulator library '{library}' cannot be loaded ({error}); build it again") from None
        self._functions = {name: getattr(loaded, f"mixcim_serial_{name}") for name in _PROTOTYPES}
        for name, (result, arguments) in _PROTOTYPES.items():
            self._functions[name].restype, self._functions[name].argtypes = result, arguments
        self._answer = (ctypes.c_uint8 * _ROOM)()
        self._handle = self._functions["create"](bit)
        if not self._handle:
            raise MixcimError(f"simulator library '{library}' needs more memory than there is")
        self.reset()

    def close(self) -> None:
        """End the simulation; further calls are errors."""
        if self._handle:
            self._functions["destroy"](self._handle)
            self._handle = None

    def __enter__(self) -> SerialSimulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def reset(self, cycles: int = 2) -> None:
        """Hold `rst` for some cycles, with `rx` as it is."""
        self._call("reset", cycles)

    def exchange(self, data: bytes, cycles: int) -> bytes:
        """Put bytes behind those still to be sent, run so many cycles, and return the bytes that came meanwhile."""
        count = self._call("exchange", data, len(data), cycles, ctypes.addressof(self._answer), _ROOM)
        return bytes(self._answer[:count])

    def disturb(self, seed: int, probability: float, longest: int) -> None:
        """From now on invert either pin for 1 to `longest` cycles, beginning with this probability in a cycle."""
        self._call("noise", seed, int(probability * (1 << 32)), longest)

    @property
    def cycle(self) -> int:
        """Clock cycles since this object was made, resets included."""
        return self._call("cycles")

    @property
    def waiting(self) -> int:
        """Bytes that have not left the host yet."""
        return self._call("waiting")

    @property
    def framing_errors(self) -> int:
        """Bytes from the design without a stop bit."""
        return self._call("framing_errors")

    @property
    def disturbances(self) -> int:
        """How often `disturb` has inverted a pin."""
        return self._call("disturbances")

    @property
    def busy(self) -> bool:
        """The output `busy`; False where the design has none."""
        return bool(self._call("lights") & 1)

    @property
    def fault(self) -> bool:
        """The output `fault`; False where the design has none."""
        return bool(self._call("lights") & 2)

    def _call(self, name: str, *arguments: object) -> int:
        if not self._handle:
            raise MixcimError("the simulator is closed; make a new one")
        return self._functions[name](self._handle, *arguments)
