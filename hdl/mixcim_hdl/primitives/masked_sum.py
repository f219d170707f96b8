"""Masked sum: the sum of those signed words whose mask bit is set; the column sum of SRAM-CIM on FPGAs."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..emission import VerilogPlatform

MASKED_SUM_MODULE = "mixcim_masked_sum"

#: The first level takes the mask into its adders: a carry cell of ECP5 has four inputs in front of each sum bit, which
#: are a bit of both words and their mask bits, so that masking costs nothing (LUT init 0x7888 is (A & B) ^ (C & D)).
#: Yosys itself would mask in LUTs of their own.
MASKED_SUM_VERILOG = f"""\
// Sum of the signed words whose mask bit is 1: a tree of adders, each a module of its own.
module {MASKED_SUM_MODULE} #(
  parameter WORDS = 2,
  parameter WIDTH = 8,
  parameter RESULT = 9
) (
  input wire [WORDS*WIDTH-1:0] words,
  input wire [WORDS-1:0] mask,
  output wire [RESULT-1:0] sum
);
  generate
    if (WORDS == 1) begin : single
      assign sum = words & {{WIDTH{{mask[0]}}}};
    end else if (WORDS == 2) begin : pair
`ifdef MIXCIM_ECP5
      localparam CELLS = (RESULT + 1) / 2;
      wire [2*CELLS-1:0] low;
      wire [2*CELLS-1:0] high;
      wire [2*CELLS-1:0] total;
      wire [CELLS:0] carry;
      assign low = {{{{2*CELLS-WIDTH{{words[WIDTH-1]}}}}, words[0 +: WIDTH]}};
      assign high = {{{{2*CELLS-WIDTH{{words[2*WIDTH-1]}}}}, words[WIDTH +: WIDTH]}};
      assign carry[0] = 1'b0;
      assign sum = total[RESULT-1:0];
      genvar place;
      for (place = 0; place < CELLS; place = place + 1) begin : bits
        CCU2C #(.INIT0(16'h7888), .INIT1(16'h7888), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
          .CIN(carry[place]), .COUT(carry[place+1]),
          .A0(low[2*place]), .B0(mask[0]), .C0(high[2*place]), .D0(mask[1]), .S0(total[2*place]),
          .A1(low[2*place+1]), .B1(mask[0]), .C1(high[2*place+1]), .D1(mask[1]), .S1(total[2*place+1])
        );
      end
`else
      wire signed [WIDTH-1:0] low;
      wire signed [WIDTH-1:0] high;
      assign low = words[0 +: WIDTH] & {{WIDTH{{mask[0]}}}};
      assign high = words[WIDTH +: WIDTH] & {{WIDTH{{mask[1]}}}};
      assign sum = low + high;
`endif
    end else begin : tree
      localparam HALF = WORDS / 2;
      wire signed [RESULT-2:0] low;
      wire signed [RESULT-2:0] high;
      {MASKED_SUM_MODULE} #(.WORDS(HALF), .WIDTH(WIDTH), .RESULT(RESULT-1))
        low_half (.words(words[0 +: HALF*WIDTH]), .mask(mask[0 +: HALF]), .sum(low));
      {MASKED_SUM_MODULE} #(.WORDS(HALF), .WIDTH(WIDTH), .RESULT(RESULT-1))
        high_half (.words(words[HALF*WIDTH +: HALF*WIDTH]), .mask(mask[HALF +: HALF]), .sum(high));
      assign sum = low + high;
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
