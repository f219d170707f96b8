"""What lies in the memories of SRAM-CIM and tiny-digital units at each point of the program, and where weights go next.

Blocks of weights are put one behind the other and, at the end, from the beginning again: a memory is used in two halves
alternately where two blocks fit, and a block stays as long as it can. A LOAD may run beside the RUN before it if that
RUN uses none of the words that are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixcim_hdl.config import ChipConfig, UnitKind

Block = tuple[int, int]  #: first word in the weight store, and words


@dataclass(frozen=True)
class LoadedAt:
    """Where a block lies: `first` word in each unit. `load`: it has to be brought there, `overlap`: beside the RUN
    before."""

    first: tuple[int, ...]
    load: bool
    overlap: bool


class UnitMemories:
    """Memories of all units of a chip. The order of calls is that of the program's commands."""

    def __init__(self, chip: ChipConfig) -> None:
        words = {UnitKind.MEMRISTOR: 0, UnitKind.SRAM: chip.sram_slots * chip.channels, UnitKind.TINY: chip.tiny_words}
        self._capacity = [words[kind] for kind in chip.units]
        self._blocks: list[dict[Block, int]] = [{} for _ in chip.units]
        self._next = [0] * len(chip.units)
        self._busy: dict[int, range] = {}
        self._running = False  # whether a RUN may still be at work

    def find(self, units: Sequence[int], block: Block) -> LoadedAt:
        """Where the block lies in these units, of one kind, or is to be loaded to, at the same place in all.

        The caller emits the LOAD, if one is needed, and says so by `loaded`.
        """
        if all(block in self._blocks[unit] for unit in units):
            return LoadedAt(tuple(self._blocks[unit][block] for unit in units), False, False)
        capacity, count = self._capacity[units[0]], block[1]
        places = [place for unit in units if (place := self._next[unit]) + count <= capacity]
        places += [0, capacity - count]
        free = next((place for place in places if self._is_free(units, range(place, place + count))), None)
        first = places[0] if free is None else free
        return LoadedAt((first,) * len(units), True, self._running and free is not None)

    def loaded(self, units: Sequence[int], block: Block, place: LoadedAt) -> None:
        """A LOAD has brought the block there."""
        words = range(place.first[0], place.first[0] + block[1])
        for unit in units:
            known = self._blocks[unit]
            self._blocks[unit] = {
                other: first for other, first in known.items() if not _meet(words, range(first, first + other[1]))
            }
            self._blocks[unit][block] = words.start
            self._next[unit] = words.stop
        if not place.overlap:
            self._running = False  # the LOAD has waited for it

    def run(self, used: Mapping[int, range]) -> None:
        """A RUN begins, which uses these words of these units; those before it are done."""
        self._busy, self._running = dict(used), True

    def _is_free(self, units: Sequence[int], words: range) -> bool:
        return not self._running or not any(unit in self._busy and _meet(words, self._busy[unit]) for unit in units)


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
