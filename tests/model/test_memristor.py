"""All ways of reading the memristor give what the definition gives, wherever they are taken."""

import dataclasses

import numpy as np
import pytest

from mixcim.model.memristor import MemristorBank, Method
from mixcim.model.noise import advanced
from mixcim.model.read_plan import ReadTable
from mixcim_hdl.formats import WEIGHT_MODES, Encoding
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import ideal_adc, no_noise, no_repair
from model.random_program import ideal_lines


def uniform_table(rows, digits, shift=0, skip=False):
    """The same rows per read and step for every input bit and digit."""
    return ReadTable(((rows,) * digits,) * 8, ((shift,) * digits,) * 8, skip)


def bank_of(chip, lines, adc=None, noise=None):
    """A bank without repair; by default with ideal ADCs and no noise."""
    adc = ideal_adc(chip)[0] if adc is None else adc
    return MemristorBank(chip, lines, no_repair(lines, chip), adc, no_noise(chip) if noise is None else noise)


def read(bank, table, tiles, length, codes, method, groups=1):
    """Sums, saturations and left out reads of a bank from slot 1 on, linear part included; how they were found."""
    vectors = -(-length // bank.chip.rows)
    reading = bank.reading(table, 1, vectors, tiles, length, 8, groups, method)
    sums, clipped, left_out = reading(codes, None)
    product = 0 if reading.matrix is None else codes.reshape(-1, length).astype(np.int64) @ reading.matrix
    return (product + sums).astype(np.int32), clipped, left_out, reading


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
    table = uniform_table(rows, len(chip.mode.cells), skip=bool(sparse))
    fast, native, both, slow = (
        read(bank, table, 2, 150, codes.astype(np.uint8), method)
        for method in (Method.CORRECTED, Method.KERNEL, Method.FASTEST, Method.DEFINITION)
    )
    for other in (fast, native, both):
        for got, want in zip(other[:3], slow[:3], strict=True):
            np.testing.assert_array_equal(got, want)
    assert [way[3].matrix is None for way in (fast, both, native, slow)] == [False, False, True, True]
    assert not fast[1].any() if rows == 5 else fast[1].any() or density < 1 or rows < 64 or mode == "MM-S"
    assert slow[2].any() if sparse and rows == 5 else sparse or not slow[2].any()


@pytest.mark.parametrize("encoding", ["differential", "offset", "twos_complement"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("bits", [8, 9, 12, 16])
def test_signed_integers_are_read_alike_and_mean_their_products(encoding, wide, bits):
    """Groups of 64 rows clip now and then; groups of 5 never do, and give the exact product."""
    chip = dataclasses.replace(PRESETS["demo"], weight_mode="MM-S", encoding=encoding, memristor_slots=8, adc_bits=3)
    random = np.random.default_rng(bits)
    weights = random.integers(-128 if encoding != "differential" else -127, 128, (8, 64, 16))
    bank = bank_of(chip, ideal_lines(weights, chip))
    integers = random.integers(-(1 << bits - 1), 1 << bits - 1, (2, 20, 100))
    for rows in (5, 64):
        table = ReadTable(((rows,) * 8,) * bits, ((0,) * 8,) * bits)
        results = []
        for method in Method:
            reading = bank.reading(table, 1, 2, 2, 100, bits, method=method, signed=True, wide=wide)
            codes = (integers & (1 << bits) - 1).astype(reading.plan.code_type)
            sums, clipped, _ = reading(codes, None)
            assert sums.dtype == (np.int64 if wide else np.int32)
            linear = 0 if reading.matrix is None else integers.reshape(-1, 100) @ reading.matrix
            results.append((sums + linear, clipped))
        for sums, clipped in results:
            np.testing.assert_array_equal(sums, results[0][0])
            np.testing.assert_array_equal(clipped, results[0][1])
        assert results[0][1].any() == (rows == 64)
        if rows == 5:
            matrix = weights[1:5].reshape(2, 2, 64, 16).transpose(0, 2, 1, 3).reshape(128, 32)[:100]
            np.testing.assert_array_equal(results[0][0], integers.reshape(-1, 100) @ matrix)


def test_dot_product_values_of_wide_sums_wrap_vector_by_vector():
    """Steps 2**15 times as large: vectors of 64, 64 and 22 rows, of which the long ones wrap."""
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=4)
    bank = bank_of(chip, np.full((4 * 4 * chip.physical_columns, 64), 224, np.uint8))
    cells = bank.cells
    cells[:, :, -1] = 0
    cells[:, :, 1:-1:2] = 0
    table = ReadTable(((1,) * 4,) * 16, ((0,) * 4,) * 16)
    codes = np.full((1, 1, 150), (1 << 16) - 1, np.uint16)
    each = sum(7 * 2 ** (bit + place) for bit in range(16) for place in (0, 2, 4, 6))
    assert bank.reading(table, 0, 3, 1, 150, 16).matrix is not None
    for method in Method:
        reading = bank.reading(table, 0, 3, 1, 150, 16, method=method, wide=True)
        sums, *_ = reading(codes, None)
        assert reading.matrix is None
        want = sum((rows * each + 2**31) % 2**32 - 2**31 for rows in (64, 64, 22))
        assert want != (150 * each + 2**31) % 2**32 - 2**31 and (sums == want).all()


def test_reads_without_saturation_are_the_exact_product():
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=4)
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (4, 64, 16))
    bank = bank_of(chip, ideal_lines(weights, chip))
    codes = random.integers(0, 256, (2, 9, 100)).astype(np.uint8)
    sums, clipped, *_ = read(bank, uniform_table(8, 4), 1, 100, codes, Method.DEFINITION)
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
    assert corrected(bank_of(chip, lines, noise=noise)) == [False, False]
    adc = ideal_adc(chip)[0]
    adc[31, 9] = 1
    assert corrected(bank_of(chip, lines, adc)) == [False, False]
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
    for sums, clipped, *_ in (fast, slow, both):
        np.testing.assert_array_equal(sums, np.tile(want[:, None], (1, 16)))
        assert clipped == 16 * np.count_nonzero(lines * abs(weight) > 31)


