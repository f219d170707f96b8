"""The column of an SRAM-CIM bank in its form for FPGAs: adders that mask their words, and no stored pair sums."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from ..config import ChipConfig
from ..formats import WEIGHT_BITS
from ..primitives.masked_sum import MaskedSum
from ..primitives.ram import Ram
from .column import column_signature, joined

GROUP = 16  #: rows that are summed before the register: as many levels of adders before it as fit a cycle beside it


class FpgaColumn(wiring.Component):
    """What SramColumn is, cycle by cycle, with 16 bits of memory for a pair of rows where that one has 27.

    ```
     planes --> mask --> sums of `GROUP` rows --> register --> sum of those --> sum
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
        m.submodules.weights = memory = Ram(rows * WEIGHT_BITS, self._chip.sram_slots)
        m.d.comb += [
            memory.write_enable.eq(self.load_enable),
            memory.write_address.eq(self.load_address),
            memory.write_data.eq(self.load_data),
            memory.read_enable.eq(self.read_enable),
            memory.read_address.eq(self.read_address),
        ]
        groups = rows // GROUP
        sums = []
        for index, plane in enumerate(self.planes):
            width = WEIGHT_BITS + GROUP.bit_length() - 1
            kept = Signal(width * groups, name=f"kept{index}")
            for number in range(groups):
                m.submodules[f"plane{index}_group{number}"] = group = MaskedSum(GROUP, WEIGHT_BITS)
                m.d.comb += [
                    group.words.eq(memory.read_data.word_select(number, GROUP * WEIGHT_BITS)),
                    group.mask.eq(plane.word_select(number, GROUP)),
                ]
                with m.If(self.enable):
                    m.d.sync += kept.word_select(number, width).eq(group.sum)
            m.submodules[f"plane{index}_total"] = total = MaskedSum(groups, width)
            m.d.comb += [total.words.eq(kept), total.mask.eq(-1)]
            sums.append(total.sum)
        m.d.comb += self.sum.eq(joined(self._chip, sums, self.negative))
        return m
