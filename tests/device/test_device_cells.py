"""Cells drawn from a device: statistics within stated bounds, seeds, stuck cells, IR drop, whole programs."""

import dataclasses

import numpy as np
import pytest

from mixcim.compile.compiler import compile_network
from mixcim.compile.load import load_network
from mixcim.device import DeviceModel, apply_device, conductance_codes, load_device
from mixcim.device.cells import STUCK_HRS, STUCK_LRS, stuck_cells
from mixcim.device.model import Drift, Spread, Wire
from mixcim.errors import MixcimError
from mixcim.networks.digits import DIGITS_RESNET
from mixcim_hdl.presets import PRESETS

CHIP = PRESETS["demo"]
LEVELS = (32, 64, 96, 128)
DRIFTING = dataclasses.replace(
    DeviceModel(),
    name="drifting",
    spread=Spread((0.0, 100.0), (2.0, 4.0)),
    drift=Drift(0.01, (0.0, 100.0), (1.0, -2.0), (0.5, -1.0), (1.0, 2.0), (0.5, 0.5)),
)


def targets(lines: int = 400) -> np.ndarray:
    return np.repeat(np.array(LEVELS, np.uint8), lines * CHIP.rows).reshape(-1, CHIP.rows)


def assert_moments(values: np.ndarray, mean: float, sigma: float) -> None:
    """Mean and deviation within 5 standard errors of a sample of this size: once in 10**6 by chance."""
    assert abs(values.mean() - mean) < 5 * sigma / np.sqrt(values.size)
    assert abs(values.std() - sigma) < 5 * sigma / np.sqrt(2 * values.size)


def test_the_ideal_device_changes_no_code() -> None:
    every = np.tile(np.arange(256, dtype=np.uint8), 4).reshape(-1, CHIP.rows)
    for time, temperature in ((0.0, 25.0), (1e5, 150.0)):
        codes = conductance_codes(DeviceModel(), every, CHIP, seed=3, time_s=time, temperature_c=temperature)
        np.testing.assert_array_equal(codes, every)


@pytest.mark.parametrize("time", [0.0, 1.0, 1e4])
def test_drawn_cells_have_the_models_mean_and_spread(time: float) -> None:
    codes = conductance_codes(DRIFTING, targets(), CHIP, seed=7, time_s=time).reshape(4, -1)
    for level, nominal in enumerate(DRIFTING.mlc_uS):
        mean, drift = DRIFTING.retention(np.array(nominal), time, 25.0)
        step = 100.0 / 128  # uS in a code
        sigma = np.sqrt(float(DRIFTING.spread.sigma(np.array(nominal))) ** 2 + float(drift) ** 2 + step**2 / 12)
        assert_moments(codes[level] * step, nominal + float(mean), sigma)


def test_spread_and_drift_of_a_cell_are_independent() -> None:
    early = conductance_codes(DRIFTING, targets(), CHIP, seed=7, time_s=0.0).astype(float)
    late = conductance_codes(DRIFTING, targets(), CHIP, seed=7, time_s=1e4).astype(float)
    start, change = (early - targets())[:400].ravel(), (late - early)[:400].ravel()
    assert abs(np.corrcoef(start, change)[0, 1]) < 0.05 + 5 / np.sqrt(start.size)  # rounding couples them a little


def test_a_seed_gives_the_same_bytes_whatever_is_drawn_with_it() -> None:
    every = targets(20)
    whole = conductance_codes(DRIFTING, every, CHIP, seed=11, bank=2)
    np.testing.assert_array_equal(whole, conductance_codes(DRIFTING, every, CHIP, seed=11, bank=2))
    part = conductance_codes(DRIFTING, every[33:50], CHIP, seed=11, bank=2, first_line=33)
    np.testing.assert_array_equal(whole[33:50], part)
    for seed, bank in ((12, 2), (11, 3)):
        assert (whole != conductance_codes(DRIFTING, every, CHIP, seed=seed, bank=bank)).mean() > 0.5


def test_lines_beyond_a_chunk_have_draws_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = conductance_codes(DRIFTING, targets(100), CHIP, seed=5)
    monkeypatch.setattr("mixcim.device.cells._CHUNK", 1)
    np.testing.assert_array_equal(whole, conductance_codes(DRIFTING, targets(100), CHIP, seed=5))


