"""Cut a layer into passes: which kernel tiles each compute unit works on in each RUN command.

A tile is one output word on one kind of unit, with the lanes (kernels) of it that are placed there. portions.py says
how many tiles a RUN has, and how many copies of them take different output pixels; here they get their units. Units of
SRAM-CIM and tiny-digital that hold the same tiles are neighbours, so that one LOAD fills them. Memristor banks are
filled once for all: each copy takes the emptiest banks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mixcim_hdl.config import ChipConfig, UnitKind

from ..errors import MixcimError
from .cycles import Work, run_cycles
from .portions import dense_portions, separate_copies, unit_size, unit_tiles
from .weights import Window


@dataclass(frozen=True, eq=False)
class Share:
    """What one unit does in one pass: output `words` int (tiles,) and `lanes` bool (tiles, channels), in tile order.

    `copy`: which output pixels it takes. In a layer that keeps channels apart there is one tile a group, and words are
    the groups themselves.
    """

    unit: int
    copy: int
    words: np.ndarray
    lanes: np.ndarray


@dataclass(frozen=True)
class Pass:
    """One RUN command. `first_group` and `group_count`: activation words of channels that it works on (dense: 0, 1).

    Without `shares` it is the float pool's.
    """

    first_group: int
    group_count: int
    copies: int
    shares: tuple[Share, ...]

    def estimate(self, work: Work, chip: ChipConfig) -> int:
        """Cycles over the output pixels of `work`."""
        tiles: dict[UnitKind, int] = {}
        sharers: dict[UnitKind, int] = {}
        for share in self.shares:
            if share.copy == 0:
                kind = chip.units[share.unit]
                tiles[kind] = tiles.get(kind, 0) + len(share.words) // self.group_count
                sharers[kind] = sharers.get(kind, 0) + 1
        return run_cycles(work, tiles, sharers, self.copies, self.group_count, chip)


@dataclass
class UnitSpace:
    """What is left of the memristor banks. `memristor_free`: free slots of each."""

    chip: ChipConfig
    memristor_free: list[int]

    def units(self, kind: UnitKind) -> list[int]:
        """Numbers of the units of a kind."""
        return [number for number, unit in enumerate(self.chip.units) if unit is kind]

    def copy(self) -> UnitSpace:
        """As it is now, to try things out."""
        return replace(self, memristor_free=list(self.memristor_free))

    def take(self, tiles: int, copies: int, slots: int, limit: int) -> list[list[int]] | None:
        """Take `slots` slots for each tile of each copy: tiles on every bank, int [copies][banks]; None if too full.

        `limit`: most tiles of a bank. A bank works for one copy.
        """
        free = self.memristor_free
        counts = [[0] * len(free) for _ in range(copies)]
        sharers = min(len(free) // copies, tiles)
        each, extra = divmod(tiles, sharers)
        emptiest = sorted(range(len(free)), key=lambda bank: (-free[bank], bank))
        for index, bank in enumerate(emptiest[: copies * sharers]):
            # The emptiest banks of all take the tiles that are over.
            share, copy = divmod(index, copies)
            counts[copy][bank] = each + (share < extra)
        fits = all(count <= min(limit, free[bank] // slots) for row in counts for bank, count in enumerate(row))
        if not fits:
            uneven = self._uneven(tiles, slots, limit) if copies == 1 else None
            if uneven is None:
                return None
            counts = [uneven]
        for row in counts:
            for bank, count in enumerate(row):
                free[bank] -= count * slots
        return counts

    def _uneven(self, tiles: int, slots: int, limit: int) -> list[int] | None:
        """Tiles on every bank, as evenly as their free slots allow."""
        free = self.memristor_free
        room = [min(limit, slots_left // slots) for slots_left in free]
        counts = [0] * len(free)
        for _ in range(tiles):
            open_banks = [bank for bank in range(len(free)) if counts[bank] < room[bank]]
            if not open_banks:
                return None
            counts[min(open_banks, key=lambda bank: (counts[bank], -free[bank], bank))] += 1
        return counts


def tile_lanes(units: tuple[UnitKind | None, ...], chip: ChipConfig) -> dict[UnitKind, np.ndarray]:
    """Lanes of every output word on each kind of unit that a layer uses: bool (words, channels).

    `units`: kind of unit of each kernel; None, the float pool, has no lanes. Lanes beyond the last kernel go where the
    last kernel goes, so that they too are always written.
    """
    padded = units + (units[-1],) * (-len(units) % chip.channels)
    owner = np.array([kind.value if kind else "" for kind in padded]).reshape(-1, chip.channels)
    return {kind: owner == kind.value for kind in dict.fromkeys(chip.units) if kind in units}


def check_windows(name: str, work: Work, kinds: Iterable[UnitKind], chip: ChipConfig) -> None:
    """Raise MixcimError when not even one tile of a layer fits a unit of one of the kinds."""
    for kind in kinds:
        if unit_tiles(kind, work.window, chip) == 0:
            raise MixcimError(_window_too_long(name, work.window, kind, chip))


def plan(
    name: str, work: Work, lanes: dict[UnitKind, np.ndarray], space: UnitSpace, copies: int | None = None
) -> list[Pass]:
    """Passes of a layer. `lanes`: from tile_lanes. `copies`: in every pass (default: what takes fewest cycles; one on
    memristor). Takes the memristor slots that it uses out of `space`.

    A tile must fit a unit of each kind (check_windows). Raises MixcimError when the memristor banks are full.
    """
    if copies is None and UnitKind.MEMRISTOR in lanes:
        copies = 1
    planned = _plan_separate if work.window.separate else _plan_dense
    return planned(name, work, lanes, space, copies)


def _plan_dense(
    name: str, work: Work, lanes: dict[UnitKind, np.ndarray], space: UnitSpace, copies: int | None
) -> list[Pass]:
    rest = {kind: np.flatnonzero(mask.any(axis=1)) for kind, mask in lanes.items()}
    passes = []
    for portion in dense_portions(work, {kind: len(words) for kind, words in rest.items()}, space.chip, copies):
        shares: list[Share] = []
        for kind, count in portion.tiles.items():
            words, rest[kind] = rest[kind][:count], rest[kind][count:]
            shares += [
                Share(unit, copy, own, lanes[kind][own])
                for unit, copy, own in _spread(name, kind, words, portion.copies, work.window, space)
            ]
        passes.append(Pass(0, 1, portion.copies, tuple(shares)))
    return passes


def _spread(
    name: str, kind: UnitKind, words: np.ndarray, copies: int, window: Window, space: UnitSpace
) -> list[tuple[int, int, np.ndarray]]:
    """Divide tiles evenly among the units of a kind: (unit, copy, words) of each that gets some, in order of units."""
    units = space.units(kind)
    if kind is not UnitKind.MEMRISTOR:
        steps = words.reshape(-1, window.split)
        parts = [part.reshape(-1) for part in np.array_split(steps, min(len(units) // copies, len(steps)))]
        return [(units[index * copies + copy], copy, own) for index, own in enumerate(parts) for copy in range(copies)]
    counts = space.take(len(words), copies, window.slots, unit_tiles(kind, window, space.chip))
    if counts is None:
        raise MixcimError(_bank_full(name, window, space))
    found = []
    for copy, row in enumerate(counts):
        ends = np.cumsum(row).tolist()
        found += [
            (units[bank], copy, words[end - count : end])
            for bank, (count, end) in enumerate(zip(row, ends, strict=True))
            if count
        ]
    return sorted(found, key=lambda item: item[0])


def _plan_separate(
    name: str, work: Work, lanes: dict[UnitKind, np.ndarray], space: UnitSpace, copies: int | None
) -> list[Pass]:
    """Runs of consecutive groups that sit on the same kinds of unit, cut to what the units hold.

    Groups come one after the other and a unit does a whole group: more units of the same kind are copies.
    """
    window, chip = work.window, space.chip
    kinds = [
        tuple(kind for kind, mask in lanes.items() if mask[group].any())
        for group in range(len(next(iter(lanes.values()))))
    ]
    passes: list[Pass] = []
    group = 0
    while group < len(kinds):
        present = kinds[group]
        end = group + 1
        while end < len(kinds) and kinds[end] == present:
            end += 1
        number = copies or separate_copies(work, dict.fromkeys(present), chip)
        limits = [unit_tiles(kind, window, chip) for kind in present]
        if UnitKind.MEMRISTOR in present:
            # Each copy needs a bank of its own.
            limits.append(sorted(space.memristor_free, reverse=True)[number - 1] // window.slots)
        count = min(end - group, *limits)
        if count == 0:
            raise MixcimError(_bank_full(name, window, space))
        words = np.arange(group, group + count)
        shares: list[Share] = []
        for kind in present:
            if kind is UnitKind.MEMRISTOR:
                taken = space.take(1, number, count * window.slots, 1)
                assert taken is not None
                units = [space.units(kind)[row.index(1)] for row in taken]
            else:
                units = space.units(kind)[:number]
            shares += [Share(unit, copy, words, lanes[kind][words]) for copy, unit in enumerate(units)]
        passes.append(Pass(group, count, number, tuple(shares)))
        group += count
    return passes


def _bank_full(name: str, window: Window, space: UnitSpace) -> str:
    return (
        f"layer '{name}': a kernel tile needs {window.slots} slots in one memristor bank, the emptiest bank of chip "
        f"'{space.chip.name}' has {max(space.memristor_free)} of {space.chip.memristor_slots} left: "
        "place fewer kernels on memristor, or use a chip with more memristor_slots"
    )


def _window_too_long(name: str, window: Window, kind: UnitKind, chip: ChipConfig) -> str:
    memory, what = {
        UnitKind.SRAM: ("sram_slots", "slots"),
        UnitKind.TINY: ("tiny_words", "weight words"),
        UnitKind.MEMRISTOR: ("memristor_slots", "slots"),
    }[kind]
    return (
        f"layer '{name}': its window of {window.rows} rows needs {unit_size(kind, window, 1, chip)} {what} of a "
        f"{kind.value} unit for one kernel tile, the units of chip '{chip.name}' hold {chip.unit_capacity(kind)}: "
        f"use a chip with more {memory}, or another kind of unit"
    )
