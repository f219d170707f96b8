"""ED5, word lines per read: reads of every hidden layer of ResNet-20 with uniform, three-number and tuned tables.

    uniform      UNIFORM_ROWS word lines in every read, which the paper's and our savings are relative to
    THREE        the paper's kind of table: three numbers by place of input bit and weight digit
    tuned        place-value-aware dynamic accumulation over both (2D-PVA-DA): what `tune` finds within BUDGET

Reads are counted by the RTL, command by command, on one test image; output, all tensors and all counters must be the
model's. Accuracy is the model's over the test images, against the same INT8 network on exact units. `tune` sees
calibration images only. Other budgets are on the model only: how accuracy and reads go together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from mixcim_hdl.program import Program

from ..compile.table import Tables
from ..errors import MixcimError
from ..explore.tune import UNIFORM_ROWS
from ..model import ProcessorModel
from ..rtl.processor import processor_verilog, rtl_processor
from . import Figure, FigureRequest, record
from .kept import Kept
from .resnet20 import BUDGET, CHIP, Advance, Answers, ResNet20, answers, model_digest, open_resnet20, tuned

THREE = "16,32,64"
BUDGETS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  #: of `tune`: r.m.s. error of a layer's outputs, in output codes
#: Change of the reads in percent and loss of accuracy in points: in the paper, and what we want.
PAPER_CHANGE, GOAL_CHANGE = -42.0, -66.0
PAPER_LOSS, GOAL_LOSS = 0.45, 0.27


@dataclass(frozen=True, eq=False)
class Case:
    """A table and what it gave. `tables`: None where it is one for all layers. `change`: reads against uniform, %."""

    name: str
    tables: Tables | None
    program: Program
    answers: Answers
    change: float
    loss: float
    error: float


@dataclass(frozen=True)
class RtlRun:
    """What the RTL counted for one image: by hidden layer, and over the whole run."""

    reads: dict[str, int]
    saturations: dict[str, int]
    cycles: int

    @property
    def total(self) -> int:
        """Reads of all layers."""
        return sum(self.reads.values())


def make(request: FigureRequest) -> Figure:
    """Tune, run on model and RTL, tabulate, draw. Raises MixcimError without workloads, or if RTL and model differ."""
    advance, kept = request.advance, Kept(request.folder / "kept")
    advance(0, 1, "opening ResNet-20")
    resnet20 = open_resnet20(request.limit)
    exact = answers(resnet20.exact, resnet20.codes, kept, advance, "INT8 on exact units")
    tables: list[tuple[str, str | Tables]] = [(str(UNIFORM_ROWS), str(UNIFORM_ROWS)), (THREE, THREE)]
    for budget in BUDGETS:
        tables.append((_tuned_name(budget), tuned(resnet20, budget, request.seed, kept, advance)))
    cases: list[Case] = []
    for name, table in tables:
        program = resnet20.program(table)
        given = answers(program, resnet20.codes, kept, advance, f"model, table {name}")
        uniform = cases[0].answers.reads if cases else given.reads
        change = 100 * (given.reads / uniform - 1)
        loss, error = _loss(exact.classes, given.classes, resnet20.labels)
        cases.append(Case(name, table if isinstance(table, Tables) else None, program, given, change, loss, error))
    chosen = [case for case in cases if case.name in (str(UNIFORM_ROWS), THREE, _tuned_name(BUDGET))]
    runs = []
    for number, case in enumerate(chosen):
        advance(number, len(chosen), f"RTL, table {case.name}")
        runs.append(rtl_run(case, resnet20.codes[0], kept, advance))
    records = _records(resnet20, exact, cases, chosen, runs, request)
    advance(1, 1, "drawing")
    from . import ed5_plot  # matplotlib takes a second to load

    plot = ed5_plot.draw(cases, chosen, runs, len(resnet20.codes), request.folder / "ed5.png")
    return Figure(records, [_layer_table(chosen, runs), _case_table(exact, cases, resnet20, request)], [plot])


def _tuned_name(budget: float) -> str:
    return f"tuned, budget {budget:g}"


def _loss(exact: np.ndarray, given: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss of accuracy in points, and its standard error: from the images that are right in one case only."""
    difference = (exact == labels).astype(float) - (given == labels)
    return 100 * float(difference.mean()), 100 * float(difference.std()) / math.sqrt(len(labels))


