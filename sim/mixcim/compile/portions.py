"""Cut a layer into portions, one for each RUN: how many kernel tiles on each kind of unit, and how many copies of them.

`copies` units with equal weights take every copies-th output pixel. All kinds of unit in a RUN have the same number of
copies; of each kind, units // copies share the tiles. What is chosen takes the fewest cycles (cycles.py), LOADs
included, that the units' memories allow; of equal ones that with fewer copies. Weights that take no more than half of
a memory count as loaded beside another RUN.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass

from mixcim_hdl.commands import RUN_FIELDS, UNIT_FIELDS
from mixcim_hdl.config import ChipConfig, UnitKind

from .cycles import Work, run_cycles, tiles_each
from .weights import Window


@dataclass(frozen=True)
class Portion:
    """Part of a layer without groups: `tiles` of each kind of unit, `copies`, and over all output pixels `cycles` of
    the RUN, and `cost`, in which its LOADs are."""

    tiles: Mapping[UnitKind, int]
    copies: int
    cycles: int
    cost: int


def unit_tiles(kind: UnitKind, window: Window, chip: ChipConfig) -> int:
    """Most tiles (groups, for a window that keeps channels apart) that a unit of that kind does in one RUN.

    The accumulator holds the tiles of one group at a time; a window that keeps channels apart has one tile a group.
    """
    limit = min(chip.accumulator_tiles, (1 << UNIT_FIELDS["tiles"]) - 1)
    if window.separate:
        limit = (1 << RUN_FIELDS["group_count"]) - 1
    capacity = chip.unit_capacity(kind)
    if window.separate:
        return min(limit, capacity // unit_size(kind, window, 1, chip))
    fits = bisect.bisect_right(range(1, limit + 1), capacity, key=lambda tiles: unit_size(kind, window, tiles, chip))
    return fits // window.split * window.split


def unit_size(kind: UnitKind, window: Window, tiles: int, chip: ChipConfig) -> int:
    """Slots of a CIM unit, or weight words of tiny-digital, for so many tiles (of one group)."""
    # Tiny-digital holds a slot in `channels` words; a vector of separate channels in one.
    words = chip.channels if kind is UnitKind.TINY and not window.separate else 1
    return window.steps(kind, tiles, chip) * window.slices * words


def most_copies(kinds: Mapping[UnitKind, object], work: Work, chip: ChipConfig) -> int:
    """Most copies that the units of these kinds, and the output pixels, allow."""
    return min(work.windows, *(chip.units.count(kind) for kind in kinds))


def dense_portions(
    work: Work, tiles: Mapping[UnitKind, int], chip: ChipConfig, copies: int | None = None
) -> list[Portion]:
    """Portions of a layer whose kernels see all channels, in order. `tiles`: kernel tiles on each kind of unit, each of
    which must hold one. `copies`: in every portion (default: what takes fewest cycles).
    """
    if copies is not None:
        return _even_portions(work, tiles, copies, chip)
    if len(tiles) == 1:
        ((kind, total),) = tiles.items()
        return _best_sequence(work, kind, total, chip)
    candidates = [_even_portions(work, tiles, number, chip) for number in range(1, most_copies(tiles, work, chip) + 1)]
    return min(candidates, key=lambda portions: sum(portion.cost for portion in portions))


def separate_copies(work: Work, kinds: Mapping[UnitKind, object], chip: ChipConfig) -> int:
    """Copies of a layer that keeps channels apart: a unit of each of the kinds does a group."""
    return min(range(1, most_copies(kinds, work, chip) + 1), key=lambda copies: group_cycles(work, kinds, copies, chip))


def group_cycles(work: Work, kinds: Mapping[UnitKind, object], copies: int, chip: ChipConfig, groups: int = 1) -> int:
    """Cycles of a RUN over groups of channels that are kept apart, each on one unit of each kind and copy."""
    ones = dict.fromkeys(kinds, 1)
    return run_cycles(work, ones, ones, copies, groups, chip)


def _portion(
    work: Work, tiles: Mapping[UnitKind, int], sharers: Mapping[UnitKind, int], copies: int, chip: ChipConfig
) -> Portion:
    """Arguments as in run_cycles."""
    cycles = run_cycles(work, tiles, sharers, copies, 1, chip)
    loaded, loads, beside = 0, 0, True
    for kind, count in tiles.items():
        if kind is UnitKind.MEMRISTOR:
            continue
        units = min(sharers[kind], -(-count // work.window.split))
        size = unit_size(kind, work.window, tiles_each(count, units, work.window), chip)
        loads += units
        loaded += units * size * (chip.channels if kind is UnitKind.SRAM else 1) * chip.load_cycles
        beside = beside and 2 * size <= chip.unit_capacity(kind)
    cost = (max(cycles, loaded) if beside else cycles + loaded) + (1 + loads) * work.command_cost
    return Portion(tiles, copies, cycles, cost)


def _even_portions(work: Work, tiles: Mapping[UnitKind, int], copies: int, chip: ChipConfig) -> list[Portion]:
    """As few portions as the units' memories allow, the tiles of each kind divided evenly among them."""
    sharers = {kind: chip.units.count(kind) // copies for kind in tiles}
    count = max(-(-total // (sharers[kind] * unit_tiles(kind, work.window, chip))) for kind, total in tiles.items())
    portions = []
    for index in range(count):
        parts = {kind: total // count + (index < total % count) for kind, total in tiles.items()}
        present = {kind: part for kind, part in parts.items() if part}
        portions.append(_portion(work, present, sharers, copies, chip))
    return portions


def _best_sequence(work: Work, kind: UnitKind, total: int, chip: ChipConfig) -> list[Portion]:
    """Fewest cycles for the tiles of one kind of unit: the last portions, with fewer tiles, have more copies."""
    units, limit, split = chip.units.count(kind), unit_tiles(kind, work.window, chip), work.window.split
    best_of: dict[int, Portion] = {}  # of each number of tiles; of equal ones the first, with fewer copies
    for copies in range(1, most_copies({kind: total}, work, chip) + 1):
        sharers = units // copies
        for part in range(split, min(total, sharers * limit) + 1, split):
            portion = _portion(work, {kind: part}, {kind: sharers}, copies, chip)
            if part not in best_of or portion.cost < best_of[part].cost:
                best_of[part] = portion
    # The best sequence for 1, 2, ... tiles (whole steps of split vectors) from those for fewer.
    costs: dict[int, tuple[int, int]] = {0: (0, 0)}
    chosen: dict[int, Portion] = {}
    for done in range(split, total + 1, split):
        found = [
            ((costs[done - part][0] + portion.cost, costs[done - part][1] + portion.copies), portion)
            for part, portion in best_of.items()
            if part <= done
        ]
        cost, portion = min(found, key=lambda item: item[0])
        costs[done], chosen[done] = cost, portion
    portions = []
    while total:
        portions.append(chosen[total])
        total -= chosen[total].tiles[kind]
    return sorted(portions, key=lambda portion: -portion.tiles[kind])
