"""Every memory of a chip, written and read back over its host port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.registers import EXPONENT_FIELDS, Region, window_address, window_bytes

from .processor import Bus

#: Regions that can be written, and which bits of a word they keep.
_KEPT = {
    Region.PROGRAM: 0xFFFFFFFF,
    Region.WEIGHTS: 0xFFFFFFFF,
    Region.ACTIVATIONS: 0xFFFFFFFF,
    Region.PARAMETERS: 0xFFFFFFFF,
    Region.TILES: 0xFFFFFFFF,
    Region.EXPONENTS: (1 << sum(EXPONENT_FIELDS.values())) - 1,
}
_CHUNK = 4096  #: words between two calls of `progress`


@dataclass(frozen=True)
class MemoryResult:
    """What came out for a region: words tested, words that came back wrong, host address of the first of those."""

    region: Region
    words: int
    wrong: int
    address: int | None


def check_memories(
    bus: Bus, chip: ChipConfig, seed: int, progress: Callable[[int, int, str], None] | None = None
) -> list[MemoryResult]:
    """Fill every memory that the host can write with random words, then read all of them back.

    All are written before the first is read, so that memories which answer to each other's addresses are found, too.
    Memristor cells, which cannot be read, are left alone. `progress(words done, words in all, region)`.
    """
    sizes = {region: window_bytes(region, chip) // 4 for region in _KEPT}
    sizes = {region: size for region, size in sizes.items() if size}
    total, done = 2 * sum(sizes.values()), 0
    content = {
        region: np.random.default_rng((seed, region)).integers(0, 1 << 32, size, np.uint32)
        for region, size in sizes.items()
    }

    def report(region: Region, words: int, what: str) -> None:
        nonlocal done
        done += words
        if progress is not None:
            progress(done, total, f"{what} {region.name.lower()}")

    for region, words in content.items():
        for first in range(0, len(words), _CHUNK):
            part = words[first : first + _CHUNK]
            bus.write(window_address(region, 4 * first), part)
            report(region, len(part), "writing")
    results = []
    for region, words in content.items():
        differences = np.zeros(len(words), bool)
        for first in range(0, len(words), _CHUNK):
            part = words[first : first + _CHUNK]
            came = bus.read(window_address(region, 4 * first), len(part))
            differences[first : first + len(part)] = came != part & np.uint32(_KEPT[region])
            report(region, len(part), "reading")
        wrong = np.flatnonzero(differences)
        address = window_address(region, 4 * int(wrong[0])) if len(wrong) else None
        results.append(MemoryResult(region, len(words), len(wrong), address))
    return results
