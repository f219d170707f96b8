"""The model against the naive interpreter of commands.py, on random programs."""

import dataclasses
import itertools

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.model import ProcessorModel, floating
from mixcim.model.execution import Execution
from mixcim.model.memristor import Method
from mixcim_hdl.commands import Opcode, TinyMode, decode_command
from mixcim_hdl.config import UnitKind
from mixcim_hdl.floating import ElementFormat, Rounding
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import ideal_adc
from mixcim_hdl.registers import Event
from model.naive import NaiveProcessor
from model.random_program import random_program


def compare(chip, seed):
    """Memory and counters of model (all ways of reading the memristor, several batches) and interpreter agree.

    The second input has a noise seed of its own.
    """
    program, codes = random_program(chip, seed)
    seeds = [program.noise_seed, 12345 + seed]
    model = ProcessorModel(chip, program)
    got = model.run(codes, noise_seeds=seeds)
    events = {event.name: getattr(model, event.name.lower()) for event in Event}
    skips = model.memristor_skips
    execution = Execution(chip, program, seeds, Method.FASTEST)
    execution.state.memory.write_tensor(program.tensors["input"], codes)
    list(execution.commands())
    exponents = execution.state.memory.exponents
    for number, one in enumerate(codes):
        naive = NaiveProcessor(chip, program, seeds[number])
        want = naive.run(one)
        np.testing.assert_array_equal(got[number].reshape(want.shape), want)
        if chip.floating_point:
            entries = [field | special << 8 for field, special in naive.exponents]
            np.testing.assert_array_equal(exponents[number, :-1], entries)
        assert {name: int(counts[number]) for name, counts in events.items()} == naive.events
        assert skips[number] == naive.skips
    for batch, method in enumerate((Method.DEFINITION, Method.CORRECTED, Method.KERNEL), 1):
        model.method = method
        np.testing.assert_array_equal(model.run(codes, batch=batch, noise_seeds=seeds), got)
        for name, counts in events.items():
            np.testing.assert_array_equal(getattr(model, name.lower()), counts)
        np.testing.assert_array_equal(model.memristor_skips, skips)


@pytest.mark.parametrize("seed", range(60))
def test_model_equals_definition_on_tiny(seed):
    compare(PRESETS["tiny"], seed)


@pytest.mark.parametrize("seed", range(6))
def test_model_equals_definition_on_demo(seed):
    compare(PRESETS["demo"], seed)


#: Several units of each kind, so that there can be copies of all kinds.
SEVERAL = dataclasses.replace(
    PRESETS["tiny"], memristor_banks=3, sram_banks=4, tiny_banks=4, parameter_tiles=128, program_commands=64
)


@pytest.mark.parametrize("seed", range(24))
def test_model_equals_definition_with_several_units_of_each_kind(seed):
    compare(SEVERAL, seed)


