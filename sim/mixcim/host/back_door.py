"""Writing a simulated chip's memories directly, instead of a word at a time over its host port.

A network's weights and cells are millions of bus cycles. What is written here is what the host port would have written;
registers, what the chip counts, and the cycles of runs are not touched.
"""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

import numpy as np

from mixcim_hdl.banks import bank_of
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.registers import Region

from ..errors import MixcimError

#: End of the path of the memory behind a region of the host port; every engine has some of them, with equal contents.
_REGIONS = {
    Region.PROGRAM: "program.ram",
    Region.WEIGHTS: "weights.ram",
    Region.PARAMETERS: "parameters.ram",
    Region.TILES: "tiles.ram",
}
#: The same of those that are spread over banks (banks.bank_of).
_BANKED = {
    Region.ACTIVATIONS: re.compile(r"(?:^|\.)activations\.bank\d+\.ram$"),
    Region.EXPONENTS: re.compile(r"(?:^|\.)exponents\.bank\d+\.ram$"),
}
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
        self._regions = {region: _ends(memories, end) for region, end in _REGIONS.items()}
        self._banked = {
            region: [memories[path] for path in sorted(filter(pattern.search, memories), key=_natural)]
            for region, pattern in _BANKED.items()
        }
        lines = {path: match for path in memories if (match := _BIT_LINE.fullmatch(path))}
        #: per memristor bank: its bit lines, and what its spare columns replace
        self._lines: list[list[np.ndarray]] = []
        self._repair: list[np.ndarray] = []
        for bank in sorted({match[1] for match in lines.values()}, key=_natural):
            self._lines.append([memories[f"{bank}.macro.bit_line{n}.cells"] for n in range(chip.physical_columns)])
            self._repair += [memories[f"{bank}.repair"]] if chip.spare_columns else []
        activations = self._banked[Region.ACTIVATIONS]
        copies = [len(self._regions[region]) for region in _REGIONS]
        if copies != [1, 1, chip.engines, chip.engines]:
            raise MixcimError(
                f"the simulated chip has {copies} memories {', '.join(_REGIONS.values())}, chip '{chip.name}' has "
                f"{chip.engines} engines: build it again"
            )
        if len(activations) != chip.activation_banks or len(self._lines) != chip.memristor_banks:
            raise MixcimError(
                f"the simulated chip has {len(activations)} activation banks and {len(self._lines)} memristor "
                f"banks, chip '{chip.name}' {chip.activation_banks} and {chip.memristor_banks}: build it again"
            )

    def write(self, region: Region, words: np.ndarray, byte: int) -> bool:
        """Write uint32 words to a region from a byte of it on, as over the bus; False if it has no memory here."""
        data = np.ascontiguousarray(words).reshape(-1)
        if self._banked.get(region):
            # The host's part of a word: all of an activation word, an entry in 32 bits.
            size = self._chip.channels if region is Region.ACTIVATIONS else 4
            self._write_banked(self._banked[region], data.view(np.uint8).reshape(-1, size), byte // size)
        elif region in self._regions:
            for memory in self._regions[region]:
                memory.reshape(-1)[byte : byte + data.nbytes] = data.view(np.uint8)
        else:
            return False
        self._bus.wake()
        return True

    def _write_banked(self, banks: list[np.ndarray], words: np.ndarray, first: int) -> None:
        """Words uint8 (number, bytes) of a memory in banks, from address `first` on."""
        addresses = first + np.arange(len(words))
        bank, row = bank_of(addresses, len(banks)), addresses >> (len(banks) - 1).bit_length()
        for number, memory in enumerate(banks):
            mine = bank == number
            memory[row[mine], : words.shape[1]] = words[mine][:, : memory.shape[1]]

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


def _natural(path: str) -> list[int | str]:
    """Sorts numbers in a path by their value."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]
