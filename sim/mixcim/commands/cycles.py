"""`mixcim cycles`: cycles of every layer, predicted exactly, without RTL and without inputs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ..cycles import predict
from .inputs import open_program
from .options import FILE, CompileChoice, compile_options, image_options, json_option
from .report import console, layer_records, layer_table, print_json


@click.command()
@click.argument("subject", metavar="PROGRAM|NETWORK", type=FILE)
@click.option("--chip", "chip_name", help="Chip; default: the program's own, or demo for a network.")
@compile_options
@image_options
@json_option
def command(
    subject: Path,
    chip_name: str | None,
    compilation: CompileChoice,
    mean: str | None,
    std: str | None,
    as_json: bool,
) -> None:
    """Show what a program (from mixcim compile) or a network (compiled first, same options) takes on a chip.

    Cycles are those of the RTL, to the cycle, by layer, with the share of the chip's peak work that they use. Nothing
    is run. With --skip-zero-groups they depend on the input: what is shown then leaves out no read.
    """
    program, chip = open_program(subject, chip_name, compilation, mean, std)
    start = time.perf_counter()
    prediction = predict(program, chip, bound=True)
    seconds = time.perf_counter() - start
    layers = layer_records(program, chip, prediction.cycles)
    summary: dict[str, Any] = {
        "network": program.network,
        "chip": chip.name,
        "cycles": prediction.total,
        "exact": prediction.exact,
        "seconds": seconds,
    }
    if as_json:
        print_json({**summary, "begins": prediction.begins.tolist(), "layers": layers})
        return
    screen = console()
    screen.print(layer_table(layers, f"{program.network} on chip {chip.name}, predicted"))
    most = "" if prediction.exact else "at most "
    screen.print(f"{most}{prediction.total:,} cycles for one input, predicted in {seconds:.2f} s")
    if most:
        screen.print("How many memristor reads without a word line are left out depends on the input; here none is.")
