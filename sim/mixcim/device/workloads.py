"""Where measured cells and published models are looked for. They have their own licences and are not in the project."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import MixcimError

VARIABLE = "MIXCIM_WORKLOADS"  #: environment variable that names another folder


def workloads_folder() -> Path:
    """The workload pack: $MIXCIM_WORKLOADS, or ../shared/workloads beside the checkout. It need not exist."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "workloads"


def device_file(name: str, wanted_by: str) -> Path:
    """File `name` of the pack's folder `device`. Raises MixcimError, saying where, if it is absent."""
    path = workloads_folder() / "device" / name
    if not path.is_file():
        raise MixcimError(f"device '{wanted_by}' needs '{path}', which does not exist: set {VARIABLE} to the workloads")
    return path
