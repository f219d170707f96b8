"""Popcount: number of ones in a word. Column sums of both CIM kinds are popcounts of bit planes."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..emission import VerilogPlatform

POPCOUNT_MODULE = "mixcim_popcount"

#: A module of its own for every adder: Yosys would merge bare additions into one compressor of twice the area.
POPCOUNT_VERILOG = f"""\
// Number of ones in a word. Verilator counts a machine word at a time; synthesis gets a tree of adders.
module {POPCOUNT_MODULE} #(
  parameter WIDTH = 64,
  parameter RESULT = 7
) (
  input wire [WIDTH-1:0] word,
  output wire [RESULT-1:0] count
);
`ifdef VERILATOR
  assign count = RESULT'($countones(word));
`else
  generate
    if (WIDTH == 1) begin : leaf
      assign count = word;
    end else begin : split
      localparam LOW = WIDTH / 2;
      wire [RESULT-1:0] low;
      wire [RESULT-1:0] high;
      {POPCOUNT_MODULE} #(.WIDTH(LOW), .RESULT(RESULT)) low_half (.word(word[LOW-1:0]), .count(low));
      {POPCOUNT_MODULE} #(.WIDTH(WIDTH-LOW), .RESULT(RESULT)) high_half (.word(word[WIDTH-1:LOW]), .count(high));
      assign count = low + high;
    end
  endgenerate
`endif
endmodule
"""


class Popcount(wiring.Component):
    """Combinational. Members: word (`width` bits), count (number of its ones)."""

    def __init__(self, width: int):
        super().__init__({"word": In(width), "count": Out(range(width + 1))})

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform):
            return Instance(
                POPCOUNT_MODULE,
                p_WIDTH=len(self.word),
                p_RESULT=len(self.count),
                i_word=self.word,
                o_count=self.count,
            )
        m = Module()
        terms = list(self.word)
        while len(terms) > 1:
            odd = terms[-1:] if len(terms) % 2 else []
            terms = [low + high for low, high in zip(terms[::2], terms[1::2], strict=False)] + odd
        m.d.comb += self.count.eq(terms[0])
        return m


def popcount(m: Module, word: Value, name: str) -> Value:
    """Number of ones in `word`, by a Popcount submodule called `name`."""
    m.submodules[name] = counter = Popcount(len(word))
    m.d.comb += counter.word.eq(word)
    return counter.count
