"""Measure the chips that README.md tells of, and write docs/chips.json, from which README.md and pictures are made.

    python scripts/measure_chips.py                            everything (about half an hour on two cores)
    python scripts/measure_chips.py --chips demo --parts sizes cycles
    python scripts/measure_chips.py --parts demo               only the run of `mixcim demo`

What is measured takes the place of what the file has; all else stays. Parts: `sizes` (from the configuration), `cycles`
(a whole input on the simulated RTL, refused where RTL and model differ, and of how many commands the cycles are those
that are predicted), `demo` (its output and cycles per layer). Cycles count from start to interrupt; the host's loading
of program and input is not in them. ResNet-20 needs the workload pack beside the repository, or --workloads. What chips
need of an FPGA, and their clocks: measure_fpga.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mixcim_hdl
from mixcim.bench.networks import MOBILENET
from mixcim.commands.demo import HIDDEN, RULES, TABLE
from mixcim.commands.info import memories
from mixcim.commands.inputs import open_network, read_inputs
from mixcim.commands.report import layer_records, peak_multiply_accumulates
from mixcim.compile.compiler import compile_network
from mixcim.compile.load import load_network
from mixcim.compile.network import Network
from mixcim.cycles import predict
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.commands import Opcode
from mixcim_hdl.config import ChipConfig, load_chip
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

ROOT = Path(__file__).resolve().parents[1]
WORKLOADS = ROOT.parent / "shared" / "workloads"
PARTS = ("sizes", "cycles", "demo")
LAYER_FIELDS = ("name", "kind", "kernels", "strips", "cycles", "multiply_accumulates")  #: of layer_records

Loader = Callable[[Path], tuple[Network, np.ndarray]]


def digits(workloads: Path) -> tuple[Network, np.ndarray]:
    """The demo network and its test pictures."""
    return load_network(DIGITS_RESNET), digits_data()[2]


def resnet20(workloads: Path) -> tuple[Network, np.ndarray]:
    """ResNet-20 for CIFAR-100, quantised here, and test images."""
    mean = np.array([0.5070, 0.4865, 0.4409], np.float32)
    deviation = np.array([0.2673, 0.2564, 0.2761], np.float32)

    def images(name: str) -> np.ndarray:
        pixels = np.load(workloads / "inputs" / f"{name}.npz")["images"].astype(np.float32) / 255
        return np.ascontiguousarray(((pixels - mean) / deviation).transpose(0, 3, 1, 2))

    path = workloads / "models" / "resnet20_cifar100" / "resnet20_cifar100.onnx"
    return load_network(path, images("cifar100_calib_train")), images("cifar100_test")


def mobilenet(workloads: Path) -> tuple[Network, np.ndarray]:
    """MobileNet-v2 for ImageNet at 224 x 224, quantised by TFLite, and test pictures."""
    network = open_network(workloads / MOBILENET.network, None, None, None)
    values, _ = read_inputs(workloads / MOBILENET.inputs, network.file_shape, network.input_layout, None, None)
    return network, values


#: Network -> how to load it, and its mappings: name -> (placement rules, unit of hidden convolutions, word-line table).
NETWORKS: dict[str, tuple[Loader, dict[str, tuple[tuple[str, ...], str | None, str]]]] = {
    "digits_resnet": (digits, {"default": ((), None, "16"), "demo": (RULES, HIDDEN, TABLE)}),
    "mobilenetv2": (mobilenet, {"default": ((), None, "16")}),
    "resnet20_cifar100": (
        resnet20,
        {
            "default": ((), None, "16"),
            "memristor 16": ((), "memristor", "16"),
            "memristor 16,32,64": ((), "memristor", "16,32,64"),
        },
    ),
}


def measure_sizes(chip: ChipConfig) -> dict[str, Any]:
    """What the configuration alone says."""
    sizes = {item.name: getattr(chip, item.name) for item in dataclasses.fields(chip) if item.name != "name"}
    return {
        "sizes": sizes,
        "memory_bits": memories(chip),
        "peak_multiply_accumulates_per_cycle": peak_multiply_accumulates(chip),
    }


def measure_cycles(chip: ChipConfig, workloads: Path) -> Iterator[dict[str, Any]]:
    """Cycles of one input of every network, by mapping; or the reason why it does not run. All so far, after each."""
    results: dict[str, Any] = {}
    processor: Processor | None = None
    for name, (load, mappings) in NETWORKS.items():
        try:
            network, inputs = load(workloads)
        except (MixcimError, OSError) as error:
            say(f"{chip.name}: {name} is left out ({error})")
            continue
        results[name] = {}
        for mapping, (rules, hidden, table) in mappings.items():
            try:
                program = compile_network(network, chip, rules, table, hidden=hidden)
            except MixcimError as error:
                results[name][mapping] = {"fits": False, "reason": str(error)}
                say(f"{chip.name}: {name}, {mapping}: {error}")
                yield results
                continue
            codes = input_codes(program, inputs[:1])
            processor = processor or rtl_processor(chip)
            processor.load(program)
            start = time.perf_counter()
            output, counters = processor.infer(codes[0])
            seconds = time.perf_counter() - start
            if not np.array_equal(output, ProcessorModel(chip, program).run(codes)[0]):
                raise SystemExit(f"{chip.name}: {name}, {mapping}: RTL and model differ; nothing is written")
            cycles = processor.command_cycles()
            layers = layer_records(program, chip, cycles)
            work = sum(layer["multiply_accumulates"] for layer in layers)
            results[name][mapping] = {
                "fits": True,
                "how": "rtl",
                "cycles": counters.cycles,
                "memristor_reads": counters.memristor_reads,
                "multiply_accumulates": work,
                "cycles_per_second": counters.cycles / seconds,
                "commands": commands_predicted(program, chip, cycles, counters.cycles),
                "layers": [{name: layer[name] for name in LAYER_FIELDS} for layer in layers],
            }
            say(f"{chip.name}: {name}, {mapping}: {counters.cycles:,} cycles in {seconds:.1f} s")
            yield results


def commands_predicted(program: Program, chip: ChipConfig, cycles: np.ndarray, total: int) -> dict[str, list[int]]:
    """How many commands of each kind there were, and of how many `mixcim cycles` predicts every cycle.

    `cycles`: of each command on the RTL, `total`: of the run.
    """
    prediction = predict(program, chip)
    same = prediction.cycles == cycles[: len(prediction.cycles)]
    same &= prediction.total == total
    opcodes = program.commands[: len(same), 0] & 0xFF
    return {
        opcode.name: [int(np.count_nonzero(opcodes == opcode)), int(np.count_nonzero(same[opcodes == opcode]))]
        for opcode in Opcode
        if (opcodes == opcode).any()
    }


def measure_demo() -> dict[str, Any]:
    """Output of `mixcim demo`, as a table and as JSON. Raises SystemExit when RTL, model and ONNX Runtime differ."""
    runs = []
    for options in ([], ["--json"]):
        command = [sys.executable, "-c", "from mixcim.cli import main; main()", "demo", *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise SystemExit(f"'mixcim demo' failed: {result.stderr or result.stdout}")
        runs.append(result.stdout)
    return {"text": [line.rstrip() for line in runs[0].splitlines()], "document": json.loads(runs[1])}


def hardware_digest() -> str:
    """Hash of the hardware's sources: figures with another digest are from another version of it."""
    digest = hashlib.sha256()
    for path in sorted(Path(mixcim_hdl.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure what is asked for and write the file after each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chips", nargs="+", default=list(PRESETS), help=f"default: {' '.join(PRESETS)}")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--workloads", type=Path, default=WORKLOADS, help="folder of the workload pack")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "chips.json")
    chosen = parser.parse_args()
    document = json.loads(chosen.output.read_text()) if chosen.output.exists() else {"chips": {}}

    def save(record: dict[str, Any], parts: dict[str, Any]) -> None:
        record.update(parts)
        record.setdefault("hardware", {}).update(dict.fromkeys(parts, hardware_digest()))
        chosen.output.write_text(json.dumps(document, indent=1) + "\n")

    if "demo" in chosen.parts:
        save(document.setdefault("demo", {}), measure_demo())
    for name in chosen.chips:
        chip = load_chip(name)
        record = document["chips"].setdefault(name, {})
        if "sizes" in chosen.parts:
            save(record, measure_sizes(chip))
        if "cycles" in chosen.parts:
            for cycles in measure_cycles(chip, chosen.workloads):
                save(record, {"cycles": cycles})


if __name__ == "__main__":
    main()
