"""Read noise: the generators' sequence, from its definition in commands.py, and the way to any place in it.

The generator is linear over GF(2): `count` steps are a 32 x 32 bit matrix, found by squaring and applied by four
tables of 256 words, one for each byte of the state. So no draw depends on how many are worked out at a time.
"""

from __future__ import annotations

import functools

import numpy as np


def stepped(states: np.ndarray) -> np.ndarray:
    """States after one read: xorshift32 of uint32 of any shape."""
    states = states ^ (states << np.uint32(13))
    states ^= states >> np.uint32(17)
    states ^= states << np.uint32(5)
    return states


def gauss(states: np.ndarray) -> np.ndarray:
    """Sum of the four bytes of each state less 510: int32 of the shape of `states` (uint32)."""
    parts = np.ascontiguousarray(states).view(np.uint8).reshape(*states.shape, 4)
    return parts.sum(axis=-1, dtype=np.int32) - np.int32(510)


@functools.lru_cache(maxsize=256)
def jump_tables(count: int) -> np.ndarray:
    """`count` steps at once: uint32 (4, 256), indexed by byte of the state and its value; xor gives the new state."""
    if count == 0:
        images = np.uint32(1) << np.arange(32, dtype=np.uint32)
    elif count == 1:
        images = stepped(np.uint32(1) << np.arange(32, dtype=np.uint32))
    else:
        half = jump_tables(count // 2)
        images = _looked_up(_looked_up(jump_tables(count % 2)[:, _POWERS].ravel(), half), half)
    tables = np.zeros((4, 256), np.uint32)
    for bit in range(8):
        tables[:, 1 << bit : 2 << bit] = tables[:, : 1 << bit] ^ images[bit::8, None]
    tables.flags.writeable = False
    return tables


_POWERS = 1 << np.arange(8)


def _looked_up(states: np.ndarray, tables: np.ndarray) -> np.ndarray:
    parts = np.ascontiguousarray(states).view(np.uint8).reshape(*states.shape, 4)
    result = tables[0][parts[..., 0]]
    for byte in range(1, 4):
        result ^= tables[byte][parts[..., byte]]
    return result


def advanced(states: np.ndarray, count: int) -> np.ndarray:
    """States after `count` reads, of uint32 of any shape."""
    return _looked_up(states, jump_tables(count))


def placed(states: np.ndarray, places: np.ndarray) -> np.ndarray:
    """States uint32 (inputs, number, columns) after `places` reads, int (inputs, number).

    `states`: uint32 (inputs, columns) at place 0.
    """
    result = np.repeat(states[:, None], places.shape[1], axis=1)
    for power in range(int(places.max(initial=0)).bit_length()):
        odd = (places >> power & 1).astype(bool)
        result[odd] = advanced(result[odd], 1 << power)
    return result
