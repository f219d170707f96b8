"""Simulation models of ECP5 cells: those that yosys has none of, block RAM and multiplier, and those that are there by
the thousand, look-up table, carry cell and distributed RAM, in the form that simulates fastest.

Written from what Lattice documents (FPGA-TN-02204, ECP5 memory usage guide; FPGA-TN-02205, sysDSP usage guide), as far
as yosys uses them: block RAM of 1 to 18 bits a port, or of 36 with one port to write and one to read, without output
registers; what is read in the cycle that writes it comes out wrong, for the real one gives anything. Multiplier without
any register. A test proves look-up table and carry cell equal to yosys' own models.
"""

from __future__ import annotations

_INITIAL = 64  #: INITVAL parameters of a block RAM, 16 words of 20 bits each, of which 18 count


def _bits(name: str, width: int) -> str:
    """Ports name`width - 1` .. name0, most significant first."""
    return ", ".join(f"{name}{index}" for index in reversed(range(width)))


def _port(side: str) -> str:
    """One of the two ports of a block RAM, of up to 18 bits: what it would read and write on its clock."""
    return f"""\
  wire [17:0] di_{side} = {{{_bits(f"DI{side}", 18)}}};
  wire [13:0] ad_{side} = {{{_bits(f"AD{side}", 14)}}};
  reg [17:0] do_{side} = 0;
  assign {{{_bits(f"DO{side}", 18)}}} = do_{side};
  // Narrow words lie in the two bytes of nine bits of a word; those of 1, 2 and 4 bits leave the ninth alone.
  wire [9:0] row_{side} = ad_{side}[13:4];
  wire [4:0] place_{side} = (DATA_WIDTH_{side} == 18) ? 0
    : (ad_{side}[3] ? 9 : 0) + ((DATA_WIDTH_{side} == 4) ? {{ad_{side}[2], 2'b00}}
    : (DATA_WIDTH_{side} == 2) ? {{ad_{side}[2:1], 1'b0}} : (DATA_WIDTH_{side} == 1) ? ad_{side}[2:0] : 0);
  wire [17:0] kept_{side} = 18'h3ffff >> (18 - DATA_WIDTH_{side});
  // Words of 18 bits have an enable for each byte in the lowest address bits.
  wire [17:0] bytes_{side} = (DATA_WIDTH_{side} == 18) ? {{{{9{{ad_{side}[1]}}}}, {{9{{ad_{side}[0]}}}}}} : kept_{side};
  wire [17:0] mask_{side} = bytes_{side} << place_{side};
  wire [17:0] stored_{side} = contents[row_{side}];
  wire [17:0] written_{side} = (stored_{side} & ~mask_{side}) | ((di_{side} << place_{side}) & mask_{side});
  wire active_{side} = CE{side} && {{CS{side}2, CS{side}1, CS{side}0}} == 0;
"""


def _process(side: str) -> str:
    """What a port of up to 18 bits does on its clock; `if` before it leaves out those of 36."""
    other = {"A": "B", "B": "A"}[side]
    return f"""\
  wire meets_{side} = active_{other} && WE{other} && ((DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36)
    ? ad_A[13:5] == ad_B[13:5] && (DATA_WIDTH_A == 36 ? ad_A[3:0] != 0 : mask_A != 0)
    : row_A == row_B && (mask_{other} & (kept_{side} << place_{side})) != 0);
  if (DATA_WIDTH_{side} != 36) always @(posedge CLK{side}) begin
    if (active_{side} && WE{side}) contents[row_{side}] <= written_{side};
    if (DATA_WIDTH_A != 36 && DATA_WIDTH_B != 36 || "{side}" == "B") begin
      if (RST{side}) do_{side} <= 0;
      else if (active_{side} && !WE{side})
        do_{side} <= ((stored_{side} >> place_{side}) ^ {{18{{meets_{side}}}}}) & kept_{side};
      else if (active_{side} && WRITEMODE_{side} == "WRITETHROUGH")
        do_{side} <= (written_{side} >> place_{side}) & kept_{side};
      else if (active_{side} && WRITEMODE_{side} == "READBEFOREWRITE")
        do_{side} <= (stored_{side} >> place_{side}) & kept_{side};
    end
  end
"""


