"""What a command takes, from the times at which commands begin."""

from __future__ import annotations

import numpy as np

from mixcim_hdl.commands import LOAD_FIELDS, Opcode, pack_layout


def command_cycles(commands: np.ndarray, begins: np.ndarray, total: int) -> np.ndarray:
    """Cycles of each of the first commands of a run of `total` cycles: int64 (begins,); together they are `total`.

    `begins`: when they began, modulo 2**32. A command's cycles go from its begin (command 0: from the start) to the
    begin of the next one, those of the last to the end of the run; a LOAD with `overlap` has none, its time is that of
    the command before it.
    """
    first = commands[: len(begins), 0]
    bit, _ = pack_layout(LOAD_FIELDS)[0]["overlap"]
    beside = (first & 0xFF == Opcode.LOAD) & (first >> bit & 1 == 1)
    begins = begins.astype(np.int64)
    for command in np.flatnonzero(beside[:-1])[::-1]:
        begins[command] = begins[command + 1]
    begins[0] = 0
    # A counter of 32 bits may have run over.
    return np.diff(begins, append=total) % (1 << 32)
