"""Masked sum: the sum of those signed words whose mask bit is set; the column sum of SRAM-CIM on FPGAs."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..emission import VerilogPlatform

MASKED_SUM_MODULE = "mixcim_masked_sum"

ADDERS_MODULE = "mixcim_masked_adders"

#: ECP5: a carry cell has four inputs in front of each sum bit, which are a bit of both words and their mask bits, so
#: that masking costs nothing (init 0x7888 is (A & B) ^ (C & D)), where yosys would mask in LUTs of their own. The
#: lowest half of an adder's first cell makes the carry 0 (init 0), which takes less than the cells that nextpnr puts
#: before and behind a chain whose ends are connected, and lets adders follow each other in one chain. A chain begins
#: with a logic tile of four carry cells: as many adders are in one as fill whole tiles.
MASKED_SUM_VERILOG = f"""\
// Sum of the signed words whose mask bit is 1 (of all, if not MASKED): adders of two words, and the sum of their sums.
module {MASKED_SUM_MODULE} #(
  parameter WORDS = 2,
  parameter WIDTH = 8,
  parameter RESULT = 9,
  parameter MASKED = 1
) (
  input wire [WORDS*WIDTH-1:0] words,
  input wire [WORDS-1:0] mask,
  output wire [RESULT-1:0] sum
);
  generate
    if (WORDS == 1) begin : single
      assign sum = MASKED ? words & {{WIDTH{{mask[0]}}}} : words;
    end else begin : tree
      localparam PAIRS = WORDS / 2;
      localparam CELLS = (WIDTH + 3) / 2;
      localparam FULL = CELLS % 4 == 0 ? 1 : CELLS % 2 == 0 ? 2 : 4;
      localparam COUNT = FULL < PAIRS ? FULL : PAIRS;
      wire [PAIRS*(WIDTH+1)-1:0] sums;
      genvar chain;
      for (chain = 0; chain < PAIRS / COUNT; chain = chain + 1) begin : chains
        {ADDERS_MODULE} #(.COUNT(COUNT), .WIDTH(WIDTH), .MASKED(MASKED)) adders (
          .words(words[chain*2*COUNT*WIDTH +: 2*COUNT*WIDTH]),
          .mask(mask[chain*2*COUNT +: 2*COUNT]),
          .sums(sums[chain*COUNT*(WIDTH+1) +: COUNT*(WIDTH+1)])
        );
      end
      {MASKED_SUM_MODULE} #(.WORDS(PAIRS), .WIDTH(WIDTH+1), .RESULT(RESULT), .MASKED(0))
        rest (.words(sums), .mask({{PAIRS{{1'b1}}}}), .sum(sum));
    end
  endgenerate
endmodule

// COUNT sums of two signed words each, each word only where its mask bit is 1 if MASKED.
module {ADDERS_MODULE} #(
  parameter COUNT = 1,
  parameter WIDTH = 8,
  parameter MASKED = 0
) (
  input wire [2*COUNT*WIDTH-1:0] words,
  input wire [2*COUNT-1:0] mask,
  output wire [COUNT*(WIDTH+1)-1:0] sums
);
`ifdef MIXCIM_ECP5
  localparam CELLS = (WIDTH + 3) / 2;
  localparam [15:0] ADD = MASKED ? 16'h7888 : 16'h96AA;
  wire [COUNT*CELLS-1:0] carry;
`endif
  genvar adder;
  generate
    for (adder = 0; adder < COUNT; adder = adder + 1) begin : adders
      wire signed [WIDTH-1:0] low;
      wire signed [WIDTH-1:0] high;
      assign low = words[2*adder*WIDTH +: WIDTH];
      assign high = words[(2*adder+1)*WIDTH +: WIDTH];
`ifdef MIXCIM_ECP5
      wire [2*CELLS-1:0] a;
      wire [2*CELLS-1:0] c;
      wire [2*CELLS-1:0] total;
      assign a = {{{{2*CELLS-WIDTH-1{{low[WIDTH-1]}}}}, low, 1'b0}};
      assign c = {{{{2*CELLS-WIDTH-1{{high[WIDTH-1]}}}}, high, 1'b0}};
      assign sums[adder*(WIDTH+1) +: WIDTH+1] = total[WIDTH+1:1];
      genvar cell;
      for (cell = 0; cell < CELLS; cell = cell + 1) begin : bits
        localparam PLACE = adder*CELLS + cell;  // in the chain
        localparam [15:0] LOWER = cell ? ADD : 16'h0000;
        wire [3:0] lower;
        wire [3:0] upper;
        assign lower = !cell ? 4'b1111 : MASKED ? {{mask[2*adder+1], c[2*cell], mask[2*adder], a[2*cell]}}
                                                : {{2'b10, c[2*cell], a[2*cell]}};
        assign upper = MASKED ? {{mask[2*adder+1], c[2*cell+1], mask[2*adder], a[2*cell+1]}}
                              : {{2'b10, c[2*cell+1], a[2*cell+1]}};
        if (PLACE == 0) begin : first
          CCU2C #(.INIT0(LOWER), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
            .COUT(carry[0]),
            .A0(lower[0]), .B0(lower[1]), .C0(lower[2]), .D0(lower[3]), .S0(total[2*cell]),
            .A1(upper[0]), .B1(upper[1]), .C1(upper[2]), .D1(upper[3]), .S1(total[2*cell+1])
          );
        end else if (PLACE < COUNT*CELLS - 1) begin : middle
          CCU2C #(.INIT0(LOWER), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
            .CIN(carry[PLACE-1]), .COUT(carry[PLACE]),
            .A0(lower[0]), .B0(lower[1]), .C0(lower[2]), .D0(lower[3]), .S0(total[2*cell]),
            .A1(upper[0]), .B1(upper[1]), .C1(upper[2]), .D1(upper[3]), .S1(total[2*cell+1])
          );
        end else begin : last
          CCU2C #(.INIT0(LOWER), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
            .CIN(carry[PLACE-1]),
            .A0(lower[0]), .B0(lower[1]), .C0(lower[2]), .D0(lower[3]), .S0(total[2*cell]),
            .A1(upper[0]), .B1(upper[1]), .C1(upper[2]), .D1(upper[3]), .S1(total[2*cell+1])
          );
        end
      end
`else
      wire signed [WIDTH-1:0] first;
      wire signed [WIDTH-1:0] second;
      assign first = MASKED ? low & {{WIDTH{{mask[2*adder]}}}} : low;
      assign second = MASKED ? high & {{WIDTH{{mask[2*adder+1]}}}} : high;
      assign sums[adder*(WIDTH+1) +: WIDTH+1] = first + second;
`endif
    end
  endgenerate
endmodule
"""


class MaskedSum(wiring.Component):
    """Combinational. Members: words (`count` of them, signed, `width` bits each, side by side), mask, sum.

    `count` is a power of two; the sum has log2(count) bits more than a word.
    """

    def __init__(self, count: int, width: int):
        if count & (count - 1):
            raise ValueError(f"count must be a power of two, not {count}")
        self._width = width
        super().__init__({"words": In(count * width), "mask": In(count), "sum": Out(width + count.bit_length() - 1)})

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform):
            return Instance(
                MASKED_SUM_MODULE,
                p_WORDS=len(self.mask),
                p_WIDTH=self._width,
                p_RESULT=len(self.sum),
                i_words=self.words,
                i_mask=self.mask,
                o_sum=self.sum,
            )
        m = Module()
        words = [self.words.word_select(index, self._width).as_signed() for index in range(len(self.mask))]
        m.d.comb += self.sum.eq(sum(Mux(self.mask[index], word, 0) for index, word in enumerate(words)))
        return m
