"""`mixcim demo`: the main job on handwritten digits: one network, three kinds of unit, RTL = model = ONNX Runtime."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import click
import numpy as np

from mixcim_hdl.config import ChipConfig, load_chip
from mixcim_hdl.program import Program

from ..compile.compiler import compile_network
from ..compile.load import load_network
from ..compile.reference import reference_tensors
from ..errors import MixcimError
from ..host.processor import Counters, Processor
from ..host.values import input_codes, output_values
from ..model import ProcessorModel
from ..networks.digits import DIGITS_RESNET, digits_data
from ..rtl.processor import rtl_processor
from .options import json_option
from .report import Advance, console, layer_records, layer_table, print_json, progress_bar
from .run import accuracy

#: Hidden convolutions on memristor; one of them shares its kernels between memristor and SRAM-CIM, in the middle of a
#: word; the shortcut on SRAM-CIM.
HIDDEN = "memristor"
RULES = ("block2.conv1:0-19=memristor,20-31=sram", "block2.shortcut=sram")
#: As many word lines as the ADC can hold for this network's weights: reads are exact, so RTL = ONNX Runtime.
TABLE = "exact"


@click.command()
@click.option("--images", type=click.IntRange(1, 360), default=360, show_default=True, help="Test images to classify.")
@click.option(
    "--tensors", type=click.IntRange(0), default=3, show_default=True, help="Images to compare tensor by tensor."
)
@json_option
def command(images: int, tensors: int, as_json: bool) -> int:
    """Classify handwritten digits on the simulated RTL of chip demo.

    The network's layers are spread over memristor-CIM, SRAM-CIM and tiny-digital units. Prints cycles and utilisation
    of every layer, then accuracy and speed, and whether RTL, model and ONNX Runtime agree integer for integer: on the
    output of every image, and on every intermediate tensor of the first ones. Exit code 1 if they do not.
    """
    chip = load_chip("demo")
    program = compile_network(load_network(DIGITS_RESNET), chip, RULES, TABLE, hidden=HIDDEN)
    _, _, pictures, labels = digits_data()
    pictures, labels = np.ascontiguousarray(pictures[:images]), labels[:images]
    codes = input_codes(program, pictures)
    expected = reference_tensors(DIGITS_RESNET, pictures)
    model = ProcessorModel(chip, program)
    start = time.perf_counter()
    on_model = model.run(codes)
    model_seconds = time.perf_counter() - start
    with progress_bar(as_json) as advance:
        processors = [rtl_processor(chip, progress=advance) for _ in range(min(os.cpu_count() or 1, len(codes)))]
        on_rtl, cycles, rtl_seconds, counters = _classify(processors, program, codes, advance)
        wrong = _compare_tensors(processors[0], program, chip, codes[:tensors], expected, advance)
    reference = _reference_codes(program, program.output, expected)
    agree = {
        "rtl_equals_model": bool(np.array_equal(on_rtl, on_model)),
        "rtl_equals_onnxruntime": bool(np.array_equal(on_rtl, reference)),
        "model_equals_onnxruntime": bool(np.array_equal(on_model, reference)),
        "tensors_equal": not wrong,
    }
    layers = layer_records(program, chip, cycles)
    document: dict[str, Any] = {
        "network": program.network,
        "chip": chip.name,
        "images": len(codes),
        "cycles_per_image": counters["cycles"],
        "memristor_reads_per_image": counters["memristor_reads"],
        "adc_saturations": counters["adc_saturations"],
        "accuracy": {
            "rtl": accuracy(output_values(program, on_rtl), labels),
            "model": accuracy(output_values(program, on_model), labels),
            "onnxruntime": accuracy(output_values(program, reference), labels),
        },
        "images_per_second": {"rtl": len(codes) / rtl_seconds, "model": len(codes) / model_seconds},
        "tensors_compared": min(tensors, len(codes)) * len(program.tensors),
        "tensors_different": wrong,
        **agree,
    }
    if as_json:
        print_json({**document, "layers": layers})
    else:
        _show(document, layers, program)
    return 0 if all(agree.values()) else 1


def _classify(
    processors: list[Processor], program: Program, codes: np.ndarray, advance: Advance
) -> tuple[np.ndarray, np.ndarray, float, dict[str, int]]:
    """Output codes of every image, cycles of every command (last image), seconds, counters (saturations: of all).

    Every processor has a thread and a share of the images; the simulated chips do not know of each other.
    """
    outputs = np.zeros((len(codes), *program.tensors[program.output].shape), np.uint8)
    results: dict[int, Counters] = {}
    stop = threading.Event()

    def work(processor: Processor, share: range) -> None:
        processor.load(program)
        for number in share:
            if stop.is_set():
                return
            outputs[number], results[number] = processor.infer(codes[number])
            advance(len(results), len(codes), "RTL classifies")

    start = time.perf_counter()
    shares = [range(first, len(codes), len(processors)) for first in range(len(processors))]
    with ThreadPoolExecutor(len(processors)) as pool:
        try:
            for future in as_completed([pool.submit(work, *item) for item in zip(processors, shares, strict=True)]):
                future.result()
        finally:
            stop.set()  # after an error or Ctrl-C, the other threads end with the image they are at
    seconds = time.perf_counter() - start
    last = results[len(codes) - 1]
    saturations = sum(result.adc_saturations for result in results.values())
    counters = {"cycles": last.cycles, "memristor_reads": last.memristor_reads, "adc_saturations": saturations}
    return outputs, processors[(len(codes) - 1) % len(processors)].command_cycles(), seconds, counters


def _compare_tensors(
    processor: Processor,
    program: Program,
    chip: ChipConfig,
    codes: np.ndarray,
    expected: dict[str, np.ndarray],
    advance: Advance,
) -> list[str]:
    """Run images a command at a time; "image 0: tensor" for every tensor that differs from model or ONNX Runtime."""
    wrong: list[str] = []
    model = ProcessorModel(chip, program)
    for number, code in enumerate(codes):
        model.run(code[None], capture=list(program.tensors))
        seen: dict[str, np.ndarray] = {}
        processor.run_stepwise(code, seen.__setitem__)
        for name in program.tensors:
            same = (
                name in seen
                and np.array_equal(seen[name], model.captured[name][0])
                and np.array_equal(seen[name], _reference_codes(program, name, expected)[number])
            )
            if not same:
                wrong.append(f"image {number}: {name}")
        advance(number + 1, len(codes), "comparing tensors")
    return wrong


def _reference_codes(program: Program, name: str, expected: dict[str, np.ndarray]) -> np.ndarray:
    """ONNX Runtime's integers of a tensor as codes of the chip: uint8 (N, height, width, channels)."""
    place = program.tensors[name]
    if name not in expected:
        raise MixcimError(f"ONNX Runtime has no tensor '{name}' in '{DIGITS_RESNET.name}': train the network again")
    values = expected[name].astype(np.int16) + (128 if place.signed else 0)
    return values.astype(np.uint8).reshape(-1, *place.shape)


