"""Weights as digits of memristor cells, in every encoding and weight mode."""

import dataclasses

import numpy as np
import pytest

from mixcim.compile.weights import memristor_lines, weight_digits
from mixcim.errors import MixcimError
from mixcim_hdl.formats import WEIGHT_MODES, Encoding, WeightMode
from mixcim_hdl.presets import PRESETS
from model.random_program import ideal_lines

KINDS = [
    (mode, encoding.value)
    for mode in WEIGHT_MODES
    for encoding in Encoding
    if encoding is not Encoding.TWOS_COMPLEMENT or WEIGHT_MODES[mode].cells[-1] == 1
]


def every_weight(low: int, high: int) -> np.ndarray:
    """Slots int8 (slots, rows, channels) of chip tiny that hold every weight from low to high."""
    weights = np.resize(np.arange(low, high + 1), (4, 16, 4))
    return weights.astype(np.int8)


@pytest.mark.parametrize(("mode", "encoding"), KINDS)
def test_digits_add_up_to_the_weight(mode, encoding):
    chip = dataclasses.replace(PRESETS["tiny"], weight_mode=mode, encoding=encoding)
    slots = every_weight(-128, 127)
    digits = weight_digits(slots, chip).astype(int)
    assert digits.shape == (4, len(chip.mode.cells), chip.memristor_columns, 16)
    for digit, bits in enumerate(chip.mode.cells):
        assert digits[:, digit].max() < 1 << bits and not digits[:, digit, -1].any()
    places = 1 << np.array(chip.mode.places)
    if encoding == "twos_complement":
        places[-1] *= -1
    columns = (digits[:, :, :-1] * places[:, None, None]).sum(axis=1)
    numbers = columns[:, 0::2] - columns[:, 1::2] if encoding == "differential" else columns
    np.testing.assert_array_equal(numbers - (128 if encoding == "offset" else 0), slots.transpose(0, 2, 1))
    np.testing.assert_array_equal(memristor_lines(slots, chip), ideal_lines(slots.astype(int), chip))


@pytest.mark.parametrize(
    ("encoding", "cells", "held", "refused", "words"),
    [
        ("differential", (2, 2, 1), (-31, 31), 32, "weight 32 does not fit chip 'tiny': weight mode short holds -31"),
        ("differential", (2, 2, 1), (-31, 31), -32, "holds -31 to 31 in encoding differential"),
        ("offset", (2, 2, 2, 1), (-128, -1), 0, "weight 0 .* holds -128 to -1 in encoding offset"),
        ("twos_complement", (2, 2, 1), (-16, 15), 16, "weight 16 .* holds -16 to 15 in encoding twos_complement"),
    ],
)
def test_weights_that_a_mode_cannot_hold_are_refused(monkeypatch, encoding, cells, held, refused, words):
    monkeypatch.setitem(WEIGHT_MODES, "short", WeightMode("short", cells))
    chip = dataclasses.replace(PRESETS["tiny"], weight_mode="short", encoding=encoding)
    weight_digits(every_weight(*held), chip)
    with pytest.raises(MixcimError, match=words) as caught:
        weight_digits(np.full((1, 16, 4), refused, np.int8), chip)
    assert "\n" not in str(caught.value)
