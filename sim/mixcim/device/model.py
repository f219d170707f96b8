"""`DeviceModel`: everything about the cells of a technology, as data, and the TOML file that holds it.

Conductances are in uS; the highest MLC level is G_LRS, the conductance of a cell in its low-resistance state. A *level
step* is a quarter of G_LRS, what one step of an MLC digit is worth. A conductance code of a chip is
code = round(G / level step * formats.conductance_unit).

A file (sections and fields that are left out are those of `base`, default "ideal"):

    base = "techB"                  # ideal, wan2022, milo2021, techA or techB
    name = "my-cell"
    source = "where the numbers are from"
    hrs_uS = 1.0                    # SLC 0, and every cell that is not programmed: HRS leakage
    mlc_uS = [30.0, 60.0, 90.0, 120.0]          # MLC 00..11; SLC 1 is the last
    stuck_hrs = 1e-4                # probability that a cell stays at hrs_uS
    stuck_lrs = 1e-4                # probability that a cell stays at mlc_uS[3]
    read_noise = 0.02               # standard deviation of one cell in one read, in level steps
    [spread]                        # right after programming, by conductance; linear between, constant beyond
    conductance_uS = [0.0, 120.0]
    sigma_uS = [1.0, 2.0]
    [drift]                         # change t seconds after programming: x + x_per_decade * log10(t / 1 s)
    start_s = 0.01                  # before it the change is that of start_s, times t / start_s
    conductance_uS = [0.0, 120.0]
    mean_uS = [0.0, 0.0]
    mean_per_decade_uS = [0.1, -0.1]
    sigma_uS = [1.0, 1.0]
    sigma_per_decade_uS = [0.2, 0.2]
    [heat]                          # what a temperature adds to mean and (in quadrature) sigma after time_s
    time_s = 5000.0
    temperature_c = [100.0, 200.0]  # linear between, and down to 25 C where nothing is added
    conductance_uS = [0.0, 120.0]
    mean_uS = [[0.0, 0.0], [0.0, -5.0]]         # a row for each temperature
    sigma_uS = [[0.0, 1.0], [0.0, 6.0]]
    [wire]                          # first-order IR drop
    bit_line_ohm = 0.5              # resistance of the bit line from one cell to the next
    word_line_ohm = 0.0             # the same of the row line that carries the cells' current
    active_word_lines = 16          # word lines that are on in a read: how much a bit line is loaded
    [adc]                           # errors of a chip's ADCs, standard deviations over its ADCs
    offset = 0.1                    # in level steps
    gain = 0.01
    inl = 0.05                      # of each eighth of the range, in level steps
    [programming]                   # write-verify, in level steps; see write_verify.py
    band = 0.0625
    step_mean = 0.2
    step_sigma = 0.08
    fine_shift = 2
    retry_limit = 40
    endurance_cycles = 100000
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mixcim_hdl.registers import WEAR_BITS

from ..errors import MixcimError

ROOM_C = 25.0  #: temperature, in degrees Celsius, at which `heat` adds nothing
MLC_LEVELS = 4
SAMPLINGS = ("fit", "cells")

Row = tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the conductance right after programming."""

    conductance_uS: Row = (0.0,)
    sigma_uS: Row = (0.0,)

    def sigma(self, conductance: np.ndarray) -> np.ndarray:
        """In uS, of cells whose nominal conductance is given in uS, any shape."""
        return np.interp(conductance, self.conductance_uS, self.sigma_uS)