def test_sums_beyond_float32_are_exact():
    """128 rows of strong cells on a 10-bit ADC: sums above 2**24, which float32 would round."""
    chip = dataclasses.replace(PRESETS["demo"], rows=128, adc_bits=10, memristor_slots=2)
    random = np.random.default_rng(0)
    cells = np.zeros((2, 4, chip.physical_columns, 128), np.uint8)
    cells[:, :, 0 : chip.adcs : 2] = random.integers(240, 256, (2, 4, 16, 128))
    bank = bank_of(chip, cells.reshape(-1, 128))
    codes = random.integers(0, 256, (1, 30, 128)).astype(np.uint8) | np.uint8(0xF9)
    want = np.zeros((30, 16), np.int64)
    for digit in range(4):
        for bit in range(8):
            current = (codes[0] >> bit & 1).astype(np.int64) @ cells[1, digit, 0 : chip.adcs : 2].T.astype(np.int64)
            want += np.clip((current + 16) // 32, 0, 1023) << (bit + 2 * digit)
    assert want.max() > 1 << 24
    for method in Method:
        sums, *_ = read(bank, uniform_table(128, 4), 1, 128, codes, method)
        np.testing.assert_array_equal(sums, want)


def test_cells_of_one_bit_are_off_or_on():
    """A word line on an SLC of value 1 counts one ADC step of four level steps, whatever its input bit and digit."""
    chip = dataclasses.replace(PRESETS["demo"], weight_mode="MM-1", memristor_slots=2)
    weights = np.array([1 << digit for digit in range(8)] * 2) - 1
    lines = ideal_lines(np.broadcast_to(weights.clip(-128, 127), (2, 64, 16)), chip)
    assert sorted(set(lines.reshape(-1, 6, chip.physical_columns, 64)[:, 2, : chip.adcs].ravel())) == [0, 128]
    assert sorted(set(lines.reshape(-1, 6, chip.physical_columns, 64)[:, 0, : chip.adcs].ravel())) == [32, 64, 128]
    codes = np.zeros((1, 1, 64), np.uint8)
    codes[0, 0, 5] = 255
    for method in Method:
        sums, clipped, *_ = read(bank_of(chip, lines), uniform_table(16, 6), 1, 64, codes, method)
        np.testing.assert_array_equal(sums, [255 * weights])
        assert not clipped.any()


def test_digits_that_are_not_read_do_not_count():
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    bank = bank_of(chip, ideal_lines(np.full((2, 64, 16), 0b01_10_11), chip))
    codes = np.zeros((1, 1, 64), np.uint8)
    codes[0, 0, 7] = 3
    for digits, weight in ((1, 0b11), (2, 0b1011), (3, 0b011011), (4, 0b011011)):
        for method in Method:
            sums, *_, reading = read(bank, uniform_table(16, digits), 1, 64, codes, method)
            assert (sums == 3 * weight).all() and reading.plan.reads == 8 * 4 * digits


def test_zero_groups_are_left_out_in_runs_of_one_group_only():
    """ADCs with an offset of one step count it for every read; 3 of 64 rows are on, in two groups of 16."""
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    adc = ideal_adc(chip)[0]
    adc[::2, 1] = 32
    bank = bank_of(chip, ideal_lines(np.zeros((2, 64, 16), int), chip), adc)
    codes = np.zeros((1, 2, 64), np.uint8)
    codes[0, 0, [1, 2, 40]] = 1
    for method in (Method.KERNEL, Method.DEFINITION):
        for skip, groups, want in ((True, 1, 2), (False, 1, 4 * 255), (True, 2, 4 * 255)):
            sums, _, left_out, _ = read(bank, uniform_table(16, 1, skip=skip), 1, 64, codes, method, groups)
            np.testing.assert_array_equal(sums[:, 0], [want, 0 if want == 2 else want])
            assert left_out == (2 * 32 - 2 if want == 2 else 0)


def test_noise_stands_still_where_reads_are_left_out():
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    noise = no_noise(chip)
    noise[:] = 400
    bank = bank_of(chip, ideal_lines(np.full((2, 64, 16), 5), chip), noise=noise)
    codes = np.zeros((1, 3, 64), np.uint8)
    codes[0, 1, 3] = 0b101
    before = np.arange(1, chip.memristor_columns + 1, dtype=np.uint32)[None]
    for method in (Method.KERNEL, Method.DEFINITION):
        states = before.copy()
        reading = bank.reading(uniform_table(16, 4, skip=True), 1, 1, 1, 64, 8, method=method)
        reading(codes, states)
        np.testing.assert_array_equal(states, advanced(before, 2 * 4))


def test_the_last_spare_that_names_a_column_replaces_it():
    chip = dataclasses.replace(PRESETS["tiny"], spare_columns=3, memristor_slots=2)
    lines = np.arange(chip.physical_columns * 5, dtype=np.uint8).repeat(16).reshape(-1, 16)
    repair = no_repair(lines, chip)
    repair[1] = 2, 0, 2
    repair[2] = chip.memristor_columns, 1, 0
    cells = MemristorBank(chip, lines, repair, ideal_adc(chip)[0], no_noise(chip)).cells
    assert cells.shape == (2, 4, 9, 16)
    words = cells.reshape(8, 9, 16)[:, :, 0].tolist()
    assert words[0] == list(range(9)) and words[4] == list(range(48, 57)) and not any(map(any, words[5:]))
    assert words[1] == [12, 12 + 11, *range(14, 21)]
    assert words[2] == [24 + 10, *range(25, 32), 24 + 9]


@pytest.mark.parametrize("length", [64, 61, 37])
def test_input_bits_without_any_line_between_bits_that_clip(length):
    """Running sums of separate input bits meet where no line is on for the bit between them."""
    chip = dataclasses.replace(PRESETS["demo"], memristor_slots=2)
    random = np.random.default_rng(length)
    bank = bank_of(chip, ideal_lines(random.integers(60, 128, (2, 64, 16)), chip))
    codes = random.choice(np.array([0, 1, 4, 5, 16, 17, 69], np.uint8), (2, 40, length))
    table = uniform_table(24, 4)
    fast, slow = (read(bank, table, 1, length, codes, method) for method in (Method.FASTEST, Method.DEFINITION))
    assert fast[3].matrix is not None and slow[1].all()
    for got, want in zip(fast[:3], slow[:3], strict=True):
        np.testing.assert_array_equal(got, want)
