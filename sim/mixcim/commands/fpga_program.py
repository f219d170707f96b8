"""`mixcim fpga program`: a bitstream into a board."""

from __future__ import annotations

from pathlib import Path

import click

from mixcim_fpga.boards import BOARDS, board_named
from mixcim_fpga.errors import BoardError
from mixcim_fpga.load import load

from ..errors import MixcimError
from .options import FILE


@click.command()
@click.option("--board", "board_name", required=True, help=f"One of {', '.join(BOARDS)}.")
@click.argument("bitstream", type=FILE)
def command(board_name: str, bitstream: Path) -> None:
    """Load a bitstream into a board's FPGA; it is gone when the power goes.

    Calls the board's usual loader, openFPGALoader for most, which must be installed.
    """
    try:
        loader = load(board_named(board_name), bitstream)
    except BoardError as error:
        raise MixcimError(str(error)) from None
    click.echo(f"loaded: {bitstream} (by {loader})")
