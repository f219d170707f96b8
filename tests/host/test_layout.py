"""Tensors of every element format in the chip's memories: element by element, and through a host driver's bus."""

from __future__ import annotations

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.host.layout import exponent_entries, tensor_elements, tensor_words
from mixcim.host.processor import Processor
from mixcim.model.floating import decode
from mixcim_hdl.commands import Opcode, encode_command
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program, TensorPlace, ideal_adc, no_noise
from mixcim_hdl.registers import CONTRACT_VERSION, IDENTIFICATION, Region, Register, window_address

CHIP = PRESETS["tiny"]
LANES = CHIP.channels
FORMATS = pytest.mark.parametrize("format", ElementFormat, ids=lambda format: format.name)
SHAPES = pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 4), (2, 3, 5), (2, 2, 11)])


def place_of(format: ElementFormat, shape: tuple[int, int, int], spare: int = 0) -> TensorPlace:
    """A tensor at word 6, with `spare` words between its pixels."""
    groups = -(-shape[2] // LANES)
    exponents = 0 if format.floating is None else groups
    return TensorPlace(
        "x", 6, shape, 1.0, 0, False, -1, 9, groups * format.bytes + spare * format.bytes, format.name, exponents
    )


def random_elements(place: TensorPlace, seed: int = 0) -> np.ndarray:
    """Any patterns, zeros and specials among them."""
    rng = np.random.default_rng(seed)
    elements = rng.integers(0, 1 << 8 * place.element.bytes, place.shape).astype(place.type)
    format = place.element.floating
    if format is not None:
        corners = [0, 1, 1 << format.bits - 1, format.largest_pattern, format.nan_pattern, format.overflow_pattern]
        elements = np.where(rng.integers(0, 3, place.shape) == 0, rng.choice(corners, place.shape), elements)
    return elements.astype(place.type)


@FORMATS
@SHAPES
@pytest.mark.parametrize("spare", [0, 2])
def test_elements_lie_where_the_place_says(format, shape, spare):
    place = place_of(format, shape, spare)
    elements = random_elements(place)
    words = tensor_words(elements, place, LANES)
    expected = np.zeros((shape[0] * shape[1] * place.pitch, LANES), np.uint8)
    for y, x, c in np.ndindex(shape):
        for byte in range(format.bytes):
            word = (y * shape[1] + x) * place.pitch + c // LANES * format.bytes + byte
            expected[word, c % LANES] = int(elements[y, x, c]) >> 8 * byte & 0xFF
    assert words.dtype == np.uint8 and np.array_equal(words, expected)
    back = tensor_elements(words, place)
    assert back.dtype == place.type and np.array_equal(back, elements)


@pytest.mark.parametrize("format", [item for item in ElementFormat if item.floating], ids=lambda item: item.name)
@SHAPES
@pytest.mark.parametrize("spare", [0, 1])
def test_exponent_entries_are_those_of_channel_words(format, shape, spare):
    place = place_of(format, shape, spare)
    own = format.floating
    for seed in range(5):
        elements = random_elements(place, seed)
        expected = np.zeros(shape[0] * shape[1] * place.pitch, np.uint32)
        for y, x, c in np.ndindex(shape):
            entry = (y * shape[1] + x) * place.pitch + c // LANES
            pattern = int(elements[y, x, c])
            field = pattern >> own.mantissa_bits & (1 << own.exponent_bits) - 1
            special = not np.isfinite(decode(np.array(pattern), own))
            expected[entry] = max(int(expected[entry]) & 0xFF, field) | (int(expected[entry]) & 0x100 or special << 8)
        assert np.array_equal(exponent_entries(elements, place, LANES), expected)


class Memory:
    """A bus to a chip that is nothing but memory, and always done."""

    def __init__(self) -> None:
        identity = {
            Register.IDENTIFICATION: IDENTIFICATION, Register.VERSION: CONTRACT_VERSION,
            Register.FINGERPRINT: CHIP.fingerprint, Register.STATUS: 2, Register.MEMRISTOR_LOCK: 0,
        }  # fmt: skip
        self.words = {window_address(Region.REGISTERS, register): value for register, value in identity.items()}

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        assert words.dtype == np.uint32 and words.ndim == 1
        self.words.update({address + index * step: int(word) for index, word in enumerate(words)})

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        return np.array([self.words.get(address + index * step, 0) for index in range(count)], np.uint32)

    def run_until_interrupt(self, max_cycles: int) -> int:
        return 1


def program_of(place: TensorPlace) -> Program:
    """A program that does nothing; its output is its input."""
    return Program(
        network="x", chip=CHIP.name, fingerprint=CHIP.fingerprint, commands=encode_command(Opcode.END, CHIP)[None],
        weights=np.zeros((0, CHIP.rows), np.int8), memristor=(np.zeros((0, CHIP.rows), np.uint8),),
        repair=(np.zeros((0, CHIP.spare_columns), np.uint8),), bias=np.zeros((2, LANES), np.int32),
        scale=np.ones((2, LANES), np.float32), word_offset=np.array([3, 4], np.uint16),
        lane_mask=np.array([15, 1], np.uint16), exponent_offset=np.array([7, 65535], np.uint16), adc=ideal_adc(CHIP),
        noise_table=no_noise(CHIP), noise_seed=1, tensors={"x": place}, layers=(), input="x", output="x",
        input_layout="NHWC", file_shape=place.shape, output_shape=place.shape, host_output=(),
    )  # fmt: skip


@FORMATS
def test_driver_writes_tiles_words_and_entries_and_reads_back(format):
    bus, place = Memory(), place_of(format, (2, 2, 5))
    processor = Processor(bus, CHIP)
    processor.load(program_of(place))
    assert bus.read(window_address(Region.TILES), 4).tolist() == [15 << 16 | 3, 7, 1 << 16 | 4, 65535]
    elements = random_elements(place)
    batch = processor.run(elements[None])
    assert batch.dtype == place.type and np.array_equal(batch[0], elements)
    words = bus.read(window_address(Region.ACTIVATIONS, 6 * LANES), 4 * place.pitch * LANES // 4)
    assert np.array_equal(words.view(np.uint8).reshape(-1, LANES), tensor_words(elements, place, LANES))
    entries = bus.read(window_address(Region.EXPONENTS, 6 * 4), 4 * place.pitch)
    expected = exponent_entries(elements, place, LANES) if format.floating else np.zeros(4 * place.pitch)
    assert np.array_equal(entries, expected)


@FORMATS
def test_inputs_of_another_type_or_shape_are_refused(format):
    place = place_of(format, (2, 2, 5))
    processor = Processor(Memory(), CHIP)
    processor.load(program_of(place))
    for elements in (np.zeros((2, 2, 5), np.float32), np.zeros((2, 2, 4), place.type)):
        with pytest.raises(MixcimError, match=rf"an input must be {place.type.__name__} of shape \(2, 2, 5\), not"):
            processor.write_input(elements)
