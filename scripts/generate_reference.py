"""Write the tables of the manual that the code itself determines: commands, registers, chips, operators, options.

python scripts/generate_reference.py            write them into docs/
python scripts/generate_reference.py --check    exit with 1 if docs/ differs from the code
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import inspect
import json
import re
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from regions import table, update

from mixcim import cli
from mixcim.compile.onnx_operators import HANDLERS
from mixcim.compile.tflite_import import _HANDLERS as TFLITE_HANDLERS
from mixcim_fpga import protocol
from mixcim_hdl import commands, config, formats, registers
from mixcim_hdl.commands import (
    LOAD_FIELDS,
    RUN_FIELDS,
    TABLE_ENTRY_FIELDS,
    UNIT_FIELDS,
    Fault,
    Opcode,
    Pooling,
    TinyMode,
    pack_layout,
    table_layout,
)
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import FLOAT_FORMATS
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import Region, Register, window_address, window_bytes
from mixcim_hdl.verilog import LINT_WAIVERS

ROOT = Path(__file__).resolve().parents[1]
DEMO = PRESETS["demo"]


def comments(module: types.ModuleType, owner: str) -> dict[str, str]:
    """`#:` comments of the members of a class, or of the entries of a dict, in a module's source."""
    source = inspect.getsource(module)
    start = re.search(rf"^(?:class )?{owner}\b.*$", source, re.MULTILINE)
    assert start, owner
    block = re.split(r"^\S", source[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r'^    "?(\w+)"?\s*[:=].*?#:\s*(.+)$', block, re.MULTILINE)
    return {name: text.strip() for name, text in found}


def sections() -> dict[str, str]:
    """Paragraphs of commands.py's docstring by the word that they begin with, RUN with all that follows."""
    text = inspect.getdoc(commands)
    assert text is not None
    head, memristor = text.split("\nMemristor read", 1)
    memristor, write = memristor.split("\nWrite-verify", 1)
    write, run = write.split("\nRUN, in the order", 1)
    return {
        "head": head,
        "memristor": "Memristor read" + memristor,
        "write": "Write-verify" + write,
        "run": "RUN, in the order" + run,
    }


def fenced(text: str) -> str:
    """A block of plain text."""
    return f"```text\n{text.strip()}\n```"


def field_rows(fields: dict[str, tuple[int, int]], notes: dict[str, str]) -> list[list[str]]:
    """Rows field, word, bits, comment of a command's layout."""
    rows = []
    for name, (bit, width) in fields.items():
        low = bit % 32
        bits = str(low) if width == 1 else f"{low + width - 1}:{low}"
        rows.append([f"`{name}`", str(bit // 32), bits, notes.get(name, "")])
    return rows


def opcodes() -> str:
    """Operations of the layer controller."""
    return table(["command", "opcode"], [[item.name, str(int(item))] for item in Opcode])


def load_fields() -> str:
    """Fields of LOAD."""
    return table(["field", "word", "bits", "meaning"], field_rows(pack_layout(LOAD_FIELDS)[0], {}))


def run_fields() -> str:
    """Fields of RUN, those of the units last."""
    layout, words = pack_layout(RUN_FIELDS)
    notes = comments(commands, "RUN_FIELDS")
    unit, unit_words = pack_layout(UNIT_FIELDS)
    rows = field_rows(layout, notes)
    for name, (bit, width) in unit.items():
        word = f"{words} + {unit_words} u + {bit // 32}" if bit >= 32 else f"{words} + {unit_words} u"
        rows.append([f"`{name}[u]`", word, f"{bit % 32 + width - 1}:{bit % 32}", "of compute unit u"])
    return table(["field", "word", "bits", "meaning"], rows)


def table_fields() -> str:
    """Fields of TABLE: the first entries say it all."""
    shown = ("opcode", *(f"{name}[{entry}]" for entry in (0, 1) for name in TABLE_ENTRY_FIELDS))
    layout = {name: place for name, place in table_layout(DEMO).items() if name in shown}
    return table(["field", "word", "bits", "meaning"], field_rows(layout, {}))


def poolings() -> str:
    """Values of RUN's field `pooling`."""
    notes = comments(commands, "Pooling")
    rows = [[item.name, str(int(item)), notes[item.name]] for item in Pooling]
    return table(["pooling", "value", "what becomes of a window"], rows)


def tiny_modes() -> str:
    """Modes of tiny-digital units."""
    text = inspect.getdoc(TinyMode)
    assert text is not None
    rows = [[item.name, str(int(item))] for item in TinyMode]
    return table(["mode", "value"], rows) + "\n\n" + text.replace("\n", " ")


def faults() -> str:
    """Fault codes."""
    notes = comments(commands, "Fault")
    rows = []
    for fault in Fault:
        match = re.fullmatch(r"(.*?)(?: \(([^()]*)\))?", notes.get(fault.name, "no fault"))
        assert match
        rows.append([str(int(fault)), fault.name, match[1], match[2] or ""])
    return table(["code", "name", "cause", "FAULT_DETAIL holds"], rows)


def command_sizes() -> str:
    """Words of a command on each preset."""
    rows = [
        [name, str(len(chip.units)), str(commands.command_words(chip)), str(registers.program_stride(chip))]
        for name, chip in PRESETS.items()
    ]
    return table(["chip", "units", "words of a command", "words from one command to the next"], rows, 1)


def register_map() -> str:
    """Registers with byte offsets."""
    notes = comments(registers, "Register")
    return table(
        ["offset", "register", "meaning"],
        [[f"{int(item):#04x}", item.name, notes.get(item.name, "")] for item in Register],
    )


def events() -> str:
    """Event counters with the byte offsets of their low words."""
    notes = comments(registers, "Event")
    return table(
        ["offset", "counter", "what is counted since start"],
        [[f"{registers.EVENT_COUNTERS + 8 * item:#05x}", item.name, notes[item.name]] for item in registers.Event],
    )


def memory_windows() -> str:
    """Regions of the host's addresses."""
    notes = comments(registers, "Region")
    rows = [
        [f"{window_address(item):#010x}", item.name, f"{window_bytes(item, DEMO):,}", notes.get(item.name, "")]
        for item in Region
    ]
    return table(["address", "region", "bytes (chip demo)", "what lies where"], rows)


def chip_fields() -> str:
    """Sizes of a chip, with every preset's value."""
    notes = comments(config, "ChipConfig")
    rows = []
    for item in dataclasses.fields(ChipConfig):
        if item.name != "name":
            values = [getattr(chip, item.name) for chip in PRESETS.values()]
            cells = [f"{value:,}" if isinstance(value, int) else value for value in values]
            rows.append([f"`{item.name}`", *cells, notes.get(item.name, "")])
    return table(["field", *PRESETS, "meaning"], rows)


def weight_modes() -> str:
    """How weights are cut into cells."""
    rows = [
        [mode.name, " ".join(map(str, mode.cells)), " ".join(map(str, mode.places)), str(mode.largest_magnitude)]
        for mode in formats.WEIGHT_MODES.values()
    ]
    return table(["mode", "bits of each cell, least significant first", "places", "largest magnitude"], rows)


def operators() -> str:
    """Operators of both file formats."""
    rows = []
    for name, handler in sorted(HANDLERS.items()):
        text = (inspect.getdoc(handler) or "").splitlines()[0].rstrip(".")
        rows.append([name, "" if text == name else text])
    onnx = table(["ONNX operator", "note"], rows)
    return f"{onnx}\n\nTFLite operators: {', '.join(sorted(TFLITE_HANDLERS))}."


def options() -> str:
    """Help pages of all sub-commands."""
    return "\n\n".join(help_pages(cli.cli, "mixcim"))


def help_pages(group: click.Group, path: str) -> Iterator[str]:
    """Help pages of the commands of a group, and of those of groups in it."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        title = f"{path} {name}"
        context = click.Context(command, info_name=title, max_content_width=110, terminal_width=110)
        yield f"### {title}\n\n{fenced(command.get_help(context))}"
        if isinstance(command, click.Group):
            yield from help_pages(command, title)


def docstring(module: str, owner: str | None = None) -> str:
    """The docstring of a module, or of a class in it, as text."""
    thing = importlib.import_module(module)
    text = inspect.getdoc(getattr(thing, owner) if owner else thing)
    assert text is not None
    # A block of code inside would end the fence around it.
    return f"````text\n{text.strip()}\n````"


def blocks() -> str:
    """What every block of the datapath says of itself: stream, formula, members."""
    names = (
        ("feeder.feeder", "Feeder"),
        ("control.kernel_controller", "KernelController"),
        ("control.sequencer", "Sequencer"),
        ("memristor.bank", "MemristorBank"),
        ("sram.bank", "SramBank"),
        ("tiny.bank", "TinyBank"),
        ("control.accumulator", "Accumulator"),
        ("output.arbiter", "ResultArbiter"),
        ("pool.float_pool", "FloatPool"),
        ("pool.lane", "PoolLane"),
        ("output.pipeline", "OutputPipeline"),
        ("output.lane", "Lane"),
        ("memory.activation", "ActivationMemory"),
        ("control.loader", "Loader"),
        ("control.layer_controller", "LayerController"),
    )
    return "\n\n".join(f"### {owner}\n\n{docstring(f'mixcim_hdl.{module}', owner)}" for module, owner in names)


def latencies() -> str:
    """Cycles that the classes state and the tests enforce."""
    rows = []
    for module, owner in (
        ("memristor.bank", "MemristorBank"),
        ("sram.bank", "SramBank"),
        ("tiny.bank", "TinyBank"),
        ("output.pipeline", "OutputPipeline"),
        ("output.lane", "Lane"),
        ("pool.lane", "PoolLane"),
        ("output.fp32", "IntegerToFloat"),
        ("output.fp32", "FloatMultiply"),
        ("output.fp32", "FusedMultiplyAdd"),
        ("output.fp32", "FloatToInteger"),
        ("control.axi_lite", "AxiLiteSlave"),
    ):
        thing = getattr(importlib.import_module(f"mixcim_hdl.{module}"), owner)
        for name, value in vars(thing).items():
            if name.endswith("LATENCY"):
                rows.append([owner, name, str(value)])
    return table(["class", "constant", "cycles"], rows)


def floating_units() -> str:
    """Latency of every floating-point unit, and the first sentence that it says of itself."""
    rows = []
    for module, owner in (
        ("add", "FloatAdd"),
        ("multiply", "FloatMultiply"),
        ("convert", "FloatConvert"),
        ("element", "ElementToFloat"),
        ("integer_to_float", "IntegerToFloat"),
        ("clamp", "FloatClamp"),
        ("max_exponent", "MaxExponent"),
        ("align", "Align"),
    ):
        thing = getattr(importlib.import_module(f"mixcim_hdl.floating_point.{module}"), owner)
        text = (inspect.getdoc(thing) or "").splitlines()[0].split(" Latency")[0].rstrip(".")
        rows.append([owner, f"`floating_point/{module}.py`", str(thing.LATENCY), text])
    return table(["unit", "file below hdl/mixcim_hdl", "latency", "what it gives"], rows)


def float_formats() -> str:
    """Floating-point formats, and the limits that follow from their fields."""
    rows = []
    for item in FLOAT_FORMATS.values():
        overflow = f"{item.largest:g}" if item.saturates else "infinity"
        exponents = f"{item.smallest_exponent} to {item.largest_exponent}"
        fields = [str(item.exponent_bits), str(item.mantissa_bits), exponents, f"{item.largest:g}"]
        rows.append([item.name, *fields, overflow, f"{item.nan_pattern:#x}"])
    heads = ["format", "exponent bits", "mantissa bits", "exponents", "largest", "overflow gives", "NaN"]
    return table(heads, rows)


def layer_cycles(chip: str, network: str) -> str:
    """Layers of a network in default placement on a chip's RTL: cycles, and share of the peak of the units they use."""
    document = json.loads((ROOT / "docs" / "chips.json").read_text())["chips"][chip]
    peaks = document["peak_multiply_accumulates_per_cycle"]
    found = document.get("cycles", {}).get(network, {}).get("default", {})
    rows = []
    for number, layer in enumerate(found.get("layers", ()), 1):
        kernels = ", ".join(f"{kind} {count}" for kind, count in layer["kernels"].items())
        possible = layer["cycles"] * sum(peaks.get(kind, 0) for kind in layer["kernels"])
        share = f"{layer['multiply_accumulates'] / possible:.1%}" if possible and layer["multiply_accumulates"] else "-"
        name, strips = layer["name"].split(";")[0], layer["strips"]
        rows.append([str(number), name, layer["kind"], kernels, str(strips), f"{layer['cycles']:,}", share])
    total = f"{found['cycles']:,}" if found else "not measured"
    rows.append(["", "all", "", "", "", total, ""])
    return table(["", "layer", "kind", "kernels on", "strips", "cycles", "of the units' peak"], rows, 5)


def cycle_check() -> str:
    """Commands that took the cycles that are predicted, over all measured programs."""
    chips = json.loads((ROOT / "docs" / "chips.json").read_text())["chips"]
    rows = []
    for name, chip in chips.items():
        runs = [item for mappings in chip.get("cycles", {}).values() for item in mappings.values() if item["fits"]]
        for opcode in Opcode:
            counts = [run["commands"][opcode.name] for run in runs if opcode.name in run.get("commands", {})]
            if counts:
                all_of_them, exact = (sum(column) for column in zip(*counts, strict=True))
                rows.append([name, opcode.name, str(all_of_them), str(exact)])
    return table(["chip", "command", "measured on the RTL", "predicted to the cycle"], rows)


def measured(figure: str) -> dict[str, float]:
    """Values of a figure's records in docs/figures.json by name, without the figure's own name."""
    records = json.loads((ROOT / "docs" / "figures.json").read_text())[figure]
    return {item["name"].removeprefix(f"{figure} "): item["value"] for item in records}


def ed5_tables() -> str:
    """Reads and accuracy of ResNet-20 by word-line table."""
    values = measured("ed5")
    reads_of = ", reads an image, model"
    names = [name.removesuffix(reads_of) for name in values if name.endswith(reads_of)]
    uniform = values[names[0] + reads_of]
    rows = [["INT8, exact units", "", "", "", f"{values['INT8 on exact units, accuracy']:.2f} %", "", ""]]
    for name in names:
        reads = values[name + reads_of]
        rows.append(
            [
                name.removeprefix("table "),
                f"{reads:,}",
                f"{reads / uniform - 1:+.1%}",
                f"{values[f'{name}, saturated conversions an image']:,.0f}",
                f"{values[f'{name}, accuracy']:.2f} %",
                f"{values[f'{name}, accuracy lost']:+.2f} ± {values[f'{name}, standard error of the loss']:.2f}",
                f"{values[f'{name}, same answers as INT8']:.1f} %",
            ]
        )
    headings = ["table", "reads an image", "change", "saturated", "accuracy", "lost, points", "same answers"]
    return f"{values['test images']:,} test images, seed {values['seed of tune']}.\n\n" + table(headings, rows, 1)


def accuracy_points() -> str:
    """Accuracy of ResNet-20 by device, mode, time and word-line table: mean and range over the device seeds."""
    values = measured("accuracy")
    points = [name.removesuffix(", mean") for name in values if name.endswith(", mean")]

    def cell(point: str) -> str:
        if point not in points:
            return ""
        low, mean, high = (values[f"{point}, {what}"] for what in ("smallest", "mean", "largest"))
        return f"{mean:.1f} ({low:.1f} to {high:.1f})"

    devices = list(dict.fromkeys(point.split(", ", 1)[0] for point in points))
    conditions = dict.fromkeys(point.split(", ", 1)[1] for point in points)
    rows = [[condition, *(cell(f"{device}, {condition}") for device in devices)] for condition in conditions]
    text = (
        f"Accuracy in percent, mean (smallest to largest) of {values['device seeds of a point']} device seeds, "
        f"{values['test images']:,} test images; INT8 on exact units {values['INT8 on exact units']:.1f} %."
    )
    return f"{text}\n\n" + table(["", *devices], rows, 1)


def ed8_accuracy() -> str:
    """Accuracy of ResNet-20 by format, method of alignment, rounding and width."""
    values = measured("ed8")
    names = [name.removesuffix(" bits, accuracy") for name in values if name.endswith(" bits, accuracy")]
    widths = list(dict.fromkeys(int(name.rsplit(", ", 1)[1]) for name in names))
    rows = []
    for name in dict.fromkeys(name.rsplit(", ", 1)[0] for name in names):
        format, method, rounding = name.split(", ")
        cells = [f"{values[f'{name}, {width} bits, accuracy']:.2f}" for width in widths]
        rows.append([format, method.removesuffix(" alignment"), rounding, *cells])
    references = [f"{name} {values[f'{name}, accuracy']:.2f}" for name in ("FP32", *_ed8_formats(values))]
    error = {
        width: max(values[f"{name} bits, standard error of the loss"] for name in names if name.endswith(f", {width}"))
        for width in (8, 10)
    }
    text = (
        f"Accuracy in percent over {values['test images']:,} test images; {', '.join(references)}. Standard error of a "
        f"difference to FP32: at most {error[8]:.1f} points at 8 bits, {error[10]:.1f} at 10."
    )
    return f"{text}\n\n" + table(["format", "alignment", "rounding", *(f"{width} bits" for width in widths)], rows, 3)


def _ed8_formats(values: dict[str, float]) -> list[str]:
    """Names of the references that are formats without alignment."""
    return [name.removesuffix(", accuracy") for name in values if name.endswith(" without alignment, accuracy")]


def ed8_same() -> str:
    """How many answers are FP32's, rounding to nearest and truncating, the chip's method."""
    values = measured("ed8")
    last, head = ", same answers as FP32", ", kernel-wise weight alignment, "
    names = [name.removesuffix(last) for name in values if head in name and name.endswith(last)]
    widths = list(dict.fromkeys(name.rsplit(", ", 1)[1] for name in names))
    rows = []
    for series in dict.fromkeys(name.rsplit(", ", 1)[0] for name in names):
        format, rounding = series.split(head)
        rows.append([format, rounding, *(f"{values[f'{series}, {width}{last}']:.1f} %" for width in widths)])
    return table(["format", "rounding", *widths], rows, 2)


def ed8_costs() -> str:
    """Costs of every method at the least width that it needs."""
    records = json.loads((ROOT / "docs" / "figures.json").read_text())["ed8"]
    found: dict[str, dict[str, str]] = {}
    for item in records:
        if item["how"] == "estimate" or item["name"].endswith(", width needed"):
            series, what = item["name"].removeprefix("ed8 ").rsplit(", ", 1)
            found.setdefault(series, {})[f"{what}, {item['unit']}"] = f"{item['value']:,.4g}"
    headings = list(next(iter(found.values())))
    rows = []
    for series, cells in found.items():
        format, method = series.removesuffix(" alignment").split(", ")
        rows.append([format, method, *(cells[heading] for heading in headings)])
    text = (
        f"At the least width from which on the accuracy stays within {measured('ed8')['loss allowed']} points of FP32, "
        f"rounding to nearest; a method without a row needs more than the widest."
    )
    return f"{text}\n\n" + table(["format", "alignment", *headings], rows, 2)


def ed2_matrix() -> str:
    """Accuracy of every pair of formats."""
    values = measured("ed2")
    head, last = "matrix ", ", accuracy"
    pairs = [name.removeprefix(head).removesuffix(last) for name in values if name.startswith(head) and "/" in name]
    inputs, weights = (list(dict.fromkeys(pair.split("/")[side] for pair in pairs)) for side in (0, 1))
    rows = [[row, *(f"{values[f'{head}{row}/{column}{last}']:.1f}" for column in weights)] for row in inputs]
    text = (
        f"Accuracy in percent over {values['test images of the matrix']:,} test images, aligned to "
        f"{values['aligned width of the matrix']} bits; FP32 {values['matrix FP32, accuracy']:.1f}."
    )
    return f"{text}\n\n" + table(["inputs", *(f"weights {name}" for name in weights)], rows, 1)


def ed2_modes() -> str:
    """What the pure and mixed formats lose over all test images."""
    values = measured("ed2")
    head, last = "mode ", ", accuracy lost"
    names = [name.removeprefix(head).removesuffix(last) for name in values if name.endswith(last)]
    widths = list(dict.fromkeys(name.rsplit(", ", 1)[1] for name in names))
    rows = []
    for pair in dict.fromkeys(name.rsplit(", ", 1)[0] for name in names):
        modes = [f"{head}{pair}, {width}" for width in widths]
        losses = [f"{values[mode + last]:+.2f} ± {values[f'{mode}, standard error of the loss']:.2f}" for mode in modes]
        rows.append([pair, *losses, *(f"{values[f'{mode}, same answers as FP32']:.1f} %" for mode in modes)])
    text = (
        f"Points lost against FP32 ({values['mode FP32, accuracy']:.2f} %) over "
        f"{values['test images of the modes']:,} test images (negative: gained), with their standard error."
    )
    return f"{text}\n\n" + table(
        ["inputs/weights", *(f"lost, {width}" for width in widths), *(f"same answers, {width}" for width in widths)],
        rows,
        1,
    )


def mobilenet() -> str:
    """What MobileNet-v2 loses."""
    values = measured("mobilenet")
    last = ", accuracy lost"
    rows = [
        [
            name.removesuffix(last),
            f"{values[name.removesuffix(' lost')]:.2f}",
            f"{value:+.2f} ± {values[name.replace('accuracy lost', 'standard error of the loss')]:.2f}",
            f"{values[name.replace('accuracy lost', 'same answers as FP32')]:.1f}",
        ]
        for name, value in values.items()
        if name.endswith(last)
    ]
    text = f"{values['test images']:,} test images; FP32 {values['FP32, accuracy']:.2f} %."
    headings = ["inputs/weights", "accuracy, %", "lost, points", "same answers as FP32, %"]
    return f"{text}\n\n" + table(headings, rows, 1)


def waivers() -> str:
    """Lint warnings that are switched off."""
    return table(["Verilator warning", "reason"], [[name, reason] for name, reason in LINT_WAIVERS.items()])


def link_values(owner: type[enum.IntEnum]) -> str:
    """Values of a field of the host link's frames."""
    notes = comments(protocol, owner.__name__)
    rows = [[item.name, str(int(item)), notes[item.name]] for item in owner]
    return table([owner.__name__.lower(), "value", "meaning"], rows)


def link_sizes() -> str:
    """Numbers of the host link."""
    values = {
        "version of the link": protocol.LINK_VERSION,
        "first byte of a request": f"{protocol.REQUEST_SYNC:#04x}",
        "first byte of a reply": f"{protocol.REPLY_SYNC:#04x}",
        "words in a frame, at most": protocol.MAX_WORDS,
        "unanswered requests, at most": protocol.WINDOW,
        "quiet time that ends a frame": f"{protocol.GAP_SECONDS * 1000:g} ms",
        "words of IDENTIFY's reply": ", ".join(protocol.IDENTITY_WORDS),
        "words of WAIT's reply": ", ".join(protocol.WAIT_WORDS),
        "words of a reply with BUS_ERROR": ", ".join(protocol.BUS_ERROR_WORDS),
        "baud by default": f"{protocol.DEFAULT_BAUD:,}",
    }
    return table(["what", "value"], [[name, str(value)] for name, value in values.items()])


def regions() -> dict[str, str]:
    """Every generated region of docs/ by name."""
    text = sections()
    return {
        "opcodes": opcodes(),
        "commands": fenced(text["head"]),
        "load-fields": load_fields(),
        "table-fields": table_fields(),
        "run-fields": run_fields(),
        "run": fenced(text["run"]),
        "memristor-read": fenced(text["memristor"]),
        "write-verify": fenced(text["write"]),
        "poolings": poolings(),
        "tiny-modes": tiny_modes(),
        "faults": faults(),
        "command-sizes": command_sizes(),
        "registers": register_map(),
        "events": events(),
        "windows": memory_windows(),
        "chip-fields": chip_fields(),
        "weight-modes": weight_modes(),
        "operators": operators(),
        "options": options(),
        "formats": docstring("mixcim.compile.formats"),
        "placement": docstring("mixcim.compile.placement"),
        "word-line-tables": docstring("mixcim.compile.table"),
        "network-arithmetic": docstring("mixcim.compile.network"),
        "blocks": blocks(),
        "latencies": latencies(),
        "float-formats": float_formats(),
        "floating": docstring("mixcim_hdl.floating"),
        "floating-units": floating_units(),
        "waivers": waivers(),
        "link": docstring("mixcim_fpga.protocol"),
        "link-commands": link_values(protocol.Command),
        "link-statuses": link_values(protocol.Status),
        "link-sizes": link_sizes(),
        "ed5-tables": ed5_tables(),
        "accuracy-points": accuracy_points(),
        "alignment": docstring("mixcim.explore.alignment"),
        "alignment-cost": docstring("mixcim.explore.alignment_cost"),
        "ed2-matrix": ed2_matrix(),
        "ed2-modes": ed2_modes(),
        "mobilenet": mobilenet(),
        "ed8-accuracy": ed8_accuracy(),
        "ed8-same": ed8_same(),
        "ed8-costs": ed8_costs(),
        "cycle-check": cycle_check(),
        "paper-resnet20": layer_cycles("paper", "resnet20_cifar100"),
        "paper-mobilenet": layer_cycles("paper", "mobilenetv2"),
    }


def main(arguments: Iterable[str] | None = None) -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if docs/ is out of date")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the manual")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    pages = sorted(chosen.docs.glob("*.md"))
    return update(pages, regions(), check=chosen.check, command="python scripts/generate_reference.py")


if __name__ == "__main__":
    sys.exit(main())
