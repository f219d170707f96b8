"""Whole networks: images/s and accuracy of the model, cycles and utilisation of every layer on the RTL.

On chip demo, but MobileNet-v2 on chip large. The model's images/s are of wall time, with a thread on each core.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

from ..commands.demo import HIDDEN, RULES, TABLE
from ..commands.inputs import open_network, read_inputs
from ..commands.report import layer_records
from ..compile.compiler import compile_network
from ..compile.load import load_network
from ..compile.network import Network
from ..compile.onnx_file import graph_inputs, input_shape, read_onnx
from ..compile.quantise import quantise_onnx
from ..errors import MixcimError
from ..host.values import input_codes, output_values
from ..model import ProcessorModel
from ..networks.digits import DIGITS_RESNET, digits_data
from ..rtl.processor import rtl_processor
from .compiling import command_seconds
from .reads import network_records
from .record import Record, record

CHIP = PRESETS["demo"]
REPEATS = 3  #: of measurements that take less than a second; the median counts
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """A network file and its inputs in the workload pack, and what its inputs want before they go in.

    `first_class`: output that is class 0.
    """

    title: str
    network: str
    inputs: str
    calibration: str | None = None
    mean: str | None = None
    std: str | None = None
    first_class: int = 0


RESNET20 = Workload(
    "ResNet-20, CIFAR-100",
    "models/resnet20_cifar100/resnet20_cifar100.onnx",
    "inputs/cifar100_test.npz",
    "inputs/cifar100_calib_train.npz",
    "0.5070,0.4865,0.4409",
    "0.2673,0.2564,0.2761",
)
TFLITE = (
    Workload("DS-CNN, keyword spotting", "models/kws_dscnn/kws_dscnn_int8.tflite", "inputs/kws_mfcc_int8.npz"),
    Workload(
        "MobileNetV1, visual wake words",
        "models/vww_mobilenetv1_0.25_96/vww_mobilenetv1_0.25_96_int8.tflite",
        "inputs/vww96_val2017.npz",
    ),
    Workload("ResNet-8, CIFAR-10", "models/resnet8_cifar10/resnet8_cifar10_int8.tflite", "inputs/cifar10_test.npz"),
)
MOBILENET = Workload(
    "MobileNet-v2, ImageNet",
    "models/mobilenetv2_1.0_224_imagenet/mobilenetv2_1.0_224_imagenet_int8ptq.tflite",
    "inputs/imagenet224_eval",
    first_class=1,
)
#: Goals of ResNet-20: images/s of the model on two cores, seconds of compilation.
LOSSLESS_SPEED, ADC_SPEED, COMPILE_SECONDS = 300, 40, 2
#: Word-line table for the lossy run: rows read at a time for pairs of high places, mixed, and low places.
LOSSY_TABLE = "16,32,64"


def digits_records(quick: bool, say: Say) -> list[Record]:
    """The demo's network: model images/s over its test set, cycles and utilisation by layer, speed of the RTL."""
    say("digits")
    program = compile_network(load_network(DIGITS_RESNET), CHIP, RULES, TABLE, hidden=HIDDEN)
    _, _, images, labels = digits_data()
    codes = input_codes(program, np.ascontiguousarray(images))
    records = model_records("digits", program, codes, labels, repeats=1 if quick else REPEATS)
    return records + rtl_records("digits", program, codes[0])


def workload_records(folder: Path, quick: bool, say: Say) -> list[Record]:
    """The pack's networks. `quick`: a tenth of the inputs, and memristor layers on the model only."""
    records = []
    for workload in TFLITE:
        say(workload.title)
        network = open_network(folder / workload.network, None, None, None)
        codes, labels = workload_inputs(folder, workload, compile_network(network, CHIP))
        count = len(codes) // 10 if quick else len(codes)
        records += model_records(workload.title, compile_network(network, CHIP), codes[:count], labels[:count])
    return records + resnet20_records(folder, quick, say) + mobilenet_records(folder, quick, say)