#: Words of 36 bits lie in two rows, the lower half in the even one. Port A alone writes them, with four byte enables,
#: port B alone reads them: the lower half goes and comes through the pins of A, the upper one through those of B.
_WIDE = """\
  if (DATA_WIDTH_A == 36) begin
    wire [35:0] bytes = {{9{ad_A[3]}}, {9{ad_A[2]}}, {9{ad_A[1]}}, {9{ad_A[0]}}};
    wire [35:0] old = {contents[{ad_A[13:5], 1'b1}], contents[{ad_A[13:5], 1'b0}]};
    wire [35:0] word = (old & ~bytes) | ({di_B, di_A} & bytes);
    always @(posedge CLKA) if (active_A && WEA) begin
      contents[{ad_A[13:5], 1'b0}] <= word[17:0];
      contents[{ad_A[13:5], 1'b1}] <= word[35:18];
    end
  end
  if (DATA_WIDTH_B == 36) always @(posedge CLKB)
    if (RSTB) {do_B, do_A} <= 0;
    else if (active_B)
      {do_B, do_A} <= {contents[{ad_B[13:5], 1'b1}], contents[{ad_B[13:5], 1'b0}]} ^ {36{meets_B}};
"""


def _block_ram() -> str:
    sides = "AB"
    inputs = ", ".join(
        f"input {_bits(f'DI{side}', 18)}, {_bits(f'AD{side}', 14)}, CE{side}, OCE{side}, CLK{side}, WE{side}, "
        f"RST{side}, CS{side}2, CS{side}1, CS{side}0, output {_bits(f'DO{side}', 18)}"
        for side in sides
    )
    initial = [f"INITVAL_{index:02X}" for index in range(_INITIAL)]
    settings = "".join(f"  parameter [319:0] {name} = 320'b0;\n" for name in initial)
    settings += "".join(
        f'  parameter DATA_WIDTH_{side} = 18;\n  parameter REGMODE_{side} = "NOREG";\n'
        f'  parameter CSDECODE_{side} = "0b000";\n  parameter WRITEMODE_{side} = "NORMAL";\n'
        f'  parameter CLK{side}MUX = "CLK{side}";\n'
        for side in sides
    )
    return f"""\
module DP16KD({inputs});
{settings}  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter GSR = "AUTO";
  reg [17:0] contents [0:1023];
  wire [20479:0] given = {{{", ".join(reversed(initial))}}};
  integer index;
  initial for (index = 0; index < 1024; index = index + 1) contents[index] = given[20 * index +: 18];
{_port("A")}{_port("B")}  generate
{_process("A")}{_process("B")}{_WIDE}  endgenerate
endmodule
"""


def _multiplier() -> str:
    return f"""\
module MULT18X18D(input {_bits("A", 18)}, {_bits("B", 18)}, {_bits("C", 18)}, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output {_bits("P", 36)});
  wire signed [18:0] a = {{SIGNEDA & A17, {_bits("A", 18)}}};
  wire signed [18:0] b = {{SIGNEDB & B17, {_bits("B", 18)}}};
  wire signed [37:0] product = a * b;
  assign {{{_bits("P", 36)}}} = product[35:0];
endmodule
"""


#: Cells that are there by the thousand. Yosys' models of them become several lines of Verilog for each LUT.
_SMALL_CELLS = """\
module LUT4(input A, B, C, D, output Z);
  parameter [15:0] INIT = 16'h0000;
  assign Z = INIT >> {D, C, B, A};
endmodule
module CCU2C(input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
  parameter [15:0] INIT0 = 16'h0000;
  parameter [15:0] INIT1 = 16'h0000;
  parameter INJECT1_0 = "YES";
  parameter INJECT1_1 = "YES";
  wire propagate0 = INIT0 >> {D0, C0, B0, A0};
  wire propagate1 = INIT1 >> {D1, C1, B1, A1};
  wire generate0, generate1, carry;
  generate
    if (INJECT1_0 == "YES") begin assign generate0 = 0; assign S0 = propagate0; end
    else begin assign generate0 = {4'b0000, INIT0[3:0]} >> {B0, A0}; assign S0 = propagate0 ^ CIN; end
    if (INJECT1_1 == "YES") begin assign generate1 = 0; assign S1 = propagate1; end
    else begin assign generate1 = {4'b0000, INIT1[3:0]} >> {B1, A1}; assign S1 = propagate1 ^ carry; end
  endgenerate
  assign carry = propagate0 ? CIN : generate0;
  assign COUT = propagate1 ? carry : generate1;
endmodule
module TRELLIS_DPR16X4(input [3:0] DI, WAD, input WRE, WCK, input [3:0] RAD, output [3:0] DO);
  parameter WCKMUX = "WCK";
  parameter WREMUX = "WRE";
  parameter [63:0] INITVAL = 64'h0000000000000000;
  reg [3:0] mem [15:0];
  integer index;
  initial for (index = 0; index < 16; index = index + 1) mem[index] = INITVAL[4 * index +: 4];
  always @(posedge WCK) if (WRE) mem[WAD] <= DI;
  assign DO = mem[RAD];
endmodule
"""


def ecp5_models() -> str:
    """Verilog of DP16KD, MULT18X18D, LUT4, CCU2C and TRELLIS_DPR16X4 (on the rising edge, with its enable)."""
    return _block_ram() + _multiplier() + _SMALL_CELLS
