"""`mixcim tune`: word-line tables for a network's memristor layers, from calibration data."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table

from mixcim_hdl.config import load_chip
from mixcim_hdl.files import write_whole

from ..compile.load import quantise_input
from ..compile.placement import place, read_placement_file
from ..errors import MixcimError
from ..explore.tune import LayerTuning, tune
from .inputs import open_network, read_inputs
from .options import FILE, chip_option, image_options, json_option
from .report import console, print_json, progress_bar


def write_tables(path: Path, found: list[LayerTuning]) -> None:
    """Table file for `mixcim compile --table`: the first layer's table as default, and every layer's own."""

    def entry(tuning: LayerTuning) -> dict[str, object]:
        return {"rows_per_read": tuning.table.rows_per_read, "step_shift": tuning.table.step_shift}

    document = {**entry(found[0]), "layers": {tuning.layer: entry(tuning) for tuning in found}}
    write_whole(path, json.dumps(document, indent=1).encode())


@click.command()
@click.argument("network", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Table file (.json) to write, for --table.")
@click.option("--calibrate", type=FILE, help="Inputs to quantise a float network with, as those of run.")
@click.option("--inputs", type=FILE, help="Inputs to take windows from; default: those of --calibrate.")
@click.option("--limit", type=click.IntRange(1), default=32, show_default=True, help="Inputs to take windows from.")
@click.option("--place", "rules", multiple=True, help="LAYER=UNIT or LAYER:0-15=UNIT,16-31=UNIT; may be repeated.")
@click.option("--placement", type=FILE, help="File with one placement rule a line.")
@click.option("--hidden", default="memristor", show_default=True, help="Kind of unit for hidden convolutions.")
@click.option(
    "--budget", type=float, default=0.05, show_default=True, help="Largest error of a layer: r.m.s., in output codes."
)
@click.option("--windows", type=click.IntRange(1), default=256, show_default=True, help="Windows sampled per layer.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sampling.")
@chip_option
@image_options
@json_option
def command(
    network: Path,
    output: Path,
    calibrate: Path | None,
    inputs: Path | None,
    limit: int,
    rules: tuple[str, ...],
    placement: Path | None,
    hidden: str,
    budget: float,
    windows: int,
    seed: int,
    chip_name: str,
    mean: str | None,
    std: str | None,
    as_json: bool,
) -> None:
    """Find how many word lines each memristor read of NETWORK may turn on, layer by layer (2D-PVA-DA).

    For every pair of input bit and weight digit, the fewest reads such that the error of the layer's outputs stays
    inside the budget. `mixcim compile --table FILE` uses the result.
    """
    chip = load_chip(chip_name)
    if not output.parent.is_dir():
        raise MixcimError(f"folder '{output.parent}' of the output does not exist; create it first")
    inputs = inputs or calibrate
    if inputs is None:
        raise MixcimError("tune needs inputs to look at: give --inputs FILE, or --calibrate FILE for a float network")
    opened = open_network(network, calibrate, mean, std)
    values, _ = read_inputs(inputs, opened.file_shape, opened.input_layout, mean, std)
    all_rules = [*(read_placement_file(placement) if placement else []), *rules]
    with progress_bar(as_json) as advance:
        _, found = tune(
            opened, chip, place(opened, chip, all_rules, hidden), quantise_input(opened, values[:limit]),
            budget=budget, windows=windows, seed=seed, progress=advance,
        )  # fmt: skip
    write_tables(output, found)
    reads = sum(tuning.reads * tuning.windows for tuning in found)
    uniform = sum(tuning.uniform_reads * tuning.windows for tuning in found)
    if as_json:
        layers = [
            {
                "layer": t.layer,
                "reads": t.reads * t.windows,
                "uniform_reads": t.uniform_reads * t.windows,
                "error": t.error,
            }
            for t in found
        ]
        print_json({"tables": str(output), "seed": seed, "reads": reads, "uniform_reads": uniform, "layers": layers})
        return
    table = Table(title=f"word-line tables of {opened.name} on chip {chip.name}, budget {budget}, seed {seed}")
    for heading in ("layer", "reads", "reads, 16 rows", "change", "error (codes, r.m.s.)"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for t in found:
        change = f"{t.reads / t.uniform_reads - 1:+.1%}"
        table.add_row(t.layer, f"{t.reads * t.windows:,}", f"{t.uniform_reads * t.windows:,}", change, f"{t.error:.3f}")
    screen = console()
    screen.print(table)
    screen.print(f"reads an input: {reads:,} instead of {uniform:,} ({reads / uniform - 1:+.1%})")
    screen.print(f"written: {output}", soft_wrap=True)
