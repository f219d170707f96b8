"""RUNs with copies, and LOADs into several units and beside a RUN, where results can be said without an interpreter."""

import dataclasses

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.model import FaultError, ProcessorModel, run
from mixcim_hdl.commands import Fault, Opcode, Pooling, TinyMode, encode_command
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program, TensorPlace, ideal_adc, no_noise, no_repair
from model.random_program import ideal_lines

#: Units 0 to 3 are memristor banks, 4 to 7 SRAM-CIM, 8 to 11 tiny-digital.
CHIP = dataclasses.replace(PRESETS["tiny"], memristor_banks=4, sram_banks=4, tiny_banks=4, sram_segments=1)
FIRST = {"memristor": 0, "sram": 4, "tiny": 8}
HEIGHT, WIDTH = 3, 5
END = (Opcode.END, {})
TABLE = (
    Opcode.TABLE,
    {"digits": 4, **{f"rows_per_read[{entry}]": 8 for entry in range(4 * CHIP.input_planes)}},
)
RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.integers(-127, 128, (64, 16))
CODES = RANDOM.integers(0, 256, (2, HEIGHT, WIDTH, 8)).astype(np.uint8)

#: A 1 x 1 layer over both words of 3 x 5 pixels, from word 0 to word 100; two words of output a pixel.
RUN = {
    **{"input_bits": 8, "weight_slices": 1, "granule_log2": 2, "kernel_height": 1, "kernel_width": 1, "tap_words": 2},
    **{"group_count": 1, "copies": 1, "input_height": HEIGHT, "input_width": WIDTH, "output_height": HEIGHT},
    **{"output_width": WIDTH, "stride_y": 1, "stride_x": 1, "pixel_pitch": 2, "row_pitch": 2 * WIDTH},
    **{"window_step_x": 2, "window_step_y": 2 * WIDTH, "output_base": 100, "output_pitch": 2, "clamp_high": 255},
    "zero_point": 100,
}


def load(unit, units=1, destination=0, count=32, **fields):
    return (
        Opcode.LOAD,
        {"unit": unit, "units": units, "source": 0, "destination": destination, "count": count, **fields},
    )


def layer(units, copies=1, **fields):
    """The layer by the units, (unit, copy) each, of two tiles each."""
    given = {**RUN, "copies": copies, **fields}
    windows = range(given["output_height"] * given["output_width"])
    for unit, copy in units:
        given = {f"tiles[{unit}]": 2, f"copy[{unit}]": copy, **given}
    tiles = sum(given[f"tiles[{unit}]"] * len(windows[given[f"copy[{unit}]"] :: copies]) for unit, _ in units)
    return (Opcode.RUN, {"output_tiles": given["group_count"] * tiles, **given})


def program_of(*commands, **changes):
    """A program of those commands; banks with equal cells; parameter tile t writes word t % 2."""
    lines = ideal_lines(WEIGHTS.reshape(4, CHIP.rows, CHIP.channels * 4)[:, :, : CHIP.channels], CHIP)
    tiles, random = 16, np.random.default_rng(1)
    pixels = {"pitch": 2, "until": 99, "scale": 1.0, "zero_point": 0, "signed": False, "shape": (HEIGHT, WIDTH, 8)}
    fields = {
        "network": "directed",
        "chip": CHIP.name,
        "fingerprint": CHIP.fingerprint,
        "commands": np.array([encode_command(opcode, CHIP, **given) for opcode, given in commands]),
        "weights": WEIGHTS.astype(np.int8),
        "memristor": (lines,) * 4,
        "repair": (no_repair(lines, CHIP),) * 4,
        "adc": ideal_adc(CHIP),
        "noise_table": no_noise(CHIP),
        "noise_seed": 1,
        "bias": random.integers(-999, 999, (tiles, 4)).astype(np.int32),
        "scale": np.exp(random.normal(-6, 0.3, (tiles, 4))).astype(np.float32),
        "word_offset": (np.arange(tiles) % 2).astype(np.uint16),
        "exponent_offset": np.zeros(tiles, np.uint16),
        "lane_mask": np.full(tiles, 15, np.uint16),
        "tensors": {
            "input": TensorPlace("input", 0, command=-1, **pixels),
            "output": TensorPlace("output", 100, command=len(commands) - 1, **pixels),
        },
        "layers": (),
        "input": "input",
        "output": "output",
        "input_layout": "NHWC",
        "file_shape": (HEIGHT, WIDTH, 8),
        "output_shape": (HEIGHT, WIDTH, 8),
        "host_output": (),
    }
    return Program(**{**fields, **changes})


