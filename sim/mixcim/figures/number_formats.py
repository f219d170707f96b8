"""Float networks of the workloads, compiled to pairs of number formats and run on the model with answers kept.

```
network file + formats (+ calibration images) --> Network --compile--> Program --> answers on the test images
```

All kernels are on exact units (SRAM-CIM, tiny-digital): what is measured is the formats alone. CHIP is chip large,
whose memories hold a 224 x 224 network in two-byte formats with two slices a weight.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from mixcim_hdl.presets import PRESETS

from ..bench.networks import RESNET20
from ..commands.inputs import read_inputs
from ..compile.compiler import compile_network
from ..compile.formats import parse_formats
from ..compile.load import load_network
from ..device.workloads import VARIABLE, workloads_folder
from ..errors import MixcimError
from ..host.values import input_codes
from .kept import Kept
from .resnet20 import Advance, answers

CHIP = PRESETS["large"]
#: Format names of the command line -> as people write them.
NAMES = {
    "int4": "INT4",
    "int8": "INT8",
    "fp8_e4m3": "FP8 E4M3",
    "fp8_e5m2": "FP8 E5M2",
    "bf16": "BF16",
    "fp16": "FP16",
}
_BATCH = 25  #: images of one run of onnxruntime


@dataclass(frozen=True, eq=False)
class Network:
    """A float network file with its images: `values` float32 (N, channels, height, width), `labels` (N,), and
    `calibration` like values, of other images. `first_class`: output that is class 0."""

    path: Path
    values: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    first_class: int = 0

    def first(self, count: int) -> Network:
        """With its first images only."""
        return dataclasses.replace(self, values=self.values[:count], labels=self.labels[:count])


def workload(name: str) -> Path:
    """A file or folder of the workload pack. Raises MixcimError if it is absent."""
    path = workloads_folder() / name
    if not path.exists():
        raise MixcimError(f"this figure needs '{path}', which does not exist: set {VARIABLE} to the workloads")
    return path


def open_resnet20(limit: int | None) -> Network:
    """ResNet-20 for CIFAR-100 and its first `limit` test images (None: all)."""
    assert RESNET20.calibration is not None

    def images(name: str) -> tuple[np.ndarray, np.ndarray]:
        values, arrays = read_inputs(workload(name), (3, 32, 32), "NCHW", RESNET20.mean, RESNET20.std)
        return values, arrays["labels"]

    values, labels = images(RESNET20.inputs)
    calibration, _ = images(RESNET20.calibration)
    return Network(workload(RESNET20.network), values[:limit], labels[:limit], calibration)


def open_mobilenet(limit: int | None) -> Network:
    """MobileNet-v2 for ImageNet and its first `limit` test images (None: all)."""
    mean = std = "0.5"
    values, arrays = read_inputs(workload("inputs/imagenet224_eval"), (3, 224, 224), "NCHW", mean, std)
    calibration, _ = read_inputs(workload("inputs/imagenet224_calib"), (3, 224, 224), "NCHW", mean, std)
    path = workload("models/mobilenetv2_1.0_224_imagenet/mobilenetv2_1.0_224_imagenet.onnx")
    return Network(path, values[:limit], arrays["labels"][:limit], calibration, first_class=1)


def reference(network: Network, kept: Kept) -> np.ndarray:
    """Classes that onnxruntime gives for the float network, int64 (N,)."""

    def run() -> dict[str, object]:
        session = onnxruntime.InferenceSession(str(network.path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        parts = [network.values[first : first + _BATCH] for first in range(0, len(network.values), _BATCH)]
        outputs = np.concatenate([np.asarray(session.run(None, {name: part})[0]) for part in parts])
        return {"classes": outputs[:, network.first_class :].argmax(axis=1).tolist()}

    key = (network.path.read_bytes(), network.values.tobytes(), onnxruntime.__version__.encode())
    return np.array(kept.of(key, run)["classes"])


def classes(
    network: Network, inputs: str, weights: str, width: int | None, kept: Kept, advance: Advance, what: str
) -> np.ndarray:
    """Classes that the model gives in a pair of formats (command line's names), int64 (N,).

    `width`: aligned bits; None: the command's default.
    """
    formats = parse_formats([f"{inputs}/{weights}"], CHIP.aligned_bits, width)
    integers = inputs.startswith("int")
    quantised = load_network(network.path, network.calibration if integers else None, formats=formats)
    program = compile_network(quantised, CHIP)
    codes = input_codes(program, network.values)
    given = answers(program, codes, kept, advance, what, CHIP, first_class=network.first_class)
    return given.classes
