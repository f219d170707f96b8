"""Whole networks on the paper-scale chip's RTL: cycles and utilisation by layer, seconds an image on all cores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixcim_hdl.config import UnitKind
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

from ..commands.inputs import open_network
from ..commands.report import layer_records, peak_multiply_accumulates
from ..commands.simulate import simulate
from ..compile.compiler import compile_network
from ..compile.network import LayerKind, Network
from ..compile.placement import is_fully_connected
from ..cycles import predict
from ..errors import MixcimError
from ..model import ProcessorModel
from .networks import LOSSY_TABLE, MOBILENET, RESNET20, TFLITE, Say, Workload, workload_inputs
from .record import Record, record

CHIP = PRESETS["paper"]
#: The published chip's whole wakeup-to-response for ResNet-20 in cycles: 373.52 us at 200 MHz, Nature 639, 617 (2025).
PUBLISHED_CYCLES = 74_704
#: Goals: cycles of ResNet-20; seconds an image; share of the peak over the pointwise layers of MobileNet-v2, in %.
RESNET20_CYCLES, RESNET20_SECONDS, MOBILENET_SECONDS, POINTWISE_UTILISATION = 37_000, 5, 90, 70
RTL_INPUTS = 20  #: of each of the small networks


def paper_records(folder: Path, quick: bool, say: Say) -> list[Record]:
    """All of them. `quick`: cycles by prediction, nothing is simulated."""
    records = peak_records()
    network = open_network(folder / RESNET20.network, folder / str(RESNET20.calibration), RESNET20.mean, RESNET20.std)
    say(f"{RESNET20.title} on chip paper")
    program = compile_network(network, CHIP)
    title = f"{RESNET20.title}, chip paper, exact units"
    records += network_records(folder, RESNET20, title, program, 0 if quick else _jobs(), RESNET20_SECONDS)
    for table in ("16", LOSSY_TABLE):
        program = compile_network(network, CHIP, hidden="memristor", table=table)
        name = f"{RESNET20.title}, chip paper, memristor, table {table}, predicted"
        total = predict(program, CHIP).total
        records.append(record(name, total, "cycles an image", "model", paper=PUBLISHED_CYCLES))
    say(f"{MOBILENET.title} on chip paper")
    network = open_network(folder / MOBILENET.network, None, None, None)
    program = compile_network(network, CHIP)
    title = f"{MOBILENET.title}, chip paper, exact units"
    found = network_records(folder, MOBILENET, title, program, 0 if quick else _jobs(), MOBILENET_SECONDS)
    records += [*found, _pointwise_record(title, network, program, found[0].how)]
    for workload in TFLITE:
        say(f"{workload.title} on chip paper")
        program = compile_network(open_network(folder / workload.network, None, None, None), CHIP)
        title = f"{workload.title}, chip paper"
        records += network_records(folder, workload, title, program, 0 if quick else RTL_INPUTS, layers=False)
    return records


def peak_records() -> list[Record]:
    """What the chip has and could do in a cycle at most."""
    records = [
        record("chip paper, ADCs", CHIP.adcs * CHIP.memristor_banks, "ADCs", "model"),
        *(record(f"chip paper, {kind.value} banks", CHIP.units.count(kind), "banks", "model") for kind in UnitKind),
    ]
    for kind, peak in peak_multiply_accumulates(CHIP).items():
        records.append(record(f"chip paper, peak of {kind} units", peak, "MAC/cycle", "model"))
    return records


def network_records(
    folder: Path,
    workload: Workload,
    title: str,
    program: Program,
    count: int,
    seconds_goal: float | None = None,
    layers: bool = True,
) -> list[Record]:
    """Cycles of a network, by layer (`layers`) with utilisation; of `count` inputs on the RTL, all of which must give
    what the model gives, or predicted if that is 0. Raises MixcimError if RTL and model, or prediction, differ."""
    prediction = predict(program, CHIP)
    cycles, how, records = prediction.cycles, "model", []
    if count:
        codes = workload_inputs(folder, workload, program)[0][:count]
        result = simulate(program, CHIP, codes, None, lambda done, total, what: None)
        if not np.array_equal(result.outputs, ProcessorModel(CHIP, program).run(codes)):
            raise MixcimError(f"{title}: RTL and model differ; find the layer with `mixcim run --on both --tensors`")
        cycles, how = result.command_cycles, "rtl"
        if {item.cycles for item in result.counters} != {prediction.total}:
            raise MixcimError(f"{title}: the RTL took other cycles than predicted; compare with `mixcim cycles`")
        name = f"{title}, inputs on which RTL = model"
        records.append(record(name, len(codes), "inputs", "rtl", at_least=RTL_INPUTS if seconds_goal is None else None))
        name = f"{title}, RTL, {min(count, _jobs())} processes"
        records.append(record(name, result.seconds / count, "s an image", "rtl", at_most=seconds_goal))
    goal, published = (RESNET20_CYCLES, PUBLISHED_CYCLES) if workload is RESNET20 else (None, None)
    total = prediction.total
    records.insert(0, record(title, total, "cycles an image", how, paper=published, at_most=goal))
    rows = layer_records(program, CHIP, cycles)
    for row in rows if layers else ():
        name = f"{title}, layer {row['layer']} ({row['name'].split(';')[0]})"
        records.append(record(name, row["cycles"], "cycles", how))
        if row["multiply_accumulates"]:
            records.append(record(f"{name}, utilisation of its units", 100 * _utilisation([row]), "%", how))
    return records


def _pointwise_record(title: str, network: Network, program: Program, how: str) -> Record:
    """Utilisation over all layers whose window is one pixel of several; cycles predicted, which `how` has confirmed."""
    names = {
        layer.name
        for layer in network.layers
        if layer.kind is LayerKind.CONVOLUTION and layer.kernel == (1, 1) and not is_fully_connected(network, layer)
    }
    rows = [row for row in layer_records(program, CHIP, predict(program, CHIP).cycles) if row["name"] in names]
    name = f"{title}, utilisation of SRAM-CIM over {len(rows)} pointwise layers"
    return record(name, 100 * _utilisation(rows), "%", how, at_least=POINTWISE_UTILISATION)


def _utilisation(rows: Sequence[Mapping[str, Any]]) -> float:
    """Useful MACs / (cycles x peak MACs per cycle of the kinds of unit that the layers are on)."""
    peaks = peak_multiply_accumulates(CHIP)
    possible = sum(row["cycles"] * sum(peaks[kind] for kind in row["kernels"] if kind in peaks) for row in rows)
    return sum(row["multiply_accumulates"] for row in rows) / possible if possible else 0.0


def _jobs() -> int:
    return os.cpu_count() or 1