def resnet20_records(folder: Path, quick: bool, say: Say) -> list[Record]:
    """ResNet-20: quantised and compiled; on exact units; and with hidden layers on memristor, by word-line table."""
    title = RESNET20.title
    say(f"{title}: quantising")
    assert RESNET20.calibration is not None
    calibration = folder / RESNET20.calibration
    begin = time.perf_counter()
    network = open_network(folder / RESNET20.network, calibration, RESNET20.mean, RESNET20.std)
    records = [record(f"{title}, read and quantised in", time.perf_counter() - begin, "s", "model")]
    records.append(record(f"{title}, compiled in", _compile_seconds(network), "s", "model"))
    seconds = _command_seconds(folder, 1 if quick else REPEATS)
    name = f"{title}, quantised ONNX compiled by the command in"
    records.append(record(name, seconds, "s", "model", at_most=COMPILE_SECONDS))
    program = compile_network(network, CHIP)
    codes, labels = workload_inputs(folder, RESNET20, program)
    count = len(codes) // 10 if quick else len(codes)
    say(f"{title}: exact units")
    records += model_records(f"{title}, exact units", program, codes[:count], labels[:count], goal=LOSSLESS_SPEED)
    records += rtl_records(f"{title}, exact units", program, codes[0])
    return records + memristor_records(network, codes, labels, quick, say)


def memristor_records(network: Network, codes: np.ndarray, labels: np.ndarray, quick: bool, say: Say) -> list[Record]:
    """Hidden layers of ResNet-20 on memristor: one table that loses nothing, and LOSSY_TABLE.

    `codes` uint8 (N, height, width, channels), `labels` (N,): as many as are affordable are used, the same for both.
    """
    records, count, timed = [], 20 if quick else 1000, 1 if quick else 32
    answers, reads, right = {}, {}, {}
    for table in ("16", LOSSY_TABLE):
        title = f"{RESNET20.title}, memristor, table {table}"
        say(title)
        program = compile_network(network, CHIP, hidden="memristor", table=table)
        model = ProcessorModel(CHIP, program)
        begin = time.perf_counter()
        output = model.run(codes[:count])
        seconds = time.perf_counter() - begin
        answers[table] = output_values(program, output).argmax(axis=1)
        reads[table] = float(model.memristor_reads[0])
        right[table] = 100 * float(np.mean(answers[table] == labels[:count]))
        records += [
            record(f"{title}, model", count / seconds, "images/s", "model", at_least=ADC_SPEED),
            record(f"{title}, accuracy over {count} images", right[table], "%", "model"),
            record(f"{title}, reads an image", reads[table], "reads", "model"),
            record(f"{title}, saturated conversions an image", model.adc_saturations.mean(), "conversions", "model"),
        ]
        records += network_records(title, program, codes[:timed], CHIP, 0.1 if quick else 4.0)
        if table == LOSSY_TABLE and not quick:
            records += rtl_records(title, program, codes[0], layers=False)
    saved = 100 * (1 - reads[LOSSY_TABLE] / reads["16"])
    same = 100 * float(np.mean(answers[LOSSY_TABLE] == answers["16"]))
    loss = right["16"] - right[LOSSY_TABLE]
    title = f"{RESNET20.title}, table {LOSSY_TABLE} against 16"
    return [
        *records,
        record(f"{title}, fewer reads", saved, "%", "model", paper=42),
        record(f"{title}, same answers", same, "%", "model"),
        record(f"{title}, accuracy lost", loss, "points", "model", paper=0.45),
    ]


def mobilenet_records(folder: Path, quick: bool, say: Say) -> list[Record]:
    """MobileNet-v2 on chip large: on exact units, and with hidden layers on memristor and LOSSY_TABLE."""
    chip = PRESETS["large"]
    network = open_network(folder / MOBILENET.network, None, None, None)
    cases = (
        ("exact units", compile_network(network, chip), 8 if quick else 300),
        (
            f"memristor, table {LOSSY_TABLE}",
            compile_network(network, chip, hidden="memristor", table=LOSSY_TABLE),
            2 if quick else 64,
        ),
    )
    codes, labels = workload_inputs(folder, MOBILENET, cases[0][1])
    records = []
    for what, program, count in cases:
        title = f"{MOBILENET.title}, {what}"
        say(title)
        records += model_records(
            title, program, codes[:count], labels[:count], chip=chip, first_class=MOBILENET.first_class
        )
    return records


