"""Writing a simulated chip's memories directly, instead of a word at a time over its host port.

A network's weights and cells are millions of bus cycles. What is written here is what the host port would have written;
registers, what the chip counts, and the cycles of runs are not touched.
"""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.registers import Region

from ..errors import MixcimError

#: End of the path of the memory behind each region of the host port; the activation memory has several.
_REGIONS = {
    Region.PROGRAM: "program.ram",
    Region.WEIGHTS: "weights.ram",
    Region.PARAMETERS: "parameters.ram",
    Region.TILES: "tiles.ram",
    Region.EXPONENTS: "exponents",
}
_ACTIVATION_BANK = re.compile(r"(?:^|\.)activations\.bank\d+$")
_BIT_LINE = re.compile(r"(.*)\.macro\.bit_line(\d+)\.cells$")


@runtime_checkable
class OpenBus(Protocol):
    """A bus that offers the back door: a simulated chip's."""

    def memories(self) -> dict[str, np.ndarray]:
        """Contents by path: uint8 (depth, bytes of a word), low bits first; writing to them changes the chip."""
        ...

    def wake(self) -> None:
        """Contents were changed."""
        ...


class BackDoor:
    """The memories of a chip of the sizes `chip`. Raises MixcimError if they are not those of such a chip."""

    def __init__(self, bus: OpenBus, chip: ChipConfig) -> None:
        self._bus, self._chip = bus, chip
        memories = bus.memories()
        self._regions = {region: _only(memories, end) for region, end in _REGIONS.items() if _ends(memories, end)}
        self._activations = [memories[path] for path in sorted(filter(_ACTIVATION_BANK.search, memories), key=_natural)]
        lines = {path: match for path in memories if (match := _BIT_LINE.fullmatch(path))}
        #: per memristor bank: its bit lines, and what its spare columns replace
        self._lines: list[list[np.ndarray]] = []
        self._repair: list[np.ndarray] = []
        for bank in sorted({match[1] for match in lines.values()}, key=_natural):
            self._lines.append([memories[f"{bank}.macro.bit_line{n}.cells"] for n in range(chip.physical_columns)])
            self._repair += [memories[f"{bank}.repair"]] if chip.spare_columns else []
        if len(self._activations) != chip.activation_banks or len(self._lines) != chip.memristor_banks:
            raise MixcimError(
                f"the simulated chip has {len(self._activations)} activation banks and {len(self._lines)} memristor "
                f"banks, chip '{chip.name}' {chip.activation_banks} and {chip.memristor_banks}: build it again"
            )

    def write(self, region: Region, words: np.ndarray, byte: int) -> bool:
        """Write uint32 words to a region from a byte of it on, as over the bus; False if it has no memory here."""
        data = np.ascontiguousarray(words).reshape(-1)
        if region is Region.ACTIVATIONS:
            pixels = data.view(np.uint8).reshape(-1, self._chip.channels)
            first = byte // self._chip.channels
            banks = len(self._activations)
            for offset in range(min(banks, len(pixels))):
                part = pixels[offset::banks]
                bank, address = (first + offset) % banks, (first + offset) // banks
                self._activations[bank][address : address + len(part), : self._chip.channels] = part
        elif region in self._regions:
            memory = self._regions[region]
            if region is Region.EXPONENTS:  # narrower than a host's word
                bytes_of = data.view(np.uint8).reshape(-1, 4)
                memory[byte // 4 : byte // 4 + len(bytes_of)] = bytes_of[:, : memory.shape[1]]
            else:
                memory.reshape(-1)[byte : byte + data.nbytes] = data.view(np.uint8)
        else:
            return False
        self._bus.wake()
        return True

    def set_cells(self, bank: int, first_line: int, codes: np.ndarray) -> None:
        """Codes of a bank's lines from `first_line` on: uint8 (lines, rows)."""
        columns = self._chip.physical_columns
        bits = np.arange(self._chip.conductance_bits, dtype=np.uint8)[:, None]
        for column, memory in enumerate(self._lines[bank]):
            start = (column - first_line) % columns
            part = codes[start::columns]
            planes = (part[:, None, :] >> bits & 1).reshape(len(part), -1)
            packed = np.packbits(planes, axis=1, bitorder="little")
            word = (first_line + start) // columns
            memory[word : word + len(part), : packed.shape[1]] = packed
        self._bus.wake()

    def set_repair(self, bank: int, first_word: int, columns: np.ndarray) -> None:
        """What the spare columns replace in a bank's words from `first_word` on: uint8 (words, spares)."""
        self._repair[bank][first_word : first_word + len(columns), : columns.shape[1]] = columns
        self._bus.wake()


def _ends(memories: dict[str, np.ndarray], end: str) -> list[np.ndarray]:
    return [contents for path, contents in memories.items() if f".{path}".endswith(f".{end}")]


def _only(memories: dict[str, np.ndarray], end: str) -> np.ndarray:
    found = _ends(memories, end)
    if len(found) != 1:
        raise MixcimError(f"the simulated chip has {len(found)} memories '{end}', not one: build it again")
    return found[0]


def _natural(path: str) -> list[int | str]:
    """Sorts numbers in a path by their value."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]
