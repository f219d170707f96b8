"""The compiled kernel equals the numpy definition: sums, saturations and states of the generators."""

import dataclasses
import itertools

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.model import kernel
from mixcim.model.definition import DefinedReading
from mixcim.model.kernel import OPTIONS, KernelReading, load_kernel
from mixcim.model.memristor import MemristorBank
from mixcim.model.read_plan import ReadPlan, ReadTable
from mixcim_hdl.formats import ADC_PARAMETERS
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import ideal_adc, no_noise, no_repair


def random_plan(random: np.random.Generator) -> ReadPlan:
    """Any chip, cells, table, ADCs, noise and number of groups; each also at its mildest and its limits."""
    encoding, mode = [
        ("differential", "MM-M"),
        ("differential", "MM-S"),
        ("offset", "MM-1"),
        ("offset", "MM-M"),
        ("twos_complement", "MM-2"),
    ][random.integers(5)]
    chip = dataclasses.replace(
        PRESETS["demo"],
        rows=int(random.choice([16, 64, 128])),
        channels=int(random.choice([4, 16])),
        adc_bits=int(random.choice([3, 5, 10])),
        conductance_bits=int(random.choice([4, 8])),
        encoding=encoding,
        weight_mode=mode,
    )
    digits, vectors, tiles = (int(random.integers(1, most + 1)) for most in (len(chip.mode.cells), 3, 3))
    levels = random.integers(0, 1 << chip.conductance_bits, (vectors, tiles, digits, chip.memristor_columns, chip.rows))
    if random.random() < 0.6:
        levels = levels % 5 * (1 << chip.conductance_bits - 3) + random.integers(0, 2, levels.shape)
        levels = levels.clip(0, (1 << chip.conductance_bits) - 1)
    shift = int(random.choice([0, 0, 2, 15]))
    table = ReadTable(
        tuple(tuple(random.integers(1, chip.rows + 1, digits).tolist()) for _ in range(16)),
        tuple(tuple(random.integers(0, shift + 1, digits).tolist()) for _ in range(16)),
        bool(random.random() < 0.5),
    )
    adc, noise = ideal_adc(chip)[0], no_noise(chip)
    if random.random() < 0.5:
        for number, (low, high) in enumerate(ADC_PARAMETERS.values()):
            middle = adc[:, number] if random.random() < 0.5 else random.choice([low, high], chip.adcs)
            adc[:, number] = (middle + random.integers(-9, 10, chip.adcs)).clip(low, high)
    if random.random() < 0.6:
        noise = random.integers(0, int(random.choice([2, 300, 4096])), chip.rows + 1).astype(np.uint16)
    length = (vectors - 1) * chip.rows + int(random.integers(1, chip.rows + 1))
    bits = int(random.integers(1, 9) if random.random() < 0.5 else random.integers(9, 17))
    groups, signed, wide = int(random.choice([1, 2, 123])), *(random.random(2) < 0.5).tolist()
    return ReadPlan(chip, levels.astype(np.uint8), table, length, bits, adc, noise, groups, signed, wide)


@pytest.mark.parametrize("options", [OPTIONS, (*OPTIONS, "-DMIXCIM_PORTABLE")], ids=["fastest", "portable"])
@pytest.mark.parametrize("seed", range(40))
def test_kernel_equals_definition(options, seed):
    random = np.random.default_rng(seed)
    plan = random_plan(random)
    library = load_kernel(options)
    density = random.choice([0.0, 0.05, 0.3, 1.0])
    windows = random.integers(0, 1 << plan.input_bits, (2, 5, plan.length))
    windows *= random.random((2, 5, 1 if random.random() < 0.5 else plan.length)) < density
    states = random.integers(1, 1 << 32, (2, plan.chip.memristor_columns)).astype(np.uint32)
    native, slow = states.copy(), states.copy()
    readings = KernelReading(plan, library=library), DefinedReading(plan)
    for part in (slice(0, 3), slice(3, 5)):  # states go on from call to call
        codes = windows[:, part].astype(plan.code_type)
        got, want = readings[0](codes, native), readings[1](codes, slow)
        for mine, right in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, right)
        np.testing.assert_array_equal(native, slow)
    assert plan.noisy or (native == states).all()


def test_random_plans_reach_both_widths_and_all_kinds():
    plans = [random_plan(np.random.default_rng(seed)) for seed in range(40)]
    kinds = {(KernelReading(plan)._plan.narrow, plan.noisy, plan.ideal_adc) for plan in plans}
    assert kinds == set(itertools.product((0, 1), (False, True), (False, True)))
    assert {(True, True), (True, False), (False, True)} <= {(plan.skips, plan.noisy) for plan in plans}
    kinds = {(plan.code_type, plan.signed, plan.wide) for plan in plans}
    assert kinds == set(itertools.product((np.uint8, np.uint16), (False, True), (False, True)))


@pytest.mark.parametrize("shift", range(16))
@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("strongest", [40, 60, 63, 64, 65, 120, 127, 128, 129, 255])
def test_values_at_the_limits_of_16_bits(strongest, errors, shift):
    """128 cells of one code: currents, their doubles under the largest gain, and steps pass 2**15 somewhere here."""
    chip = dataclasses.replace(PRESETS["demo"], rows=128, weight_mode="MM-1", adc_bits=10)
    levels = np.zeros((1, 1, 6, chip.memristor_columns, chip.rows), np.uint8)
    levels[:, :, ::2, ::2] = strongest  # the reference is one of these columns
    levels[:, :, 1::2, 1::2] = strongest
    adc = ideal_adc(chip)[0]
    if errors:
        low, high = np.array(list(ADC_PARAMETERS.values())).T
        adc[:] = np.where(np.random.default_rng(shift).random(adc.shape) < 0.5, low, high)
    table = ReadTable(((128,) * 6,) * 8, ((shift,) * 6,) * 8)
    plan = ReadPlan(chip, levels, table, 128, 8, adc, no_noise(chip))
    windows = np.tri(130, 128, dtype=np.uint8)[None, ::3] * np.uint8(255)
    for got, want in zip(KernelReading(plan)(windows, None), DefinedReading(plan)(windows, None), strict=True):
        np.testing.assert_array_equal(got, want)


def test_without_compiler_the_definition_is_taken_and_said_so(monkeypatch):
    chip = PRESETS["tiny"]
    noise = no_noise(chip)
    noise[:] = 9
    lines = np.full((chip.physical_columns, 16), 33, np.uint8)
    bank = MemristorBank(chip, lines, no_repair(lines, chip), ideal_adc(chip)[0], noise)
    arguments = ReadTable(((4,) * 4,) * 8, ((0,) * 4,) * 8), 0, 1, 1, 16, 8
    assert isinstance(bank.reading(*arguments), KernelReading)
    kernel.kernel_library.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    try:
        with pytest.warns(RuntimeWarning, match="slowly, by numpy: the C\\+\\+ compiler 'no-such-compiler'"):
            reading = bank.reading(*arguments)
        assert isinstance(reading, DefinedReading)
        with pytest.raises(MixcimError, match="needs a C\\+\\+ compiler"):
            KernelReading(reading.plan)
    finally:
        kernel.kernel_library.cache_clear()


def test_compiler_errors_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXCIM_CACHE", str(tmp_path))
    with pytest.raises(MixcimError, match="failed on memristor.cpp") as caught:
        load_kernel(("-std=c++20", "--no-such-option"))
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.so"))
