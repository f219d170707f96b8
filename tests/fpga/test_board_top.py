"""The whole top of a board, PLL and reset included, on its serial pins, driven by the real host driver."""

import dataclasses
from pathlib import Path

import numpy as np

from fpga.test_device import CUT
from mixcim.compile.compiler import compile_network
from mixcim.host.processor import Processor
from mixcim.host.serial_bus import SerialBus
from mixcim.model import ProcessorModel
from mixcim.networks.small import small_inputs, small_network
from mixcim.rtl.bridge import SerialBridge
from mixcim.rtl.build import build_library
from mixcim.rtl.serial import SerialSimulator, serial_driver
from mixcim_fpga.boards import BOARDS
from mixcim_fpga.top import BoardTop
from mixcim_hdl.config import load_chip
from mixcim_hdl.verilog import to_verilog

#: A PLL that is locked from the beginning; its clock is the crystal's, so the crystal runs at the processor's rate.
PLL = """
module EHXPLLL(
  input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
  output CLKOP, LOCK
);
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOP_CPHASE = 0, CLKOP_ENABLE = "", FEEDBK_PATH = "";
  assign CLKOP = CLKI;
  assign LOCK = 1;
endmodule
"""
MEGAHERTZ, BAUD = 50.0, 12_500_000  #: four cycles a bit


def test_a_board_runs_a_network_over_its_serial_pins(tmp_path: Path) -> None:
    path = tmp_path / "cut.toml"
    path.write_text(CUT)
    chip = load_chip(str(path))
    board = dataclasses.replace(BOARDS["ulx3s"], baud=BAUD)
    verilog = to_verilog(BoardTop(board, chip, MEGAHERTZ), "board_top", "For tests only.")
    driver = serial_driver("clock", "reset", busy="busy", fault="fault")
    library = build_library(verilog + PLL, "board_top", driver=driver)
    program = compile_network(small_network(), chip, ["*=sram", "convolution=memristor"], "exact")
    inputs = small_inputs(3)
    with SerialSimulator(library, MEGAHERTZ * 1e6 / BAUD) as simulator, SerialBridge(simulator) as bridge:
        with SerialBus(bridge.port, chip, 1_000_000, patience=5) as bus:
            assert bus.identity.clock_frequency == MEGAHERTZ * 1e6
            processor = Processor(bus, chip)
            processor.load(program)
            assert np.array_equal(processor.run(inputs), ProcessorModel(chip, program).run(inputs))
            assert bus.repeats == 0
        assert not simulator.fault