def model_records(
    title: str,
    program: Program,
    codes: np.ndarray,
    labels: np.ndarray,
    repeats: int = 1,
    *,
    goal: float | None = None,
    chip: ChipConfig = CHIP,
    first_class: int = 0,
) -> list[Record]:
    """Images/s and accuracy of the model. `codes`: uint8 (N, height, width, channels), `labels`: (N,).

    `goal`: of images/s. `first_class`: output that is class 0; those before it do not count.
    """
    model, spent, output = ProcessorModel(chip, program), [], None
    for _ in range(repeats):
        begin = time.perf_counter()
        output = model.run(codes)
        spent.append(time.perf_counter() - begin)
    assert output is not None
    answers = output_values(program, output).reshape(len(codes), -1)[:, first_class:].argmax(axis=1)
    return [
        record(f"{title}, model", len(codes) / statistics.median(spent), "images/s", "model", at_least=goal),
        record(f"{title}, accuracy over {len(codes)} images", 100 * np.mean(answers == labels), "%", "model"),
    ]


def rtl_records(title: str, program: Program, code: np.ndarray, layers: bool = True) -> list[Record]:
    """One input, uint8 (height, width, channels), on the RTL: cycles, speed, and by layer (`layers`) utilisation =
    useful MACs / (cycles x peak MACs per cycle of all units). Raises MixcimError if the model gives other integers."""
    processor = rtl_processor(CHIP)
    processor.load(program)
    begin = time.perf_counter()
    output, counters = processor.infer(code)
    seconds = time.perf_counter() - begin
    if not np.array_equal(output, ProcessorModel(CHIP, program).run(code[None])[0]):
        raise MixcimError(f"{title}: RTL and model differ; find the layer with `mixcim run --on both`")
    rows = layer_records(program, CHIP, processor.command_cycles())
    work = sum(row["multiply_accumulates"] for row in rows)
    records = [
        record(f"{title}, RTL", counters.cycles, "cycles an image", "rtl"),
        record(f"{title}, RTL, simulated at", counters.cycles / seconds, "cycles/s", "rtl"),
        record(f"{title}, RTL, simulated at, useful work", work / seconds, "MAC/s", "rtl"),
    ]
    for row in rows if layers else ():
        name = f"{title}, layer {row['layer']} ({row['name'].split(';')[0]})"
        records.append(record(name, row["cycles"], "cycles", "rtl"))
        if row["multiply_accumulates"]:
            records.append(record(f"{name}, utilisation", 100 * row["utilisation"], "%", "rtl"))
    return records


def _compile_seconds(network: Network) -> float:
    spent = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        compile_network(network, CHIP)
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent)


def _command_seconds(folder: Path, repeats: int) -> float:
    """Seconds of `mixcim compile` for ResNet-20, quantised beforehand."""
    with tempfile.TemporaryDirectory(prefix="mixcim_bench_") as directory:
        quantised = Path(directory, "resnet20.onnx")
        shape = input_shape(graph_inputs(read_onnx(folder / RESNET20.network).graph)[0])
        assert RESNET20.calibration is not None
        values, _ = read_inputs(folder / RESNET20.calibration, shape, "NCHW", RESNET20.mean, RESNET20.std)
        quantise_onnx(folder / RESNET20.network, values, quantised)
        return command_seconds(quantised, repeats)


def workload_inputs(folder: Path, workload: Workload, program: Program) -> tuple[np.ndarray, np.ndarray]:
    """Input codes of a workload's whole test set, and its labels."""
    path = folder / workload.inputs
    values, arrays = read_inputs(path, program.file_shape, program.input_layout, workload.mean, workload.std)
    return input_codes(program, values), arrays["labels"]
