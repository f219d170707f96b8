"""Words of which many are 0, as the payloads of WRITE_SPARSE (mixcim_fpga.protocol)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixcim_fpga.protocol import GROUP_WORDS


def sparse_size(words: np.ndarray) -> int:
    """Words of all payloads for these words, a multiple of GROUP_WORDS."""
    return len(words) // GROUP_WORDS + int(np.count_nonzero(words))


def sparse_payloads(words: np.ndarray, most: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first word, payload of at most `most` words) of frames that write all words, uint32 (N,).

    N is a multiple of GROUP_WORDS, and `most` at least a whole group.
    """
    groups = words.reshape(-1, GROUP_WORDS)
    present = groups != 0
    masks = np.packbits(present, axis=1, bitorder="little").view("<u4").astype(np.uint32)
    ends = np.cumsum(1 + present.sum(axis=1))  # of each group, in all payloads one behind the other
    first, begin = 0, 0
    while first < len(groups):
        last = int(np.searchsorted(ends, begin + most, side="right"))
        chosen = slice(first, last)
        taken = np.concatenate([np.ones((last - first, 1), bool), present[chosen]], axis=1)
        yield first * GROUP_WORDS, np.concatenate([masks[chosen], groups[chosen]], axis=1)[taken]
        first, begin = last, int(ends[last - 1])
