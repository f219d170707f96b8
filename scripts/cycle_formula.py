"""The cycle formula of docs/architecture.md: what the stages of a RUN need, from the fields of its command."""

from __future__ import annotations

from collections.abc import Mapping

from mixcim_hdl.commands import Pooling, TinyMode
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.pool.float_pool import word_period


def stage_cycles(fields: Mapping[str, int], table: Mapping[str, int], chip: ChipConfig) -> dict[str, int]:
    """Cycles that each stage of a RUN is busy for one output pixel, no group left out; the largest one sets the pace.

    `fields`, `table`: fields of the RUN and of the last TABLE before it. Units are called `kind` and number.
    """
    granule = 1 << fields["granule_log2"]
    granules = fields["kernel_height"] * fields["kernel_width"] * fields["tap_words"]
    in_vector = chip.rows // granule
    lengths = [min(in_vector, granules - first) * granule for first in range(0, granules, in_vector)]
    groups, slices, digits = fields["group_count"], fields["weight_slices"], len(chip.mode.cells)
    beats = chip.channels // chip.output_lanes
    if fields["pooling"] != Pooling.NONE:
        pool = groups * max(granules * word_period(chip), 2 * beats - 1)
        return {"float pool": pool, "output pipeline": groups * beats}
    stages, written = {"feeder": granules * groups}, 0
    for unit, kind in enumerate(chip.units):
        tiles = fields[f"tiles[{unit}]"]
        if not tiles:
            continue
        written += tiles * groups
        if kind is UnitKind.SRAM:
            step = [fields["input_bits"]] * len(lengths)
        elif kind is UnitKind.TINY:
            broadcast = fields[f"mode[{unit}]"] == TinyMode.BROADCAST
            step = [length if broadcast else -(-length // chip.channels) for length in lengths]
        else:
            pairs = [(bit, digit) for bit in range(fields["input_bits"]) for digit in range(table["digits"])]
            rows = [table[f"rows_per_read[{bit * digits + digit}]"] for bit, digit in pairs]
            step = [sum(-(-length // number) for number in rows) for length in lengths]
        stages[f"{kind.value}{unit}"] = groups * tiles * slices * sum(step)
        stages[f"accumulator{unit}"] = groups * tiles * slices * 2 * len(lengths)
    stages["output pipeline"] = written * beats
    return stages


def run_cycles(fields: Mapping[str, int], table: Mapping[str, int], chip: ChipConfig) -> int:
    """Cycles of a RUN but for fetch, filling and draining."""
    pixels = fields["output_height"] * fields["output_width"]
    return pixels * max(stage_cycles(fields, table, chip).values())
