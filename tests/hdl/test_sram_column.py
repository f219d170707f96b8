"""Both forms of an SRAM-CIM column against the definition of its sums, and so equal in every cycle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdl.chips import TINY
from hdl.streams import simulate
from mixcim_hdl.sram.column import SramColumn
from mixcim_hdl.sram.fpga_column import FpgaColumn


@pytest.mark.parametrize("form", [SramColumn, FpgaColumn])
@pytest.mark.parametrize("aligned_bits", [0, 16])
@pytest.mark.parametrize("planes", [1, 2, 4])
@pytest.mark.parametrize(("rows", "segments"), [(16, 1), (16, 8), (64, 4)])
def test_sums_of_segments(form, rows: int, segments: int, planes: int, aligned_bits: int) -> None:
    chip = dataclasses.replace(
        TINY, rows=rows, sram_segments=segments, sram_planes=planes, aligned_bits=aligned_bits, sram_slots=4
    )
    random = np.random.default_rng(rows + planes)
    weights = random.integers(-128, 128, (chip.sram_slots, rows))
    weights[0] = -128
    column = form(chip)
    height = rows // segments

    async def drive(ctx):
        ctx.set(column.load_enable, 1)
        for slot, words in enumerate(weights):
            ctx.set(column.load_address, slot)
            ctx.set(column.load_data, int.from_bytes(words.astype(np.int8).tobytes(), "little"))
            await ctx.tick()
        ctx.set(column.load_enable, 0)
        before = None
        for _ in range(30):
            slot, enable, negative = int(random.integers(4)), random.random() < 0.8, int(random.integers(2))
            bits = random.integers(0, 2, (planes, rows))
            ctx.set(column.read_enable, 1)
            ctx.set(column.read_address, slot)
            await ctx.tick()
            ctx.set(column.read_enable, 0)
            ctx.set(column.enable, int(enable))
            ctx.set(column.planes, [int(sum(int(bit) << row for row, bit in enumerate(plane))) for plane in bits])
            await ctx.tick()
            ctx.set(column.enable, 0)
            ctx.set(column.negative, negative)
            await ctx.delay(1e-9)
            if enable:
                before = slot, bits
            if before is None:
                continue
            places = 1 << np.arange(planes)
            if negative and chip.floating_point:  # chips without it have no signed inputs
                places[-1] *= -1
            integers = places @ before[1]
            expected = (integers * weights[before[0]]).reshape(segments, height).sum(axis=1)
            assert [ctx.get(total) for total in column.sums] == expected.tolist()

    simulate(column, drive)
