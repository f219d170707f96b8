"""Payloads of the streams between blocks, and the view of a command; every compute unit speaks these.

```
 feeder --vector--> kernel controller --vector--> sequencer --step--> bank --dpv--> accumulator --result--> output
                    (one per chip)                '------------- one of each per compute unit -----------'  (one per
                                                                                                            engine)
```
"""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Member, Out, Signature

from .commands import ADDRESS_BITS, RUN_FIELDS, TABLE_ENTRY_FIELDS, TABLE_FIELDS, UNIT_FIELDS, pack_layout, run_layout
from .config import ChipConfig
from .formats import LARGEST_SLICES, SUM_BITS
from .registers import WRITE_REGISTERS


def planes_layout(chip: ChipConfig) -> data.ArrayLayout:
    """A vector as bit planes: planes[b][r] is bit b of row r's integer, which is sign-extended if it has a sign."""
    return data.ArrayLayout(chip.rows, chip.input_planes)


#: Exponent of the unit of a vector's integers (u of RUN in commands.py), and whether its window is special.
EXPONENT_LAYOUT = data.StructLayout({"unit": signed(9), "special": 1})


def sums_layout(chip: ChipConfig) -> data.ArrayLayout:
    """One complete sum per kernel of a kernel tile."""
    return data.ArrayLayout(signed(chip.accumulator_bits), chip.channels)


#: Bits of a unit's `copy` in RUN.
COPY_BITS = UNIT_FIELDS["copy"]


def vector_layout(chip: ChipConfig) -> data.StructLayout:
    """One row tile of a window.

    `length`: rows filled (the others are 0). `window_start`, `window_end`: first and last vector of a window. `copy`:
    number of the window modulo RUN's `copies`. `odd_group`: bit 0 of the window's group, counted from 0. `offset`:
    output pixel x output_pitch, in activation words.
    """
    return data.StructLayout(
        {
            "planes": planes_layout(chip),
            "length": chip.rows.bit_length(),
            "window_start": 1,
            "window_end": 1,
            "copy": COPY_BITS,
            "odd_group": 1,
            "offset": ADDRESS_BITS,
            "exponent": EXPONENT_LAYOUT,
        }
    )


#: Where partial sums belong: how many kernel tiles they are of, accumulator entry and parameter tile of the first one,
#: output offset, first and last partial sums of their window, slice of the weights; and what they are worth.
TAG_LAYOUT = data.StructLayout(
    {
        "tiles": 4,
        "tile": 8,
        "parameter": 16,
        "offset": ADDRESS_BITS,
        "first": 1,
        "last": 1,
        "slice": range(LARGEST_SLICES),
        "exponent": EXPONENT_LAYOUT,
    }
)


def step_layout(chip: ChipConfig) -> data.StructLayout:
    """One vector x one kernel tile, or up to 2**`packing` of them: what a bank computes at a time. `address`: slot or
    weight word."""
    return data.StructLayout(
        {
            "planes": planes_layout(chip),
            "length": chip.rows.bit_length(),
            "address": 17,
            "packing": 2,
            "tag": TAG_LAYOUT,
        }
    )


def dpv_layout(chip: ChipConfig, tiles: int = 1) -> data.StructLayout:
    """Dot-product values of one step: of each kernel of its tiles, which are at most `tiles`."""
    of_tile = data.ArrayLayout(signed(SUM_BITS), chip.channels)
    return data.StructLayout({"sums": data.ArrayLayout(of_tile, tiles), "tag": TAG_LAYOUT})


def result_layout(chip: ChipConfig) -> data.StructLayout:
    """Complete sums of one kernel tile of one pixel, for the output pipeline.

    If run.pooling, numbers of one word of channels instead: each a float32 pattern in the low bits of its sum.
    """
    return data.StructLayout(
        {"sums": sums_layout(chip), "parameter": 16, "offset": ADDRESS_BITS, "exponent": EXPONENT_LAYOUT}
    )


def run_view() -> data.FlexibleLayout:
    """RUN's fields but those of the units, over the first words of the command: the same on every chip."""
    return _view(pack_layout(RUN_FIELDS)[0])


def command_view(chip: ChipConfig) -> data.FlexibleLayout:
    """RUN's fields over the command register; unit fields by names such as `tiles[0]`."""
    return _view(run_layout(chip))


def _view(layout: Mapping[str, tuple[int, int]]) -> data.FlexibleLayout:
    fields: dict[str | int, data.Field] = {name: data.Field(width, bit) for name, (bit, width) in layout.items()}
    words = -(-max(bit + width for bit, width in layout.values()) // 32)
    return data.FlexibleLayout(words * 32, fields)


#: A unit's fields of RUN.
UNIT_LAYOUT = data.StructLayout(UNIT_FIELDS)


def table_shape(chip: ChipConfig) -> data.StructLayout:
    """How the memristor banks read (TABLE of commands.py): entries [input bit * digits of the chip + digit]."""
    entries = data.ArrayLayout(data.StructLayout(TABLE_ENTRY_FIELDS), chip.input_planes * len(chip.mode.cells))
    return data.StructLayout(
        {**{name: width for name, width in TABLE_FIELDS.items() if name != "opcode"}, "entries": entries}
    )


#: The registers of write-verify, in order: names without WRITE_, in lower case, and the widths.
WRITE_NAMES = [register.name.removeprefix("WRITE_").lower() for register in WRITE_REGISTERS]
WRITE_LAYOUT = data.StructLayout(dict(zip(WRITE_NAMES, WRITE_REGISTERS.values(), strict=True)))


def load_members(chip: ChipConfig, units: int = 1) -> dict[str, Member]:
    """Way of the weights to `units` compute units. load_enable: of each. load_address: weight word * `load_cycles` +
    part of it. load_data: the part, the word's first rows in part 0."""
    return {
        "load_enable": In(units),
        "load_address": In(ADDRESS_BITS + chip.load_part_bits),
        "load_data": In(chip.load_bits),
    }


class BankSignature(Signature):
    """The one interface of all kinds of compute unit; a fourth kind needs a component with this signature, no more.

    `step` comes in and, in the same order, one `dpv` goes out for each, of `tiles` kernel tiles at most. `load_*`
    writes a part of a weight word (load_members). `input_bits`, `input_signed` (the top one of them counts negative)
    and `mode` are constant while steps are in flight.
    """

    def __init__(self, chip: ChipConfig, tiles: int = 1):
        super().__init__(
            {
                "step": In(stream.Signature(step_layout(chip))),
                "dpv": Out(stream.Signature(dpv_layout(chip, tiles))),
                "input_bits": In(5),
                "input_signed": In(1),
                "mode": In(2),
                **load_members(chip),
            }
        )
