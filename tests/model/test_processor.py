"""Faults, refusals, tensors, counters and bookkeeping of `ProcessorModel`."""

import dataclasses

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.model import FaultError, ProcessorModel, floating
from mixcim.model.accumulator import ExactProduct, wrapped
from mixcim.model.activation import ActivationMemory
from mixcim_hdl.commands import Fault, Opcode, TinyMode, encode_command
from mixcim_hdl.floating import FLOAT_FORMATS, ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program, TensorPlace, ideal_adc, no_noise
from mixcim_hdl.registers import Event
from model.random_program import random_program

CHIP = PRESETS["tiny"]

#: A 1 x 1 layer of one tile on the SRAM-CIM unit: 2 x 2 pixels at word 0 to word 100.
RUN = {
    "input_bits": 8,
    "weight_slices": 1,
    "granule_log2": 2,
    "kernel_height": 1,
    "kernel_width": 1,
    "tap_words": 1,
    "group_count": 1,
    "copies": 1,
    "input_height": 2,
    "input_width": 2,
    "output_height": 2,
    "output_width": 2,
    "stride_y": 1,
    "stride_x": 1,
    "pixel_pitch": 1,
    "row_pitch": 2,
    "window_step_x": 1,
    "window_step_y": 2,
    "output_base": 100,
    "output_pitch": 1,
    "output_tiles": 4,
    "clamp_high": 255,
    "tiles[1]": 1,
}


def program_of(*commands, **changes):
    """A program of those commands, (opcode, fields) each, with the weight store counting and one parameter tile."""
    fields = {
        "network": "directed",
        "chip": CHIP.name,
        "fingerprint": CHIP.fingerprint,
        "commands": np.array([encode_command(opcode, CHIP, **given) for opcode, given in commands]),
        "weights": np.arange(64 * CHIP.rows, dtype=np.int64).astype(np.int8).reshape(64, CHIP.rows),
        "memristor": (),
        "repair": (),
        "adc": ideal_adc(CHIP),
        "noise_table": no_noise(CHIP),
        "noise_seed": 0,
        "bias": np.zeros((1, CHIP.channels), np.int32),
        "scale": np.ones((1, CHIP.channels), np.float32),
        "word_offset": np.zeros(1, np.uint16),
        "exponent_offset": np.zeros(1, np.uint16),
        "lane_mask": np.full(1, 15, np.uint16),
        "tensors": {
            "input": TensorPlace("input", 0, (2, 2, 3), 1.0, 0, False, -1, 99, 1),
            "output": TensorPlace("output", 100, (2, 2, 4), 1.0, 0, False, len(commands) - 1, 99, 1),
        },
        "layers": (),
        "input": "input",
        "output": "output",
        "input_layout": "NHWC",
        "file_shape": (2, 2, 3),
        "output_shape": (2, 2, 4),
        "host_output": (),
    }
    return Program(**{**fields, **changes})


INPUT = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
BANK, REPAIR = (np.zeros((20, 16), np.uint8),), (np.zeros((2, 1), np.uint8),)
STORE = CHIP.program_commands
END = (Opcode.END, {})
LOAD = (Opcode.LOAD, {"unit": 1, "units": 1, "source": 0, "destination": 0, "count": 4})
TABLE = {"digits": 4, **{f"rows_per_read[{entry}]": 8 for entry in range(4 * CHIP.input_planes)}}


def run_with(**fields):
    return (Opcode.RUN, {**RUN, **fields})


def float_run(**fields):
    """The same layer of FP8 elements to FP8 elements."""
    formats = {"input_format": 3, "output_format": 3, "input_signed": 1, "tap_exponents": 1, "output_pitch": 3}
    return run_with(**{"floating": 1, **formats, **fields})


