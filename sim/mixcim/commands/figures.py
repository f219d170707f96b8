"""`mixcim figures`: the figures that the project shows, as records, tables and plots."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from ..errors import MixcimError
from ..figures import FIGURES, Figure, FigureRequest
from .options import FILE, json_option
from .report import console, print_json, progress_bar

DEFAULT_FOLDER = Path("build") / "figures"


@click.command()
@click.argument("name", type=click.Choice(list(FIGURES)))
@click.option("-o", "--output", "folder", type=FILE, default=DEFAULT_FOLDER, show_default=True, help="Folder of plots.")
@click.option("--device", "devices", multiple=True, help="Device to show (name or file); may be repeated.")
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), default=1, show_default=True, help="Seed of every draw.")
@click.option("--limit", type=click.IntRange(1), help="Test images; default: all, but 400 of ed8, 200 of accuracy.")
@click.option("--seeds", type=click.IntRange(1), help="Device seeds of accuracy, from --seed on; default: 3.")
@json_option
def command(
    name: str,
    folder: Path,
    devices: tuple[str, ...],
    seed: int,
    limit: int | None,
    seeds: int | None,
    as_json: bool,
) -> None:
    """Make the figure NAME: measure, print records {name, value, unit, paper, goal, met, how}, draw plots.

    \b
    ed2       ResNet-20 in every pair of input and weight format, and over aligned width
    ed5       word-line reads of ResNet-20's layers, uniform against tuned tables, on RTL and model
    ed8       ResNet-20 in BF16 and FP16 over aligned width: four methods of alignment and their costs
    ed9       device sheet: levels, spread, drift, noise and programming, measured from programmed cells
    accuracy  ResNet-20 on memristor over device, time since programming and word-line table
    mobilenet MobileNet-v2 in floating point against FP32 (a table, no plot)

    All but ed9 read the workloads ($MIXCIM_WORKLOADS). What they have measured is kept in the output folder:
    after Ctrl-C, and with other options, they go on from there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise MixcimError(f"output '{folder}' is a file: give a folder for the plots") from None
    with progress_bar(as_json) as advance:
        module = importlib.import_module(f"mixcim.figures.{name}")
        figure: Figure = module.make(FigureRequest(folder, devices, seed, advance, limit, seeds))
    if as_json:
        print_json({"figure": name, "plots": [str(plot) for plot in figure.plots], "records": list(figure.records)})
        return
    screen = console()
    for table in figure.tables:
        screen.print(table)
    for plot in figure.plots:
        screen.print(f"written: {plot}", soft_wrap=True)
