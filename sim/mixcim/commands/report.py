"""Numbers and tables that several sub-commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mixcim_hdl.commands import Opcode, decode_command
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.formats import ACTIVATION_BITS
from mixcim_hdl.program import Program

Advance = Callable[[int, int, str], None]


def peak_multiply_accumulates(chip: ChipConfig) -> dict[str, float]:
    """Most multiply-accumulates that all units of each kind do in a cycle, 8-bit inputs and weights.

    SRAM-CIM: a slot in 8 / sram_planes cycles. Memristor: a slot in one read of all rows for each input bit and digit.
    Tiny-digital: a row for `channels` kernels in each cycle.
    """
    slot = chip.rows * chip.channels
    return {
        "memristor": chip.memristor_banks * slot / (ACTIVATION_BITS * len(chip.mode.cells)),
        "sram": chip.sram_banks * slot / chip.sram_cycles(ACTIVATION_BITS),
        "tiny": float(chip.tiny_banks * chip.channels),
    }


def memory_use(program: Program, chip: ChipConfig) -> list[dict[str, Any]]:
    """Used and available size of each memory: records {memory, used, available, unit}.

    Unit memories: the fullest unit of the kind, at the RUN that needs most of it.
    """
    records = [
        ("program store", len(program.commands), chip.program_commands, "commands"),
        ("weight store", len(program.weights), chip.weight_words, "words"),
        ("parameter memory", len(program.bias), chip.parameter_tiles, "kernel tiles"),
        ("activation memory", _activation_words(program), chip.activation_words, "words"),
    ]
    if chip.memristor_banks:
        lines = len(chip.mode.cells) * chip.physical_columns
        fullest = max(len(cells) for cells in program.memristor) // lines
        records.append(("memristor bank", fullest, chip.memristor_slots, "slots"))
    loaded = dict.fromkeys(range(len(chip.units)), 0)
    for words in program.commands:
        opcode, fields = decode_command(words, chip)
        if opcode is Opcode.LOAD:
            for unit in range(fields["unit"], fields["unit"] + fields["units"]):
                loaded[unit] = max(loaded[unit], fields["destination"] + fields["count"])
    for kind, name, per_slot in (
        (UnitKind.SRAM, "SRAM-CIM bank", chip.channels),
        (UnitKind.TINY, "tiny-digital unit", 1),
    ):
        units = [unit for unit, item in enumerate(chip.units) if item is kind]
        if units:
            used = -(-max(loaded[unit] for unit in units) // per_slot)
            records.append((name, used, chip.unit_capacity(kind), "slots" if kind is UnitKind.SRAM else "words"))
    return [dict(zip(("memory", "used", "available", "unit"), record, strict=True)) for record in records]


def _activation_words(program: Program) -> int:
    return max(place.address + place.words for place in program.tensors.values())


def layer_cycles(program: Program, cycles: np.ndarray) -> list[int]:
    """Cycles of each layer from those of each command (host.cycles.command_cycles), int64 (commands,)."""
    return [int(cycles[layer.commands].sum()) for layer in program.layers]


def chain_lines(program: Program) -> list[str]:
    """Which layers run depth-first, and in how many strips: a line for each chain of them."""
    chains: dict[int, list[str]] = {}
    for layer in program.layers:
        if layer.chain:
            chains.setdefault(layer.chain, []).append(layer.name.split(";")[0])
    strips = {layer.chain: len(layer.ranges) for layer in program.layers}
    return [f"depth-first: {', '.join(names)} in {strips[chain]} strips" for chain, names in chains.items()]


def layer_records(program: Program, chip: ChipConfig, cycles: np.ndarray | None = None) -> list[dict[str, Any]]:
    """One record a layer: name, kind, units, format, commands, chain of layers that run depth-first together (0: none)
    and strips, weight words, estimated cycles, MACs, and with `cycles` (of each command, as the host reads them) also
    cycles and utilisation = useful MACs / (cycles x peak MACs per cycle of the whole chip)."""
    peak = sum(peak_multiply_accumulates(chip).values())
    spent = None if cycles is None else layer_cycles(program, cycles)
    records = []
    for number, layer in enumerate(program.layers, 1):
        loads = [decode_command(program.commands[index], chip) for index in layer.commands]
        record: dict[str, Any] = {
            "layer": number,
            "name": layer.name,
            "kind": layer.kind,
            "kernels": layer.kernels,
            "format": layer.format,
            "commands": len(layer.commands),
            "chain": layer.chain,
            "strips": len(layer.ranges),
            "loaded_words": sum(fields["count"] for opcode, fields in loads if opcode is Opcode.LOAD),
            "estimated_cycles": layer.estimated_cycles,
            "multiply_accumulates": layer.multiply_accumulates,
        }
        if spent is not None:
            taken = spent[number - 1]
            record["cycles"] = taken
            record["utilisation"] = layer.multiply_accumulates / (taken * peak) if taken else 0.0
        records.append(record)
    return records


def layer_table(records: Sequence[dict[str, Any]], title: str) -> Table:
    """Records of layer_records as a table."""
    timed = bool(records) and "cycles" in records[0]
    table = Table(title=title, title_justify="left")
    for heading in ("", "layer", "kind", "kernels on", "format"):
        table.add_column(heading, overflow="fold", max_width=40)
    for heading in ("cycles", "utilisation") if timed else ("words loaded", "MACs", "cycles, estimated"):
        table.add_column(heading, justify="right")
    for record in records:
        units = ", ".join(f"{unit} {count}" for unit, count in record["kernels"].items())
        cells = [str(record["layer"]), record["name"].split(";")[0], record["kind"].replace("_", " "), units]
        cells.append(record["format"])
        if timed:
            cells += [
                f"{record['cycles']:,}",
                f"{record['utilisation']:.1%}" if record["multiply_accumulates"] else "-",
            ]
        else:
            keys = ("loaded_words", "multiply_accumulates", "estimated_cycles")
            cells += [f"{record[key]:,}" for key in keys]
        table.add_row(*cells)
    return table


def memory_table(records: Sequence[dict[str, Any]]) -> Table:
    """Records of memory_use as a table."""
    table = Table(title="memories", title_justify="left")
    table.add_column("memory")
    for heading in ("used", "available", "share"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    for record in records:
        share = f"{record['used'] / record['available']:.0%}"
        table.add_row(record["memory"], f"{record['used']:,}", f"{record['available']:,}", share, record["unit"])
    return table


def console() -> Console:
    """Where tables go: stdout, as wide as the terminal, at least 110 columns into a file."""
    return Console(width=None if sys.stdout.isatty() else 110, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=2))


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Advance]:
    """A progress bar on stderr: call it with (done, total, what). Nothing is shown if `quiet` or without a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    visible = sys.stderr.isatty() and not quiet
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not visible) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