def result(*commands, **changes):
    """The output, and the counters of memristor reads and word lines."""
    model = ProcessorModel(CHIP, program_of(*commands, END, **changes))
    output = model.run(CODES)
    return output, (model.memristor_reads.tolist(), model.word_lines_on.tolist())


@pytest.fixture
def products(monkeypatch):
    """Windows of every call of a share's sums."""
    seen = []

    class Sums(run.GroupSums):
        def __call__(self, integers, inputs):
            seen.append(integers.shape[1])
            return super().__call__(integers, inputs)

    monkeypatch.setattr(run, "GroupSums", Sums)
    return seen


@pytest.mark.parametrize("copies", [2, 3, 4])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("memristor", {}),
        ("sram", {}),
        ("tiny", {}),
        ("tiny", {"mode": TinyMode.DEPTHWISE}),
        ("tiny", {"mode": TinyMode.DEPTHWISE, "group_count": 2, "tap_words": 1, "output_pitch": 4, "tiles": 1}),
        ("tiny", {"mode": TinyMode.MAX}),
        ("sram", {"output_height": 1, "output_width": 1}),
        ("memristor", {"output_height": 1, "output_width": 3}),
    ],
    ids=str,
)
def test_copies_give_the_same_as_one_unit_by_one_product(kind, fields, copies, products):
    first = FIRST[kind]

    def commands(number):
        units = [(first + copy, copy) for copy in range(number)]
        own = {name: value for name, value in fields.items() if name not in ("tiles", "mode")}
        own |= {
            f"{name}[{unit}]": value for name, value in fields.items() if name in ("tiles", "mode") for unit, _ in units
        }
        return [TABLE, load(first, number)] if kind != "memristor" else [TABLE], layer(units, number, **own)

    (before, one), (loads, several) = commands(1), commands(copies)
    want, counted = result(*before, one)
    assert len(np.unique(want)) > 1
    groups = fields.get("group_count", 1)
    products.clear()
    got, counters = result(*loads, several)
    np.testing.assert_array_equal(got, want)
    assert counters == counted
    assert products == [fields.get("output_height", HEIGHT) * fields.get("output_width", WIDTH)] * groups


@pytest.mark.parametrize(
    ("kind", "changes", "fields"),
    [
        ("sram", [load(5, 1, 0, 31, source=1)], {}),
        ("tiny", [load(9, 1, 5, 1, source=1)], {}),
        ("sram", [], {"parameter[5]": 2}),
        ("sram", [], {"slot[5]": 1}),
        ("tiny", [], {"mode[9]": TinyMode.DEPTHWISE}),
        ("sram", [], {"tiles[5]": 1}),
        ("memristor", [], {"slot[1]": 1}),
    ],
)
def test_each_copy_does_its_own_windows_where_copies_differ(kind, changes, fields, products):
    """Windows of copy 0 are those of a RUN with unit 0's weights alone, those of copy 1 of one with unit 1's."""
    first = FIRST[kind]
    before = [TABLE, *([] if kind == "memristor" else [load(first, 2)]), *changes]
    both, _ = result(*before, layer([(first, 0), (first + 1, 1)], 2, **fields))
    assert products == [8, 7]
    for copy in range(2):
        own = {name: value for name, value in fields.items() if name.endswith(f"[{first + copy}]")}
        alone, _ = result(*before, layer([(first + copy, 0)], 1, **own))
        pixels = slice(copy, None, 2)
        np.testing.assert_array_equal(both.reshape(2, -1, 8)[:, pixels], alone.reshape(2, -1, 8)[:, pixels])
        assert (both != alone).any()


def test_banks_with_other_adcs_are_no_copies_of_each_other(products):
    adc = ideal_adc(CHIP)
    adc[1, ::2, 1] = 300  # offsets of one of the two columns of each kernel
    both = layer([(0, 0), (1, 1)], 2)
    other, _ = result(TABLE, both, adc=adc)
    assert products == [8, 7]
    same, _ = result(TABLE, both)
    other, same = (part.reshape(2, -1, 8) for part in (other, same))
    np.testing.assert_array_equal(other[:, ::2], same[:, ::2])
    assert (other[:, 1::2] != same[:, 1::2]).any()


NOISE = np.full(CHIP.rows + 1, 4000, np.uint16)


