"""Write the figures of README.md from docs/chips.json and docs/fpga.json (see measure_chips.py, measure_fpga.py).

python scripts/update_readme.py            write them
python scripts/update_readme.py --check    exit with 1 if README.md says something else
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from measure_fpga import BUILDS, boards_table
from regions import table, update

from mixcim_fpga.devices import ECP5, Resources, too_much

ROOT = Path(__file__).resolve().parents[1]

#: What each preset is for, in the order of the table. Words only: figures come from the file.
MATURITY = {
    "tiny": "tests with Amaranth's simulator and cocotb",
    "demo": "`make demo`; networks up to ResNet-20",
    "paper": "the published chip's sizes: four engines; ResNet-20, MobileNet-v2 whole",
    "large": "large networks, slowly",
}
MISSING = "not measured"


def chips_table(document: dict[str, Any], fpga: dict[str, Any]) -> str:
    """One column a chip, from docs/chips.json and docs/fpga.json."""
    chips = {name: document["chips"][name] for name in MATURITY}

    def row(title: str, value: Callable[[dict[str, Any]], str]) -> list[str]:
        return [title, *(value(chip) for chip in chips.values())]

    def units(chip: dict[str, Any]) -> str:
        return " + ".join(str(chip["sizes"][f"{kind}_banks"]) for kind in ("memristor", "sram", "tiny"))

    def peak(kind: str) -> Callable[[dict[str, Any]], str]:
        return lambda chip: f"{chip['peak_multiply_accumulates_per_cycle'][kind]:,.0f}"

    def kilobits(name: str) -> Callable[[dict[str, Any]], str]:
        return lambda chip: f"{chip['memory_bits'][name] / 1024:,.0f}"

    def cycles(network: str, mapping: str) -> Callable[[dict[str, Any]], str]:
        def value(chip: dict[str, Any]) -> str:
            found = chip.get("cycles", {}).get(network, {}).get(mapping)
            if found is None:
                return MISSING
            return f"{found['cycles']:,}" if found["fits"] else "does not fit"

        return value

    presets = fpga.get("presets", {})

    def needs(field: str) -> list[str]:
        found = (presets.get(name, {}) for name in chips)
        return [
            f"{item[field]:,}" if field in item else "too large for yosys" if "reason" in item else MISSING
            for item in found
        ]

    def clock(name: str) -> str:
        builds = [fpga["boards"].get(build, {}) for build, (board, *_) in BUILDS.items() if board.name == "ulx3s"]
        clocks = [build["megahertz"] for build in builds if build.get("chip") == name and "luts" in build]
        found = presets.get(name, {})
        need = Resources(*(found.get(field.name, 0) for field in fields(Resources)))
        too_big = "reason" in found or too_much(need, ECP5["85F"])
        return f"{max(clocks):.1f} MHz" if clocks else "does not fit" if too_big else MISSING

    rows = [
        row("units: memristor + SRAM-CIM + tiny-digital", units),
        row("engines", lambda chip: str(chip["sizes"]["engines"])),
        row("rows x kernels of a unit", lambda chip: f"{chip['sizes']['rows']} x {chip['sizes']['channels']}"),
        row("peak MAC/cycle, SRAM-CIM", peak("sram")),
        row("peak MAC/cycle, memristor (all rows in one read)", peak("memristor")),
        row("peak MAC/cycle, tiny-digital", peak("tiny")),
        row("memristor cells, kbit", kilobits("memristor cells")),
        row("SRAM-CIM weights, kbit", kilobits("SRAM-CIM weights")),
        row("tiny-digital weights, kbit", kilobits("tiny-digital weights")),
        row("activation memory, kbit", kilobits("activation memory")),
        row("weight store, kbit", kilobits("weight store")),
        row("digits: cycles per image, default placement", cycles("digits_resnet", "default")),
        row("digits: the demo's placement, hidden layers on memristor", cycles("digits_resnet", "demo")),
        row("ResNet-20 CIFAR-100: default placement", cycles("resnet20_cifar100", "default")),
        row("ResNet-20: hidden on memristor, N = 16", cycles("resnet20_cifar100", "memristor 16")),
        row("ResNet-20: hidden on memristor, N = 16, 32, 64", cycles("resnet20_cifar100", "memristor 16,32,64")),
        row("MobileNet-v2 at 224 x 224: default placement", cycles("mobilenetv2", "default")),
        ["ECP5: LUT4", *needs("luts")],
        ["ECP5: flip-flops", *needs("flip_flops")],
        ["ECP5: block RAMs (18 kbit)", *needs("block_rams")],
        ["ECP5: multipliers (18 x 18)", *needs("multipliers")],
        ["ECP5-85F, speed 6: clock that it reaches", *map(clock, chips)],
        ["used for", *MATURITY.values()],
    ]
    return table(["", *chips], rows, 1)


def demo_output(document: dict[str, Any]) -> str:
    """What `mixcim demo` printed."""
    return "```text\n" + "\n".join(document["demo"]["text"]) + "\n```"


def demo_summary(document: dict[str, Any]) -> str:
    """One sentence on the demo."""
    demo = document["demo"]["document"]
    return (
        f"Measured: {demo['images']} test images of handwritten digits, {demo['cycles_per_image']:,} cycles each, "
        f"{demo['accuracy']['rtl']:.2%} right; RTL, model and ONNX Runtime agree on every output and on each of "
        f"{demo['tensors_compared']} intermediate tensors compared."
    )


def clipping(document: dict[str, Any]) -> str:
    """Chips that a network does not fit in default placement, with the compiler's own words."""
    lines = []
    for name, chip in document["chips"].items():
        for network, mappings in chip.get("cycles", {}).items():
            default = mappings["default"]
            if not default["fits"]:
                lines.append(f"- {network} on {name}: {default['reason']}.")
    return "\n".join(lines) or "Every network fits every chip."


def main(arguments: Iterable[str] | None = None) -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if README.md is out of date")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "chips.json")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    document = json.loads(chosen.figures.read_text())
    fpga = json.loads((ROOT / "docs" / "fpga.json").read_text())
    regions = {
        "demo-summary": demo_summary(document),
        "demo-output": demo_output(document),
        "chips": chips_table(document, fpga),
        "does-not-fit": clipping(document),
        "boards": "\n".join(boards_table(fpga)),
    }
    return update([chosen.readme], regions, check=chosen.check, command="python scripts/update_readme.py")


if __name__ == "__main__":
    sys.exit(main())
