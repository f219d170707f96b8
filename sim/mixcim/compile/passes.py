"""Cut a layer into passes: which kernel tiles each compute unit works on in each RUN command.

A tile is one output word on one kind of unit, with the lanes (kernels) of it that are placed there. The units of a kind
share its tiles evenly. A layer needs several passes when a unit cannot hold, or accumulate, all its tiles at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import RUN_FIELDS, UNIT_FIELDS
from mixcim_hdl.config import ChipConfig, UnitKind

from ..errors import MixcimError
from .weights import Window


@dataclass(frozen=True, eq=False)
class Share:
    """What one unit does in one pass: output `words` int (tiles,) and `lanes` bool (tiles, channels), in tile order.

    In a layer that keeps channels apart there is one tile a group, and words are the groups themselves.
    """

    unit: int
    words: np.ndarray
    lanes: np.ndarray


@dataclass(frozen=True)
class Pass:
    """One RUN command. `first_group` and `group_count`: activation words of channels that it works on (dense: 0, 1)."""

    first_group: int
    group_count: int
    shares: tuple[Share, ...]


@dataclass
class UnitSpace:
    """What is left of the memories that bound a pass. `memristor_free`: free slots of each memristor bank."""

    chip: ChipConfig
    memristor_free: list[int]

    def units(self, kind: UnitKind) -> list[int]:
        """Numbers of the units of a kind."""
        return [number for number, unit in enumerate(self.chip.units) if unit is kind]

    def tiles(self, kind: UnitKind, window: Window) -> int:
        """Most tiles (groups, for a window that keeps channels apart) that a unit of that kind does in one pass.

        The accumulator holds the tiles of one group at a time; a window that keeps channels apart has one tile a group.
        """
        limit = min(self.chip.accumulator_tiles, (1 << UNIT_FIELDS["tiles"]) - 1)
        if window.separate:
            limit = (1 << RUN_FIELDS["group_count"]) - 1
        if kind is UnitKind.MEMRISTOR:
            return limit
        # Tiny-digital holds a slot in `channels` words; a vector of separate channels in one.
        words = self.chip.channels if kind is UnitKind.TINY and not window.separate else 1
        return min(limit, self.chip.unit_capacity(kind) // (window.slots * words))


def plan(name: str, window: Window, units: tuple[UnitKind, ...], space: UnitSpace) -> list[Pass]:
    """Passes of a layer. `units`: kind of unit of each kernel. Takes the memristor slots that it uses out of `space`.

    Raises MixcimError when not even one tile fits a unit, or the memristor banks are full.
    """
    channels = space.chip.channels
    # Lanes beyond the last kernel go where the last kernel goes, so that they too are always written.
    padded = units + (units[-1],) * (-len(units) % channels)
    owner = np.array([kind.value for kind in padded]).reshape(-1, channels)
    lanes = {kind: owner == kind.value for kind in dict.fromkeys(space.chip.units) if kind in units}
    for kind in lanes:
        if space.tiles(kind, window) == 0:
            raise MixcimError(_window_too_long(name, window, kind, space.chip))
    return _plan_separate(name, window, lanes, space) if window.separate else _plan_dense(name, window, lanes, space)


def _plan_dense(name: str, window: Window, lanes: dict[UnitKind, np.ndarray], space: UnitSpace) -> list[Pass]:
    tiles = {kind: np.flatnonzero(mask.any(axis=1)) for kind, mask in lanes.items()}
    count = max(-(-len(words) // (len(space.units(kind)) * space.tiles(kind, window))) for kind, words in tiles.items())
    passes = []
    for index in range(count):
        shares: list[Share] = []
        for kind, words in tiles.items():
            part = np.array_split(words, count)[index]
            for unit, own in _spread(name, kind, part, window, space):
                shares.append(Share(unit, own, lanes[kind][own]))
        passes.append(Pass(0, 1, tuple(shares)))
    return passes


def _spread(
    name: str, kind: UnitKind, words: np.ndarray, window: Window, space: UnitSpace
) -> list[tuple[int, np.ndarray]]:
    """Divide tiles among the units of a kind, evenly as far as their free slots allow, the emptiest unit first."""
    units = space.units(kind)
    limit = space.tiles(kind, window)
    if kind is UnitKind.MEMRISTOR:
        room = [min(limit, free // window.slots) for free in space.memristor_free]
        free = space.memristor_free
    else:
        room = free = [limit] * len(units)
    counts = [0] * len(units)
    for _ in words:
        open_units = [index for index in range(len(units)) if counts[index] < room[index]]
        if not open_units:
            raise MixcimError(_bank_full(name, window, space))
        counts[min(open_units, key=lambda index: (counts[index], -free[index], index))] += 1
    if kind is UnitKind.MEMRISTOR:
        for index, count in enumerate(counts):
            space.memristor_free[index] -= count * window.slots
    ends = np.cumsum(counts)
    return [(unit, words[end - count : end]) for unit, count, end in zip(units, counts, ends, strict=True) if count > 0]


def _plan_separate(name: str, window: Window, lanes: dict[UnitKind, np.ndarray], space: UnitSpace) -> list[Pass]:
    """Runs of consecutive groups that sit on the same kinds of unit, cut to what the units hold.

    Every vector of a RUN goes to all its units, and groups come one after the other: a second unit of the same kind
    would have nothing to do, so one of each kind works.
    """
    kinds = [
        tuple(kind for kind, mask in lanes.items() if mask[group].any())
        for group in range(len(next(iter(lanes.values()))))
    ]
    passes: list[Pass] = []
    group = 0
    while group < len(kinds):
        end = group + 1
        while end < len(kinds) and kinds[end] == kinds[group]:
            end += 1
        limits = [space.tiles(kind, window) for kind in kinds[group]]
        emptiest = max(range(len(space.memristor_free)), key=lambda bank: space.memristor_free[bank], default=0)
        if UnitKind.MEMRISTOR in kinds[group]:
            limits.append(space.memristor_free[emptiest] // window.slots)
        count = min(end - group, *limits)
        if count == 0:
            raise MixcimError(_bank_full(name, window, space))
        words = np.arange(group, group + count)
        shares = []
        for kind in kinds[group]:
            unit = space.units(kind)[0]
            if kind is UnitKind.MEMRISTOR:
                unit = space.units(kind)[emptiest]
                space.memristor_free[emptiest] -= count * window.slots
            shares.append(Share(unit, words, lanes[kind][words]))
        passes.append(Pass(group, count, tuple(shares)))
        group += count
    return passes


def _bank_full(name: str, window: Window, space: UnitSpace) -> str:
    return (
        f"layer '{name}': a kernel tile needs {window.slots} slots in one memristor bank, the emptiest bank of chip "
        f"'{space.chip.name}' has {max(space.memristor_free)} of {space.chip.memristor_slots} left: "
        "place fewer kernels on memristor, or use a chip with more memristor_slots"
    )


def _window_too_long(name: str, window: Window, kind: UnitKind, chip: ChipConfig) -> str:
    words = chip.channels if kind is UnitKind.TINY and not window.separate else 1
    memory, what = {
        UnitKind.SRAM: ("sram_slots", "slots"),
        UnitKind.TINY: ("tiny_words", "weight words"),
        UnitKind.MEMRISTOR: ("memristor_slots", "slots"),
    }[kind]
    return (
        f"layer '{name}': its window of {window.rows} rows needs {window.slots * words} {what} of a {kind.value} "
        f"unit for one kernel tile, the units of chip '{chip.name}' hold {chip.unit_capacity(kind)}: "
        f"use a chip with more {memory}, or another kind of unit"
    )
