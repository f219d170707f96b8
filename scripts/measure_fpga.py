"""Measure chips and compute arrays on ECP5, write docs/fpga.json, and from it the tables of docs/fpga_boards.md.

    python scripts/measure_fpga.py                         everything (hours on two cores: placement runs one at a time)
    python scripts/measure_fpga.py --parts arrays          the compute arrays alone
    python scripts/measure_fpga.py --parts boards --builds ulx3s
    python scripts/measure_fpga.py --parts tables          only the tables, from docs/fpga.json

What is measured takes the place of what the file has; all else stays. With -o, which is for measurements beside each
other, the tables are left alone. Parts: `arrays` (each between three pins: synthesis and placement), `boards` (BUILDS,
as `mixcim fpga build` makes them), `cycles` (ResNet-20 and the demo network on their chips, predicted, which is exact),
`memristor` (ResNet-20 under device variation on MEMRISTOR: RTL against model, and how fast the model is), `blocks` (of
chip `ulx3s`: cells), `clocks` (of BLOCKS, placed alone), `presets` (cells of every preset, or of --presets).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measure_chips import ROOT, WORKLOADS, digits, hardware_digest, resnet20

from mixcim.compile.compiler import compile_network
from mixcim.cycles import predict
from mixcim.device.cells import apply_device
from mixcim.device.library import load_device
from mixcim.device.readout import with_readout
from mixcim.errors import MixcimError
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.model.memristor import Method
from mixcim.rtl.processor import rtl_processor
from mixcim_fpga.boards import BOARDS, Board
from mixcim_fpga.build import build, cells_of, device_options, place, reached, synthesise
from mixcim_fpga.devices import LUT_PLACES, Resources, needed
from mixcim_fpga.errors import ClockMissed, DoesNotFit, OutOfMemory
from mixcim_fpga.harness import BLOCK, Harness, harness_constraints
from mixcim_fpga.tools import Cost
from mixcim_hdl.config import ChipConfig, load_chip
from mixcim_hdl.control.layer_controller import LayerController
from mixcim_hdl.core import weight_store
from mixcim_hdl.feeder.feeder import Feeder
from mixcim_hdl.memory.activation import ActivationMemory
from mixcim_hdl.memristor.bank import MemristorBank
from mixcim_hdl.output.pipeline import OutputPipeline
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.processor import Processor
from mixcim_hdl.registers import Event
from mixcim_hdl.sram.bank import SramBank
from mixcim_hdl.sram.column import SramColumn
from mixcim_hdl.tiny.bank import TinyBank

PARTS = ("arrays", "boards", "cycles", "memristor", "blocks", "clocks", "presets", "tables")
DOCUMENT = ROOT / "docs" / "fpga.json"
PAGE = ROOT / "docs" / "fpga_boards.md"
#: What arrays are placed on.
ARRAY_BOARD = BOARDS["ulx3s"]
RAM_CELLS = ("TRELLIS_DPR16X4",)

_BASE = dataclasses.replace(
    PRESETS["ulx3s"],
    name="array",
    rows=64,
    channels=16,
    sram_slots=16,
    sram_planes=2,
    feeder_words=1,
    deep_pipeline=0,
    load_cycles=1,
)


def _chip(**fields: Any) -> ChipConfig:
    return dataclasses.replace(_BASE, **fields)


#: Name -> (component, chip, bits of inputs, multiply-accumulates a cycle of 8-bit weights with these inputs).
ARRAYS: dict[str, tuple[Callable[[ChipConfig], Any], ChipConfig, int]] = {
    "SRAM 16 x 4, 1 plane": (SramBank, _chip(rows=16, channels=4, sram_planes=1), 8),
    "SRAM 32 x 8, 1 plane": (SramBank, _chip(rows=32, channels=8, sram_planes=1), 8),
    "SRAM 64 x 16, 1 plane": (SramBank, _chip(sram_planes=1), 8),
    "SRAM 16 x 4, 2 planes": (SramBank, _chip(rows=16, channels=4), 8),
    "SRAM 32 x 8, 2 planes": (SramBank, _chip(rows=32, channels=8), 8),
    "SRAM 64 x 16, 2 planes": (SramBank, _chip(), 8),
    "SRAM 32 x 8, 4 planes": (SramBank, _chip(rows=32, channels=8, sram_planes=4), 8),
    "SRAM 64 x 16, 4 planes": (SramBank, _chip(sram_planes=4), 8),
    "SRAM 32 x 8, 8 planes": (SramBank, _chip(rows=32, channels=8, sram_planes=8), 8),
    "SRAM 64 x 8, 8 planes": (SramBank, _chip(channels=8, sram_planes=8), 8),
    "SRAM 32 x 8, 4 planes, BF16 in 8 bits": (SramBank, _chip(rows=32, channels=8, sram_planes=4, aligned_bits=8), 8),
    "SRAM 32 x 8, 4 planes, BF16 in 12 bits": (
        SramBank,
        _chip(rows=32, channels=8, sram_planes=4, aligned_bits=12),
        12,
    ),
    "SRAM 32 x 8, 6 planes, BF16 in 12 bits": (
        SramBank,
        _chip(rows=32, channels=8, sram_planes=6, aligned_bits=12),
        12,
    ),
    "tiny-digital 8 lanes": (TinyBank, _chip(rows=32, channels=8), 8),
    "tiny-digital 16 lanes": (TinyBank, _chip(), 8),
    "memristor 16 x 4": (MemristorBank, _chip(rows=16, channels=4, memristor_banks=1, memristor_slots=16), 8),
}


TOP = "mixcim"  #: of a chip without a board
MEMRISTOR = "ulx3s-memristor"
#: Board, chip and MHz of each build: every board's own, the chip that is built soonest, that with a memristor bank, and
#: the tests' chip, which has floating point and no registers on the long ways.
BUILDS: dict[str, tuple[Board, str, float]] = {
    **{name: (board, board.chip, board.megahertz) for name, board in BOARDS.items()},
    "ecp5-25f": (BOARDS["ulx3s"], "ecp5-25f", 50.0),
    MEMRISTOR: (BOARDS["ulx3s"], MEMRISTOR, 25.0),
    "tiny": (BOARDS["ulx3s"], "tiny", 12.5),
}
#: Layers of ResNet-20 that MEMRISTOR has on its memristor bank, the others are on SRAM-CIM; and its word-line table.
ON_MEMRISTOR = (
    *(f"layer1.{block}.conv{number}=memristor" for block in range(3) for number in (1, 2)),
    "layer2.0.conv1=memristor",
)
WORD_LINES = "32"
#: A device with every non-ideality, and inputs to run on the model by the definition and by the compiled kernel.
DEVICE_FILE = ROOT / "docs" / "everything.toml"
DEVICE_SEED, DEVICE_TIME_S = 1, 1e4
INPUTS = {Method.DEFINITION: 16, Method.FASTEST: 512}


#: Blocks of chip `ulx3s` that are placed alone, by the names that they have in its netlist.
BLOCKS: dict[str, Callable[[ChipConfig], Any]] = {
    "output": OutputPipeline,
    "feeder": Feeder,
    "unit_tiny_bank": TinyBank,
    "layer_controller": LayerController,
    "activations": ActivationMemory,
    "weights": weight_store,
    "sram_column": SramColumn,
}


def work_per_cycle(component: Callable[[ChipConfig], Any], chip: ChipConfig, bits: int) -> float:
    """Multiply-accumulates a cycle with 8-bit weights and inputs of so many bits, at best."""
    slot = chip.rows * chip.channels
    if component is SramBank:
        return slot / chip.sram_cycles(bits)
    if component is TinyBank:
        return float(chip.channels)
    return slot / (bits * len(chip.mode.cells))


def measure_alone(component: Any, placed: bool) -> tuple[Counter[str], float | None, float]:
    """A block between three pins: its cells and, if it is to be placed, its clock in MHz; seconds that it took."""
    with tempfile.TemporaryDirectory(prefix="mixcim_array_") as folder:
        _, cost = synthesise(Harness(component), "top", Path(folder), kept=(f"*{BLOCK}",))
        statistics = json.loads((Path(folder) / "stat.json").read_text())
        (module,) = (module for module in statistics["modules"] if module.endswith(BLOCK))
        cells = cells_of(statistics, module.lstrip("\\"))
        if not placed:
            return cells, None, cost.seconds
        lpf, device = harness_constraints(ARRAY_BOARD), device_options(ARRAY_BOARD)
        report, placing = place(Path(folder), "top", device, 100.0, 1, lpf=lpf, rip_up=False)
    return cells, reached(report, 100.0), cost.seconds + placing.seconds


def measure_array(name: str, placed: bool) -> dict[str, Any]:
    """Cells of a compute array and its clock."""
    component, chip, bits = ARRAYS[name]
    cells, megahertz, seconds = measure_alone(component(chip), placed)
    need = needed(cells)
    memory = sum(LUT_PLACES[cell] * cells.get(cell, 0) for cell in RAM_CELLS)
    found = {
        **dataclasses.asdict(need),
        "memory_luts": memory,
        "megahertz": megahertz,
        "work": work_per_cycle(component, chip, bits),
        "slots": chip.sram_slots,
        "cells": dict(cells),
        "seconds": seconds,
    }
    clock = f"{found['megahertz']:.1f} MHz" if placed else "not placed"
    say(f"{name}: {found['luts']:,} LUT4, {clock}, {found['seconds']:.0f} s")
    return found


def measure_board(board: Board, chip: ChipConfig, megahertz: float, seed: int, keep: Path | None) -> dict[str, Any]:
    """A build as `mixcim fpga build` makes it: what it needs, the clock, what each step took."""
    record: dict[str, Any] = {"chip": chip.name, "wanted": megahertz, "seed": seed}

    def report(step: str, text: str | None, cost: Cost) -> None:
        if text is not None:
            record.setdefault("steps", {})[step] = dataclasses.asdict(cost)
            say(f"{board.name}: {step}: {text} ({cost.seconds:.0f} s, {cost.megabytes:,.0f} MB)")

    with tempfile.TemporaryDirectory(prefix="mixcim_board_") as folder:
        try:
            made = build(board, chip, megahertz, Path(folder) / "top.bit", report, seed, keep)
        except ClockMissed as error:
            return {**record, "reason": str(error), "megahertz": error.megahertz}
        except DoesNotFit as error:
            return {**record, "reason": str(error)}
    return {**record, **dataclasses.asdict(made.need), "megahertz": made.megahertz, "used": made.used,
            "bytes": len(made.data)}  # fmt: skip


def kept_apart(chip: ChipConfig) -> tuple[dict[str, Any], Cost]:
    """Cells of each module of a chip with its hierarchy kept, as yosys counts them, and what that took.

    Every distinct block is synthesised once, and the whole is a little larger than in a build.
    """
    with tempfile.TemporaryDirectory(prefix="mixcim_apart_") as folder:
        _, cost = synthesise(Processor(chip), TOP, Path(folder), kept=("*",))
        return json.loads((Path(folder) / "stat.json").read_text()), cost


def measure_preset(chip: ChipConfig) -> dict[str, Any]:
    """What a chip needs of an ECP5, with its host port and without a board; or why that cannot be told."""
    try:
        statistics, cost = kept_apart(chip)
    except OutOfMemory as error:
        return {"reason": str(error)}
    need = needed(cells_of(statistics, TOP))
    say(f"{chip.name}: {need.luts:,} LUT4 ({cost.seconds:.0f} s, {cost.megabytes:,.0f} MB)")
    return dataclasses.asdict(need) | dataclasses.asdict(cost)


def measure_blocks(chip: ChipConfig) -> dict[str, dict[str, int]]:
    """What each block of a chip needs."""
    statistics, _ = kept_apart(chip)
    return {
        name: dataclasses.asdict(needed(cells)) | {"times": times} for name, times, cells in blocks_of(statistics, TOP)
    }


def blocks_of(statistics: Mapping[str, Any], top: str) -> Iterator[tuple[str, int, Counter[str]]]:
    """(block, instances, cells of all of them together) of the blocks that people would name, the largest first."""
    modules = {name.lstrip("\\"): item["num_cells_by_type"] for name, item in statistics["modules"].items()}
    times: Counter[str] = Counter()

    def walk(name: str, count: int) -> None:
        times[name] += count
        for cell, number in modules[name].items():
            if cell.lstrip("\\") in modules:
                walk(cell.lstrip("\\"), count * number)

    walk(top, 1)
    found = []
    for name, count in times.items():
        if name.startswith("$paramod") or name == top:
            continue
        cells = Counter({kind: number * count for kind, number in cells_of(statistics, name).items()})
        found.append((name.removeprefix(f"{top}_"), count, cells))
    yield from sorted(found, key=lambda item: -needed(item[2]).luts)[:24]


def measure_cycles(chip: ChipConfig, workloads: Path) -> dict[str, Any]:
    """Cycles of an input of ResNet-20 and of the demo network on a chip, predicted exactly; or why it does not fit."""
    found: dict[str, Any] = {}
    rules, lines = (ON_MEMRISTOR, WORD_LINES) if chip.name == MEMRISTOR else ((), "16")
    for name, load in {"resnet20_cifar100": resnet20, "digits_resnet": digits}.items():
        try:
            network, _ = load(workloads)
            program = compile_network(network, chip, rules if load is resnet20 else (), lines)
        except (MixcimError, OSError) as error:
            found[name] = {"reason": str(error)}
            continue
        found[name] = {"cycles": predict(program, chip).total}
        say(f"{chip.name}: {name}: {found[name]['cycles']:,} cycles")
    return found


def measure_memristor(workloads: Path) -> dict[str, Any]:
    """ResNet-20 under every non-ideality: RTL and model agree on an input, and inputs a second of the model."""
    chip = load_chip(MEMRISTOR)
    network, inputs = resnet20(workloads)
    program = compile_network(network, chip, ON_MEMRISTOR, WORD_LINES)
    device = load_device(str(DEVICE_FILE), "fit")
    program = apply_device(program, chip, device, seed=DEVICE_SEED, time_s=DEVICE_TIME_S)
    program = with_readout(program, chip, device, DEVICE_SEED)
    codes = input_codes(program, inputs[: max(INPUTS.values())])
    found: dict[str, Any] = {"device": DEVICE_FILE.name, "seed": DEVICE_SEED, "time_s": DEVICE_TIME_S}
    found["cores"] = os.cpu_count()
    model = ProcessorModel(chip, program)
    for method, count in INPUTS.items():
        model.method = method
        start = time.perf_counter()
        outputs = model.run(codes[:count])
        found[method.value] = {"inputs": count, "seconds": time.perf_counter() - start}
        say(f"model, {method.value}: {count} inputs in {found[method.value]['seconds']:.1f} s")
    processor = rtl_processor(chip)
    processor.load(program)
    output, counters = processor.infer(codes[0])
    events = {event.name.lower(): int(getattr(model, event.name.lower())[0]) for event in Event}
    counted = {name: getattr(counters, name) for name in events}
    if not np.array_equal(output, outputs[0]) or counted != events:
        raise SystemExit(f"{chip.name}: RTL and model differ; nothing is written")
    say(f"RTL = model, {counters.cycles:,} cycles")
    return {**found, "cycles": counters.cycles, **events}


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def write_tables(document: Mapping[str, Any]) -> None:
    """Put the tables between their markers in docs/fpga_boards.md."""
    page = PAGE.read_text()
    tables = {"arrays": _arrays(document), "boards": boards_table(document), "blocks": _blocks(document),
              "memristor": _memristor(document)}  # fmt: skip
    for name, lines in tables.items():
        begin, end = f"<!-- measured:{name} -->\n", f"<!-- measured end:{name} -->"
        head, rest = page.split(begin)
        page = head + begin + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1]
    PAGE.write_text(page)


def _arrays(document: Mapping[str, Any]) -> list[str]:
    lines = [
        "| array (rows x kernels) | MAC/cycle | LUT4 | of it weight memory | FF | DSP | MHz | LUT4 per MAC/cycle "
        "| without memory | LUT4 cells alone |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in ARRAYS:
        if (item := document.get("arrays", {}).get(name)) is None:
            continue
        rest, clock = item["luts"] - item["memory_luts"], item["megahertz"]
        lines.append(
            f"| {name} | {item['work']:.4g} | {item['luts']:,} | {item['memory_luts']:,} | {item['flip_flops']:,} | "
            f"{item['multipliers']} | {f'{clock:.0f}' if clock else '-'} | {item['luts'] / item['work']:.0f} | "
            f"{rest / item['work']:.0f} | {item['cells'].get('LUT4', 0) / item['work']:.0f} |"
        )
    return lines


def boards_table(document: Mapping[str, Any]) -> list[str]:
    """Lines of the table of boards."""
    lines = [
        "| board | chip | LUT4 | FF | DSP | block RAM | MHz | ResNet-20 | digits | build s, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, item in document.get("boards", {}).items():
        board = BUILDS[name][0]
        title, have = board.title, board.resources
        if "luts" not in item:
            lines.append(f"| {title} | {item['chip']} | {item['reason']} | | | | | | | |")
            continue
        cycles = document.get("cycles", {}).get(item["chip"], {})
        # A board runs at the clock it is built for, not at the one that it could reach.
        rates = [
            f"{found['cycles']:,} cycles, {1e6 * item['wanted'] / found['cycles']:,.0f} images/s"
            if "cycles" in (found := cycles.get(network, {}))
            else "does not fit"
            for network in ("resnet20_cifar100", "digits_resnet")
        ]
        steps = item["steps"].values()
        lines.append(
            f"| {title} | {item['chip']} | {_part(item['used'], have.luts)} | {item['flip_flops']:,} | "
            f"{item['multipliers']} of {have.multipliers} | {item['block_rams']} of {have.block_rams} | "
            f"{item['wanted']:g} (reaches {item['megahertz']:.1f}) | {' | '.join(rates)} | "
            f"{sum(step['seconds'] for step in steps):.0f}, {max(step['megabytes'] for step in steps):,.0f} |"
        )
    return lines


def _part(used: int, have: int) -> str:
    return f"{used:,} of {have:,} ({100 * used / have:.0f} %)"


def _blocks(document: Mapping[str, Any]) -> list[str]:
    lines = ["| block | instances | LUT4 | FF | DSP | block RAM | MHz alone |", f"|{' --- |' * 7}"]
    for name, item in document.get("blocks", {}).items():
        need = Resources(*(item[field.name] for field in dataclasses.fields(Resources)))
        megahertz = document.get("clocks", {}).get(name, {}).get("megahertz")
        lines.append(
            f"| {name} | {item['times']} | {need.luts:,} | {need.flip_flops:,} | {need.multipliers} | "
            f"{need.block_rams} | {f'{megahertz:.0f}' if megahertz else '-'} |"
        )
    return lines


def _memristor(document: Mapping[str, Any]) -> list[str]:
    item, build = document.get("memristor", {}).get(MEMRISTOR), document.get("boards", {}).get(MEMRISTOR, {})
    if item is None:
        return []
    definition, fastest = (item[method.value]["inputs"] / item[method.value]["seconds"] for method in INPUTS)
    lines = ["| what evaluates ResNet-20 | images/s | to the definition | to the kernel |", "| --- | --- | --- | --- |"]
    rows = [
        ("model, numpy, by the definition", definition),
        (f"model, compiled kernel, {item['cores']} cores", fastest),
    ]
    if "luts" in build:
        clock = build["wanted"]
        rows.append((f"chip `{MEMRISTOR}`, {item['cycles']:,} cycles at {clock:g} MHz", 1e6 * clock / item["cycles"]))
    return lines + [
        f"| {name} | {rate:.3g} | {rate / definition:.3g} x | {rate / fastest:.2g} x |" for name, rate in rows
    ]


def main() -> None:
    """Measure what is asked for and write the file after each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--builds", nargs="+", choices=list(BUILDS), default=list(BUILDS), help="default: all")
    parser.add_argument("--arrays", nargs="+", choices=list(ARRAYS), default=list(ARRAYS), help="default: all")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=list(PRESETS), help="default: all")
    parser.add_argument("--unplaced", action="store_true", help="arrays: cells alone, which takes seconds")
    parser.add_argument("--seed", type=int, default=1, help="of placement")
    parser.add_argument("--keep", type=Path, help="folder for what the tools of `boards` read and write")
    parser.add_argument("--workloads", type=Path, default=WORKLOADS, help="folder of the workload pack")
    parser.add_argument("-o", "--output", type=Path, default=DOCUMENT, help="default: docs/fpga.json")
    chosen = parser.parse_args()
    document = json.loads(chosen.output.read_text()) if chosen.output.exists() else {}

    def save(part: str, name: str, found: Mapping[str, Any]) -> None:
        document.setdefault(part, {})[name] = found
        document.setdefault("hardware", {})[f"{part} {name}"] = hardware_digest()
        chosen.output.write_text(json.dumps(document, indent=1) + "\n")

    if "arrays" in chosen.parts:
        for name in chosen.arrays:
            save("arrays", name, measure_array(name, not chosen.unplaced))
    for name in chosen.builds:
        board, chip_name, clock = BUILDS[name]
        chip = load_chip(chip_name)
        if "cycles" in chosen.parts:
            save("cycles", chip.name, measure_cycles(chip, chosen.workloads))
        if "boards" in chosen.parts:
            save("boards", name, measure_board(board, chip, clock, chosen.seed, chosen.keep))
    if "memristor" in chosen.parts:
        save("memristor", MEMRISTOR, measure_memristor(chosen.workloads))
    if "blocks" in chosen.parts:
        document["blocks"] = {}  # those of another netlist may have other names
        versions = document.get("hardware", {})
        document["hardware"] = {name: version for name, version in versions.items() if not name.startswith("blocks ")}
        for block, item in measure_blocks(PRESETS["ulx3s"]).items():
            save("blocks", block, item)
    if "clocks" in chosen.parts:
        for name, component in BLOCKS.items():
            _, megahertz, seconds = measure_alone(component(PRESETS["ulx3s"]), True)
            say(f"{name}: {megahertz:.1f} MHz, {seconds:.0f} s")
            save("clocks", name, {"megahertz": megahertz, "seconds": seconds})
    if "presets" in chosen.parts:
        for name in chosen.presets:
            save("presets", name, measure_preset(PRESETS[name]))
    if chosen.output == DOCUMENT:
        write_tables(document)


if __name__ == "__main__":
    main()
