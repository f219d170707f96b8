"""Board top: clock and reset of a board, and a Device between its serial pins."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from mixcim_hdl.config import ChipConfig

from .boards import LEDS, Board, pins
from .device import Device
from .pll import PllDividers, pll_dividers

#: Cycles of the crystal that everything stays reset after configuration or after the button was let go.
RESET_CYCLES = 1 << 15


class BoardTop(wiring.Component):
    """Everything on the FPGA.

    ```
     clock --> PLL --> clock of the processor;  not locked, or reset button --> counter --> its reset
     rx --> Device --> tx;  busy, fault, ready (out of reset) --> LEDs
    ```

    Members: those of the board's pins (boards.pins), high active; what is inverted on the board is inverted here.
    """

    def __init__(self, board: Board, chip: ChipConfig, megahertz: float) -> None:
        self._chip, self._megahertz, self._baud = chip, megahertz, board.baud
        self._crystal, self._inverted = board.crystal, {pin.port for pin in pins(board) if pin.inverted}
        self._lights = LEDS[: len(board.leds)]
        ports = {"clock": In(1), "rx": In(1), "tx": Out(1), **dict.fromkeys(self._lights, Out(1))}
        if board.reset:
            ports["reset"] = In(1)
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.crystal = crystal = ClockDomain(reset_less=True)
        m.domains.sync = sync = ClockDomain()
        m.d.comb += crystal.clk.eq(self.clock)
        pressed, locked, waiting = Signal(), Signal(), Signal(init=1)
        left = Signal(range(RESET_CYCLES), init=RESET_CYCLES - 1)
        if "reset" in self.signature.members:
            m.d.comb += pressed.eq(~self.reset if "reset" in self._inverted else self.reset)
        if self._megahertz == self._crystal:
            m.d.comb += [sync.clk.eq(self.clock), locked.eq(1)]
        else:
            m.submodules.pll = _pll(pll_dividers(self._crystal, self._megahertz), self.clock, sync.clk, locked)
        m.domains.restart = restart = ClockDomain(async_reset=True)
        m.d.comb += restart.clk.eq(self.clock)
        m.submodules.restart = ResetSynchronizer(pressed | ~locked, domain="restart")
        with m.If(restart.rst):
            m.d.crystal += [left.eq(RESET_CYCLES - 1), waiting.eq(1)]
        with m.Elif(left != 0):
            m.d.crystal += left.eq(left - 1)
        with m.Else():
            m.d.crystal += waiting.eq(0)
        m.submodules.released = ResetSynchronizer(waiting, domain="sync")

        m.submodules.device = device = Device(self._chip, round(self._megahertz * 1e6), self._baud)
        lights = {"busy": device.busy, "fault": device.fault, "ready": ~waiting}
        m.d.comb += [device.rx.eq(self.rx), self.tx.eq(device.tx)]
        for name in self._lights:
            m.d.comb += getattr(self, name).eq(~lights[name] if name in self._inverted else lights[name])
        return m


def _pll(dividers: PllDividers, clock: Signal, output: Signal, locked: Signal) -> Instance:
    """The ECP5's PLL with its feedback from the primary output."""
    return Instance(
        "EHXPLLL",
        p_CLKI_DIV=dividers.reference,
        p_CLKFB_DIV=dividers.feedback,
        p_CLKOP_DIV=dividers.output,
        p_CLKOP_CPHASE=dividers.output - 1,
        p_CLKOP_ENABLE="ENABLED",
        p_FEEDBK_PATH="CLKOP",
        i_CLKI=clock,
        i_CLKFB=output,
        i_RST=0,
        i_STDBY=0,
        i_PHASESEL0=0,
        i_PHASESEL1=0,
        i_PHASEDIR=0,
        i_PHASESTEP=0,
        i_PHASELOADREG=0,
        i_PLLWAKESYNC=0,
        i_ENCLKOP=0,
        o_CLKOP=output,
        o_LOCK=locked,
    )