def test_cells_drift_on_from_where_write_verify_left_them() -> None:
    given = np.full((200, CHIP.rows), 77, np.uint8)
    codes = conductance_codes(DRIFTING, given, CHIP, seed=1, time_s=0.0, programmed=True)
    np.testing.assert_array_equal(codes, given)


def test_stuck_cells_are_as_many_as_stated_and_stay_stuck() -> None:
    device = dataclasses.replace(DRIFTING, hrs_uS=5.0, stuck_hrs=0.02, stuck_lrs=0.01)
    every = targets()
    kinds = stuck_cells(device, (len(every), CHIP.rows), seed=4)
    for kind, share in ((STUCK_HRS, 0.02), (STUCK_LRS, 0.01)):
        assert abs((kinds == kind).mean() - share) < 5 * np.sqrt(share / every.size)
    codes = conductance_codes(device, every, CHIP, seed=4, time_s=1e4)
    assert set(codes[kinds == STUCK_HRS]) == {round(5.0 * 1.28)} and set(codes[kinds == STUCK_LRS]) == {128}


def brute_force_drop(conductance: np.ndarray, row: int, ohm: float, share: float) -> float:
    """Relative drop at a row of a bit line: its own current, and `share` of all others', through the shared pieces."""
    total = conductance[row] * (row + 1)
    total += share * sum(g * (min(row, other) + 1) for other, g in enumerate(conductance) if other != row)
    return total * ohm * 1e-6


def test_ir_drop_grows_along_the_bit_line_as_ohms_law_says() -> None:
    device = dataclasses.replace(DeviceModel(), wire=Wire(bit_line_ohm=3.0, active_word_lines=16))
    line = np.resize(np.array(LEVELS, np.uint8), (1, CHIP.rows))
    codes = conductance_codes(device, line, CHIP, seed=0)[0]
    nominal = line[0] * (100 / 128)
    share = 15 / (CHIP.rows - 1)
    for row in range(CHIP.rows):
        expected = nominal[row] * (1 - brute_force_drop(nominal, row, 3.0, share)) * 1.28
        assert abs(codes[row] - expected) <= 0.5 + 1e-9
    assert codes[63] < codes[3] <= line[0, 3] == line[0, 63]


def test_ir_drop_along_the_row_starts_anew_with_each_read_group() -> None:
    device = dataclasses.replace(DeviceModel(), wire=Wire(word_line_ohm=5.0))
    columns = CHIP.physical_columns
    lines = np.full((2 * columns + 3, CHIP.rows), 128, np.uint8)
    codes = conductance_codes(device, lines, CHIP, seed=0)
    np.testing.assert_array_equal(codes[:columns], codes[columns : 2 * columns])
    assert (np.diff(codes[:columns, 0].astype(int)) <= 0).all() and codes[columns - 1, 0] < codes[0, 0]
    nominal = np.full(columns, 100.0)
    for column in range(columns):
        expected = 128 * (1 - brute_force_drop(nominal, column, 5.0, 1.0))
        assert abs(codes[column, 9] - expected) <= 0.5 + 1e-9
    with pytest.raises(MixcimError, match="must start at a multiple"):
        conductance_codes(device, lines, CHIP, seed=0, first_line=1)


def test_wrong_arguments_are_refused() -> None:
    for bad in (np.zeros((2, 3), np.uint8), np.zeros((2, CHIP.rows), np.int16)):
        with pytest.raises(MixcimError, match="targets must be uint8"):
            conductance_codes(DeviceModel(), bad, CHIP, seed=0)
    with pytest.raises(MixcimError, match="seed must be from 0 on"):
        conductance_codes(DeviceModel(), targets(1), CHIP, seed=-1)


def test_a_program_gets_the_devices_cells_and_nothing_else() -> None:
    program = compile_network(load_network(DIGITS_RESNET), CHIP, hidden="memristor")
    same = apply_device(program, CHIP, load_device("ideal"), seed=1)
    assert same.to_bytes() == program.to_bytes()
    other = apply_device(program, CHIP, DRIFTING, seed=1, time_s=10.0)
    expected = conductance_codes(DRIFTING, program.memristor[0], CHIP, seed=1, time_s=10.0)
    np.testing.assert_array_equal(other.memristor[0], expected)
    assert other.device == DRIFTING.name
    assert dataclasses.replace(other, memristor=program.memristor, device="").to_bytes() == program.to_bytes()
    with pytest.raises(MixcimError, match="has the cells of a device already"):
        apply_device(other, CHIP, DRIFTING, seed=1)