@pytest.mark.parametrize(
    ("commands", "index", "fault", "words"),
    [
        ([LOAD, run_with(input_bits=0), END], 1, Fault.ILLEGAL_COMMAND, "input_bits must be from 1 to 12, not 0"),
        ([run_with(granule_log2=3), END], 0, Fault.ILLEGAL_COMMAND, "takes 8 channels of a word that has 4"),
        ([run_with(tap_words=0), END], 0, Fault.ILLEGAL_COMMAND, "'tap_words' must not be 0"),
        ([run_with(**{"tiles[1]": 9}), END], 0, Fault.ILLEGAL_COMMAND, "9 tiles in unit 1, which has 8"),
        ([run_with(**{"mode[1]": 3}), END], 0, Fault.ILLEGAL_COMMAND, "unit 1 (sram) has no mode 3"),
        ([run_with(**{"mode[2]": 3}), END], 0, Fault.ILLEGAL_COMMAND, "unit 2 (tiny) has no mode 3"),
        ([(Opcode.LOAD, {"unit": 0, "units": 1, "count": 1}), END], 0, Fault.ILLEGAL_COMMAND, "LOAD into unit 0"),
        ([(Opcode.LOAD, {"unit": 3, "units": 1, "count": 1}), END], 0, Fault.ILLEGAL_COMMAND, "LOAD into unit 3"),
        ([(Opcode.TABLE, {**TABLE, "rows_per_read[5]": 17}), END], 0, Fault.ILLEGAL_COMMAND, "entry 5 reads 17 rows"),
        ([(Opcode.TABLE, {**TABLE, "rows_per_read[5]": 0}), END], 0, Fault.ILLEGAL_COMMAND, "entry 5 reads 0 rows"),
        ([(Opcode.TABLE, {**TABLE, "digits": 0}), END], 0, Fault.ILLEGAL_COMMAND, "reads 0 digits, not 1 to 4"),
        ([(Opcode.TABLE, {**TABLE, "digits": 5}), END], 0, Fault.ILLEGAL_COMMAND, "reads 5 digits, not 1 to 4"),
        ([run_with(weight_slices=0), END], 0, Fault.ILLEGAL_COMMAND, "weight_slices must be from 1 to 3, not 0"),
        ([run_with(input_bits=13), END], 0, Fault.ILLEGAL_COMMAND, "input_bits must be from 1 to 12, not 13"),
        ([run_with(output_format=2), END], 0, Fault.ILLEGAL_COMMAND, "element format FP16, but is not floating"),
        ([run_with(input_format=1), END], 0, Fault.ILLEGAL_COMMAND, "element format BF16, but is not floating"),
        ([float_run(residual_format=5), END], 0, Fault.ILLEGAL_COMMAND, "element format 5, of which there are 4"),
        ([float_run(input_bits=7), END], 0, Fault.ILLEGAL_COMMAND, "must be one of 8, 9, 10, 11, 12, not 7"),
        ([float_run(input_bits=16), END], 0, Fault.ILLEGAL_COMMAND, "must be one of 8, 9, 10, 11, 12, not 16"),
        ([float_run(input_signed=0), END], 0, Fault.ILLEGAL_COMMAND, "input_signed must be 1 with floating-point"),
        ([float_run(tap_exponents=0), END], 0, Fault.ILLEGAL_COMMAND, "tap_exponents must not be 0 with floating"),
        (
            [run_with(weight_slices=2, output_tiles=8, **{"tiles[2]": 1, "mode[2]": 2}), END],
            0,
            Fault.ILLEGAL_COMMAND,
            "weight_slices must be 1 with a maximum (unit 2), not 2",
        ),
        ([float_run(window_start=1021), END], 0, Fault.INPUT_ADDRESS, "word 1024, past the memory's 1024 words"),
        ([float_run(tap_exponents=1022), END], 0, Fault.INPUT_ADDRESS, "word 1024, past the memory's 1024 words"),
        ([float_run(output_base=1015), END], 0, Fault.OUTPUT_ADDRESS, "activation word 1024 (output_base)"),
        ([run_with(**{"slot[1]": 62}, weight_slices=3), END], 0, Fault.UNIT_ADDRESS, "unit 1 (sram) up to 65, past"),
        ([LOAD], 1, Fault.ILLEGAL_COMMAND, "unknown opcode 0"),
        ([LOAD] * STORE, STORE - 1, Fault.PROGRAM_END, f"no END within the store's {STORE} commands"),
        ([run_with(window_start=1021), END], 0, Fault.INPUT_ADDRESS, "word 1024, past the memory's 1024 words"),
        ([run_with(window_start=-1), END], 0, Fault.INPUT_ADDRESS, "word 16777215, past"),
        ([run_with(output_base=1021), END], 0, Fault.OUTPUT_ADDRESS, "word 1024 (output_base)"),
        ([run_with(residual=1, residual_base=1022), END], 0, Fault.OUTPUT_ADDRESS, "word 1025 (residual_base)"),
        (
            [(Opcode.LOAD, {"unit": 1, "units": 1, "source": 1020, "count": 5}), END],
            0,
            Fault.WEIGHT_ADDRESS,
            "up to weight word 1025, past the store's 1024",
        ),
        (
            [(Opcode.LOAD, {"unit": 2, "units": 1, "destination": 250, "count": 7}), END],
            0,
            Fault.UNIT_ADDRESS,
            "unit 2 up to word 257, past its 256",
        ),
        ([run_with(**{"slot[1]": 64}), END], 0, Fault.UNIT_ADDRESS, "unit 1 (sram) up to 65, past its capacity of 64"),
        ([run_with(**{"parameter[1]": 64}), END], 0, Fault.PARAMETER_ADDRESS, "tile 64, past the memory's 64 tiles"),
    ],
)
def test_faults_name_command_and_limit(commands, index, fault, words):
    with pytest.raises(FaultError) as raised:
        ProcessorModel(CHIP, program_of(*commands)).run(INPUT)
    assert (raised.value.fault, raised.value.command) == (fault, index)
    assert words in str(raised.value) and "\n" not in str(raised.value) and f"command {index}: " in str(raised.value)


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ([run_with(output_tiles=5), END], "output_tiles is 5, but 4 are written"),
        ([run_with(input_bits=3), END], "reads the code 11, which has more than input_bits = 3 bits"),
        (
            [run_with(input_bits=4, input_zero_point=3, input_signed=1), END],
            "reads the code 11, which has more than input_bits = 4 bits less input_zero_point = 3 with a sign",
        ),
        ([run_with(input_zero_point=1), END], "reads the code 0, which has more than input_bits = 8 bits less"),
        ([float_run(input_format=4), END], "exponent is above that of its window's entries"),
        ([run_with(output_tiles=8, **{"tiles[0]": 1}), END], "memristor unit 0 before any TABLE"),
        ([run_with(residual=1, scale_second=0x7F800000), END], "scale_second is not finite"),
        ([run_with(clamp_low=9, clamp_high=8), END], "RUN clamp_low is 9, above clamp_high, 8"),
        ([run_with(residual=1, sum_low=9, sum_high=8), END], "RUN sum_low is 9, above sum_high, 8"),
    ],
)
def test_programs_without_meaning_are_refused(commands, words):
    with pytest.raises(MixcimError, match=words):
        ProcessorModel(CHIP, program_of(*commands)).run(INPUT)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weight_slices": 2}, "weight_slices must be 1 on a chip without floating point, not 2"),
        ({"input_zero_point": 9}, "input_zero_point must be 0 on a chip without"),
        ({"input_signed": 1}, "input_signed must be 0 on a chip without"),
        ({"floating": 1}, "floating must be 0 on a chip without"),
        ({"input_bits": 9}, "input_bits must be from 1 to 8, not 9"),
    ],
)
def test_a_chip_without_floating_point_does_integers_only(fields, words):
    chip = dataclasses.replace(CHIP, aligned_bits=0)
    commands = [(Opcode.RUN, {**RUN, **fields}), END]
    words_of = np.array([encode_command(opcode, chip, **given) for opcode, given in commands])
    program = program_of(*commands, commands=words_of, fingerprint=chip.fingerprint)
    with pytest.raises(FaultError, match=words) as raised:
        ProcessorModel(chip, program).run(INPUT)
    assert raised.value.fault == Fault.ILLEGAL_COMMAND
    place = TensorPlace("input", 0, (2, 2, 3), 1.0, 0, False, -1, 9, 1, "FP8_E4M3", 1)
    with pytest.raises(MixcimError, match="tensor 'input' is of format FP8_E4M3, but chip 'tiny' has no floating"):
        ProcessorModel(chip, dataclasses.replace(program, tensors={"input": place}))