def _show(document: dict[str, Any], layers: list[dict[str, Any]], program: Program) -> None:
    screen = console()
    screen.print(layer_table(layers, f"{program.network} on chip {document['chip']}, simulated RTL"))
    rates, shares = document["images_per_second"], document["accuracy"]
    screen.print(
        f"{document['cycles_per_image']:,} cycles an image; {document['memristor_reads_per_image']:,} memristor reads "
        f"an image; {document['adc_saturations']} saturated conversions in all",
        soft_wrap=True,
    )
    for name, what in (("rtl", "RTL"), ("model", "model"), ("onnxruntime", "ONNX Runtime")):
        speed = f", {rates[name]:,.1f} images/s" if name in rates else ""
        screen.print(f"{what:<12} {shares[name]:.2%} of {document['images']} test images right{speed}", soft_wrap=True)
    for key, what in (
        ("rtl_equals_model", "RTL = model, every output"),
        ("rtl_equals_onnxruntime", "RTL = ONNX Runtime, every output"),
        ("tensors_equal", f"RTL = model = ONNX Runtime, every one of {document['tensors_compared']} tensors compared"),
    ):
        screen.print(f"{'yes' if document[key] else 'NO':<4} {what}", soft_wrap=True)
    for name in document["tensors_different"]:
        screen.print(f"     differs: {name}", soft_wrap=True)
