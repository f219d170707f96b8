"""A serial port: opened with clear errors, bytes in and out with a time limit."""

from __future__ import annotations

import contextlib
import errno
import time

import serial
from serial.tools import list_ports

from ..errors import MixcimError

_POLL_SECONDS = 0.02  #: longest wait in one call of the system, in which Ctrl-C waits
_BUSY = (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK)


class SerialPort:
    """A port that nobody else has open. Raises MixcimError, which names the remedy, if it cannot be had, and later when
    it goes away."""

    def __init__(self, name: str, baud: int, write_timeout: float) -> None:
        self.name = name
        try:
            self._port = serial.Serial(name, baud, timeout=_POLL_SECONDS, write_timeout=write_timeout, exclusive=True)
        except serial.SerialException as error:
            raise MixcimError(_opening_error(name, error)) from None
        except (ValueError, OverflowError, OSError) as error:
            raise MixcimError(
                f"serial port '{name}' does not take {baud} baud ({error}): choose another --baud"
            ) from None
        # Some USB adapters keep short replies back for 16 ms otherwise. Only a matter of speed: systems without the
        # setting (AttributeError, NotImplementedError) and ports that have none (a pseudo-terminal) do without.
        with contextlib.suppress(AttributeError, NotImplementedError, ValueError, OSError):
            self._port.set_low_latency_mode(True)

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise MixcimError(f"serial port '{self.name}' takes no bytes: is its adapter plugged in?") from None
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from None

    def read(self) -> bytes:
        """Bytes that are there, else the first ones that come in a short time, else none."""
        try:
            return self._port.read(max(1, self._port.in_waiting))
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from None

    def settle(self, quiet: float, limit: float) -> None:
        """Send nothing, and throw away what comes, until the line was quiet for so many seconds, at most `limit`."""
        try:
            self._port.flush()
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from None
        begin = since = time.monotonic()
        while time.monotonic() - since < quiet and time.monotonic() - begin < limit:
            if self.read():
                since = time.monotonic()

    def _lost(self, error: Exception) -> MixcimError:
        return MixcimError(f"serial port '{self.name}' is gone ({error}): check the cable, then run it again")


def ports_here() -> str:
    """Which serial ports there are, for a message."""
    ports = sorted(port.device for port in list_ports.comports())
    return f"ports here: {', '.join(ports)}" if ports else "there is no serial port here"


def _opening_error(name: str, error: serial.SerialException) -> str:
    number = error.errno
    if number == errno.ENOENT:
        return f"serial port '{name}' does not exist; {ports_here()}: plug the board in and give its port with --port"
    if number in _BUSY or "exclusively lock" in str(error):
        return f"serial port '{name}' is in use: close the other program that has it open"
    if number in (errno.EACCES, errno.EPERM):
        return f"serial port '{name}' may not be opened: join its group (on Debian: adduser $USER dialout)"
    return f"serial port '{name}' cannot be opened ({error}): give the board's port with --port"
