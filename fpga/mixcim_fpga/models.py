"""Simulation models of the two ECP5 blocks of which yosys has none: block RAM and multiplier.

Written from what Lattice documents (FPGA-TN-02204, ECP5 memory usage guide; FPGA-TN-02205, sysDSP usage guide), as far
as yosys uses them: block RAM of 1 to 18 bits a port without output registers, multiplier without any register.
"""

from __future__ import annotations

_INITIAL = 64  #: INITVAL parameters of a block RAM, 16 words of 20 bits each, of which 18 count


def _bits(name: str, width: int) -> str:
    """Ports name`width - 1` .. name0, most significant first."""
    return ", ".join(f"{name}{index}" for index in reversed(range(width)))


def _port(side: str) -> str:
    """One of the two ports of a block RAM: a process on its clock."""
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
  wire [17:0] mask_{side} = WE{side} ? bytes_{side} << place_{side} : 0;
  wire [17:0] stored_{side} = contents[row_{side}];
  wire [17:0] written_{side} = (stored_{side} & ~mask_{side}) | ((di_{side} << place_{side}) & mask_{side});
  wire active_{side} = CE{side} && {{CS{side}2, CS{side}1, CS{side}0}} == 0;
  always @(posedge CLK{side}) begin
    if (active_{side} && WE{side}) contents[row_{side}] <= written_{side};
    if (RST{side}) do_{side} <= 0;
    else if (active_{side} && !WE{side}) do_{side} <= (stored_{side} >> place_{side}) & kept_{side};
    else if (active_{side} && WRITEMODE_{side} == "WRITETHROUGH")
      do_{side} <= (written_{side} >> place_{side}) & kept_{side};
    else if (active_{side} && WRITEMODE_{side} == "READBEFOREWRITE")
      do_{side} <= (stored_{side} >> place_{side}) & kept_{side};
  end
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
{_port("A")}{_port("B")}endmodule
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


def ecp5_models() -> str:
    """Verilog of DP16KD and MULT18X18D."""
    return _block_ram() + _multiplier()
