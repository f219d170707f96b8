"""Draw the pictures of README.md and of the manual into docs/pictures/.

    pip install -e '.[docs]'
    python scripts/draw_pictures.py [--png FOLDER]
    python scripts/draw_pictures.py --figure NAME [--limit N]     only that one, which takes minutes

`block_diagram.svg` is drawn from what is written here; `demo_cycles.svg` from docs/chips.json (see measure_chips.py).
A figure is that of `mixcim figures NAME`; it works in build/figures, and its records go into docs/figures.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402  # after the choice of the back end
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import FancyBboxPatch, Patch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"

#: Colours that people with colour-blindness can tell apart, by kind of unit, and grey for everything else.
COLOURS = {"memristor": "#c44e3b", "sram": "#2f6db3", "tiny": "#4f9a5a"}
NAMES = {"memristor": "memristor-CIM", "sram": "SRAM-CIM", "tiny": "tiny-digital"}
GREY, INK = "#eceff1", "#263238"

pyplot.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "svg.fonttype": "path",  # no fonts needed to look at it
        "svg.hashsalt": "mixcim",  # the same bytes every time
        "axes.edgecolor": INK,
        "text.color": INK,
    }
)


def box(
    axes: Axes, x: float, y: float, width: float, height: float, title: str, note: str = "", colour: str = GREY
) -> None:
    """A box with its lower left corner at (x, y): a title, and smaller lines below it."""
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=1", facecolor=colour, edgecolor=INK)
    )
    ink = INK if colour == GREY else "white"
    middle = x + width / 2
    centred = {"ha": "center", "va": "center", "color": ink}
    if note:
        lines = note.count("\n") + 1
        axes.text(
            middle,
            y + height / 2 + 1.35 * lines,
            title,
            ha="center",
            va="center",
            fontsize=12,
            weight="bold",
            color=ink,
        )
        axes.text(middle, y + height / 2 - 1.6, note, fontsize=10, **centred)
    else:
        axes.text(middle, y + height / 2, title, fontsize=12, weight="bold", **centred)


def arrow(axes: Axes, *points: tuple[float, float], both: bool = False) -> None:
    """A line through points with a head at its end (or at both)."""
    for (x0, y0), (x1, y1) in zip(points[:-2], points[1:-1], strict=True):
        axes.plot([x0, x1], [y0, y1], color=INK, linewidth=1.4, solid_capstyle="round")
    style = {"arrowstyle": "<|-|>" if both else "-|>", "color": INK, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops=style)


def block_diagram() -> Figure:
    """The processor: control above, the data path of a layer below."""
    figure, axes = pyplot.subplots(figsize=(12, 6.6))
    axes.set_xlim(0, 120)
    axes.set_ylim(0, 66)
    axes.axis("off")
    box(axes, 2, 54, 17, 9, "host", "AXI4-Lite,\ninterrupt")
    box(axes, 27, 54, 22, 9, "register bank", "registers,\nmemory windows")
    box(axes, 57, 54, 27, 9, "layer controller", "walks the program,\nfaults, watchdog, cycle log")
    box(axes, 92, 54, 26, 9, "stores", "program, weights,\nbias, scale, tile map")
    arrow(axes, (19, 58.5), (27, 58.5), both=True)
    arrow(axes, (49, 58.5), (57, 58.5), both=True)
    arrow(axes, (92, 58.5), (84, 58.5))

    box(axes, 2, 21, 17, 14, "activation\nmemory", "")
    box(axes, 25, 21, 16, 14, "input\nfeeder", "")
    box(axes, 47, 21, 14, 14, "kernel\ncontroller", "")
    arrow(axes, (19, 28), (25, 28))
    arrow(axes, (41, 28), (47, 28))
    axes.text(33, 19.8, "windows, padding,\nim2col order", ha="center", va="top", fontsize=10)
    box(axes, 25, 6, 16, 8.6, "float\npool", "")
    arrow(axes, (19, 25), (22, 25), (22, 10.3), (25, 10.3))
    arrow(axes, (41, 10.3), (42.8, 10.3), (42.8, 4.5), (105, 4.5), (105, 21))
    axes.text(54, 18.6, "one vector to all\nunits of a copy", ha="center", va="top", fontsize=10)
    axes.text(10.5, 37.2, "banked; a word is the\nchannels of a pixel", ha="center", va="bottom", fontsize=10)
    axes.add_patch(
        FancyBboxPatch(
            (62.5, 6), 57, 43.5, boxstyle="round,pad=0,rounding_size=1", fill=False, edgecolor=INK, linestyle="--"
        )
    )
    axes.text(118, 47.2, "engine, one of several", ha="right", va="center", fontsize=12, weight="bold")
    axes.text(79, 7.5, "each with queue, sequencer, accumulator", ha="center", va="center", fontsize=10)
    units = (
        (37, "memristor", "memristor-CIM", "word lines, cell array,\n5-bit ADC, shift-add"),
        (23, "sram", "SRAM-CIM", "W0, W1, W0+W1 by two\ninput bits, column sums"),
        (9, "tiny", "tiny-digital", "exact MACs: depthwise,\npooling, short windows"),
    )
    for y, kind, title, note in units:
        middle = y + 5
        box(axes, 67, y, 24, 10, title, note, COLOURS[kind])
        arrow(axes, (61, 28), (64.5, 28), (64.5, middle), (67, middle))
        arrow(axes, (91, middle), (94.5, middle), (94.5, 28), (98, 28))
    box(axes, 98, 21, 20, 14, "output\npipeline", "")
    axes.text(108, 37.2, "bias, scale, round,\nresidual, clamp", ha="center", va="bottom", fontsize=10)
    arrow(axes, (111, 21), (111, 1.5), (10.5, 1.5), (10.5, 21))
    axes.text(27, 2.0, "elements of the layer's output", ha="center", va="bottom", fontsize=10)
    arrow(axes, (70.5, 54), (70.5, 49.5))
    axes.text(72, 51.7, "commands: RUN, LOAD, TABLE", ha="left", va="center", fontsize=10)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    return figure


def demo_cycles() -> Figure:
    """Cycles of each layer of the demo network, by the units that its kernels are on."""
    document = json.loads((ROOT / "docs" / "chips.json").read_text())["demo"]["document"]
    layers: list[dict[str, Any]] = document["layers"]
    figure, axes = pyplot.subplots(figsize=(10, 0.5 * len(layers) + 1.9))
    largest = max(layer["cycles"] for layer in layers)
    for number, layer in enumerate(layers):
        kinds = list(layer["kernels"])
        height = 0.72 / len(kinds)
        for index, kind in enumerate(kinds):
            axes.barh(number - 0.36 + height * (index + 0.5), layer["cycles"], height, color=COLOURS[kind])
        share = f", {layer['utilisation']:.1%} of peak" if layer["multiply_accumulates"] else ""
        axes.text(layer["cycles"] + largest * 0.01, number, f"{layer['cycles']:,}{share}", va="center", fontsize=10)
    axes.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, largest * 1.25)
    axes.set_xlabel("cycles for one image, from command fetch to last write", fontsize=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    present = [kind for kind in COLOURS if any(kind in layer["kernels"] for layer in layers)]
    handles = [Patch(color=COLOURS[kind], label=NAMES[kind]) for kind in present]
    axes.legend(handles=handles, title="kernels on", loc="lower right", fontsize=10, title_fontsize=10, frameon=False)
    network, chip, cycles = document["network"], document["chip"], document["cycles_per_image"]
    axes.set_title(f"{network} on chip {chip}, simulated RTL: {cycles:,} cycles an image", fontsize=11, loc="left")
    figure.tight_layout()
    return figure


DRAWINGS: dict[str, Callable[[], Figure]] = {"block_diagram": block_diagram, "demo_cycles": demo_cycles}


def copy_figure(name: str, limit: int | None) -> None:
    """Make a figure of `mixcim figures`; its plots go to docs/pictures, its records into docs/figures.json."""
    command = [sys.executable, "-c", "import sys; from mixcim import cli; sys.exit(cli.run())"]
    options = ["--limit", str(limit)] if limit else []
    made = subprocess.run(
        [*command, "figures", name, "--json", *options], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    document = json.loads(made.stdout)
    for plot in document["plots"]:
        shutil.copyfile(ROOT / plot, PICTURES / Path(plot).name)
        print(f"written: docs/pictures/{Path(plot).name}")
    path = ROOT / "docs" / "figures.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = document["records"]
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def main() -> None:
    """Write every picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--png", type=Path, help="folder for PNG files of the same pictures, to look at")
    parser.add_argument("--figure", help="make this figure of `mixcim figures` instead")
    parser.add_argument("--limit", type=int, help="test images of that figure")
    chosen = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    if chosen.figure:
        copy_figure(chosen.figure, chosen.limit)
        return
    for name, draw in DRAWINGS.items():
        figure = draw()
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None}, facecolor="white")
        if chosen.png:
            figure.savefig(chosen.png / f"{name}.png", dpi=110, facecolor="white")
        print(f"written: docs/pictures/{name}.svg")


if __name__ == "__main__":
    main()
