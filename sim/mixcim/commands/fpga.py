"""`mixcim fpga`: a chip on an FPGA board."""

from __future__ import annotations

import click

from .group import LazyCommands

#: Sub-command -> (module in mixcim.commands, one line of help).
COMMANDS = {
    "build": ("fpga_build", "Build a chip's bitstream for a board."),
    "program": ("fpga_program", "Load a bitstream into a board."),
    "run": ("fpga_run", "Run a program or a network on a board."),
    "selftest": ("fpga_selftest", "Check a board: link, memories, and a network on each kind of unit."),
}


@click.group(cls=LazyCommands, lazy=COMMANDS)
def command() -> None:
    """A chip on an FPGA board, over its serial port."""
