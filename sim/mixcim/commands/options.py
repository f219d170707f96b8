"""Options that several sub-commands have."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixcim_fpga.protocol import DEFAULT_BAUD
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import ALIGNED_BITS, Rounding
from mixcim_hdl.formats import WEIGHT_BITS
from mixcim_hdl.program import Program

from ..compile.formats import NUMBER_FORMATS, Formats, parse_formats
from ..device.cells import apply_device
from ..device.library import load_device
from ..device.readout import with_readout
from ..errors import MixcimError

if TYPE_CHECKING:
    from ..host.serial_bus import SerialBus

FILE = click.Path(path_type=Path)
#: What --rounding takes.
ROUNDINGS = {"nearest": Rounding.NEAREST_EVEN, "truncate": Rounding.TRUNCATE}
_WIDTHS = click.Choice([str(bits) for bits in ALIGNED_BITS])

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


def _collected(
    name: str, choice: Callable[..., Any], *options: Callable[[Command], Command]
) -> Callable[[Command], Command]:
    """Options whose values reach the command as one argument `name`, the dataclass `choice`."""

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def collect(**arguments: Any) -> Any:
            values = {item.name: arguments.pop(item.name) for item in dataclasses.fields(choice)}  # pyright: ignore
            return function(**arguments, **{name: choice(**values)})

        return _options(*options)(collect)

    return decorate


@dataclass(frozen=True)
class CompileChoice:
    """What the user chose of `compile_options`; see compile.compiler.compile_network and compile.formats."""

    calibrate: Path | None = None
    weight_bits: int = WEIGHT_BITS
    rules: tuple[str, ...] = ()
    placement: Path | None = None
    hidden: str | None = None
    table: str = "16"
    skip_zero_groups: bool = False
    format_rules: tuple[str, ...] = ()
    output_format: str | None = None
    aligned_bits: str | None = None
    weight_aligned_bits: str | None = None
    rounding: str | None = None

    def formats(self, chip: ChipConfig) -> Formats | None:
        """Number formats for a network on that chip, None if the user chose none. Raises MixcimError."""
        formats = None
        if self.format_rules or self.output_format is not None:
            formats = parse_formats(
                self.format_rules,
                chip.aligned_bits,
                None if self.aligned_bits is None else int(self.aligned_bits),
                None if self.weight_aligned_bits is None else int(self.weight_aligned_bits),
                ROUNDINGS[self.rounding or "nearest"],
                self.output_format,
            )
        if formats is None or formats.floating is None:
            for name in ("aligned_bits", "weight_aligned_bits", "rounding"):
                if getattr(self, name) is not None:
                    option = f"--{name.replace('_', '-')} {getattr(self, name)}"
                    raise MixcimError(f"{option} is for floating-point layers: choose them with --format, e.g. bf16")
        return formats


#: What `compile` needs beside the network and the chip; `run` has it too, for networks that are not compiled yet.
compile_options = _collected(
    "compilation",
    CompileChoice,
    click.option("--calibrate", type=FILE, help="Inputs to quantise a float network with, as those of run."),
    click.option(
        "--weight-bits",
        type=click.IntRange(2, WEIGHT_BITS),
        default=WEIGHT_BITS,
        show_default=True,
        help="Of a float network's weights, when it is quantised.",
    ),
    click.option(
        "--format",
        "format_rules",
        multiple=True,
        help="Of a float network's layers: bf16, INPUTS/WEIGHTS (bf16/int8), or LAYER=either; may be repeated. "
        f"Formats: {', '.join(NUMBER_FORMATS)}. Layers without one are int8.",
    ),
    click.option("--output-format", help="Of the network's output; default: as its last layer's inputs."),
    click.option("--aligned-bits", type=_WIDTHS, help="Of aligned inputs and weights.  [default: 12 or the chip's]"),
    click.option("--weight-aligned-bits", type=_WIDTHS, help="Of aligned weights, where they shall have others."),
    click.option("--rounding", type=click.Choice(list(ROUNDINGS)), help="Of aligned numbers.  [default: nearest]"),
    click.option("--place", "rules", multiple=True, help="LAYER=UNIT or LAYER:0-15=UNIT,16-31=UNIT; may be repeated."),
    click.option("--placement", type=FILE, help="File with one placement rule a line."),
    click.option("--hidden", help="Kind of unit for hidden convolutions: memristor, sram (default) or tiny."),
    click.option("--table", default="16", show_default=True, help="Word lines: N, HH,M,LL, exact, or a file."),
    click.option("--skip-zero-groups", is_flag=True, help="Leave out memristor reads whose input bits are all 0."),
)

#: How images become inputs of a network.
image_options = _options(
    click.option("--mean", help="Images (uint8) become (x / 255 - mean) / std: one number, or one for each channel."),
    click.option("--std", help="See --mean."),
)


@dataclass(frozen=True)
class SerialChoice:
    """Where the board is; see host.serial_bus."""

    port: str | None
    baud: int | None

    def bus(self, chip: ChipConfig) -> SerialBus:
        """The board's host port, with that chip on it. Raises MixcimError."""
        # Imported here: no other command needs pyserial.
        from ..host.serial_bus import SerialBus
        from ..host.serial_port import ports_here

        if self.port is None:
            raise MixcimError(f"a board needs --port; {ports_here()}: plug the board in and name its port")
        return SerialBus(self.port, chip, self.baud or DEFAULT_BAUD)


#: Where a board is.
serial_options = _collected(
    "serial",
    SerialChoice,
    click.option("--port", help="Serial port of the board, such as /dev/ttyUSB0."),
    click.option(
        "--baud", type=click.IntRange(1), help=f"Its rate, as the board was built.  [default: {DEFAULT_BAUD}]"
    ),
)


@dataclass(frozen=True)
class DeviceChoice:
    """What the user chose of `device_options`; `device` None: the program's cells are left as they are."""

    device: str | None
    device_seed: int
    device_sampling: str
    time_s: float
    temperature_c: float

    def applied(self, program: Program, chip: ChipConfig) -> Program:
        """The program with the device's cells, ADCs and read noise, all from the seed. Raises MixcimError."""
        if self.device is None:
            return program
        device = load_device(self.device, self.device_sampling)
        program = apply_device(
            program, chip, device, seed=self.device_seed, time_s=self.time_s, temperature_c=self.temperature_c
        )
        return with_readout(program, chip, device, self.device_seed)


#: Cells of a real technology instead of ideal ones.
device_options = _collected(
    "device_choice",
    DeviceChoice,
    click.option("--device", help="Memristor cells: ideal, wan2022, milo2021, techA, techB, or a device file."),
    click.option("--device-seed", type=click.IntRange(0, (1 << 32) - 1), default=0, show_default=True),
    click.option("--device-sampling", type=click.Choice(["fit", "cells"]), default="fit", show_default=True),
    click.option("--time", "time_s", type=float, default=1.0, show_default=True, help="Seconds since programming."),
    click.option("--temperature", "temperature_c", type=float, default=25.0, show_default=True, help="Of storage, C."),
)
