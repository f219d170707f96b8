"""How many cycles a RUN takes, as the compiler estimates it: the one formula behind placement, passes and strips.

The stages of a RUN work at the same time; the slowest one sets the pace. With C copies each unit takes every C-th
window::

    unit     ceil(windows / C) * cycles of a window for the unit's tiles
             SRAM-CIM: steps * slices * input bits, a step for one tile or more of a vector (commands.SramMode), but
                 for each tile the accumulator's 1 or 2 cycles
             tiny-digital: tiles * rows * slices (channels apart: taps * slices)      memristor: tiles * reads * slices
    feeder   windows * beats, ceil(activation words / feeder_words) for every vector
    output   tiles written * channels / output_lanes / engines in use

all of it for every group, and RUN_OVERHEAD for the command itself. A RUN of the float pool has one stage::

    pool     windows * max(words of a window * P, 2 beats - 1), beats = channels / output_lanes, P = max(beats,
             POOL_ADDITION)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixcim_hdl.config import ChipConfig, UnitKind

from .codes import input_width
from .network import Layer, Network
from .weights import Window

#: Cycles of a RUN in which the pipelines fill and drain, and the next command is fetched.
RUN_OVERHEAD = 64
#: Least cycles from one word to the next in the float pool: those of an addition.
POOL_ADDITION = 5


@dataclass(frozen=True)
class Work:
    """What a layer asks of the units for one output pixel.

    `windows`: output pixels. `input_bits`: of the integers in a window. `words`: activation words of an element (2 with
    two bytes an element). `reads`: of a memristor bank for one tile and slice, over all vectors. `command_cost`: cycles
    that it is worth to have a command less, where the program store is short.
    """

    window: Window
    windows: int
    input_bits: int
    words: int = 1
    reads: int = 0
    command_cost: int = 0

    def unit_cycles(self, kind: UnitKind, tiles: int, chip: ChipConfig) -> int:
        """Cycles of a unit for so many kernel tiles of one window (of one group)."""
        window = self.window
        if kind is UnitKind.SRAM:
            last = -(-tiles // chip.packed_tiles(kind, window.sram_mode, window.last_length(chip)))
            alone = window.vectors == 1 and window.slices == 1
            step = chip.sram_cycles(self.input_bits)
            full = (window.steps(kind, tiles, chip) - last) * max(step, 1 if alone else 2)
            return (full + max(last * step, tiles * (1 if alone else 2))) * window.slices
        if kind is UnitKind.MEMRISTOR:
            return tiles * self.reads * window.slices
        return tiles * window.slices * (window.rows // chip.channels if window.separate else window.rows)

    def beats(self, chip: ChipConfig) -> int:
        """Cycles of the feeder for one window (of one group)."""
        window = self.window
        full, rest = divmod(window.rows, chip.rows)
        lengths = [chip.rows] * full + [rest] * (rest > 0)
        return sum(-(-length // window.granule * self.words // chip.feeder_words) for length in lengths)

    def pool_cycles(self, chip: ChipConfig) -> int:
        """Cycles of the float pool for one window of one group."""
        beats = chip.channels // chip.output_lanes
        return max(self.window.rows // self.window.granule * max(beats, POOL_ADDITION), 2 * beats - 1)


def work_of(network: Network, layer: Layer, window: Window, reads: int = 0, command_cost: int = 0) -> Work:
    """The work of a layer over all its output pixels; `window`, `reads` and `command_cost` as in Work."""
    height, width, _ = network.tensors[layer.output].shape
    source = network.tensors[layer.input]
    bits, _ = input_width(network, layer)
    return Work(window, height * width, bits, source.format.bytes, reads, command_cost)


def tiles_each(tiles: int, units: int, window: Window) -> int:
    """Most tiles of a unit where so many units share them: whole steps of a vector that is split."""
    return -(-tiles // (units * window.split)) * window.split


def run_cycles(
    work: Work,
    tiles: Mapping[UnitKind, int],
    sharers: Mapping[UnitKind, int],
    copies: int,
    groups: int,
    chip: ChipConfig,
) -> int:
    """Cycles of a RUN over all windows of `work`.

    `tiles`: kernel tiles (of a group) on each kind of unit; without any it is the float pool's. `sharers`: units of the
    kind among which they are divided, in each of the `copies`. `groups`: of channels that are kept apart.
    """
    stages = [work.windows * (work.beats(chip) if tiles else work.pool_cycles(chip))]
    engines = 1
    for kind, count in tiles.items():
        used = min(sharers[kind], -(-count // work.window.split))
        each = work.unit_cycles(kind, tiles_each(count, used, work.window), chip)
        stages.append(-(-work.windows // copies) * each)
        units = chip.units.count(kind)
        if kind is UnitKind.MEMRISTOR:
            engines = max(engines, min(chip.engines, used * copies))  # any banks will do
        else:
            engines = max(engines, -(-used * copies * chip.engines // units))  # the first units of the kind
    written = work.windows * sum(tiles.values()) * (chip.channels // chip.output_lanes)
    stages.append(-(-written // engines))
    return groups * max(stages) + RUN_OVERHEAD