@pytest.mark.parametrize(
    "sizes",
    [
        {"memristor_banks": 3, "sram_banks": 2, "tiny_banks": 2, "parameter_tiles": 128, "program_commands": 64},
        {"memristor_banks": 0, "sram_banks": 0},
        {"aligned_bits": 0},
        {"aligned_bits": 16, "adc_bits": 8},
        {"aligned_bits": 8, "encoding": "offset"},
        {"memristor_banks": 2, "weight_mode": "MM-S", "adc_bits": 3, "conductance_bits": 4, "aligned_bits": 0},
        {"rows": 32, "channels": 8, "weight_mode": "MM-1", "adc_bits": 10, "conductance_bits": 6, "aligned_bits": 16},
        {"rows": 16, "channels": 16, "weight_mode": "MM-2"},
        {"memristor_banks": 2, "encoding": "offset", "spare_columns": 0},
        {"rows": 32, "channels": 16, "encoding": "offset", "weight_mode": "MM-S", "adc_bits": 6},
        {"encoding": "twos_complement", "weight_mode": "MM-S", "spare_columns": 8},
        {"channels": 8, "encoding": "twos_complement", "weight_mode": "MM-2", "adc_bits": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(4))
def test_model_equals_definition_on_other_chips(sizes, seed):
    compare(dataclasses.replace(PRESETS["tiny"], **sizes), seed)


def test_random_programs_reach_every_field():
    """Each field of a RUN takes at least two values over the seeds, so that none goes untested."""
    chip = PRESETS["tiny"]
    values: dict[str, set[int]] = {}
    for seed in range(40):
        for words in random_program(chip, seed)[0].commands:
            opcode, fields = decode_command(words, chip)
            if opcode == Opcode.RUN:
                for name, value in fields.items():
                    values.setdefault(name, set()).add(value)
    constant = {name for name, seen in values.items() if len(seen) < 2}
    assert constant == {"opcode", "mode[0]"}


def test_random_programs_reach_every_kind_of_copies_and_loads():
    """Copies with as many tiles and others, parameter tiles that copies share and of their own, windows left over,
    units and copies without windows, groups, noise; LOADs into one unit or several, beside a RUN that uses the unit."""
    seen, kinds_in_order = set(), [UnitKind.MEMRISTOR, UnitKind.SRAM, UnitKind.TINY]
    for seed in range(60):
        program, _ = random_program(SEVERAL, seed)
        used: set[int] = set()
        for words in program.commands:
            opcode, fields = decode_command(words, SEVERAL)
            if opcode == Opcode.LOAD:
                units = set(range(fields["unit"], fields["unit"] + fields["units"]))
                beside = bool(fields["overlap"] and units & used)
                seen |= {("load", len(units) > 1, fields["overlap"]), ("beside", beside)}
                used = used if fields["overlap"] else set()
            if opcode == Opcode.TABLE:
                used = set()
            if opcode != Opcode.RUN:
                continue
            copies, pixels = fields["copies"], fields["output_height"] * fields["output_width"]
            tiles = {unit: fields[f"tiles[{unit}]"] for unit in range(len(SEVERAL.units)) if fields[f"tiles[{unit}]"]}
            used = set(tiles)
            if copies == 1 or not tiles:
                seen.add("one")
                continue
            copy = {unit: fields[f"copy[{unit}]"] for unit in tiles}
            several = len(set(copy.values())) > 1
            seen |= {
                ("pixels", pixels < copies, pixels % copies > 0),
                ("unit without windows", max(copy.values()) >= pixels),
                ("copy without units", len(set(copy.values())) < min(copies, pixels)),
                ("groups", several and fields["group_count"] > 1),
            }
            kinds = {unit: SEVERAL.units[unit] for unit in tiles}
            for a, b in itertools.combinations(tiles, 2):
                if copy[a] != copy[b]:
                    ranges = [{fields[f"parameter[{u}]"] + t for t in range(tiles[u])} for u in (a, b)]
                    seen |= {
                        ("tiles", tiles[a] == tiles[b]),
                        ("parameters shared", bool(ranges[0] & ranges[1])),
                        ("kinds", kinds[a], kinds[b]),
                    }
                    if kinds[a] is kinds[b] is UnitKind.MEMRISTOR:
                        seen.add(("memristor", bool(program.noise_table.any()), alike(program, a, b)))
    wanted = {
        *("one", ("pixels", True, True), ("pixels", False, True), ("pixels", False, False)),
        *(("load", *kind) for kind in itertools.product((False, True), (0, 1))),
        *((name, item) for name in ("beside", "groups", "tiles", "parameters shared") for item in (False, True)),
        *((name, item) for name in ("unit without windows", "copy without units") for item in (False, True)),
        *(("kinds", *kinds) for kinds in itertools.combinations_with_replacement(kinds_in_order, 2)),
        *(("memristor", *kind) for kind in itertools.product((False, True), repeat=2)),
    }
    assert wanted <= seen, wanted - seen


def alike(program, bank, other):
    """Whether two memristor banks have the same cells and ADCs."""
    lines, adc = program.memristor, program.adc
    return np.array_equal(lines[bank], lines[other]) and np.array_equal(adc[bank], adc[other])


def test_random_programs_reach_every_kind_of_floating_run():
    """Formats of all three tensors; groups with exponents of their own; a maximum of floating-point inputs, padded with
    the least integer; pooling of every format; slices of all kinds; odd addresses of two-byte elements; results of all
    kinds."""
    chip, seen = PRESETS["tiny"], set()
    for seed in range(220):
        program, codes = random_program(chip, seed)
        model = ProcessorModel(chip, program)
        model.run(codes, capture=list(program.tensors))
        for words in program.commands:
            opcode, fields = decode_command(words, chip)
            if opcode != Opcode.RUN or not fields["floating"]:
                continue
            seen |= {(name, fields[name]) for name in ("input_format", "output_format", "weight_slices", "rounding")}
            seen |= {("residual_format", fields["residual_format"])} if fields["residual"] else set()
            if fields["pooling"]:
                seen |= {("pooling", fields["pooling"], fields["input_format"])}
            elif fields["input_format"]:
                maximum = fields["tiles[2]"] and fields["mode[2]"] == TinyMode.MAX
                seen |= {
                    ("groups", fields["group_count"] > 1, fields["grouped_exponents"]),
                    ("maximum", bool(maximum), fields["pad_value"] > 0),
                    ("odd", fields["window_start"] % 2, ElementFormat(fields["input_format"]).bytes),
                }
        for name, place in program.tensors.items():
            format = place.element.floating
            if format is not None and name != "input":
                numbers = floating.decode(model.captured[name], format)
                smallest = 2.0**format.smallest_exponent
                for kind, found in (
                    ("NaN", np.isnan(numbers)),
                    ("largest", np.abs(numbers) == format.largest),
                    ("subnormal", (numbers != 0) & (np.abs(numbers) < smallest)),
                ):
                    seen |= {kind} if found.any() else set()
    wanted = {
        *("NaN", "largest", "subnormal"),
        *((name, item) for name in ("input_format", "output_format", "residual_format") for item in ElementFormat),
        *(("weight_slices", number) for number in (1, 2, 3)),
        *(("rounding", item) for item in Rounding),
        *(("pooling", *kind) for kind in itertools.product((1, 2), (1, 2, 3, 4))),
        *(("groups", *kind) for kind in itertools.product((False, True), (0, 1))),
        *(("maximum", *kind) for kind in itertools.product((False, True), (False, True))),
        *(("odd", *kind) for kind in itertools.product((0, 1), (1, 2))),
    }
    assert wanted <= seen, wanted - seen


def test_random_programs_reach_every_kind_of_table_and_repair():
    chip = PRESETS["tiny"]
    tables, repaired = set(), set()
    for seed in range(40):
        program, _ = random_program(chip, seed)
        repaired.add(bool(program.repair[0].any()))
        for words in program.commands:
            opcode, fields = decode_command(words, chip)
            if opcode == Opcode.TABLE:
                tables.add((fields["digits"], fields["skip_zero_groups"]))
    assert tables == {(digits, skip) for digits in (1, 2, 3, 4) for skip in (0, 1)} and repaired == {False, True}


def test_random_programs_reach_every_kind_of_readout():
    """Ideal and other ADCs, reads with and without noise, in every combination."""
    chip, seen = PRESETS["tiny"], set()
    for seed in range(40):
        program, _ = random_program(chip, seed)
        seen.add((bool((program.adc == ideal_adc(chip)).all()), bool(program.noise_table.any())))
    assert len(seen) == 4


def test_noise_seeds_make_a_difference_and_default_to_the_programs():
    for seed in range(40):
        program, codes = random_program(PRESETS["tiny"], seed)
        model = ProcessorModel(PRESETS["tiny"], program)
        first, second = model.run(np.stack([codes[0]] * 2), noise_seeds=[1, 2])
        if (first != second).any():
            break
    same = np.stack([codes[0]] * 3)
    default = model.run(same)
    np.testing.assert_array_equal(default, model.run(same, noise_seeds=[program.noise_seed] * 3))
    other = model.run(same, noise_seeds=np.array([1, program.noise_seed, 2], np.uint32))
    np.testing.assert_array_equal(other[1], default[0])
    assert (other[0] != default[0]).any() and (other[2] != other[0]).any()
    for seeds, words in (
        ([1, 2], "for each of the 3 inputs, not 2"),
        ([1, 2, 1 << 32], "must be from 0 to 4294967295"),
    ):
        with pytest.raises(MixcimError, match=words):
            model.run(same, noise_seeds=seeds)


def test_random_program_is_repeatable():
    chip = PRESETS["tiny"]
    first, second = (random_program(chip, 7) for _ in range(2))
    assert first[0].to_bytes() == second[0].to_bytes()
    np.testing.assert_array_equal(first[1], second[1])
