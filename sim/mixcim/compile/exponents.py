"""Exponent entries of floating-point tensors: which entry of a pixel each tile writes.

The hardware notes the largest exponent of every tile that it writes, so each tile (an output word on one kind of unit)
has an entry of its own. Entry w is of the first tile of channel word w; where kernel-wise placement splits a word
between kinds of units, the further tiles have the entries behind those of the words. A depthwise layer then takes all
entries of a pixel: one exponent for all its words. The host writes entry w
with word w of the network's input.
"""

from __future__ import annotations

from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ElementFormat

from .network import Network
from .placement import Placement


def tile_entries(units: tuple[UnitKind | None, ...], chip: ChipConfig) -> dict[tuple[int, UnitKind | None], int]:
    """Entry of each tile (output word, kind of unit) of a layer. `units`: kind of unit of each kernel, None for the
    float pool."""
    tiles = list(dict.fromkeys((kernel // chip.channels, unit) for kernel, unit in enumerate(units)))
    first: dict[int, tuple[int, UnitKind | None]] = {}
    for tile in tiles:
        first.setdefault(tile[0], tile)
    further = [tile for tile in tiles if first[tile[0]] != tile]
    return {tile: entry for entry, tile in enumerate([*first.values(), *further])}


def entry_counts(network: Network, placement: Placement, chip: ChipConfig) -> dict[str, int]:
    """Entries that a pixel of each tensor has: 0 for INTEGER ones."""
    counts = {network.input: -(-network.tensors[network.input].shape[2] // chip.channels)}
    counts.update({layer.output: len(tile_entries(placement[layer.name], chip)) for layer in network.layers})
    return {
        name: 0 if network.tensors[name].format is ElementFormat.INTEGER else count for name, count in counts.items()
    }
