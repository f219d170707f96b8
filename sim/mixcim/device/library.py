"""Devices by name: `ideal`, published models, measured technologies, and device files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from ..errors import MixcimError
from .fit import TechnologyFit, fit_technology
from .measured import LEVELS, read_measured
from .model import DeviceModel, Programming, device_from_fields, read_device_fields
from .published import milo2021, quarter_levels, wan2022

TECHNOLOGIES = ("techA", "techB")


@functools.lru_cache(maxsize=4)
def technology_fit(name: str) -> TechnologyFit:
    """Fits to the measured cells of techA or techB. Raises MixcimError if the data files are absent."""
    return fit_technology(read_measured(name))


def technology(name: str) -> DeviceModel:
    """Device of a measured technology.

    G_LRS is the middle of its highest level (31 of 32), the MLC levels are quarters of it; which measured cells stand
    for a level says measured.py. HRS is the middle of the lowest level. Write-verify accepts half a level's width.
    """
    fit = technology_fit(name)
    width = fit.cells.level_uS
    levels = quarter_levels((LEVELS - 0.5) * width)
    return DeviceModel(
        name=name,
        source=f"measured cells of technology {name[-1]}, fitted (device/fit.py)",
        hrs_uS=width / 2,
        mlc_uS=levels,
        read_noise=fit.read_noise_uS / levels[0],
        spread=fit.spread,
        drift=fit.drift,
        heat=fit.heat,
        programming=Programming(band=width / 2 / levels[0]),
        cells=fit.cells,
    )


_BUILT_IN: dict[str, Callable[[], DeviceModel]] = {
    "ideal": DeviceModel,
    "wan2022": wan2022,
    "milo2021": milo2021,
    **{name: functools.partial(technology, name) for name in TECHNOLOGIES},
}
DEVICES = tuple(_BUILT_IN)  #: devices that have a name


def load_device(name_or_path: str, sampling: str = "fit") -> DeviceModel:
    """The device of that name, or of a device file (format: model.py).

    `sampling`: "fit" (default) draws from the model's distributions, "cells" draws measured cells (techA, techB, and
    files based on them). Raises MixcimError in one line.
    """
    if name_or_path in _BUILT_IN:
        device = _BUILT_IN[name_or_path]()
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise MixcimError(f"device '{name_or_path}' is neither a file nor one of {', '.join(DEVICES)}")
        fields = read_device_fields(path)
        base = fields.pop("base", "ideal")
        if base not in DEVICES:
            raise MixcimError(f"device file '{path}': base must be one of {', '.join(DEVICES)}, not {base!r}")
        device = device_from_fields(fields, _BUILT_IN[base](), path)
    return dataclasses.replace(device, sampling=sampling)
