"""One kernel of an SRAM-CIM bank: weight memory, mux compute units, adder tree.

Source: Wen et al., Science 384, 325 (2024): a compute unit holds W0, W1 and their stored sum; two input bits select.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import WEIGHT_BITS
from ..memory.ram import Ram


def adder_tree(terms: list) -> object:
    """Sum of any number of values as a balanced tree of two-input adders, full width."""
    while len(terms) > 1:
        terms = [sum(terms[index : index + 2][1:], terms[index]) for index in range(0, len(terms), 2)]
    return terms[0]


class SramColumn(wiring.Component):
    """`rows` weights per slot, `rows / 2` compute units, one input bit per row and cycle.

    ```
     x[2p+1] x[2p]   00: 0   01: W0   10: W1   11: W0+W1      for every pair p of rows
          '--> select --> adder tree --> sum (int, exact)
    ```

    Members
    -------
    load_* : writes one slot; row r's weight is bits 8r+7..8r; the pair sums are formed here.
    read_enable, read_address : fetch a slot; its weights apply from the next cycle on until the next fetch.
    plane : one input bit per row.    sum : combinational, sum over rows of plane[r] * weight[r].
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        address = range(chip.sram_slots)
        super().__init__(
            {
                "load_enable": In(1),
                "load_address": In(address),
                "load_data": In(chip.rows * WEIGHT_BITS),
                "read_enable": In(1),
                "read_address": In(address),
                "plane": In(chip.rows),
                "sum": Out(signed(WEIGHT_BITS + chip.rows.bit_length() - 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pairs = self._chip.rows // 2
        unit = data.StructLayout(
            {"w0": signed(WEIGHT_BITS), "w1": signed(WEIGHT_BITS), "both": signed(WEIGHT_BITS + 1)}
        )
        layout = data.ArrayLayout(unit, pairs)
        m.submodules.weights = memory = Ram(layout.size, self._chip.sram_slots)
        written, stored = data.View(layout, memory.write_data), data.View(layout, memory.read_data)
        m.d.comb += [
            memory.write_enable.eq(self.load_enable),
            memory.write_address.eq(self.load_address),
            memory.read_enable.eq(self.read_enable),
            memory.read_address.eq(self.read_address),
        ]
        terms = []
        for pair in range(pairs):
            w0, w1 = (self.load_data.word_select(2 * pair + row, WEIGHT_BITS).as_signed() for row in (0, 1))
            m.d.comb += written[pair].as_value().eq(Cat(w0, w1, w0 + w1))
            x0, x1 = self.plane[2 * pair], self.plane[2 * pair + 1]
            term = Signal(signed(WEIGHT_BITS + 1), name=f"term{pair}")
            m.d.comb += term.eq(Mux(x1, Mux(x0, stored[pair].both, stored[pair].w1), Mux(x0, stored[pair].w0, 0)))
            terms.append(term)
        m.d.comb += self.sum.eq(adder_tree(terms))
        return m
