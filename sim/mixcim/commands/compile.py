"""`mixcim compile`: network file in, program file and a table of what went where out."""

from __future__ import annotations

from pathlib import Path

import click

from mixcim_hdl.config import load_chip

from ..errors import MixcimError
from .inputs import compile_file
from .options import (
    FILE,
    CompileChoice,
    DeviceChoice,
    chip_option,
    compile_options,
    device_options,
    image_options,
    json_option,
)
from .report import chain_lines, console, layer_records, layer_table, memory_table, memory_use, print_json


@click.command()
@click.argument("network", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Program file to write; written whole or not at all.")
@chip_option
@compile_options
@image_options
@device_options
@json_option
def command(
    network: Path,
    output: Path,
    chip_name: str,
    compilation: CompileChoice,
    mean: str | None,
    std: str | None,
    device_choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Compile NETWORK (quantised ONNX, INT8 TFLite, or float ONNX with --calibrate or --format) for a chip.

    Layers are named as in the network, or layer1, layer2, ... in execution order, or * for all. By default depthwise,
    pooling and few-input layers run on tiny-digital units and all others on SRAM-CIM, which are exact.
    """
    chip = load_chip(chip_name)
    if not output.parent.is_dir():
        raise MixcimError(f"folder '{output.parent}' of the output does not exist; create it first")
    if output.exists() and output.samefile(network):
        raise MixcimError(f"output '{output}' is the network itself; give another name")
    _, program = compile_file(network, chip, compilation, mean, std)
    program = device_choice.applied(program, chip)
    program.save(output)
    layers, memories = layer_records(program, chip), memory_use(program, chip)
    if as_json:
        document = {"program": str(output), "network": program.network, "chip": chip.name}
        print_json({**document, "layers": layers, "memories": memories})
        return
    screen = console()
    screen.print(layer_table(layers, f"{program.network} on chip {chip.name}"))
    for line in chain_lines(program) or ["layer by layer"]:
        screen.print(line, soft_wrap=True)
    screen.print(memory_table(memories))
    screen.print(f"written: {output} ({output.stat().st_size:,} bytes)", soft_wrap=True)
