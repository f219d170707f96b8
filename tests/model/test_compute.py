"""Counting word lines: eight bytes at a time and what is left."""

import numpy as np
import pytest

from mixcim.model.compute import bits_on


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(3, 2, 8), (3, 5, 7), (1, 1, 1), (2, 0, 4)])
def test_bits_on_counts_every_code(type, shape):
    codes = np.random.default_rng(0).integers(0, np.iinfo(type).max, shape, endpoint=True).astype(type)
    want = [sum(int(code).bit_count() for code in one.ravel()) for one in codes]
    assert bits_on(codes).tolist() == want
    assert bits_on(np.repeat(codes, 2, axis=2)[:, :, ::2]).tolist() == want
