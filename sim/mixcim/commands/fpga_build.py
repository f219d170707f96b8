"""`mixcim fpga build`: a chip's bitstream for a board."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixcim_fpga.boards import BOARDS, board_named
from mixcim_fpga.errors import BoardError
from mixcim_hdl.config import load_chip

from ..errors import MixcimError
from .options import FILE, json_option
from .report import print_json

if TYPE_CHECKING:
    from mixcim_fpga.tools import Cost

DEFAULT_FOLDER = Path("build")


@click.command()
@click.option("--board", "board_name", required=True, help=f"One of {', '.join(BOARDS)}.")
@click.option("--chip", "chip_name", help="Preset, or TOML file; default: the board's.")
@click.option("--clock", "megahertz", type=click.FloatRange(1, 400), help="In MHz; default: the board's.")
@click.option("-o", "--output", type=FILE, help="Bitstream to write; default: build/mixcim_BOARD_CHIP.bit.")
@click.option(
    "--seed", type=click.IntRange(1), default=1, show_default=True, help="Of placement: others may be faster."
)
@click.option("--keep", type=FILE, help="Folder for netlist, reports and logs; default: none of it stays.")
@json_option
def command(
    board_name: str,
    chip_name: str | None,
    megahertz: float | None,
    output: Path | None,
    seed: int,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Build a chip's bitstream for a board, with yosys, nextpnr and ecppack from PyPI.

    A line per step, with seconds and peak memory. What does not fit is told after synthesis, before placement. The
    bitstream is written whole, and only if the clock is reached.
    """
    from mixcim_fpga.build import build  # Needs Amaranth, which takes a second to load.

    try:
        board = board_named(board_name)
        chip = load_chip(chip_name or board.chip)
        if output is None:
            DEFAULT_FOLDER.mkdir(exist_ok=True)
            output = DEFAULT_FOLDER / f"mixcim_{board.name}_{chip.name}.bit"
        if not output.parent.is_dir():
            raise MixcimError(f"folder '{output.parent}' of the output does not exist; create it first")
        if (output.exists() and not output.is_file()) or not os.access(output.parent, os.W_OK):
            raise MixcimError(f"output '{output}' cannot be written; choose a file in a folder that is yours")
        if not as_json:
            click.echo(f"chip {chip.name} for {board.title}, {megahertz or board.megahertz:g} MHz")
        made = build(board, chip, megahertz or board.megahertz, output, _silent if as_json else _report, seed, keep)
    except BoardError as error:
        raise MixcimError(str(error)) from None
    if as_json:
        print_json(
            {
                "board": board.name,
                "chip": chip.name,
                "file": str(output),
                "bytes": len(made.data),
                "megahertz": made.megahertz,
                "needs": dataclasses.asdict(made.need),
                "steps": {name: dataclasses.asdict(cost) for name, cost in made.costs.items()},
            }
        )


def _silent(step: str, text: str | None, cost: Cost) -> None:
    """No report."""


def _report(step: str, text: str | None, cost: Cost) -> None:
    """A line at the end of a step; before that, on a terminal, the seconds so far on the same line."""
    if text is not None:
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        click.echo(f"{clear}{step}: {text} ({cost.seconds:.0f} s, {cost.megabytes:,.0f} MB)")
    elif sys.stdout.isatty():
        click.echo(f"\r{step} ... {cost.seconds:.0f} s", nl=False)
