"""Write-verify: every cell, pulse and count as the pseudo code of commands.py says; cycles as documented."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.chips import CHIPS
from hdl.streams import simulate
from mixcim_hdl.commands import WRITE_STRIDE
from mixcim_hdl.memristor.write_verify import WriteVerify

WORD = (1 << 32) - 1
GROUP = 4  # cells of one write


def xorshift(x: int) -> int:
    x ^= x << 13 & WORD
    x ^= x >> 17
    return x ^ (x << 5 & WORD)


def one_line(chip, targets, cells, held, registers, line):
    """(code, pulses, given up) of every cell of a line, and whether there was any pulse."""
    x = (registers["seed"] + (line + 1) * WRITE_STRIDE) & WORD or WRITE_STRIDE
    for _ in range(4):
        x = xorshift(x)
    result = []
    for target, cell, still in zip(targets.tolist(), cells.tolist(), held.tolist(), strict=True):
        pulses = 0
        while abs(target - cell) > registers["band"] and pulses < registers["retry_limit"]:
            x = xorshift(x)
            gauss = sum(x >> shift & 255 for shift in (0, 8, 16, 24)) - 510
            step = max(registers["step_mean"] + gauss * registers["step_sigma"], 0)
            if abs(target - cell) < registers["coarse"]:
                step >>= registers["fine_shift"]
            step = (step + 2048) >> 12
            if not still:
                cell += step if target > cell else -step
                cell = min(max(cell, 0), (1 << chip.conductance_bits) - 1)
            pulses += 1
        result.append((cell, pulses, int(abs(target - cell) > registers["band"])))
    return result, any(pulses for _, pulses, _ in result)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
@pytest.mark.parametrize("seed", [1, -3 * WRITE_STRIDE & WORD])  # the second gives line 2 the generator state 0
def test_lines_are_programmed_as_the_pseudo_code_says(chip, seed):
    rng = np.random.default_rng(3)
    largest = (1 << chip.conductance_bits) - 1
    registers = {
        "band": largest // 40, "coarse": largest // 6, "step_mean": largest * 80, "step_sigma": largest // 3,
        "fine_shift": 2, "retry_limit": 12, "endurance": 2, "seed": seed,
    }  # fmt: skip
    bank, word, column = chip.memristor_banks - 1, 0, min(2, chip.physical_columns - 1)
    line = (bank * chip.memristor_words + word) * chip.physical_columns + column
    block = WriteVerify(chip)
    stored = rng.integers(0, largest + 1, chip.rows)
    gone = []  # what the machine did with each line: results, refused, wear, cycles

    async def cell_array(ctx):
        """Answers reads of the connected word at once; takes what is programmed."""
        cells, connected = [], False
        codes = [0] * chip.deep_pipeline
        async for _, _, connect, valid, last, data in ctx.tick().sample(
            block.connect, block.program_valid, block.program_last, block.program_cells
        ):
            connected |= bool(connect)
            if valid:
                cells += [data >> 8 * cell & 255 for cell in range(GROUP)]
                if last:
                    stored[:] = cells
                    cells = []
            row = ctx.get(block.word_lines).bit_length() - 1
            codes.append(int(stored[row]) if connected else 0)
            ctx.set(block.code, codes.pop(0))

    async def host(ctx):
        for name, value in registers.items():
            ctx.set(getattr(block.registers, name), value)
        ctx.set(block.bank, bank)
        ctx.set(block.word, word)
        ctx.set(block.column, column)
        for targets, held in jobs:
            ctx.set(block.held, sum(int(bit) << row for row, bit in enumerate(held)))
            cycles = 0
            for first in range(0, chip.rows, GROUP):
                ctx.set(block.first, first == 0)
                ctx.set(block.last, first + GROUP == chip.rows)
                ctx.set(block.targets, sum(int(t) << 8 * n for n, t in enumerate(targets[first : first + GROUP])))
                ctx.set(block.start, 1)
                await ctx.tick()
                ctx.set(block.start, 0)
                while ctx.get(block.busy):
                    cycles += 1
                    await ctx.tick()
            results = []
            ctx.set(block.written_read, 1)
            for row in range(chip.rows):
                ctx.set(block.written_address, row)
                await ctx.tick()
                written = ctx.get(block.written_data)
                results.append((written["code"], written["pulses"], written["given_up"]))
            ctx.set(block.written_read, 0)
            gone.append((results, ctx.get(block.refused), ctx.get(block.wear), cycles))

    start = stored.copy()
    jobs = [(rng.integers(0, largest + 1, chip.rows), rng.random(chip.rows) < 0.2) for _ in range(3)]
    simulate(block, host, background=[cell_array])
    cells, wear = start, 0
    for number, ((targets, held), (results, refused, counted, cycles)) in enumerate(zip(jobs, gone, strict=True)):
        if wear >= registers["endurance"]:
            assert refused and counted == wear and cycles <= 3 * chip.rows // GROUP
            continue
        expected, pulsed = one_line(chip, targets, cells, held, registers, line)
        assert results == expected, f"line written {number} times before"
        wear += pulsed
        assert not refused and counted == wear
        pulses = sum(count for _, count, _ in expected)
        deep = chip.deep_pipeline
        least = (2 + 2 * deep) * chip.rows + (1 + deep) * pulses
        assert least <= cycles <= least + chip.rows + 8
        assert any(given_up for *_, given_up in expected)
        cells = np.array([code for code, *_ in expected])
    assert gone[2][1] == 1, "the third time exceeds the endurance"
    np.testing.assert_array_equal(stored, cells)
