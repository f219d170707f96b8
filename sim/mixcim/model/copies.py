"""Copies: which units take which windows of a RUN, and what of their memories they use for a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import Fault, TinyMode
from mixcim_hdl.config import UnitKind

from .memristor import MemristorBank
from .state import Busy, State


@dataclass(frozen=True)
class Share:
    """Units that take the same windows: those of every `step`-th output pixel from `first` on."""

    units: tuple[int, ...]
    first: int = 0
    step: int = 1

    def of(self, pixels: range) -> range:
        """The share's pixels among consecutive ones."""
        return range(pixels.start + (self.first - pixels.start) % self.step, pixels.stop, self.step)


@dataclass(frozen=True)
class Places:
    """What a unit reads for one group: `slots` of its memory (weight words of a tiny-digital unit); none for a maximum.

    `each`: kernel tiles x slices: slots for a vector, but on SRAM-CIM.
    """

    slots: range
    each: int


def shares(fields: Mapping[str, int], units: int, pixels: int) -> list[Share]:
    """The units of each copy that has some and gets windows: there may be fewer `pixels` than copies."""
    found: dict[int, list[int]] = {}
    for unit in range(units):
        if fields[f"tiles[{unit}]"] and fields[f"copy[{unit}]"] < pixels:
            found.setdefault(fields[f"copy[{unit}]"], []).append(unit)
    return [Share(tuple(found[copy]), copy, fields["copies"]) for copy in sorted(found)]


def places_of(state: State, fields: Mapping[str, int], unit: int, group: int, length: int) -> Places:
    """What a unit reads for a group whose windows have `length` rows. Raises FaultError past the unit's memory."""
    kind, mode, tiles = state.chip.units[unit], fields[f"mode[{unit}]"], fields[f"tiles[{unit}]"]
    first, each = fields[f"slot[{unit}]"], tiles * fields["weight_slices"]
    if kind is UnitKind.TINY and mode == TinyMode.MAX:
        return Places(range(0), each)
    size = state.chip.window_steps(kind, mode, length, tiles) * fields["weight_slices"]
    if kind is UnitKind.TINY and mode == TinyMode.BROADCAST:
        size *= state.chip.channels
    slots = range(first + group * size, first + (group + 1) * size)
    capacity = state.chip.unit_capacity(kind)
    if slots.stop > capacity:
        reason = f"RUN reads unit {unit} ({kind.value}) up to {slots.stop}, past its capacity of {capacity}"
        raise state.fail(Fault.UNIT_ADDRESS, reason)
    return Places(slots, each)


def words_used(state: State, fields: Mapping[str, int], unit: int, length: int) -> Busy:
    """Words of its memory that a unit which takes LOADs uses in a RUN that was checked."""
    last = places_of(state, fields, unit, fields["group_count"] - 1, length).slots
    if not last:
        return Busy(unit, 0, 0)
    scale = state.chip.channels if state.chip.units[unit] is UnitKind.SRAM else 1
    return Busy(unit, fields[f"slot[{unit}]"] * scale, last.stop * scale)


def together(state: State, fields: Mapping[str, int], group: int, length: int, parts: list[Share]) -> list[Share]:
    """`parts`, or one of them for all windows where every copy does the same with its own: equal weights and readout,
    no noise, the same parameters. Raises FaultError where one of the units reads past its memory."""
    places = {unit: places_of(state, fields, unit, group, length) for part in parts for unit in part.units}
    windows = fields["output_height"] * fields["output_width"]
    if len(parts) < min(fields["copies"], windows):
        return parts
    one = parts[0].units
    for part in parts[1:]:
        if len(part.units) != len(one):
            return parts
        for unit, other in zip(one, part.units, strict=True):
            names = ("tiles", "mode", "parameter")
            if any(fields[f"{name}[{unit}]"] != fields[f"{name}[{other}]"] for name in names):
                return parts
            if not _same(state, unit, places[unit].slots, other, places[other].slots):
                return parts
    return [Share(one)]


def _same(state: State, unit: int, slots: range, other: int, others: range) -> bool:
    """Whether two units make the same of the same windows with those slots."""
    if state.chip.units[unit] is not state.chip.units[other]:
        return False
    a, b = state.units[unit], state.units[other]
    if isinstance(a, MemristorBank):
        assert isinstance(b, MemristorBank)
        return (
            not a.noise_table.any()
            and np.array_equal(a.adc, b.adc)
            and np.array_equal(a.cells[slots.start : slots.stop], b.cells[others.start : others.stop])
        )
    assert not isinstance(b, MemristorBank)
    scale = state.chip.channels if state.chip.units[unit] is UnitKind.SRAM else 1
    return np.array_equal(
        a.words[slots.start * scale : slots.stop * scale], b.words[others.start * scale : others.stop * scale]
    )
