"""Masked sum: the sum of those signed words whose mask bit is set; the column sum of SRAM-CIM on FPGAs."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..emission import VerilogPlatform

MASKED_SUM_MODULE = "mixcim_masked_sum"

ADDER_MODULE = "mixcim_masked_adder"

#: ECP5: a carry cell has four inputs in front of each sum bit, which are a bit of both words and their mask bits, so
#: that masking costs nothing (init 0x7888 is (A & B) ^ (C & D)), where yosys would mask in LUTs of their own. The
#: lowest half of the first cell makes the carry 0 (init 0), which takes less than the cells that nextpnr puts before
#: and behind a chain whose ends are connected.
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
      {ADDER_MODULE} #(.WIDTH(WIDTH), .MASKED(1)) adder
        (.low(words[0 +: WIDTH]), .high(words[WIDTH +: WIDTH]), .mask(mask), .sum(sum));
    end else begin : tree
      localparam HALF = WORDS / 2;
      wire [RESULT-2:0] low;
      wire [RESULT-2:0] high;
      {MASKED_SUM_MODULE} #(.WORDS(HALF), .WIDTH(WIDTH), .RESULT(RESULT-1))
        low_half (.words(words[0 +: HALF*WIDTH]), .mask(mask[0 +: HALF]), .sum(low));
      {MASKED_SUM_MODULE} #(.WORDS(HALF), .WIDTH(WIDTH), .RESULT(RESULT-1))
        high_half (.words(words[HALF*WIDTH +: HALF*WIDTH]), .mask(mask[HALF +: HALF]), .sum(high));
      {ADDER_MODULE} #(.WIDTH(RESULT-1), .MASKED(0)) adder (.low(low), .high(high), .mask(2'b11), .sum(sum));
    end
  endgenerate
endmodule

// Sum of two signed words, each only where its mask bit is 1 if MASKED.
module {ADDER_MODULE} #(
  parameter WIDTH = 8,
  parameter MASKED = 0
) (
  input wire signed [WIDTH-1:0] low,
  input wire signed [WIDTH-1:0] high,
  input wire [1:0] mask,
  output wire [WIDTH:0] sum
);
`ifdef MIXCIM_ECP5
  localparam CELLS = (WIDTH + 3) / 2;
  localparam [15:0] ADD = MASKED ? 16'h7888 : 16'h96AA;
  wire [2*CELLS-1:0] a;
  wire [2*CELLS-1:0] c;
  wire [2*CELLS-1:0] total;
  wire [CELLS-1:0] carry;
  assign a = {{{{2*CELLS-WIDTH-1{{low[WIDTH-1]}}}}, low, 1'b0}};
  assign c = {{{{2*CELLS-WIDTH-1{{high[WIDTH-1]}}}}, high, 1'b0}};
  assign sum = total[WIDTH+1:1];
  genvar cell;
  generate
    for (cell = 0; cell < CELLS; cell = cell + 1) begin : bits
      wire [1:0] b;
      wire [1:0] third;
      wire fourth;
      assign b = MASKED ? {{2{{mask[0]}}}} : c[2*cell +: 2];
      assign third = MASKED ? c[2*cell +: 2] : 2'b00;
      assign fourth = MASKED ? mask[1] : 1'b1;
      if (cell == 0) begin : first
        CCU2C #(.INIT0(16'h0000), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
          .COUT(carry[0]), .A0(1'b1), .B0(1'b1), .C0(1'b1), .D0(1'b1), .S0(total[0]),
          .A1(a[1]), .B1(b[1]), .C1(third[1]), .D1(fourth), .S1(total[1])
        );
      end else if (cell < CELLS - 1) begin : middle
        CCU2C #(.INIT0(ADD), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
          .CIN(carry[cell-1]), .COUT(carry[cell]),
          .A0(a[2*cell]), .B0(b[0]), .C0(third[0]), .D0(fourth), .S0(total[2*cell]),
          .A1(a[2*cell+1]), .B1(b[1]), .C1(third[1]), .D1(fourth), .S1(total[2*cell+1])
        );
      end else begin : last
        CCU2C #(.INIT0(ADD), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) adder (
          .CIN(carry[cell-1]),
          .A0(a[2*cell]), .B0(b[0]), .C0(third[0]), .D0(fourth), .S0(total[2*cell]),
          .A1(a[2*cell+1]), .B1(b[1]), .C1(third[1]), .D1(fourth), .S1(total[2*cell+1])
        );
      end
    end
  endgenerate
`else
  wire signed [WIDTH-1:0] first;
  wire signed [WIDTH-1:0] second;
  assign first = MASKED ? low & {{WIDTH{{mask[0]}}}} : low;
  assign second = MASKED ? high & {{WIDTH{{mask[1]}}}} : high;
  assign sum = first + second;
`endif
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
