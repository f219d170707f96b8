"""How many copies each layer on memristor gets: weights are resident, and what later layers leave free holds copies.

Starting from one copy each, the layer that saves most cycles for a slot gets its next ones, until the banks are full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixcim_hdl.config import ChipConfig, UnitKind

from ..errors import MixcimError
from .cycles import Work
from .passes import UnitSpace, plan
from .portions import dense_portions, group_cycles, most_copies


@dataclass
class Candidate:
    """A layer to be planned: `name`, `work`, `lanes` on each kind of unit (passes.tile_lanes)."""

    name: str
    work: Work
    lanes: dict[UnitKind, np.ndarray]
    _cycles: dict[int, int] = field(default_factory=dict)

    def slots(self) -> int:
        """Memristor slots of one copy."""
        return int(self.lanes[UnitKind.MEMRISTOR].any(axis=1).sum()) * self.work.window.slots

    def cycles(self, copies: int, chip: ChipConfig) -> int:
        """Estimated cycles of the layer with so many copies."""
        if copies not in self._cycles:
            tiles = {kind: int(mask.any(axis=1).sum()) for kind, mask in self.lanes.items()}
            if self.work.window.separate:
                groups = len(next(iter(self.lanes.values())))
                self._cycles[copies] = group_cycles(self.work, self.lanes, copies, chip, groups)
            else:
                self._cycles[copies] = sum(item.cycles for item in dense_portions(self.work, tiles, chip, copies))
        return self._cycles[copies]

    def cost(self, chip: ChipConfig) -> int:
        """Estimated cycles with the copies that take fewest, LOADs included, if its kernels see all channels."""
        tiles = {kind: int(mask.any(axis=1).sum()) for kind, mask in self.lanes.items()}
        return sum(item.cost for item in dense_portions(self.work, tiles, chip))

    def next_copies(self, copies: int, chip: ChipConfig) -> int | None:
        """Fewest copies that take fewer cycles than `copies`; None if none do."""
        more = range(copies + 1, most_copies(self.lanes, self.work, chip) + 1)
        return next((number for number in more if self.cycles(number, chip) < self.cycles(copies, chip)), None)


def memristor_copies(layers: Sequence[Candidate], chip: ChipConfig) -> Mapping[str, int]:
    """Copies of each layer that has kernels on memristor, by name; all of them together fit the banks (one copy each
    may not: planning them will say so)."""
    layers = [layer for layer in layers if UnitKind.MEMRISTOR in layer.lanes]
    copies = {layer.name: 1 for layer in layers}
    free = chip.memristor_banks * chip.memristor_slots - sum(layer.slots() for layer in layers)
    steps: list[tuple[str, int]] = []  #: layer and its copies before the step
    while True:
        best: tuple[float, Candidate, int] | None = None
        for layer in layers:
            more = layer.next_copies(copies[layer.name], chip)
            if more is None or (more - copies[layer.name]) * layer.slots() > free:
                continue
            saved = layer.cycles(copies[layer.name], chip) - layer.cycles(more, chip)
            worth = saved / ((more - copies[layer.name]) * layer.slots())
            if best is None or worth > best[0]:
                best = worth, layer, more
        if best is None:
            break
        _, layer, more = best
        steps.append((layer.name, copies[layer.name]))
        free -= (more - copies[layer.name]) * layer.slots()
        copies[layer.name] = more
    # A tile's slots lie in one bank, so that not every slot can be used: take back what does not fit.
    while steps and not _fits(layers, copies, chip):
        name, before = steps.pop()
        copies[name] = before
    return copies


def _fits(layers: Sequence[Candidate], copies: Mapping[str, int], chip: ChipConfig) -> bool:
    space = UnitSpace(chip, [chip.memristor_slots] * chip.memristor_banks)
    try:
        for layer in layers:
            plan(layer.name, layer.work, layer.lanes, space, copies[layer.name])
    except MixcimError:
        return False
    return True
