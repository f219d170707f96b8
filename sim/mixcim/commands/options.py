"""Options that several sub-commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path)

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
chip_option = click.option(
    "--chip", "chip_name", default="demo", show_default=True, help="Preset, or TOML file with `base` and other fields."
)


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


#: What `compile` needs beside the network and the chip; `run` has it too, for networks that are not compiled yet.
compile_options = _options(
    click.option("--calibrate", type=FILE, help="Inputs (.npz, .npy) to quantise a float network with."),
    click.option("--place", "rules", multiple=True, help="LAYER=UNIT or LAYER:0-15=UNIT,16-31=UNIT; may be repeated."),
    click.option("--placement", type=FILE, help="File with one placement rule a line."),
    click.option("--hidden", help="Kind of unit for hidden convolutions: memristor, sram (default) or tiny."),
    click.option("--table", default="16", show_default=True, help="Word lines: N, HH,M,LL, exact, or a file."),
)

#: How images become inputs of a network.
image_options = _options(
    click.option("--mean", help="Images (uint8) become (x / 255 - mean) / std: one number, or one for each channel."),
    click.option("--std", help="See --mean."),
)
