"""Published device models: their coefficients, read at run time from the workload pack, as `DeviceModel`s."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np

from ..errors import MixcimError
from .model import MLC_LEVELS, DeviceModel, Drift, Spread
from .workloads import device_file

FILE = "published_device_models.json"
KNOTS = 33  #: conductances at which a published polynomial is tabulated


def quarter_levels(lrs_uS: float) -> tuple[float, ...]:
    """MLC levels 1/4, 2/4, 3/4, 4/4 of G_LRS, in uS: Wen et al., Science 384, 325 (2024)."""
    return tuple(lrs_uS * level / MLC_LEVELS for level in range(1, MLC_LEVELS + 1))


@functools.lru_cache(maxsize=4)
def _published(key: str, wanted_by: str) -> dict[str, Any]:
    path = device_file(FILE, wanted_by)
    try:
        return json.loads(path.read_text())[key]
    except (OSError, ValueError, KeyError):
        raise MixcimError(f"'{path}' has no device model '{key}': fetch the workloads again") from None


def wan2022() -> DeviceModel:
    """Wan et al., Nature 608, 504 (2022): spread after 1 s as a polynomial, and how it grows over 1 and 2 days.

    Growth: the published spreads after a time, less that after 1 s in quadrature, are fitted by a line through 0 in
    log10(time). No mean drift is published; G_LRS is the published g_max. HRS is taken as 0.
    """
    data = _published("reram_wan2022_neurram", "wan2022")
    highest = float(data["g_max_uS"])
    conductance = np.linspace(0.0, highest, KNOTS)
    after = {
        key: np.maximum(np.polynomial.polynomial.polyval(conductance / highest, coefficients), 0.0)
        for key, coefficients in data["sigma_uS_poly4_in_g_over_gmax_c0_first"].items()
    }
    decades = np.log10([86400.0, 2 * 86400.0])
    growth = np.sqrt(np.maximum(np.array([after["1day"], after["2day"]]) ** 2 - after["1s"] ** 2, 0.0))
    slope = decades @ growth / (decades @ decades)
    zeros = (0.0,) * KNOTS
    knots = tuple(conductance.tolist())
    return DeviceModel(
        name="wan2022",
        source=f"{data['reference']}, as fitted by {data['as_fitted_by']}",
        mlc_uS=quarter_levels(highest),
        spread=Spread(knots, tuple(after["1s"].tolist())),
        drift=Drift(1.0, knots, zeros, zeros, zeros, tuple(slope.tolist())),
    )


def milo2021() -> DeviceModel:
    """Milo et al., IRPS 2021: spread linear in conductance over 50..225 uS; no drift is published.

    G_LRS is the upper end of the range, HRS the lower.
    """
    data = _published("reram_milo2021", "milo2021")
    low, high = map(float, data["range_uS"])
    line = data["sigma_uS_linear_in_G_uS"]
    sigma = tuple(line["intercept"] + line["slope"] * end for end in (low, high))
    return DeviceModel(
        name="milo2021",
        source=f"{data['reference']}, as fitted by {data['as_fitted_by']}",
        hrs_uS=low,
        mlc_uS=quarter_levels(high),
        spread=Spread((low, high), sigma),
    )
