"""`mixcim fpga selftest`: link, memories and a network on each kind of unit, compared with the model."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import click
import numpy as np

from mixcim_hdl.config import ChipConfig, UnitKind, load_chip
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Event

from ..compile.compiler import compile_network
from ..compile.load import load_network
from ..errors import MixcimError
from ..host.memory_test import MemoryResult, check_memories
from ..host.serial_bus import SerialBus
from ..host.values import input_codes
from ..model import ProcessorModel
from ..networks.digits import DIGITS_RESNET, digits_data
from ..networks.small import small_inputs, small_network
from .board import run_on_board
from .options import SerialChoice, chip_option, json_option, serial_options
from .report import console, print_json, progress_bar

_SEED = 0


@dataclass(frozen=True)
class NetworkResult:
    """A network with its layers on one kind of unit: whether outputs and event counters are the model's."""

    network: str
    unit: str
    inputs: int
    equal: bool
    cycles: int
    seconds: float


@click.command()
@chip_option
@serial_options
@click.option("--images", type=click.IntRange(1, 360), default=4, show_default=True, help="Inputs for each network.")
@json_option
def command(chip_name: str, serial: SerialChoice, images: int, as_json: bool) -> int:
    """Check the board at --port, which must hold --chip: everything in its memories is overwritten.

    Asks what the board is, fills every memory with random words and reads them back, and runs the digits network on
    each kind of unit (or, on a chip that is too small for it, a smaller network), comparing outputs and event counters
    with the model. Exit code 1 if anything differs.
    """
    chip = load_chip(chip_name)
    tests = {unit: _network(chip, unit, images) for unit in dict.fromkeys(chip.units)}
    with progress_bar(as_json) as advance, serial.bus(chip) as bus:
        begin = time.perf_counter()
        memories = check_memories(bus, chip, _SEED, advance)
        seconds = time.perf_counter() - begin
        networks = []
        for unit, (program, codes) in tests.items():
            result = run_on_board(bus, program, chip, codes, advance)
            model = ProcessorModel(chip, program)
            equal = np.array_equal(model.run(codes), result.outputs) and all(
                int(getattr(model, name).sum()) == sum(getattr(item, name) for item in result.counters)
                for name in (event.name.lower() for event in Event)
            )
            networks.append(
                NetworkResult(
                    program.network, unit.value, len(codes), bool(equal), result.counters[-1].cycles, result.seconds
                )
            )
        moved = 8 * sum(memory.words for memory in memories)
        document: dict[str, Any] = {
            "port": serial.port,
            "chip": chip.name,
            **asdict(bus.identity),
            "memories": [{**asdict(memory), "region": memory.region.name} for memory in memories],
            "bytes_per_second": moved / seconds,
            "networks": [asdict(network) for network in networks],
            "repeats": bus.repeats,
        }
    passed = not any(memory.wrong for memory in memories) and all(network.equal for network in networks)
    if as_json:
        print_json({**document, "passed": passed})
    else:
        _show(document, memories, networks, bus)
    return 0 if passed else 1


def _network(chip: ChipConfig, unit: UnitKind, count: int) -> tuple[Program, np.ndarray]:
    """A program whose layers run on one kind of unit, and inputs for it, codes (count, height, width, channels)."""
    rules = [f"*={unit.value}"]
    try:
        program = compile_network(load_network(DIGITS_RESNET), chip, rules, "exact")
    except MixcimError:  # too big for the chip; the small network is not
        return compile_network(small_network(_SEED), chip, rules, "exact"), small_inputs(count, _SEED)
    return program, input_codes(program, digits_data()[2][:count])


def _show(
    document: dict[str, Any], memories: list[MemoryResult], networks: list[NetworkResult], bus: SerialBus
) -> None:
    screen = console()

    def line(right: bool, text: str) -> None:
        screen.print(f"{'yes' if right else 'NO':<4} {text}", soft_wrap=True)

    found = bus.identity
    line(
        True,
        f"chip {document['chip']} at {document['port']}: {found.clock_frequency / 1e6:g} MHz, link version "
        f"{found.link_version}, registers version {found.contract_version}",
    )
    for memory in memories:
        wrong = f", {memory.wrong:,} wrong, the first at {memory.address:#010x}" if memory.wrong else ""
        line(not memory.wrong, f"{memory.region.name.lower():<12} {memory.words:>8,} words{wrong}")
    for network in networks:
        line(
            network.equal,
            f"{network.network} on {network.unit}: {network.inputs} inputs, board = model, outputs and counters; "
            f"{network.cycles:,} cycles an input",
        )
    screen.print(
        f"{document['bytes_per_second'] / 1000:,.1f} kB/s; {document['repeats']} frames sent again", soft_wrap=True
    )
