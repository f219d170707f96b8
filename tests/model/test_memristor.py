"""All ways of reading the memristor give what the definition gives, wherever they are taken."""

import dataclasses

import numpy as np
import pytest

from mixcim.model.memristor import MemristorBank, Method
from mixcim.model.read_plan import ReadTable
from mixcim_hdl.formats import WEIGHT_MODES, Encoding
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import ideal_adc, no_noise
from model.random_program import ideal_lines


def uniform_table(rows, digits, shift=0):
    """The same rows per read and step for every input bit and digit."""
    return ReadTable(((rows,) * digits,) * 8, ((shift,) * digits,) * 8)


def bank_of(chip, lines):
    """A bank with ideal ADCs and no noise."""
    return MemristorBank(chip, lines, ideal_adc(chip)[0], no_noise(chip))


def read(bank, table, tiles, length, codes, method):
    """Sums and saturations of a bank from slot 1 on, linear part included."""
    vectors = -(-length // bank.chip.rows)
    reading = bank.reading(table, 1, vectors, tiles, length, 8, method=method)
    sums, clipped = reading(codes, None)
    product = 0 if reading.matrix is None else codes.reshape(-1, length).astype(np.int64) @ reading.matrix
    return (product + sums).astype(np.int32), clipped, reading


#: Every encoding with every weight mode that can do it.
KINDS = [
    (mode, encoding.value)
    for mode in WEIGHT_MODES
    for encoding in Encoding
    if encoding is not Encoding.TWOS_COMPLEMENT or WEIGHT_MODES[mode].cells[-1] == 1
]


@pytest.mark.parametrize(("mode", "encoding"), KINDS)
@pytest.mark.parametrize("rows", [5, 16, 64])
@pytest.mark.parametrize("density", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("sparse", [0, 1])
def test_all_ways_of_reading_are_equal(monkeypatch, mode, encoding, rows, density, sparse):
    monkeypatch.setattr("mixcim.model.corrected.SPARSE", sparse)
    chip = dataclasses.replace(PRESETS["demo"], weight_mode=mode, encoding=encoding, memristor_slots=8)
    random = np.random.default_rng(rows)
    bank = bank_of(chip, ideal_lines(random.integers(-100, 128, (8, 64, 16)), chip))
    codes = random.integers(0, 256, (3, 50, 150)) * (random.random((3, 50, 150)) < density)
    table = uniform_table(rows, len(chip.mode.cells))
    fast, native, both, slow = (
        read(bank, table, 2, 150, codes.astype(np.uint8), method)
        for method in (Method.CORRECTED, Method.KERNEL, Method.FASTEST, Method.DEFINITION)
    )
    for other in (fast, native, both):
        np.testing.assert_array_equal(other[0], slow[0])
        np.testing.assert_array_equal(other[1], slow[1])
    assert [reading.matrix is None for _, _, reading in (fast, both, native, slow)] == [False, False, True, True]
    assert not fast[1].any() if rows == 5 else fast[1].any() or density < 1 or rows < 64 or mode == "MM-S"


def test_reads_without_saturation_are_the_exact_product():
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=4)
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (4, 64, 16))
    bank = bank_of(chip, ideal_lines(weights, chip))
    codes = random.integers(0, 256, (2, 9, 100)).astype(np.uint8)
    sums, clipped, _ = read(bank, uniform_table(8, 4), 1, 100, codes, Method.DEFINITION)
    matrix = np.concatenate([weights[1], weights[2]])[:100]
    np.testing.assert_array_equal(sums, codes.reshape(-1, 100).astype(np.int64) @ matrix)
    assert not clipped.any()


def test_what_is_not_ideal_is_not_corrected():
    """One cell off by one code, one step coarser than a digit, one ADC off, noise: no linear part."""
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    lines = ideal_lines(np.full((2, 64, 16), 85), chip)
    fine, coarse = uniform_table(8, 4), ReadTable(((8,) * 4,) * 8, ((0, 0, 1, 0),) * 8)

    def corrected(bank, table=fine):
        return [bank.reading(table, slot, 1, 1, 64, 8).matrix is not None for slot in (0, 1)]

    assert corrected(bank_of(chip, lines)) == [True, True]
    assert corrected(bank_of(chip, lines), coarse) == [False, False]
    noise = no_noise(chip)
    noise[64] = 1
    assert corrected(MemristorBank(chip, lines, ideal_adc(chip)[0], noise)) == [False, False]
    adc = ideal_adc(chip)[0]
    adc[31, 9] = 1
    assert corrected(MemristorBank(chip, lines, adc, no_noise(chip))) == [False, False]
    lines[3, 7] += 1
    assert corrected(bank_of(chip, lines)) == [False, True]


@pytest.mark.parametrize("sparse", [0, 1])
@pytest.mark.parametrize("weight", [3, -2, 1])
def test_every_number_of_word_lines_around_the_largest_code(monkeypatch, weight, sparse):
    """Windows with 0 to 64 lines on, and as many dark ones: the first that clips is just above the largest code."""
    monkeypatch.setattr("mixcim.model.corrected.SPARSE", sparse)
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    bank = bank_of(chip, ideal_lines(np.full((2, 64, 16), weight), chip))
    codes = np.concatenate([np.tri(65, 64, -1, dtype=np.uint8), np.zeros((65, 64), np.uint8)])[None]
    fast = read(bank, uniform_table(64, 4), 1, 64, codes, Method.CORRECTED)
    slow = read(bank, uniform_table(64, 4), 1, 64, codes, Method.DEFINITION)
    lines = np.concatenate([np.arange(65), np.zeros(65, int)])
    both = read(bank, uniform_table(64, 4), 1, 64, codes, Method.FASTEST)
    want = np.sign(weight) * np.minimum(lines * abs(weight), 31)
    for sums, clipped, _ in (fast, slow, both):
        np.testing.assert_array_equal(sums, np.tile(want[:, None], (1, 16)))
        assert clipped == 16 * np.count_nonzero(lines * abs(weight) > 31)


def test_sums_beyond_float32_are_exact():
    """128 rows of strong cells on a 10-bit ADC: sums above 2**24, which float32 would round."""
    chip = dataclasses.replace(PRESETS["demo"], rows=128, adc_bits=10, memristor_slots=2)
    random = np.random.default_rng(0)
    cells = np.zeros((2, 4, chip.memristor_columns, 128), np.uint8)
    cells[:, :, 0:-1:2] = random.integers(240, 256, (2, 4, 16, 128))
    bank = bank_of(chip, cells.reshape(-1, 128))
    codes = random.integers(0, 256, (1, 30, 128)).astype(np.uint8) | np.uint8(0xF9)
    want = np.zeros((30, 16), np.int64)
    for digit in range(4):
        for bit in range(8):
            current = (codes[0] >> bit & 1).astype(np.int64) @ cells[1, digit, 0:-1:2].T.astype(np.int64)
            want += np.clip((current + 16) // 32, 0, 1023) << (bit + 2 * digit)
    assert want.max() > 1 << 24
    for method in Method:
        sums, _, _ = read(bank, uniform_table(128, 4), 1, 128, codes, method)
        np.testing.assert_array_equal(sums, want)