def rtl_run(case: Case, code: np.ndarray, kept: Kept, advance: Advance) -> RtlRun:
    """One image, uint8 (height, width, channels), on the simulated RTL: in single commands, and in one go.

    Raises MixcimError if a tensor, the output or a counter is not the model's.
    """

    def run() -> dict[str, Any]:
        model = ProcessorModel(CHIP, case.program)
        output = model.run(code[None], capture=list(case.program.tensors))
        processor = rtl_processor(CHIP, progress=advance)
        processor.load(case.program)
        layers = {layer.output: layer.name for layer in case.program.layers if "memristor" in layer.kernels}
        reads, saturations, wrong = {}, {}, []

        def on_tensor(name: str, tensor: np.ndarray) -> None:
            advance(len(reads), len(layers), f"RTL, table {case.name}, layer by layer")
            if not np.array_equal(tensor, model.captured[name][0]):
                wrong.append(name)
            if name in layers:  # the counters start at 0 with every command that is run by itself
                here = processor.counters()
                reads[layers[name]], saturations[layers[name]] = here.memristor_reads, here.adc_saturations

        processor.run_stepwise(code, on_tensor)
        if wrong:
            raise MixcimError(f"table {case.name}: RTL and model differ in '{wrong[0]}'; see `mixcim run --on both`")
        advance(len(layers), len(layers), f"RTL, table {case.name}, in one go")
        on_rtl, counters = processor.infer(code)
        if not np.array_equal(on_rtl, output[0]):
            raise MixcimError(f"table {case.name}: RTL and model differ in the output; see `mixcim run --on both`")
        for what, rtl, expected, parts in (
            ("reads", counters.memristor_reads, int(model.memristor_reads[0]), reads),
            ("saturations", counters.adc_saturations, int(model.adc_saturations[0]), saturations),
        ):
            if not rtl == expected == sum(parts.values()):
                raise MixcimError(
                    f"table {case.name}: {what} are {rtl} on the RTL, {sum(parts.values())} layer by layer, {expected} "
                    f"on the model; see `mixcim run --on both`"
                )
        return {"reads": reads, "saturations": saturations, "cycles": counters.cycles}

    key = (processor_verilog(CHIP).encode(), model_digest(), case.program.to_bytes(), code.tobytes())
    return RtlRun(**kept.of(key, run))


def _records(
    resnet20: ResNet20,
    exact: Answers,
    cases: list[Case],
    chosen: list[Case],
    runs: list[RtlRun],
    request: FigureRequest,
) -> list[dict[str, Any]]:
    count = len(resnet20.codes)
    records = [
        record("ed5 seed of tune", request.seed, "", "model"),
        record("ed5 test images", count, "images", "model"),
        record("ed5 INT8 on exact units, accuracy", exact.accuracy(resnet20.labels), "%", "model"),
    ]
    uniform = runs[0]
    for case, run in zip(chosen, runs, strict=True):
        name, ours = f"ed5 table {case.name}", case.name == _tuned_name(BUDGET)
        change = 100 * (run.total / uniform.total - 1)
        records += [record(f"{name}, reads of {layer}", reads, "reads", "rtl") for layer, reads in run.reads.items()]
        records += [
            record(f"{name}, reads an image", run.total, "reads", "rtl"),
            record(f"{name}, saturated conversions of image 0", sum(run.saturations.values()), "conversions", "rtl"),
            record(f"{name}, cycles an image, all layers", run.cycles, "cycles", "rtl"),
        ]
        if run is not uniform:
            goal, met = (GOAL_CHANGE, change <= GOAL_CHANGE) if ours else (None, None)
            records.append(
                record(f"{name}, change of reads", change, "%", "rtl", paper=PAPER_CHANGE, goal=goal, met=met)
            )
    for case in cases:
        name, ours = f"ed5 table {case.name}", case.name == _tuned_name(BUDGET)
        goal, met = (GOAL_LOSS, case.loss <= GOAL_LOSS) if ours else (None, None)
        paper = None if case is cases[0] else PAPER_LOSS
        same = 100 * float(np.mean(case.answers.classes == exact.classes))
        records += [
            record(f"{name}, reads an image, model", case.answers.reads, "reads", "model"),
            record(f"{name}, saturated conversions an image", case.answers.saturations, "conversions", "model"),
            record(f"{name}, accuracy", case.answers.accuracy(resnet20.labels), "%", "model"),
            record(f"{name}, accuracy lost", case.loss, "points", "model", paper=paper, goal=goal, met=met),
            record(f"{name}, standard error of the loss", case.error, "points", "model"),
            record(f"{name}, same answers as INT8", same, "%", "model"),
        ]
    return records


def _layer_table(chosen: list[Case], runs: list[RtlRun]) -> Table:
    table = Table(title=f"ED5: word-line reads of an image, RTL counters, chip {CHIP.name}", title_justify="left")
    table.add_column("layer")
    for case in chosen:
        table.add_column(case.name, justify="right")
        if case is not chosen[0]:
            table.add_column("change", justify="right")
    rows = [(layer, [run.reads[layer] for run in runs]) for layer in runs[0].reads]
    rows.append(("all", [run.total for run in runs]))
    for layer, reads in rows:
        cells = [f"{reads[0]:,}"]
        for value in reads[1:]:
            cells += [f"{value:,}", f"{value / reads[0] - 1:+.1%}"]
        table.add_row(layer.split(";")[0], *cells, end_section=layer == rows[-2][0])
    return table


def _case_table(exact: Answers, cases: list[Case], resnet20: ResNet20, request: FigureRequest) -> Table:
    title = f"ED5: tables over {len(resnet20.codes)} test images, model, seed {request.seed}"
    table = Table(title=title, title_justify="left")
    table.add_column("table")
    for heading in ("reads", "change", "saturated", "accuracy, %", "lost, points", "same answers"):
        table.add_column(heading, justify="right")
    table.add_row("INT8, exact units", "", "", "", f"{exact.accuracy(resnet20.labels):.2f}", "", "")
    for case in cases:
        table.add_row(
            case.name,
            f"{case.answers.reads:,}",
            f"{case.change:+.1f} %",
            f"{case.answers.saturations:,.0f}",
            f"{case.answers.accuracy(resnet20.labels):.2f}",
            f"{case.loss:+.2f} ± {case.error:.2f}",
            f"{np.mean(case.answers.classes == exact.classes):.1%}",
        )
    return table
