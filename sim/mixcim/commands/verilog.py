"""`mixcim verilog`: the processor as Verilog."""

from __future__ import annotations

from pathlib import Path

import click

from mixcim_hdl.config import load_chip
from mixcim_hdl.files import write_whole

from ..errors import MixcimError
from ..rtl.processor import TOP, processor_verilog
from .options import FILE, chip_option, json_option
from .report import print_json, progress_bar

DEFAULT_FOLDER = Path("build")


@click.command()
@chip_option
@click.option("-o", "--output", type=FILE, help="File to write; default: build/mixcim_CHIP.v.")
@json_option
def command(chip_name: str, output: Path | None, as_json: bool) -> None:
    """Write a chip's Verilog, one file, ready for any simulator or synthesiser. It is written whole or not at all."""
    chip = load_chip(chip_name)
    if output is None:
        DEFAULT_FOLDER.mkdir(exist_ok=True)
        output = DEFAULT_FOLDER / f"{TOP}_{chip.name}.v"
    if not output.parent.is_dir():
        raise MixcimError(f"folder '{output.parent}' of the output does not exist; create it first")
    with progress_bar(as_json) as advance:
        advance(0, 1, "writing Verilog")
        text = processor_verilog(chip)
    write_whole(output, text.encode())
    lines = text.count("\n")
    if as_json:
        print_json({"chip": chip.name, "file": str(output), "top": TOP, "lines": lines, "bytes": len(text)})
    else:
        click.echo(f"written: {output} (module {TOP}, {lines:,} lines)")
