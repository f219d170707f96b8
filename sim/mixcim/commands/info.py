"""`mixcim info`: what a chip has."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
from rich.table import Table

from mixcim_hdl.commands import Opcode, command_layout, command_words
from mixcim_hdl.config import ChipConfig, load_chip
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import EVENT_COUNTERS, EXPONENT_FIELDS, Event, Region, Register, window_address, window_bytes

from .options import chip_option, json_option
from .report import console, peak_multiply_accumulates, print_json


def memories(chip: ChipConfig) -> dict[str, int]:
    """Size of every memory of a chip, all units together, in bits."""
    cells = chip.memristor_words * chip.physical_columns * chip.rows
    # The tile of a chip with floating point has the place of its exponents, too.
    tile_bits = 48 if chip.floating_point else 32
    sizes = {
        "memristor cells": chip.memristor_banks * cells * max(chip.mode.cells),
        "SRAM-CIM weights": chip.sram_banks * chip.sram_slots * chip.channels * chip.rows * 8,
        "tiny-digital weights": chip.tiny_banks * chip.tiny_words * chip.rows * 8,
        "activation memory": chip.activation_words * chip.channels * 8,
        "weight store": chip.weight_words * chip.rows * 8,
        "program store": chip.program_commands * command_words(chip) * 32,
        "parameter memory": chip.parameter_tiles * (chip.channels * 64 + tile_bits),
    }
    if chip.floating_point:
        sizes["exponent memory"] = chip.activation_words * sum(EXPONENT_FIELDS.values())
    return sizes


def formats(chip: ChipConfig) -> dict[str, list[Any]]:
    """What a chip computes with: element formats of activations by name, and widths of aligned integers."""
    floating = [element.name for element in ElementFormat if element.floating] if chip.floating_point else []
    return {
        "elements": [ElementFormat.INTEGER.name, *floating],
        "aligned_bits": [bits for bits in ALIGNED_BITS if bits <= chip.aligned_bits],
    }


@click.command()
@chip_option
@json_option
def command(chip_name: str, as_json: bool) -> None:
    """Show a chip: sizes, number formats, memories, peak work per cycle, host registers, commands."""
    chip = load_chip(chip_name)
    sizes = {item.name: getattr(chip, item.name) for item in dataclasses.fields(chip)}
    bits, peak = memories(chip), peak_multiply_accumulates(chip)
    offsets = [*((item.name, item) for item in Register), *((e.name, EVENT_COUNTERS + 8 * e) for e in Event)]
    registers = [{"name": name, "address": window_address(Region.REGISTERS, offset)} for name, offset in offsets]
    regions = [
        {"name": region.name, "address": window_address(region), "bytes": window_bytes(region, chip)}
        for region in Region
    ]
    opcodes = [{"name": item.name, "opcode": int(item), "fields": len(command_layout(item, chip))} for item in Opcode]
    if as_json:
        document = {"presets": list(PRESETS), "sizes": sizes, "fingerprint": chip.fingerprint, "memory_bits": bits}
        document["formats"] = formats(chip)
        document |= {"peak_multiply_accumulates_per_cycle": peak, "registers": registers, "regions": regions}
        print_json({**document, "commands": opcodes, "command_words": command_words(chip)})
        return
    screen = console()
    screen.print(f"chip {chip.name}, fingerprint {chip.fingerprint:#010x}; presets: {', '.join(PRESETS)}")
    known = formats(chip)
    widths = ", ".join(map(str, known["aligned_bits"]))
    screen.print(f"formats: {', '.join(known['elements'])}{f'; aligned to {widths} bits' if widths else ''}")
    screen.print(_table("sizes", ("field", "value"), [(name, str(value)) for name, value in sizes.items()]))
    screen.print(_table("memories", ("memory", "kbit"), [(name, f"{size / 1024:,.0f}") for name, size in bits.items()]))
    rows = [(name, f"{number:g}") for name, number in {**peak, "all units": sum(peak.values())}.items()]
    screen.print(_table("peak multiply-accumulates per cycle, 8-bit", ("unit", "MACs"), rows))
    rows = [(item["name"], f"{item['address']:#010x}", f"{item['bytes']:,}") for item in regions]
    screen.print(_table("host regions", ("region", "address", "bytes"), rows))
    rows = [(item["name"], f"{item['address']:#04x}") for item in registers]
    screen.print(_table("registers", ("register", "byte offset"), rows))
    rows = [(item["name"], str(item["opcode"]), str(item["fields"])) for item in opcodes]
    screen.print(_table(f"commands of {command_words(chip)} words", ("command", "opcode", "fields"), rows))


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return table
