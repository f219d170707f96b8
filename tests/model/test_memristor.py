"""The fast way of reading ideal cells gives what the definition gives, wherever it is taken."""

import dataclasses

import numpy as np
import pytest

from mixcim.model.memristor import MemristorBank, ReadTable
from mixcim_hdl.formats import WEIGHT_MODES
from mixcim_hdl.presets import PRESETS
from model.random_program import ideal_lines


def uniform_table(rows, digits, shift=0):
    """The same rows per read and step for every input bit and digit."""
    return ReadTable(((rows,) * digits,) * 8, ((shift,) * digits,) * 8)


def read(bank, table, tiles, length, codes, ideal):
    """Sums and saturations of a bank from slot 1 on, linear part included."""
    vectors = -(-length // bank.chip.rows)
    reading = bank.reading(table, 1, vectors, tiles, length, 8, ideal)
    sums, clipped = reading(codes)
    product = codes.reshape(-1, length).astype(np.int64) @ reading.matrix
    return (product + sums).astype(np.int32), clipped, reading


@pytest.mark.parametrize("mode", WEIGHT_MODES)
@pytest.mark.parametrize("rows", [5, 16, 64])
@pytest.mark.parametrize("density", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("sparse", [0, 1])
def test_corrected_reads_equal_converted_ones(monkeypatch, mode, rows, density, sparse):
    monkeypatch.setattr("mixcim.model.memristor.SPARSE", sparse)
    chip = dataclasses.replace(PRESETS["demo"], weight_mode=mode, memristor_slots=8)
    random = np.random.default_rng(rows)
    bank = MemristorBank(chip, ideal_lines(random.integers(-100, 128, (8, 64, 16)), chip))
    codes = random.integers(0, 256, (3, 50, 150)) * (random.random((3, 50, 150)) < density)
    table = uniform_table(rows, len(chip.mode.cells))
    fast = read(bank, table, 2, 150, codes.astype(np.uint8), True)
    slow = read(bank, table, 2, 150, codes.astype(np.uint8), False)
    np.testing.assert_array_equal(fast[0], slow[0])
    np.testing.assert_array_equal(fast[1], slow[1])
    assert fast[2].reads == slow[2].reads
    assert fast[2].matrix.any() and not slow[2].matrix.any()
    assert not fast[1].any() if rows == 5 else fast[1].any() or density < 1 or rows < 64 or mode == "MM-S"


def test_reads_without_saturation_are_the_exact_product():
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=4)
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (4, 64, 16))
    bank = MemristorBank(chip, ideal_lines(weights, chip))
    codes = random.integers(0, 256, (2, 9, 100)).astype(np.uint8)
    sums, clipped, _ = read(bank, uniform_table(8, 4), 1, 100, codes, False)
    matrix = np.concatenate([weights[1], weights[2]])[:100]
    np.testing.assert_array_equal(sums, codes.reshape(-1, 100).astype(np.int64) @ matrix)
    assert not clipped.any()


def test_digits_with_imperfect_cells_are_converted():
    """One cell off by one code, one step that is coarser than a digit: no linear part for the digits concerned."""
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    lines = ideal_lines(np.full((2, 64, 16), 85), chip)
    ideal = MemristorBank(chip, lines).reading(uniform_table(8, 4), 0, 1, 1, 64, 8)
    assert ideal.corrected == [True] * 4
    lines[3, 7] += 1
    disturbed = MemristorBank(chip, lines)
    assert disturbed.reading(uniform_table(8, 4), 0, 1, 1, 64, 8).corrected == [False, True, True, True]
    coarse = ReadTable(((8,) * 4,) * 8, ((0, 0, 1, 0),) * 8)
    assert disturbed.reading(coarse, 1, 1, 1, 64, 8).corrected == [True, True, False, True]


@pytest.mark.parametrize("sparse", [0, 1])
@pytest.mark.parametrize("weight", [3, -2, 1])
def test_every_number_of_word_lines_around_the_largest_code(monkeypatch, weight, sparse):
    """Windows with 0 to 64 lines on, and as many dark ones: the first that clips is just above the largest code."""
    monkeypatch.setattr("mixcim.model.memristor.SPARSE", sparse)
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    bank = MemristorBank(chip, ideal_lines(np.full((2, 64, 16), weight), chip))
    codes = np.concatenate([np.tri(65, 64, -1, dtype=np.uint8), np.zeros((65, 64), np.uint8)])[None]
    fast = read(bank, uniform_table(64, 4), 1, 64, codes, True)
    slow = read(bank, uniform_table(64, 4), 1, 64, codes, False)
    lines = np.concatenate([np.arange(65), np.zeros(65, int)])
    want = np.sign(weight) * np.minimum(lines * abs(weight), 31)
    for sums, clipped, _ in (fast, slow):
        np.testing.assert_array_equal(sums, np.tile(want[:, None], (1, 16)))
        assert clipped == 16 * np.count_nonzero(lines * abs(weight) > 31)


def test_sums_beyond_float32_are_exact():
    """128 rows of strong cells on a 10-bit ADC: sums above 2**24, which float32 would round."""
    chip = dataclasses.replace(PRESETS["demo"], rows=128, adc_bits=10, memristor_slots=2)
    random = np.random.default_rng(0)
    cells = np.zeros((2, 4, chip.memristor_columns, 128), np.uint8)
    cells[:, :, 0:-1:2] = random.integers(240, 256, (2, 4, 16, 128))
    bank = MemristorBank(chip, cells.reshape(-1, 128))
    codes = random.integers(0, 256, (1, 30, 128)).astype(np.uint8) | np.uint8(0xF9)
    want = np.zeros((30, 16), np.int64)
    for digit in range(4):
        for bit in range(8):
            current = (codes[0] >> bit & 1).astype(np.int64) @ cells[1, digit, 0:-1:2].T.astype(np.int64)
            want += np.clip((current + 16) // 32, 0, 1023) << (bit + 2 * digit)
    assert want.max() > 1 << 24
    sums, _, _ = read(bank, uniform_table(128, 4), 1, 128, codes, False)
    np.testing.assert_array_equal(sums, want)
