"""Write-verify: equal to its pseudo code, its invariants, endurance, reports."""

import dataclasses

import numpy as np
import pytest

from mixcim.device import DeviceModel, WriteVerify, program_lines
from mixcim.device.cells import STUCK_HRS, STUCK_LRS, stuck_cells, virgin_codes
from mixcim.device.model import Programming
from mixcim.errors import MixcimError
from mixcim_hdl.presets import PRESETS

CHIP = PRESETS["demo"]
DEVICE = dataclasses.replace(DeviceModel(), hrs_uS=2.0, stuck_hrs=0.02, stuck_lrs=0.02)
REGISTERS = WriteVerify.of(DEVICE, CHIP)
WORD = (1 << 32) - 1


def xorshift(x: int) -> int:
    x ^= x << 13 & WORD
    x ^= x >> 17
    return x ^ (x << 5 & WORD)


def one_line(targets, codes, held, registers, seed, line):
    """The pseudo code of commands.py, a cell and a pulse at a time, in Python integers."""
    x = (seed + (line + 1) * 0x9E3779B1) & WORD or 0x9E3779B1
    for _ in range(4):
        x = xorshift(x)
    codes, pulses, given_up = list(codes), [], []
    for row, target in enumerate(targets):
        count = 0
        while True:
            error = target - codes[row]
            if abs(error) <= registers.band or count == registers.retry_limit:
                given_up.append(abs(error) > registers.band)
                break
            x = xorshift(x)
            noise = (x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24) - 510
            step = max(registers.step_mean + noise * registers.step_sigma, 0)
            if abs(error) < registers.coarse:
                step >>= registers.fine_shift
            step = (step + 2048) >> 12
            if not held[row]:
                codes[row] = min(codes[row] + step, registers.highest) if error > 0 else max(codes[row] - step, 0)
            count += 1
        pulses.append(count)
    return codes, pulses, given_up


def random_lines(lines: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.choice(np.array([32, 64, 96, 128], np.uint8), (lines, CHIP.rows))
    return targets, generator.integers(0, 161, targets.shape).astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1, WORD, -6 * 0x9E3779B1 & WORD])
def test_equal_to_the_pseudo_code(seed: int) -> None:
    targets, start = random_lines(24)
    stuck = stuck_cells(DEVICE, targets.shape, seed=9)
    rough = dataclasses.replace(REGISTERS, step_sigma=3 * REGISTERS.step_sigma, retry_limit=12)
    start = np.where(stuck > 0, virgin_codes(DEVICE, stuck, CHIP), start)
    codes, report = program_lines(targets, start, rough, seed=seed, lines=np.arange(5, 29), held=stuck > 0)
    for line in range(len(targets)):
        expected = one_line(targets[line].tolist(), start[line].tolist(), stuck[line] > 0, rough, seed, line + 5)
        assert codes[line].tolist() == expected[0]
        assert report.pulses[line].tolist() == expected[1]
        assert report.given_up[line].tolist() == expected[2]
    assert report.given_up.any() and not report.given_up.all()


def test_every_cell_reaches_its_band_or_is_given_up() -> None:
    targets, start = random_lines(200)
    stuck = stuck_cells(DEVICE, targets.shape, seed=9)
    start = np.where(stuck > 0, virgin_codes(DEVICE, stuck, CHIP), start)
    codes, report = program_lines(targets, start, REGISTERS, seed=3, held=stuck > 0)
    outside = np.abs(codes.astype(int) - targets) > REGISTERS.band
    np.testing.assert_array_equal(outside, report.given_up)
    assert (report.pulses[report.given_up] == REGISTERS.retry_limit).all()
    assert report.pulses.max() <= REGISTERS.retry_limit
    assert set(codes[stuck == STUCK_HRS]) == {3} and set(codes[stuck == STUCK_LRS]) == {128}  # 2 and 100 uS
    # A stuck cell is accepted where it happens to be right; free cells of this device all get there.
    assert not report.given_up[stuck == 0].any() and report.given_up[stuck == 1].all()
    np.testing.assert_array_equal(report.given_up[stuck == 2], targets[stuck == 2] != 128)


def test_the_report_counts_every_pulse_and_cell() -> None:
    targets, start = random_lines(50)
    _, report = program_lines(targets, start, REGISTERS, seed=3)
    assert report.histogram.sum() == targets.size
    assert (report.histogram * np.arange(len(report.histogram))).sum() == report.pulses.sum()
    summary = report.summary()
    assert summary["cells"] == targets.size and summary["pulses"] == report.pulses.sum() and summary["yield"] == 1.0


def test_programming_again_what_is_right_takes_no_pulse_and_no_endurance() -> None:
    targets, start = random_lines(20)
    codes, first = program_lines(targets, start, REGISTERS, seed=3)
    again, second = program_lines(targets, codes, REGISTERS, seed=4, wear=first.wear)
    np.testing.assert_array_equal(again, codes)
    assert second.pulses.sum() == 0 and first.wear.tolist() == second.wear.tolist() == [1] * 20


def test_splitting_the_lines_changes_nothing() -> None:
    targets, start = random_lines(30)
    whole, _ = program_lines(targets, start, REGISTERS, seed=8)
    part, _ = program_lines(targets[11:], start[11:], REGISTERS, seed=8, lines=np.arange(11, 30))
    np.testing.assert_array_equal(whole[11:], part)


def test_used_up_endurance_refuses_before_anything_changes() -> None:
    targets, start = random_lines(4)
    worn = dataclasses.replace(REGISTERS, endurance=3)
    before, cycles = start.copy(), np.array([0, 2, 3, 9])
    with pytest.raises(MixcimError, match="line 12 has been programmed 3 times, its endurance is 3"):
        program_lines(targets, start, worn, seed=1, lines=np.arange(10, 14), wear=cycles)
    np.testing.assert_array_equal(start, before)
    _, report = program_lines(targets[:2], start[:2], worn, seed=1, wear=cycles[:2])
    assert report.wear.tolist() == [1, 3] and report.endurance_used == 1.0 and cycles.tolist() == [0, 2, 3, 9]


def test_wrong_arguments_are_refused() -> None:
    targets, start = random_lines(4)
    with pytest.raises(MixcimError, match="must be uint8"):
        program_lines(targets, start[:3], REGISTERS, seed=1)
    with pytest.raises(MixcimError, match="must be uint8"):
        program_lines(targets, start.astype(int), REGISTERS, seed=1)
    with pytest.raises(MixcimError, match="programming seed must be"):
        program_lines(targets, start, REGISTERS, seed=-1)


def test_registers_scale_with_the_chips_codes() -> None:
    device = dataclasses.replace(DEVICE, programming=Programming(band=0.25, step_mean=0.5, step_sigma=0.25))
    wide = WriteVerify.of(device, CHIP)
    narrow = WriteVerify.of(device, dataclasses.replace(CHIP, conductance_bits=5))
    assert (wide.band, narrow.band, wide.coarse, narrow.coarse) == (8, 1, 16, 2)
    assert (wide.step_mean, narrow.step_mean) == (16 << 12, 2 << 12)
    assert wide.step_sigma == round(8 * 4096 / 147.80) and (wide.highest, narrow.highest) == (255, 31)
