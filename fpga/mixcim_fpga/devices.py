"""What an FPGA has room for, and what the cells of a netlist need of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Places of LUT4s that a cell of an ECP5 takes: a carry cell is two of them; a RAM of 16 x 4 bits is four, and its
#: write port takes the inputs of two more.
LUT_PLACES = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}


@dataclass(frozen=True)
class Resources:
    """LUT4s, flip-flops, block RAMs of 18 kbit and 18 x 18 multipliers: of a device, or needed by a design."""

    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int


#: Name of each kind, and the fields of ChipConfig that need most of it.
KINDS = {
    "luts": ("LUT4", "rows, channels, sram_planes, sram_slots and output_lanes"),
    "flip_flops": ("flip-flops", "rows, channels and banks"),
    "block_rams": ("block RAMs", "weight_words, activation_words and tiny_words"),
    "multipliers": ("multipliers", "output_lanes, channels and tiny_banks"),
}

#: Of Lattice's ECP5 family data sheet, FPGA-DS-02012, table 1.1. Open tools use all of a 25F's die in a 12F.
ECP5 = {
    "12F": Resources(24_288, 24_288, 56, 28),
    "25F": Resources(24_288, 24_288, 56, 28),
    "45F": Resources(43_848, 43_848, 108, 72),
    "85F": Resources(83_640, 83_640, 208, 156),
}


def device_resources(device: str) -> Resources:
    """Resources of an ECP5 by its name, as LFE5U-85F."""
    return ECP5[device.rsplit("-", 1)[1]]


def needed(cells: Mapping[str, int]) -> Resources:
    """What a netlist needs, from the number of its cells of each type."""
    return Resources(
        luts=sum(places * cells.get(cell, 0) for cell, places in LUT_PLACES.items()),
        flip_flops=cells.get("TRELLIS_FF", 0),
        block_rams=cells.get("DP16KD", 0),
        multipliers=cells.get("MULT18X18D", 0),
    )


def too_much(need: Resources, have: Resources) -> list[str]:
    """A phrase for every kind of which more is needed than there is."""
    return [
        f"{getattr(need, field):,} of {getattr(have, field):,} {name} (lessen {fields})"
        for field, (name, fields) in KINDS.items()
        if getattr(need, field) > getattr(have, field)
    ]
