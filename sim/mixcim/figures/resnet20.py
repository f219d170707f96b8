"""ResNet-20 for CIFAR-100 as the figures use it: opened, quantised, compiled, run on the model with results kept.

```
network file + calibration images --> Network --compile--> Program --device--> Program with its cells and noise
                                                               test images ----> answers, in parts kept on disk
```

The hidden convolutions are on memristor. CHIP is chip demo with banks of 128 word lines, so that a read may take that
many, and with room for the network's slots.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mixcim.model
import mixcim_hdl
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

from ..bench.networks import RESNET20
from ..commands.inputs import open_network, read_inputs
from ..compile.compiler import compile_network
from ..compile.load import quantise_input
from ..compile.network import Network
from ..compile.placement import place
from ..compile.table import Tables, WordLineTable
from ..device.cells import apply_device
from ..device.model import DeviceModel
from ..device.readout import with_readout
from ..device.workloads import VARIABLE, workloads_folder
from ..errors import MixcimError
from ..explore import tune as tuning
from ..host.values import input_codes, output_values
from ..model import ProcessorModel
from .kept import Kept

CHIP = dataclasses.replace(PRESETS["demo"], name="demo128", rows=128, memristor_slots=400)
TUNE_IMAGES, TUNE_WINDOWS = 32, 256  #: calibration images, and windows sampled per layer, that `tune` looks at
BUDGET = 0.005  #: of the tuned tables that the figures are about: r.m.s. error of a layer, output codes
PART = 100  #: images of one kept result
Advance = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class ResNet20:
    """The network, and its images as codes uint8 (N, height, width, channels) and labels (N,).

    `calibration`: codes as `tune` takes them, int16 (N, height, width, channels); disjoint from the test images.
    """

    network: Network
    exact: Program
    calibration: np.ndarray
    codes: np.ndarray
    labels: np.ndarray

    def program(self, table: str | Tables, chip: ChipConfig = CHIP) -> Program:
        """Hidden convolutions on memristor, ideal cells."""
        return compile_network(self.network, chip, hidden="memristor", table=table)


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model gave: `classes` (N,), reads of an image (the same for all), saturated conversions of an image."""

    classes: np.ndarray
    reads: int
    saturations: float

    def accuracy(self, labels: np.ndarray) -> float:
        """In percent."""
        return 100 * float(np.mean(self.classes == labels))


def open_resnet20(limit: int | None) -> ResNet20:
    """Read and quantise; the first `limit` test images (None: all). Raises MixcimError if the workloads are absent."""
    folder = workloads_folder()
    assert RESNET20.calibration is not None
    paths = [folder / name for name in (RESNET20.network, RESNET20.calibration, RESNET20.inputs)]
    for path in paths:
        if not path.is_file():
            raise MixcimError(f"this figure needs '{path}', which does not exist: set {VARIABLE} to the workloads")
    network = open_network(paths[0], paths[1], RESNET20.mean, RESNET20.std)
    exact = compile_network(network, CHIP)

    def images(path: Path) -> tuple[np.ndarray, np.ndarray]:
        values, arrays = read_inputs(path, exact.file_shape, exact.input_layout, RESNET20.mean, RESNET20.std)
        return values, arrays["labels"]

    calibration, _ = images(paths[1])
    values, labels = images(paths[2])
    codes = input_codes(exact, values[:limit])
    return ResNet20(network, exact, quantise_input(network, calibration), codes, labels[:limit])


def tuned(
    resnet20: ResNet20, budget: float, seed: int, kept: Kept, advance: Advance, chip: ChipConfig = CHIP
) -> Tables:
    """Tables that `tune` finds from calibration images only. `budget`: r.m.s. error of a layer, output codes."""

    def run() -> dict[str, object]:
        tables, _ = tuning.tune(
            resnet20.network,
            chip,
            place(resnet20.network, chip, [], "memristor"),
            images,
            budget=budget,
            windows=TUNE_WINDOWS,
            seed=seed,
            progress=lambda done, total, layer: advance(done, total, f"tuning, budget {budget:g}: {layer}"),
        )
        return {layer: dataclasses.asdict(table) for layer, table in tables.layers.items()}

    images = resnet20.calibration[:TUNE_IMAGES]
    settings = f"{chip!r} {budget!r} {TUNE_WINDOWS} {seed}"
    key = (
        inspect.getsource(tuning).encode(),
        resnet20.exact.to_bytes(),
        images.tobytes(),
        settings.encode(),
    )
    layers = {
        layer: WordLineTable(*(tuple(map(tuple, table[name])) for name in ("rows_per_read", "step_shift")))
        for layer, table in kept.of(key, run).items()
    }
    return Tables(next(iter(layers.values())), layers)


def programmed(program: Program, device: DeviceModel, seed: int, time_s: float, chip: ChipConfig = CHIP) -> Program:
    """The program in cells of a device `time_s` seconds after programming, with its readout, all from the seed.

    A device in which nothing is random gives the same program for every seed.
    """
    program = apply_device(program, chip, device, seed=seed, time_s=time_s)
    program = with_readout(program, chip, device, seed)
    return program if program.noise_table.any() else dataclasses.replace(program, noise_seed=0)


def answers(
    program: Program,
    codes: np.ndarray,
    kept: Kept,
    advance: Advance,
    what: str,
    chip: ChipConfig = CHIP,
    first_class: int = 0,
) -> Answers:
    """Classes that the model gives for codes or patterns (N, height, width, channels), PART images at a time.

    `first_class`: output that is class 0; those before it do not count.

    A part whose program, images and noise seeds are the same as in an earlier run is taken from there. Every image has
    a noise seed of its own, drawn from the program's.
    """
    seeds = np.random.default_rng(program.noise_seed).integers(1 << 32, size=len(codes), dtype=np.uint32)
    model, parts = ProcessorModel(chip, program), []
    contents = program.to_bytes()

    def run(first: int) -> dict[str, object]:
        here = slice(first, first + PART)
        output = model.run(codes[here], noise_seeds=seeds[here])
        classes = output_values(program, output).reshape(len(output), -1)[:, first_class:].argmax(axis=1)
        return {
            "classes": classes.tolist(),
            "reads": int(model.memristor_reads[0]),
            "saturations": model.adc_saturations.tolist(),
        }

    for first in range(0, len(codes), PART):
        advance(first, len(codes), what)
        here = slice(first, first + PART)
        key = (model_digest(), contents, codes[here].tobytes(), seeds[here].tobytes(), bytes([first_class]))
        parts.append(kept.of(key, lambda first=first: run(first)))
    return Answers(
        np.concatenate([part["classes"] for part in parts]),
        parts[0]["reads"],
        float(np.concatenate([part["saturations"] for part in parts]).mean()),
    )


def model_digest() -> bytes:
    """Hash of the sources of the model and of the contract that it follows: another model is asked again."""
    total = hashlib.sha256()
    for module in (mixcim.model, mixcim_hdl):
        assert module.__file__ is not None
        for path in sorted(Path(module.__file__).parent.glob("*.*")):
            if path.suffix in (".py", ".cpp"):
                total.update(path.name.encode() + path.read_bytes())
    return total.digest()