@dataclass(frozen=True)
class Drift:
    """Change of conductance with the time since programming, at room temperature: linear in log10(time)."""

    start_s: float = 0.01
    conductance_uS: Row = (0.0,)
    mean_uS: Row = (0.0,)
    mean_per_decade_uS: Row = (0.0,)
    sigma_uS: Row = (0.0,)
    sigma_per_decade_uS: Row = (0.0,)

    def change(self, conductance: np.ndarray, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the change in uS, of cells whose nominal conductance is given in uS."""
        decades, early = math.log10(max(time_s, self.start_s)), min(time_s / self.start_s, 1.0)
        knots = self.conductance_uS
        mean = np.interp(conductance, knots, np.add(self.mean_uS, np.multiply(self.mean_per_decade_uS, decades)))
        sigma = np.add(self.sigma_uS, np.multiply(self.sigma_per_decade_uS, decades))
        return early * mean, early * np.interp(conductance, knots, np.maximum(sigma, 0.0))


@dataclass(frozen=True)
class Heat:
    """What storage at a temperature adds to the drift, after `time_s`; it grows with log10(time) from 10 ms on."""

    time_s: float = 1.0
    temperature_c: Row = ()
    conductance_uS: Row = (0.0,)
    mean_uS: tuple[Row, ...] = ()
    sigma_uS: tuple[Row, ...] = ()

    _FIRST_S = 0.01

    def change(self, conductance: np.ndarray, time_s: float, temperature_c: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean, and standard deviation to be added in quadrature, both in uS, for nominal conductances in uS."""
        if not self.temperature_c or temperature_c <= ROOM_C:
            return np.zeros_like(conductance), np.zeros_like(conductance)
        decades = math.log10(max(time_s, self._FIRST_S) / self._FIRST_S)
        share = decades / math.log10(self.time_s / self._FIRST_S)
        temperatures = (ROOM_C, *self.temperature_c)
        result = []
        for rows in (self.mean_uS, self.sigma_uS):
            knots = [np.interp(temperature_c, temperatures, (0.0, *column)) for column in zip(*rows, strict=True)]
            result.append(share * np.interp(conductance, self.conductance_uS, knots))
        return result[0], result[1]


@dataclass(frozen=True)
class Wire:
    """Resistance of the lines between two cells, and how many word lines are on while a bit line is read."""

    bit_line_ohm: float = 0.0
    word_line_ohm: float = 0.0
    active_word_lines: int = 16


@dataclass(frozen=True)
class AdcErrors:
    """How a chip's ADCs differ: standard deviations; offset and integral non-linearity in level steps."""

    offset: float = 0.0
    gain: float = 0.0
    inl: float = 0.0


@dataclass(frozen=True)
class Programming:
    """Write-verify: band, pulse steps and limits; band and steps in level steps. The defaults are ours."""

    band: float = 0.0625  #: a cell is accepted within +- band of its target
    step_mean: float = 0.2  #: mean change of one coarse pulse
    step_sigma: float = 0.08  #: its standard deviation
    fine_shift: int = 2  #: a fine pulse changes 2**fine_shift times less
    retry_limit: int = 40  #: pulses before a cell is given up
    endurance_cycles: int = 100_000  #: programmings that a line survives


class CellSource(Protocol):
    """Measured cells from which a device can be drawn directly; see measured.py."""

    def draw(
        self, target_uS: float, time_s: float, temperature_c: float, pick: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Conductance in uS right after programming and after `time_s`; `pick`, `inside`: uniform in [0, 1)."""
        ...


@dataclass(frozen=True)
class DeviceModel:
    """Cells of one technology. Checked when it is made: MixcimError in one line names the field, value and remedy.

    `sampling`: "fit" draws from spread, drift and heat; "cells" draws measured cells from `cells`.
    """

    name: str = "ideal"
    source: str = "no non-ideality at all"
    hrs_uS: float = 0.0
    mlc_uS: Row = (25.0, 50.0, 75.0, 100.0)
    stuck_hrs: float = 0.0
    stuck_lrs: float = 0.0
    read_noise: float = 0.0
    spread: Spread = Spread()
    drift: Drift = Drift()
    heat: Heat = Heat()
    wire: Wire = Wire()
    adc: AdcErrors = AdcErrors()
    programming: Programming = Programming()
    sampling: str = "fit"
    cells: CellSource | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _Checks(self).all()

    @property
    def lrs_uS(self) -> float:
        """G_LRS: conductance of MLC level 11 and of SLC level 1."""
        return self.mlc_uS[-1]

    @property
    def step_uS(self) -> float:
        """One level step, a quarter of G_LRS."""
        return self.lrs_uS / MLC_LEVELS

    def nominal_uS(self, codes: np.ndarray, unit: int) -> np.ndarray:
        """Nominal conductance in uS of ideal conductance codes of any shape; `unit`: code of one level step.

        0 is HRS, 1..4 units are the MLC levels; linear between, and proportional above G_LRS.
        """
        values = np.asarray(codes, np.float64)
        knots = np.arange(MLC_LEVELS + 1) * unit
        return np.where(
            values > knots[-1], values * (self.step_uS / unit), np.interp(values, knots, (self.hrs_uS, *self.mlc_uS))
        )

    def codes(self, conductance_uS: np.ndarray, conductance_bits: int) -> np.ndarray:
        """Conductances in uS as codes of a chip: rounded half up, clipped to the code's range; uint8, same shape."""
        unit = 1 << (conductance_bits - 3)
        codes = np.floor(conductance_uS * (unit / self.step_uS) + 0.5)
        return np.clip(codes, 0, (1 << conductance_bits) - 1).astype(np.uint8)

    def retention(self, conductance: np.ndarray, time_s: float, temperature_c: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation in uS of the change since programming, for nominal conductances in uS.

        Raises MixcimError for a negative time and for a temperature that the model does not cover.
        """
        if not time_s >= 0 or not math.isfinite(time_s):
            raise MixcimError(f"time since programming must be a finite number of seconds from 0 on, not {time_s:g}")
        if not math.isfinite(temperature_c):
            raise MixcimError(f"temperature must be a finite number of degrees Celsius, not {temperature_c:g}")
        highest = max((ROOM_C, *self.heat.temperature_c))
        if not -50 <= temperature_c <= highest and self.drift_is_known:
            raise MixcimError(
                f"device '{self.name}' is known from -50 to {highest:g} C, not at {temperature_c:g} C: "
                "give a temperature in between, or a device file with [heat] up to it"
            )
        mean, sigma = self.drift.change(conductance, time_s)
        extra_mean, extra_sigma = self.heat.change(conductance, time_s, temperature_c)
        return mean + extra_mean, np.hypot(sigma, extra_sigma)

    @property
    def drift_is_known(self) -> bool:
        """Whether anything changes with time at all (not so for `ideal`)."""
        return self.drift != Drift() or self.heat != Heat()


class _Checks:
    """Every rule that a device obeys; the first that is broken raises MixcimError."""

    def __init__(self, device: DeviceModel) -> None:
        self.device = device

    def fail(self, name: str, rule: str, value: object) -> None:
        raise MixcimError(f"device '{self.device.name}': {name} must be {rule}, not {value}")

    def all(self) -> None:
        device = self.device
        if len(device.mlc_uS) != MLC_LEVELS:
            self.fail("mlc_uS", f"{MLC_LEVELS} conductances, for 00, 01, 10 and 11", f"{len(device.mlc_uS)}")
        levels = (device.hrs_uS, *device.mlc_uS)
        if not all(map(math.isfinite, levels)) or device.hrs_uS < 0 or np.any(np.diff(levels) <= 0):
            text = ", ".join(f"{level:g}" for level in levels)
            self.fail("hrs_uS and mlc_uS", "conductances from 0 on, each above the one before", text)
        self.span("mlc_uS[3]", device.lrs_uS, 1e-6, 1e6)
        self.span("stuck_hrs", device.stuck_hrs, 0, 1)
        self.span("stuck_lrs", device.stuck_lrs, 0, 1 - device.stuck_hrs)
        self.span("read_noise", device.read_noise, 0, 4)
        if device.sampling not in SAMPLINGS:
            self.fail("sampling", f"one of {', '.join(SAMPLINGS)}", f"'{device.sampling}'")
        if device.sampling == "cells" and device.cells is None:
            raise MixcimError(f"device '{device.name}' has no measured cells: use sampling 'fit', or techA or techB")
        self.knots("spread", device.spread, ("sigma_uS",), ("sigma_uS",))
        columns = ("mean_uS", "mean_per_decade_uS", "sigma_uS", "sigma_per_decade_uS")
        self.knots("drift", device.drift, columns, ("sigma_uS",))
        self.span("drift.start_s", device.drift.start_s, 1e-9, 1.0)
        self.heat()
        wire, programming = device.wire, device.programming
        self.span("wire.bit_line_ohm", wire.bit_line_ohm, 0, 1e4)
        self.span("wire.word_line_ohm", wire.word_line_ohm, 0, 1e4)
        self.span("wire.active_word_lines", wire.active_word_lines, 1, 1 << 15)
        self.span("adc.offset", device.adc.offset, 0, 4)
        self.span("adc.gain", device.adc.gain, 0, 0.2)
        self.span("adc.inl", device.adc.inl, 0, 1)
        self.span("programming.band", programming.band, 0, 2)
        self.span("programming.step_mean", programming.step_mean, 1e-3, 4)
        self.span("programming.step_sigma", programming.step_sigma, 0, 4)
        self.span("programming.fine_shift", programming.fine_shift, 0, 7)
        self.span("programming.retry_limit", programming.retry_limit, 1, 255)
        self.span("programming.endurance_cycles", programming.endurance_cycles, 1, (1 << WEAR_BITS) - 1)

    def span(self, name: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            self.fail(name, f"from {low:.10g} to {high:.10g}", f"{value:.10g}")

    def knots(self, name: str, section: Any, columns: tuple[str, ...], positive: tuple[str, ...]) -> None:
        """Conductances rise, every column is as long as they are and finite, and those in `positive` are not < 0."""
        knots = section.conductance_uS
        if not knots or np.any(np.diff(knots) <= 0) or not all(map(math.isfinite, knots)):
            self.fail(f"{name}.conductance_uS", "conductances, each above the one before", list(knots))
        for column in columns:
            values = getattr(section, column)
            if len(values) != len(knots):
                self.fail(f"{name}.{column}", f"{len(knots)} numbers, as conductance_uS has", len(values))
            if not all(map(math.isfinite, values)):
                self.fail(f"{name}.{column}", "finite", list(values))
            if column in positive and min(values) < 0:
                self.fail(f"{name}.{column}", "a spread from 0 on", f"{min(values):g}")

    def heat(self) -> None:
        heat = self.device.heat
        temperatures = (ROOM_C, *heat.temperature_c)
        if not all(map(math.isfinite, temperatures)) or np.any(np.diff(temperatures) <= 0):
            text = list(heat.temperature_c)
            self.fail("heat.temperature_c", f"temperatures above {ROOM_C:g} C, each above the one before", text)
        self.span("heat.time_s", heat.time_s, 0.1, 1e9)
        for column in ("mean_uS", "sigma_uS"):
            rows = getattr(heat, column)
            if len(rows) != len(heat.temperature_c):
                self.fail(f"heat.{column}", f"{len(heat.temperature_c)} rows, one a temperature", len(rows))
            for row in rows:
                section = Spread(heat.conductance_uS, row)
                self.knots("heat", _Renamed(section, column), (column,), ("sigma_uS",))


class _Renamed:
    """A row of [heat] under the names that `_Checks.knots` reads."""

    def __init__(self, row: Spread, column: str) -> None:
        self.conductance_uS = row.conductance_uS
        setattr(self, column, row.sigma_uS)


_SECTIONS = {"spread": Spread, "drift": Drift, "heat": Heat, "wire": Wire, "adc": AdcErrors, "programming": Programming}
_PLAIN = ("name", "source", "hrs_uS", "mlc_uS", "stuck_hrs", "stuck_lrs", "read_noise")
_TEXT, _WHOLE = ("name", "source"), ("active_word_lines", "fine_shift", "retry_limit", "endurance_cycles")


def read_device_fields(path: Path) -> dict[str, Any]:
    """Tables of a device file as TOML has them. Raises MixcimError: unreadable, not TOML."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise MixcimError(f"device file '{path}' cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MixcimError(f"device file '{path}' is not TOML: {error}") from None


def device_from_fields(fields: dict[str, Any], base: DeviceModel, path: Path) -> DeviceModel:
    """`base` with the fields of a device file (without its `base`) put in. Raises MixcimError for every bad field.

    A section that is given replaces single fields of the base's, so knots and columns must be given together.
    """
    known = (*_PLAIN, *_SECTIONS)
    changes: dict[str, Any] = {"name": path.stem}
    for name, value in fields.items():
        if name not in known:
            raise MixcimError(f"device file '{path}': unknown field '{name}'; known: base, {', '.join(known)}")
        if name not in _SECTIONS:
            changes[name] = _typed(name, value, path)
            continue
        if not isinstance(value, dict):
            raise MixcimError(f"device file '{path}': '{name}' must be a section [{name}], not {value!r}")
        inside = {item.name for item in dataclasses.fields(_SECTIONS[name])}
        for entry in value:
            if entry not in inside:
                raise MixcimError(
                    f"device file '{path}': unknown field '{name}.{entry}'; known: {', '.join(sorted(inside))}"
                )
        typed = {entry: _typed(f"{name}.{entry}", item, path) for entry, item in value.items()}
        changes[name] = dataclasses.replace(getattr(base, name), **typed)
    return dataclasses.replace(base, **changes)


def _typed(name: str, value: Any, path: Path) -> Any:
    """A TOML value as the dataclasses hold it: text, whole number, number, row of numbers, or rows of numbers."""
    last = name.rpartition(".")[2]

    def number(item: Any) -> float:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise MixcimError(f"device file '{path}': {name} must be a number, not {item!r}")
        try:
            return float(item)
        except OverflowError:
            raise MixcimError(f"device file '{path}': {name} must be a number that float64 holds") from None

    if last in _TEXT:
        if not isinstance(value, str):
            raise MixcimError(f"device file '{path}': {name} must be text, not {value!r}")
        return value
    if last in _WHOLE:
        if isinstance(value, bool) or not isinstance(value, int):
            raise MixcimError(f"device file '{path}': {name} must be a whole number, not {value!r}")
        return value
    rows = name in ("heat.mean_uS", "heat.sigma_uS")
    row = rows or last in ("temperature_c", "conductance_uS", "mlc_uS") or name.startswith(("spread.", "drift."))
    if not row or name == "drift.start_s":
        return number(value)
    if not isinstance(value, list) or (rows and not all(isinstance(item, list) for item in value)):
        kind = "rows of numbers" if rows else "a row of numbers"
        raise MixcimError(f"device file '{path}': {name} must be {kind}, not {value!r}")
    return tuple(tuple(map(number, item)) for item in value) if rows else tuple(map(number, value))