@pytest.mark.parametrize("name", ["BF16", "FP8_E5M2"])
def test_tensors_of_elements_go_in_and_out(name):
    """Five channels in two words, a pitch larger than needed; the words between pixels stay; entries by words."""
    element, format = ElementFormat[name], FLOAT_FORMATS[name]
    pitch = 2 * element.bytes + 2
    place = TensorPlace("input", 6, (2, 2, 5), 1.0, 0, False, -1, 9, pitch, name, 2)
    values = np.arange(1.0, 41.0).reshape(2, 2, 2, 5)
    values[1, 1, 1, 4] = 0
    patterns = floating.encode(values, format)
    patterns[1, 1, 0, 2] = format.infinity_pattern
    memory = ActivationMemory(2, CHIP)
    memory.words[:] = 77
    memory.write_tensor(place, patterns)
    read = memory.read_tensor(place)
    assert read.dtype == patterns.dtype == place.type
    np.testing.assert_array_equal(read, patterns)
    untouched = [6 + pixel * pitch + word for pixel in range(4) for word in range(2 * element.bytes, pitch)]
    assert (memory.words[:, untouched] == 77).all() and (memory.words[:, :6] == 77).all()
    bias, special = format.bias, 1 << 8 | (1 << format.exponent_bits) - 1
    got = memory.exponents[:, 6 : 6 + 4 * pitch].reshape(2, 2, 2, pitch)
    assert not got[..., 2:].any() and not memory.exponents[:, :6].any()
    assert got[0, 0, :, :2].tolist() == [[bias + 2, bias + 2], [bias + 3, bias + 3]]
    assert got[1, 1, :, :2].tolist() == [[special, bias + 5], [bias + 5, 0]]
    program = program_of(END, tensors={"input": place, "output": place})
    with pytest.raises(MixcimError, match=f"must be uint{8 * element.bytes} .inputs, 2, 2, 5., not int64"):
        ProcessorModel(CHIP, program).run(patterns.astype(np.int64))
    np.testing.assert_array_equal(ProcessorModel(CHIP, program).run(patterns, capture=["input"]), patterns)


