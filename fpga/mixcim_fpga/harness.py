"""Harness: any block between three pins, to place it alone and measure its clock."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out

from mixcim_hdl.emission import once

from .boards import Board, pins

BLOCK = "measured"  #: name of the block's module, behind the top's
#: Port -> port of a board's top whose pin it takes: one that nextpnr chooses may have no way to the clock network.
PINS = {"clk": "clock", "rst": "reset", "serial": "rx", "shift": "busy", "parity": "tx"}


def harness_constraints(board: Board) -> str:
    """Constraints, in Lattice's LPF, of a harness on a board with a reset button."""
    sites = {pin.port: pin.site for pin in pins(board)}
    return "".join(f'LOCATE COMP "{port}" SITE "{sites[place]}";\n' for port, place in PINS.items())


class Harness(wiring.Component):
    """Inputs of a block come from a shift register, its outputs go through registers to a parity.

    Members: serial, shift (the register shifts), parity.
    """

    def __init__(self, block: wiring.Component):
        self._block = block
        super().__init__({"serial": In(1), "shift": In(1), "parity": Out(1)})

    def elaborate(self, platform):
        m = Module()
        block = self._block
        m.submodules.block = once(block, BLOCK, platform)
        members = [(member.flow, Value.cast(value)) for _, member, value in block.signature.flatten(block)]
        inputs = Cat(value for flow, value in members if flow is Flow.In)
        outputs = Cat(value for flow, value in members if flow is Flow.Out)
        given, taken = Signal(len(inputs)), Signal(len(outputs))
        with m.If(self.shift):
            m.d.sync += given.eq(Cat(self.serial, given))
        m.d.comb += inputs.eq(given)
        m.d.sync += [taken.eq(outputs), self.parity.eq(taken.xor())]
        return m
