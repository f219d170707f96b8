"""One kernel of an SRAM-CIM bank: weight memory, mux compute units, column sum.

Source: Wen et al., Science 384, 325 (2024): a compute unit holds W0, W1 and their stored sum; two input bits select.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import WEIGHT_BITS
from ..primitives.delayed import delayed
from ..primitives.popcount import popcount
from ..primitives.ram import Ram


def column_signature(chip: ChipConfig) -> dict[str, wiring.Member]:
    """Members of a column in each of its forms."""
    address = range(chip.sram_slots)
    return {
        "load_enable": In(chip.load_cycles),
        "load_address": In(address),
        "load_data": In(chip.load_bits),
        "read_enable": In(1),
        "read_address": In(address),
        "planes": In(data.ArrayLayout(chip.rows, chip.sram_planes)),
        "enable": In(1),
        "negative": In(1),
        "sums": Out(data.ArrayLayout(sum_shape(chip), chip.sram_segments)),
    }


def sum_shape(chip: ChipConfig, segments: int = 1) -> Shape:
    """Shape of the sum over so many row segments of a column, of all planes that it takes in a cycle."""
    return signed(WEIGHT_BITS + (chip.rows // chip.sram_segments * segments).bit_length() - 1 + chip.sram_planes)


class SramColumn(wiring.Component):
    """`rows` weights per slot, `rows / 2` compute units, `sram_planes` input bits per row and cycle.

    ```
     x[2p+1] x[2p]   00: 0   01: W0   10: W1   11: W0+W1      for every pair p of rows
          '--> select --> popcounts --> sums at their places --> register --> sum of the planes (int, exact)
    ```

    Selection and sum work on bit planes (bit j of all pairs side by side): a sum is popcounts at their places. There is
    one for each of the chip's row segments.

    Members
    -------
    load_* : writes a part of a slot, rows / load_cycles rows, by its bit of load_enable; its row r has the weight in
        bits 8r+7..8r; the pair sums are formed here.
    read_enable, read_address : fetch a slot; its weights apply from the next cycle on until the next fetch.
    planes : input bits, planes[i][r] of row r, whose place is i.    enable : without it the register stays.
    sums : of each segment, sum over planes and its rows of planes[i][r] * weight[r] * 2**i. Latency 1; in a deep
        pipeline all inputs but `negative` come in a cycle later, from registers of the column's own.
    negative : the last plane of the sum that is there counts negative.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(column_signature(chip))

    def elaborate(self, platform):
        m = Module()
        pairs = self._chip.rows // 2
        # Bit plane j of W0, W1 and W0+W1: bit p belongs to pair p. The last plane is the sign, with a negative place.
        parts = self._chip.load_cycles
        bit_plane = data.StructLayout({"w0": pairs // parts, "w1": pairs // parts, "both": pairs // parts})
        part = data.ArrayLayout(bit_plane, WEIGHT_BITS + 1)
        m.submodules.weights = memory = Ram(part.size * parts, self._chip.sram_slots, lanes=parts)
        given = column_inputs(m, self, self._chip)
        written = Signal(part)
        stored = data.View(data.ArrayLayout(part, parts), memory.read_data)
        m.d.comb += [
            memory.write_data.eq(written.as_value().replicate(parts)),
            memory.write_enable.eq(given["load_enable"]),
            memory.write_address.eq(given["load_address"]),
            memory.read_enable.eq(given["read_enable"]),
            memory.read_address.eq(given["read_address"]),
        ]
        for pair in range(pairs // parts):
            w0, w1 = (given["load_data"].word_select(2 * pair + row, WEIGHT_BITS).as_signed() for row in (0, 1))
            both = Signal(signed(WEIGHT_BITS + 1), name=f"both{pair}")
            m.d.comb += both.eq(w0 + w1)
            for bit in range(WEIGHT_BITS + 1):
                weight_bit = min(bit, WEIGHT_BITS - 1)
                m.d.comb += [
                    written[bit].w0[pair].eq(w0[weight_bit]),
                    written[bit].w1[pair].eq(w1[weight_bit]),
                    written[bit].both[pair].eq(both[bit]),
                ]
        segments = self._chip.sram_segments
        kept: list[list[Value]] = [[] for _ in range(segments)]  # of a segment: of each plane
        for index in range(self._chip.sram_planes):
            plane = given["planes"][index]
            x0, x1 = Signal(pairs, name=f"x0_{index}"), Signal(pairs, name=f"x1_{index}")
            m.d.comb += [x0.eq(Cat(plane[0::2])), x1.eq(Cat(plane[1::2]))]
            terms: list[list[Value]] = [[] for _ in range(segments)]
            for bit in range(WEIGHT_BITS + 1):
                w0, w1, both = (Cat(own[bit][name] for own in stored) for name in ("w0", "w1", "both"))
                selected = (both & x0 & x1) | (w0 & x0 & ~x1) | (w1 & x1 & ~x0)
                for segment in range(segments):
                    own = selected.word_select(segment, pairs // segments)
                    terms[segment].append(popcount(m, own, f"plane{index}_bit{bit}_segment{segment}") << bit)
            for segment, own in enumerate(terms):
                total = Signal(sum_shape(self._chip), name=f"total{index}_{segment}")
                with m.If(given["enable"]):
                    m.d.sync += total.eq(sum(own[:-1]) - own[-1])
                kept[segment].append(total)
        m.d.comb += [
            self.sums[segment].eq(joined(self._chip, planes, self.negative)) for segment, planes in enumerate(kept)
        ]
        return m


def column_inputs(m: Module, column: wiring.Component, chip: ChipConfig) -> dict[str, Any]:
    """What a column takes in, by name; in a deep pipeline from registers, for there are wires from afar to it."""
    names = ("load_enable", "load_address", "load_data", "read_enable", "read_address", "planes", "enable")
    return {name: delayed(m, getattr(column, name), chip.deep_pipeline, f"{name}_here", True) for name in names}


def joined(chip: ChipConfig, sums: list[Value], negative: Value) -> Value:
    """Sums of planes at their places; the last one counts negative, if a chip with signed inputs says so."""
    top = sums[-1]
    if chip.floating_point:
        top = Mux(negative, -top, top)
    return sum((value << index for index, value in enumerate(sums[:-1])), top << len(sums) - 1)