def test_unknown_opcode_is_a_fault():
    program = program_of(LOAD, END)
    program.commands[1, 0] = 9
    with pytest.raises(FaultError, match="command 1: unknown opcode 9"):
        ProcessorModel(CHIP, program).run(INPUT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fingerprint": 1}, "was compiled for a chip .tiny. with fingerprint"),
        ({"weights": np.zeros((1025, 16), np.int8)}, "1025 weight words, chip 'tiny' only 1024"),
        ({"memristor": (np.zeros((1, 16), np.uint8),) * 2}, "2 memristor banks, chip 'tiny' only 1"),
        ({"memristor": BANK}, "a repair for 0 memristor banks, but lines for 1"),
        ({"memristor": (BANK[0][:-1],), "repair": REPAIR}, "bank 0 has 19 lines, no whole number of words of 10 bit"),
        ({"memristor": BANK, "repair": (REPAIR[0][:1],)}, "bank 0 must have the shape \\(2, 1\\) on chip 'tiny', not"),
        ({"memristor": BANK, "repair": (REPAIR[0] + 10,)}, "a spare of memristor bank 0 replaces column 10, past the"),
        ({"scale": np.full((1, 4), np.nan, np.float32)}, "a scale of parameter tile 0 is not finite"),
        ({"adc": np.zeros((1, 4, 10), np.int16)}, "adc must have the shape \\(1, 8, 10\\) on chip 'tiny', not \\(1, 4"),
        ({"adc": np.full((1, 8, 10), 300, np.int16)}, "inl0 of an ADC must be from -32 to 31, not 300"),
        ({"adc": np.full((1, 8, 10), -1, np.int16)}, "gain of an ADC must be from 0 to 511, not -1"),
        ({"noise_table": np.zeros(16, np.uint16)}, "noise_table must have the shape \\(17,\\)"),
        ({"noise_table": np.full(17, 4096, np.uint16)}, "noise table entry 4096 has more than 12 bits"),
        ({"noise_seed": 1 << 32}, "a noise seed must be from 0 to 4294967295"),
        (
            {"tensors": {"input": TensorPlace("input", 1023, (2, 2, 3), 1.0, 0, False, -1, 9, 1)}},
            "tensor 'input' ends at activation word 1027",
        ),
    ],
)
def test_programs_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(MixcimError, match=words):
        ProcessorModel(CHIP, program_of(END, **changes))


