"""The column of an SRAM-CIM bank in its form for FPGAs: adders that mask their words, and no stored pair sums."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring

from ..config import ChipConfig
from ..formats import WEIGHT_BITS
from ..primitives.masked_sum import MaskedSum
from ..primitives.ram import Ram
from .column import column_inputs, column_signature, joined

GROUP = 16  #: rows that are summed before the register: as many levels of adders before it as fit a cycle beside it


class FpgaColumn(wiring.Component):
    """What SramColumn is, cycle by cycle, with 16 bits of memory for a pair of rows where that one has 27.

    ```
     planes --> mask --> sums of `GROUP` rows --> register --> sum of those in a segment --> sums
     weights ---^
    ```

    Members: those of SramColumn.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(column_signature(chip))

    def elaborate(self, platform):
        m = Module()
        rows = self._chip.rows
        parts = self._chip.load_cycles
        m.submodules.weights = memory = Ram(rows * WEIGHT_BITS, self._chip.sram_slots, lanes=parts)
        given = column_inputs(m, self, self._chip)
        m.d.comb += [
            memory.write_enable.eq(given["load_enable"]),
            memory.write_address.eq(given["load_address"]),
            memory.write_data.eq(given["load_data"].replicate(parts)),
            memory.read_enable.eq(given["read_enable"]),
            memory.read_address.eq(given["read_address"]),
        ]
        segments = self._chip.sram_segments
        size = min(GROUP, rows // segments)
        groups = rows // size // segments  # of a segment
        width = WEIGHT_BITS + size.bit_length() - 1
        totals: list[list[Value]] = [[] for _ in range(segments)]  # of a segment: of each plane
        for index in range(self._chip.sram_planes):
            plane = given["planes"][index]
            kept = Signal(width * groups * segments, name=f"kept{index}")
            for number in range(groups * segments):
                m.submodules[f"plane{index}_group{number}"] = group = MaskedSum(size, WEIGHT_BITS)
                m.d.comb += [
                    group.words.eq(memory.read_data.word_select(number, size * WEIGHT_BITS)),
                    group.mask.eq(plane.word_select(number, size)),
                ]
                with m.If(given["enable"]):
                    m.d.sync += kept.word_select(number, width).eq(group.sum)
            for segment in range(segments):
                m.submodules[f"plane{index}_segment{segment}"] = total = MaskedSum(groups, width)
                m.d.comb += [total.words.eq(kept.word_select(segment, width * groups)), total.mask.eq(-1)]
                totals[segment].append(total.sum.as_signed())
        m.d.comb += [
            self.sums[segment].eq(joined(self._chip, planes, self.negative)) for segment, planes in enumerate(totals)
        ]
        return m