def test_noise_of_a_bank_follows_its_own_windows():
    """A bank of copy c reads as in a RUN that has only the windows c, c + 2, ...; banks are not alike."""
    line = {"input_height": 1, "input_width": 15, "output_height": 1, "output_width": 15}
    both, _ = result(TABLE, layer([(0, 0), (1, 1)], 2, **line), noise_table=NOISE)
    for copy in range(2):
        own = {"window_start": 2 * copy, "stride_x": 2, "window_step_x": 4, "output_width": 8 - copy}
        places = {"output_base": 100 + 2 * copy, "output_pitch": 4}
        alone, _ = result(TABLE, layer([(copy, 0)], 1, **{**line, **own, **places}), noise_table=NOISE)
        pixels = slice(copy, None, 2)
        np.testing.assert_array_equal(both.reshape(2, 15, 8)[:, pixels], alone.reshape(2, 15, 8)[:, pixels])
    quiet, _ = result(TABLE, layer([(0, 0), (1, 1)], 2, **line))
    assert (both != quiet).any()


def test_noise_goes_on_from_group_to_group():
    """Two groups of a RUN are two RUNs of a group each, one after the other."""
    fields = {"tap_words": 1, "output_pitch": 4}
    units = [(0, 0), (1, 1)]
    changes = {"noise_table": NOISE, "word_offset": (np.arange(16) % 4).astype(np.uint16)}
    together, _ = result(TABLE, layer(units, 2, group_count=2, **fields), **changes)
    second = {"first_group": 1, **{f"{name}[{unit}]": 2 for name in ("slot", "parameter") for unit, _ in units}}
    one = layer(units, 2, **fields)
    apart, _ = result(TABLE, one, layer(units, 2, **fields, **second), **changes)
    np.testing.assert_array_equal(together, apart)
    other, _ = result(TABLE, layer(units, 2, **fields, **second), one, **changes)
    assert (together != other).any()


def test_a_chunk_of_windows_makes_no_difference(monkeypatch):
    commands = [TABLE, load(4, 2), layer([(0, 0), (4, 0), (1, 1), (5, 2)], 3, **{"parameter[4]": 2, "tiles[1]": 1})]
    want, counted = result(*commands, noise_table=NOISE)
    for size in (1, 20, 50):
        monkeypatch.setattr(run, "CHUNK_CODES", size)
        got, counters = result(*commands, noise_table=NOISE)
        np.testing.assert_array_equal(got, want)
        assert counters == counted


def test_units_without_windows_do_nothing_not_even_wrong():
    """Fifteen windows in sixteen copies: unit 5's slots and parameters are past the memories, but never used."""
    past = {"slot[5]": CHIP.sram_slots, "parameter[5]": CHIP.parameter_tiles}
    one = layer([(4, 0)], 16)
    got, _ = result(load(4), layer([(4, 0), (5, 15)], 16, **past))
    want, _ = result(load(4), one)
    np.testing.assert_array_equal(got, want)
    # And a copy without units leaves its windows' outputs as they were.
    assert got.reshape(2, 15, 8)[:, 0].any() and not got.reshape(2, 15, 8)[:, 1:].any()


@pytest.mark.parametrize(
    ("command", "fault", "words"),
    [
        ((Opcode.RUN, {**layer([(4, 0)])[1], "copies": 0}), Fault.ILLEGAL_COMMAND, "RUN field 'copies' must not be 0"),
        (layer([(4, 0), (5, 2)], 2), Fault.ILLEGAL_COMMAND, "RUN unit 5 (sram) is of copy 2, but copies is 2"),
        (layer([(4, 14)], 64), None, ""),
        (layer([(4, 0)], 1, **{"copy[5]": 63}), None, ""),
        (load(4, 0), Fault.ILLEGAL_COMMAND, "LOAD field 'units' must not be 0"),
        (load(0, 1), Fault.ILLEGAL_COMMAND, "LOAD into unit 0, which takes no LOAD"),
        (load(3, 2), Fault.ILLEGAL_COMMAND, "LOAD into unit 3, which takes no LOAD"),
        (load(4, 5), Fault.ILLEGAL_COMMAND, "LOAD into units 4 to 8 of two kinds, sram and tiny"),
        (load(10, 3), Fault.ILLEGAL_COMMAND, "LOAD into unit 12, which takes no LOAD"),
        (load(255, 255), Fault.ILLEGAL_COMMAND, "LOAD into unit 509, which takes no LOAD"),
        (load(8, 4), None, ""),
        (load(9, 2, 250, 7), Fault.UNIT_ADDRESS, "LOAD writes unit 9 up to word 257, past its 256 words"),
        (load(4, 4, 256, 0), None, ""),
        (load(4, 2, source=1020), Fault.WEIGHT_ADDRESS, "up to weight word 1052"),
        (layer([(4, 0), (5, 1)], 2, **{"slot[5]": 63}), Fault.UNIT_ADDRESS, "unit 5 (sram) up to 65, past"),
        (layer([(4, 0), (5, 1)], 2, **{"parameter[5]": 63}), Fault.PARAMETER_ADDRESS, "parameter tile 64"),
        # The last window of copy 0 is 14, that of copy 1 is 13.
        (layer([(4, 0)], 2, output_base=1024 - 29), Fault.OUTPUT_ADDRESS, "activation word 1024 (output_base)"),
        (layer([(4, 1)], 2, output_base=1024 - 28), None, ""),
        (layer([(4, 1)], 2, output_base=1024 - 27), Fault.OUTPUT_ADDRESS, "activation word 1024 (output_base)"),
        (layer([(4, 1)], 16, window_start=1010), Fault.INPUT_ADDRESS, "activation word 1039"),
    ],
)
def test_faults(command, fault, words):
    model = ProcessorModel(CHIP, program_of(load(4, 2), command, END))
    if fault is None:
        model.run(CODES)
        return
    with pytest.raises(FaultError) as raised:
        model.run(CODES)
    assert (raised.value.fault, raised.value.command) == (fault, 1) and words in str(raised.value)