def test_wrong_inputs_and_tensor_names_are_refused():
    model = ProcessorModel(CHIP, program_of(LOAD, run_with(), END))
    with pytest.raises(MixcimError, match="must be uint8 \\(inputs, 2, 2, 3\\), not uint8 \\(2, 2, 3\\)"):
        model.run(INPUT[0])
    with pytest.raises(MixcimError, match="no tensor 'nothing'"):
        model.run(INPUT, capture={"nothing"})
    with pytest.raises(MixcimError, match="batch must be at least 1, not 0"):
        model.run(INPUT, batch=0)


def test_directed_layer_by_hand():
    """Weight of row r, kernel k is 16 k + r (as int8); the fourth lane of the input is 0; the bias wraps."""
    bias = np.array([[0, -50, 2**31 - 1, 0]], np.int32)
    scale = np.array([[1, 1, -(2.0**-24), 0.5]], np.float32)
    mask = np.array([7], np.uint16)
    program = program_of(LOAD, run_with(), END, bias=bias, scale=scale, lane_mask=mask)
    got = ProcessorModel(CHIP, program).run(INPUT)[0].reshape(4, 4)
    for pixel, (a, b, c) in enumerate(INPUT.reshape(4, 3).astype(int)):
        sums = [sum(x * (16 * k + r) for r, x in enumerate((a, b, c))) for k in range(3)]
        assert got[pixel, 0] == min(sums[0], 255)
        assert got[pixel, 1] == min(max(sums[1] - 50, 0), 255)
        assert got[pixel, 2] == 128  # wrapped to just above -2**31: times -2**-24
        assert got[pixel, 3] == 0  # not in the mask


def test_capture_callbacks_and_batches():
    program, codes = random_program(CHIP, 3, inputs=5)
    model = ProcessorModel(CHIP, program)
    seen, progress = [], []
    whole = model.run(
        codes,
        capture=list(program.tensors),
        on_command=lambda index, opcode, fields: seen.append((index, opcode, fields["opcode"])),
        progress=lambda done, total: progress.append((done, total)),
    )
    assert [index for index, _, _ in seen] == list(range(len(program.commands)))
    assert all(opcode == code for _, opcode, code in seen) and seen[-1][1] == Opcode.END
    assert progress[-1] == (5 * len(seen), 5 * len(seen)) and progress == sorted(progress)
    captured, events = model.captured, {event: getattr(model, event.name.lower()) for event in Event}
    np.testing.assert_array_equal(captured["input"], codes)
    assert set(captured) == set(program.tensors) and all(len(tensor) == 5 for tensor in captured.values())
    progress.clear()
    np.testing.assert_array_equal(
        model.run(codes, batch=2, capture=list(captured), progress=lambda *numbers: progress.append(numbers)), whole
    )
    assert progress[-1] == (5 * len(seen), 5 * len(seen))
    for name, tensor in captured.items():
        np.testing.assert_array_equal(model.captured[name], tensor)
    for event, counts in events.items():
        np.testing.assert_array_equal(getattr(model, event.name.lower()), counts)


