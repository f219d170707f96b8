"""What every bus to a chip (processor.Bus) checks and raises alike."""

from __future__ import annotations

import numpy as np

from ..errors import MixcimError

#: AXI responses but OKAY, and -1 for none.
_RESPONSES = {2: "the chip refuses it (SLVERR)", 3: "nothing is there (DECERR)", -1: "the bus does not answer"}


class BusError(MixcimError):
    """An access to the chip was answered with an error. `address`: the byte address of the word concerned."""

    def __init__(self, operation: str, address: int, status: int) -> None:
        reason = _RESPONSES.get(status, f"response {status}")
        super().__init__(f"{operation} of address {address:#010x}: {reason}; see the register map for legal addresses")
        self.address = address


def words_to_write(words: np.ndarray) -> np.ndarray:
    """Words in C order. Raises MixcimError unless they are uint32."""
    data = np.ascontiguousarray(words)
    if data.dtype != np.uint32:
        raise MixcimError(f"words to write must be uint32, not {data.dtype}; convert them with .astype(np.uint32)")
    return data


def check_range(operation: str, address: int, count: int, step: int) -> None:
    """Raise MixcimError for a burst that leaves the 32-bit addresses."""
    if count < 0 or step < 0 or address < 0 or address + max(0, count - 1) * step >= 1 << 32:
        raise MixcimError(
            f"{operation} of {count} words from {address:#x} in steps of {step} leaves the 32-bit addresses"
        )
