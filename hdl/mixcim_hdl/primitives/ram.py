"""Memory with one write port and one synchronous read port: the only kind that the processor uses."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..emission import VerilogPlatform, for_fpga

#: Words up to which a memory for an FPGA stays whole: those of ECP5's block RAM at its widest, 36 bits.
CUT_DEPTH = 512
RAM_MODULE = "mixcim_ram"

#: The module behind every memory in the Verilog; replace its body by a foundry's SRAM macro.
RAM_VERILOG = f"""\
// Memory: one write port with {{lanes}} enables, one read port with a register. Contents are 0 at power-up.
module {RAM_MODULE} #(
  parameter WIDTH = 32,
  parameter DEPTH = 256,
  parameter ADDRESS = 8,
  parameter LANES = 1,
  /* verilator lint_off UNUSEDPARAM */  // it is for synthesis
  parameter STYLE = "auto"
  /* verilator lint_on UNUSEDPARAM */
) (
  input wire clk,
  input wire [LANES-1:0] write_enable,
  input wire [ADDRESS-1:0] write_address,
  input wire [WIDTH-1:0] write_data,
  input wire read_enable,
  input wire [ADDRESS-1:0] read_address,
  output reg [WIDTH-1:0] read_data
);
  localparam LANE = WIDTH / LANES;
  (* ram_style = STYLE, no_rw_check *)  // block RAM gives anything for a word that is written in the same cycle
  reg [WIDTH-1:0] contents [0:DEPTH-1];
  initial read_data = 0;
`ifndef SYNTHESIS  // block RAM is 0 at power-up anyway, and Yosys would unroll the loop
  integer index;
  initial for (index = 0; index < DEPTH; index = index + 1) contents[index] = 0;
`endif
`ifdef MIXCIM_SIMULATOR  // the simulator of mixcim finds the contents by this
  initial $c("mixcim::memory(", $sformatf("%m"), ", ", contents, ");");
`endif
  always @(posedge clk) if (read_enable) read_data <= contents[read_address];
  genvar lane;
  generate
    for (lane = 0; lane < LANES; lane = lane + 1) begin : write_lane
      always @(posedge clk)
        if (write_enable[lane])
          contents[write_address][lane*LANE +: LANE] <= write_data[lane*LANE +: LANE];
    end
  endgenerate
endmodule
""".replace("{lanes}", "LANES")


class Ram(wiring.Component):
    """`depth` words of `width` bits, written in `lanes` equal parts; 0 at power-up.

    Read latency 1: `read_data` follows `read_enable` by a cycle and stays until the next read. Reading a word in the
    cycle that writes it gives the old contents, but from an FPGA's block RAM anything. Addresses must be below `depth`.

    `quick`: on an FPGA in LUTs, which have the word a quarter of a cycle earlier than block RAM.

    Members
    -------
    write_enable : one bit per lane.    write_address, write_data.    read_enable, read_address, read_data.
    """

    def __init__(self, width: int, depth: int, lanes: int = 1, *, quick: bool = False):
        if width % lanes:
            raise ValueError(f"width must be a multiple of lanes ({lanes}), not {width}")
        self._width, self._depth, self._lanes, self._quick = width, depth, lanes, quick
        super().__init__(
            {
                "write_enable": In(lanes),
                "write_address": In(range(max(depth, 2))),
                "write_data": In(width),
                "read_enable": In(1),
                "read_address": In(range(max(depth, 2))),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform):
        if for_fpga(platform) and self._depth > CUT_DEPTH and self._depth & self._depth - 1:
            return self._cut()
        if isinstance(platform, VerilogPlatform):
            return Instance(
                RAM_MODULE,
                p_WIDTH=self._width,
                p_DEPTH=self._depth,
                p_ADDRESS=len(self.write_address),
                p_LANES=self._lanes,
                p_STYLE="distributed" if self._quick else "auto",
                i_clk=ClockSignal(),
                i_write_enable=self.write_enable,
                i_write_address=self.write_address,
                i_write_data=self.write_data,
                i_read_enable=self.read_enable,
                i_read_address=self.read_address,
                o_read_data=self.read_data,
            )
        m = Module()
        m.submodules.cells = memory = Memory(shape=self._width, depth=self._depth, init=[])
        write = memory.write_port(granularity=self._width // self._lanes if self._lanes > 1 else None)
        read = memory.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
        ]
        return m

    def _cut(self) -> Module:
        """As a memory of a power of two words and one of the rest.

        A block RAM holds a power of two words of few bits. As one, yosys would stack such of many bits, every one with
        all of its pins in use and a wide multiplexer behind them: more wires than an FPGA has where they are. Only a
        reset, which leaves the data of a whole memory, may change `read_data` before the next read.
        """
        m = Module()
        low_depth = 1 << (self._depth - 1).bit_length() - 1
        m.submodules.low = low = Ram(self._width, low_depth, self._lanes, quick=self._quick)
        m.submodules.high = high = Ram(self._width, self._depth - low_depth, self._lanes, quick=self._quick)
        from_high = Signal()
        with m.If(self.read_enable):
            m.d.sync += from_high.eq(self.read_address[-1])
        for part, chosen_write, chosen_read in (
            (low, ~self.write_address[-1], ~self.read_address[-1]),
            (high, self.write_address[-1], self.read_address[-1]),
        ):
            m.d.comb += [
                part.write_enable.eq(Mux(chosen_write, self.write_enable, 0)),
                part.write_address.eq(self.write_address[:-1]),
                part.write_data.eq(self.write_data),
                part.read_enable.eq(self.read_enable & chosen_read),
                part.read_address.eq(self.read_address[:-1]),
            ]
        m.d.comb += self.read_data.eq(Mux(from_high, high.read_data, low.read_data))
        return m