def test_chunks_of_one_input_equal_whole_inputs(monkeypatch):
    program, codes = random_program(CHIP, 5, inputs=3)
    want = ProcessorModel(CHIP, program).run(codes)
    for size in (1, 100, 700):
        monkeypatch.setattr("mixcim.model.run.CHUNK_CODES", size)
        monkeypatch.setattr("mixcim.model.run.CHUNK_ELEMENTS", size)
        np.testing.assert_array_equal(ProcessorModel(CHIP, program).run(codes), want)


def test_no_inputs_give_no_outputs():
    model = ProcessorModel(CHIP, program_of(LOAD, run_with(), END))
    assert model.run(INPUT[:0]).shape == (0, 2, 2, 4)


@pytest.mark.parametrize("rows", [100, 3000])
def test_exact_product_takes_float64_before_float32_would_round(rows):
    random = np.random.default_rng(0)
    matrix = random.integers(0, 128, (rows, 5))
    product = ExactProduct(matrix, 255)
    assert product.dtype == (np.float32 if rows == 100 else np.float64)
    codes = random.integers(200, 256, (40, rows)).astype(np.uint8)
    np.testing.assert_array_equal(wrapped(product(codes), 32), codes.astype(np.int64) @ matrix)


@pytest.mark.parametrize(("bits", "type"), [(32, np.float64), (48, np.int64)])
def test_exact_product_wraps_to_the_bits_of_the_accumulator(bits, type):
    product = ExactProduct(np.full((3, 1), 1 << bits - 2), 255, signed=True)
    assert product.dtype == type
    sums = product(np.array([[1, 1, 0], [1, 1, 1], [-1, -1, -1]], np.int16))
    assert wrapped(sums, bits).ravel().tolist() == [-(2 ** (bits - 1)), -(2 ** (bits - 2)), 2 ** (bits - 2)]


def test_exact_product_of_signed_integers_counts_both_signs():
    """Each sign alone stays below 2**24, both together do not."""
    matrix = np.repeat([60, -60], 600)[:, None]
    assert [ExactProduct(matrix, 255, signed).dtype for signed in (False, True)] == [np.float32, np.float64]


def test_maximum_of_a_window_with_several_vectors():
    """MAX over 3 x 3 pixels (9 taps are 3 vectors of 4), with padding below every code."""
    chip = dataclasses.replace(CHIP)
    codes = np.random.default_rng(0).integers(1, 256, (1, 3, 3, 4)).astype(np.uint8)
    fields = {
        **RUN,
        "input_height": 3,
        "input_width": 3,
        "kernel_height": 3,
        "kernel_width": 3,
        "row_pitch": 3,
        "pad_top": 1,
        "pad_left": 1,
        "window_start": -4,
        "window_step_y": 3,
        "tiles[1]": 0,
        "tiles[2]": 1,
        "mode[2]": int(TinyMode.MAX),
    }
    tensors = {
        "input": TensorPlace("input", 0, (3, 3, 4), 1.0, 0, False, -1, 9, 1),
        "output": TensorPlace("output", 100, (2, 2, 4), 1.0, 0, False, 0, 9, 1),
    }
    got = ProcessorModel(chip, program_of((Opcode.RUN, fields), END, tensors=tensors)).run(codes)[0]
    for y in range(2):
        for x in range(2):
            window = codes[0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].reshape(-1, 4)
            np.testing.assert_array_equal(got[y, x], window.max(axis=0))
