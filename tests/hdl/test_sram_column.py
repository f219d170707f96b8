"""Columns of an SRAM-CIM bank: both forms give the exact sums of every segment, with the top plane of either sign."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from amaranth.sim import Simulator

from hdl.chips import DEEP, FOUR_PLANES, NO_FLOAT, SIX_PLANES, TINY, TWO_PLANES
from mixcim_hdl.formats import WEIGHT_BITS
from mixcim_hdl.sram.column import SramColumn
from mixcim_hdl.sram.fpga_column import FpgaColumn

#: More rows than FpgaColumn sums before its register, and one, two, four of its groups in a segment.
TALL = dataclasses.replace(TINY, name="tall", rows=64, sram_segments=1, sram_planes=2, load_cycles=8)
HALVES = dataclasses.replace(TALL, name="halves", sram_segments=2)
#: Segments of a pair of rows, with all planes of the widest integers.
PAIRS = dataclasses.replace(TINY, name="pairs", sram_segments=8, sram_planes=4, aligned_bits=16)
CHIPS = [TINY, NO_FLOAT, TWO_PLANES, FOUR_PLANES, SIX_PLANES, TALL, HALVES, PAIRS, DEEP]


def packed(values: np.ndarray, width: int) -> int:
    return sum((int(value) & (1 << width) - 1) << index * width for index, value in enumerate(values))


@pytest.mark.parametrize("form", [SramColumn, FpgaColumn])
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_sums(chip, form):
    column, rng = form(chip), np.random.default_rng(chip.rows)
    segments, planes = chip.sram_segments, chip.sram_planes
    places = 1 << np.arange(planes)
    words = rng.integers(-128, 128, (6, chip.rows))
    words[0], words[1] = -128, 127
    seen = []

    async def bench(ctx):
        for slot, word in enumerate(words):
            ctx.set(column.load_address, slot)
            for part, weights in enumerate(np.split(word, chip.load_cycles)):
                ctx.set(column.load_enable, 1 << part)
                ctx.set(column.load_data, packed(weights, WEIGHT_BITS))
                await ctx.tick()
        ctx.set(column.load_enable, 0)
        for case in range(24):
            slot = case % len(words)
            bits = rng.integers(0, 2, (planes, chip.rows)) if case >= len(words) else np.ones((planes, chip.rows), int)
            negative = chip.floating_point and case % 2
            ctx.set(column.read_enable, 1)
            ctx.set(column.read_address, slot)
            await ctx.tick()
            ctx.set(column.read_enable, 0)
            ctx.set(column.enable, 1)
            for plane, rows in enumerate(bits):
                ctx.set(column.planes[plane], packed(rows, 1))
            await ctx.tick()
            ctx.set(column.enable, 0)
            ctx.set(column.negative, negative)
            for plane in range(planes):
                ctx.set(column.planes[plane], 0)  # without `enable` the sums stay
            for _ in range(1 + chip.deep_pipeline):
                await ctx.tick()
            signs = places * np.where((np.arange(planes) == planes - 1) & bool(negative), -1, 1)
            products = (signs @ bits) * words[slot]
            expected = products.reshape(segments, -1).sum(axis=1)
            np.testing.assert_array_equal([ctx.get(column.sums[index]) for index in range(segments)], expected)
            seen.append(expected.min())

    simulator = Simulator(column)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert min(seen) < 0
