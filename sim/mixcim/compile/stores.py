"""The memories that a program fills: weight store, memristor banks, parameter memory, program store."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.commands import Opcode, command_words, encode_command
from mixcim_hdl.config import ChipConfig

from ..errors import MixcimError
from .weights import memristor_lines


class WeightStore:
    """Weight words in the order in which layers bring them in; a block that is there already is not stored twice."""

    def __init__(self, chip: ChipConfig) -> None:
        self._chip = chip
        self._blocks: list[np.ndarray] = []
        self._known: dict[bytes, int] = {}
        self.words = 0  #: words used so far

    def add(self, words: np.ndarray) -> int:
        """First word of the block int8 (words, rows) in the store."""
        key = words.tobytes()
        if key not in self._known:
            self._known[key] = self.words
            self._blocks.append(words)
            self.words += len(words)
        return self._known[key]

    def array(self) -> np.ndarray:
        """All words: int8 (words, rows)."""
        return np.concatenate([np.zeros((0, self._chip.rows), np.int8), *self._blocks])


class MemristorBanks:
    """Resident slots of every memristor bank."""

    def __init__(self, chip: ChipConfig) -> None:
        self._chip = chip
        self._slots: list[list[np.ndarray]] = [[] for _ in range(chip.memristor_banks)]
        self.used = [0] * chip.memristor_banks  #: slots used in each bank

    def add(self, bank: int, slots: np.ndarray) -> int:
        """First slot of the block int8 (slots, rows, channels) in its bank."""
        first = self.used[bank]
        self._slots[bank].append(slots)
        self.used[bank] += len(slots)
        return first

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Conductance codes of every bank's used lines: uint8 (lines, rows) each."""
        empty = np.zeros((0, self._chip.rows, self._chip.channels), np.int8)
        return tuple(memristor_lines(np.concatenate([empty, *slots]), self._chip) for slots in self._slots)


class ParameterMemory:
    """Bias, scale, output word, lanes and exponent entry of every kernel tile.

    A block that is there already, such as that of another copy of a unit, is not stored twice.
    """

    def __init__(self, chip: ChipConfig) -> None:
        channels = chip.channels
        self._bias = [np.zeros((0, channels), np.int32)]
        self._scale = [np.zeros((0, channels), np.float32)]
        self._word = [np.zeros(0, np.uint16)]
        self._mask = [np.zeros(0, np.uint16)]
        self._exponent = [np.zeros(0, np.uint16)]
        self._known: dict[bytes, int] = {}
        self.tiles = 0  #: tiles used so far

    def add(
        self, bias: np.ndarray, scale: np.ndarray, words: np.ndarray, lanes: np.ndarray, exponents: np.ndarray
    ) -> int:
        """First tile of a block. `bias`, `scale`, `lanes` (bool): (tiles, channels); `words`, `exponents`: (tiles,)."""
        key = b"".join(part.tobytes() for part in (bias, scale, words, lanes, exponents))
        if key in self._known:
            return self._known[key]
        first = self._known[key] = self.tiles
        self._bias.append(bias.astype(np.int32))
        self._scale.append(scale.astype(np.float32))
        self._word.append(words.astype(np.uint16))
        self._mask.append((lanes << np.arange(lanes.shape[1])).sum(axis=1).astype(np.uint16))
        self._exponent.append(exponents.astype(np.uint16))
        self.tiles += len(words)
        return first

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of a Program of these names."""
        parts = {
            "bias": self._bias,
            "scale": self._scale,
            "word_offset": self._word,
            "lane_mask": self._mask,
            "exponent_offset": self._exponent,
        }
        return {name: np.concatenate(blocks) for name, blocks in parts.items()}


class CommandList:
    """Encoded commands, in order."""

    def __init__(self, chip: ChipConfig) -> None:
        self._chip = chip
        self._commands: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, owner: str, opcode: Opcode, **fields: int) -> int:
        """Index of the new command. Raises MixcimError, naming `owner`, where a value does not fit its field."""
        try:
            self._commands.append(encode_command(opcode, self._chip, **fields))
        except ValueError as error:
            raise MixcimError(f"{owner} does not fit the chip's commands: {error}") from None
        return len(self._commands) - 1

    def array(self) -> np.ndarray:
        """uint32 (commands, words)."""
        return np.array(self._commands, np.uint32).reshape(-1, command_words(self._chip))