def test_a_run_that_writes_nothing_or_counts_wrong_is_refused():
    for command, words in (
        (layer([(4, 15)], 16), "RUN output_tiles is 0, but 0 are written"),
        (layer([(4, 0), (5, 1)], 2, output_tiles=60), "RUN output_tiles is 60, but 30 are written"),
    ):
        with pytest.raises(MixcimError, match=words):
            ProcessorModel(CHIP, program_of(command, END)).run(CODES)


#: Uses words 24 to 31 of unit 5 (and 0 to 7 of unit 4), weight words 3 to 10 of unit 8, none of units 6, 9 and 11.
USER = layer(
    [(4, 0), (5, 1), (6, 15), (8, 0), (9, 1)],
    16,
    **{"slot[5]": 6, "slot[8]": 3, "mode[9]": TinyMode.MAX},
)
POOL = layer(
    [], floating=1, input_format=int(ElementFormat.FP8_E4M3), pooling=Pooling.SUM, tap_words=1, output_tiles=15
)
OVER = {"overlap": 1}


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ([load(5, 1, 24, 1, **OVER)], "command 1: LOAD with overlap into words 24 to 24 of unit 5, .* uses 24 to 31"),
        ([load(4, 4, 31, 5, **OVER)], "LOAD with overlap into words 31 to 35 of unit 5"),
        ([load(4, 1, 7, 9, **OVER)], "LOAD with overlap into words 7 to 15 of unit 4"),
        ([load(8, 4, 0, 4, **OVER)], "into words 0 to 3 of unit 8, .* uses 3 to 10"),
        ([load(5, 1, 0, 24, **OVER), load(5, 1, 20, 5, **OVER)], "command 2: LOAD with overlap into words 20 to 24"),
        ([load(5, 2, 32, 9, **OVER), load(5, 1, 23, 1, **OVER)], None),
        ([load(6, 2, 0, 32, **OVER), load(9, 3, 0, 32, **OVER), load(8, 1, 11, 9, **OVER)], None),
        ([load(5, 1, 24, 0, **OVER)], None),
        ([load(5, 1, 24, 8)], None),
        ([load(7), load(5, 1, 24, 8, **OVER)], None),
        ([TABLE, load(5, 1, 24, 8, **OVER)], None),
        ([layer([(7, 0)]), load(5, 1, 24, 8, **OVER)], None),
        ([POOL, load(5, 1, 24, 8, **OVER)], None),
    ],
)
def test_a_load_beside_a_run_must_leave_its_weights_alone(commands, words):
    for groups in (1, 2):
        user = {**USER[1], "group_count": groups, "tap_words": 1, "output_tiles": groups * USER[1]["output_tiles"]}
        if groups == 2:  # the second group's slots lie behind, where half as many tiles use as many words as before
            user |= {f"tiles[{unit}]": 1 for unit in (4, 5, 6, 8, 9)}
            user["output_tiles"] //= 2
        broadcast = user | {"mode[8]": TinyMode.BROADCAST}
        program = program_of((Opcode.RUN, broadcast), *commands, END)
        if words is None:
            ProcessorModel(CHIP, program).run(CODES)
        else:
            with pytest.raises(MixcimError, match=words):
                ProcessorModel(CHIP, program).run(CODES)


def test_slices_count_as_slots_that_are_used():
    user = layer([(4, 0)], 1, weight_slices=3, floating=1, output_format=int(ElementFormat.INTEGER))
    for first, refused in ((23, True), (24, False)):
        model = ProcessorModel(CHIP, program_of(user, load(4, 1, first, 1, **OVER), END))
        if refused:
            with pytest.raises(MixcimError, match="of unit 4, of which the RUN before it uses 0 to 23"):
                model.run(CODES)
        else:
            model.run(CODES)
