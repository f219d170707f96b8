"""Processor: the top module."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from .config import ChipConfig
from .control.axi_lite import axi_lite_ports, forward_axi_lite
from .core import Core
from .emission import once


class Processor(wiring.Component):
    """The whole chip behind an AXI4-Lite slave port and an interrupt; in Verilog its reset is registered first.

    The register keeps the reset pin out of every register's input logic: it eases the pin's fan-out, and Verilator
    evaluates logic that depends on an input twice per cycle. Reset takes effect one cycle late, so hold it for two.

    Members
    -------
    s_axi_* : AXI4-Lite slave, 32-bit address and data (registers.py has the map).
    interrupt : high while an enabled cause is pending.
    """

    def __init__(self, chip: ChipConfig):
        self.chip = chip
        super().__init__({**axi_lite_ports(), "interrupt": Out(1)})

    def elaborate(self, platform):
        m = Module()
        reset = Signal(init=1)
        m.d.sync += reset.eq(0)
        core = Core(self.chip)
        m.submodules.core = once(core, "core", platform, reset=reset)
        forward_axi_lite(m, self, core)
        m.d.comb += self.interrupt.eq(core.interrupt)
        for channel in ("aw", "w", "ar"):  # the core loses what it is given in the cycle by which its reset is late
            ready = f"s_axi_{channel}ready"
            m.d.comb += getattr(self, ready).eq(getattr(core, ready) & ~reset)
        return m
