"""Real networks and inputs that lie beside the repository (../shared/workloads), and what the tests need of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

#: The workload pack. It is not part of the repository: its files have their own licences.
WORKLOADS: Path = Path(__file__).resolve().parents[2] / "shared" / "workloads"

#: Mark of a test that reads the pack.
needs_workloads = pytest.mark.skipif(
    not WORKLOADS.is_dir(), reason="the workload pack ../shared/workloads is not beside the repository"
)

_CIFAR100_MEAN = np.array([0.5070, 0.4865, 0.4409], np.float32)
_CIFAR100_DEVIATION = np.array([0.2673, 0.2564, 0.2761], np.float32)


def cifar100(file: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of `file` (cifar100_test or cifar100_calib_train), normalised float32 NCHW, and labels."""
    data = np.load(WORKLOADS / "inputs" / f"{file}.npz")
    images = (data["images"].astype(np.float32) / 255 - _CIFAR100_MEAN) / _CIFAR100_DEVIATION
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), data["labels"]


def baseline(name: str) -> dict[str, float]:
    """Measured software accuracy: n, top1, top5 in percent."""
    return json.loads((WORKLOADS / "baselines.json").read_text())[name]


def floating_vectors(name: str) -> dict[str, np.ndarray]:
    """Arrays of a file of floating-point vectors by name; skips the test where the pack does not have it."""
    path = WORKLOADS / "fp" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the workload pack ../shared/workloads has no fp/{path.name} beside the repository")
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}
