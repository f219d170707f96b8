"""Output pipeline: addresses, masks, residual words and faults, with stalls before and conflicts inside."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hdl.chips import CHIPS, TINY
from hdl.streams import send, simulate
from mixcim_hdl.output.lane import Lane
from mixcim_hdl.output.pipeline import OutputPipeline


def bench(pipeline, chip, tiles, run, memory):
    """Background bench that plays tile map, parameter memory and activation memory around the pipeline."""
    lanes = chip.output_lanes
    beats = chip.channels // lanes

    async def answer(ctx):
        for name, value in run.items():
            ctx.set(pipeline.run[name], value)
        while True:
            *_, tile, tile_address, parameter, address, residual, word = await ctx.tick().sample(
                pipeline.tile_enable, pipeline.tile_address, pipeline.parameter_enable, pipeline.parameter_address,
                pipeline.residual_enable, pipeline.residual_address,
            )  # fmt: skip
            if tile:
                ctx.set(pipeline.tile_data, tiles[tile_address]["offset"] | tiles[tile_address]["mask"] << 16)
            if parameter:
                first = address % beats * lanes
                entry = tiles[address // beats]
                pairs = zip(entry["bias"][first : first + lanes], entry["scale"][first : first + lanes], strict=True)
                data = [(bias & 0xFFFFFFFF) | int(np.float32(scale).view(np.uint32)) << 32 for bias, scale in pairs]
                ctx.set(pipeline.parameter_data, sum(value << 64 * n for n, value in enumerate(data)))
            if residual:
                ctx.set(pipeline.residual_data, int.from_bytes(bytes(memory[word]), "little"))

    return answer


def random_tiles(chip, rng):
    return [
        {
            "offset": rng.randrange(4),
            "mask": rng.getrandbits(chip.channels),
            "bias": [rng.randint(-500, 500) for _ in range(chip.channels)],
            "scale": [rng.random() for _ in range(chip.channels)],
        }
        for _ in range(8)
    ]


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("residual", [0, 1])
def test_tiles_reach_their_words(chip, stall, residual):
    """With scales of 1/2 twice and `fixed` 0 the residual sum is plain: (code + old) / 2, half to even."""
    rng = random.Random(residual)
    tiles, memory = random_tiles(chip, rng), [[rng.randrange(256) for _ in range(chip.channels)] for _ in range(200)]
    half = int(np.float32(0.5).view(np.uint32))
    run = {"output_base": 100, "residual_base": 20, "residual": residual, "zero_point": 9, "clamp_high": 255,
           "sum_high": 255, "scale_first": half, "scale_second": half}  # fmt: skip
    payloads, want = [], []
    for number in range(12):
        tile = rng.randrange(len(tiles))
        sums = [rng.randint(-1000, 1000) for _ in range(chip.channels)]
        payloads.append({"sums": sums, "parameter": tile, "offset": 4 * number})
        entry = tiles[tile]
        word = 4 * number + entry["offset"]
        codes = []
        for lane in range(chip.channels):
            scaled = np.float32(sums[lane] + entry["bias"][lane]) * np.float32(entry["scale"][lane])
            code = int(np.clip(np.rint(scaled) + 9, 0, 255))
            codes.append(round((code + memory[20 + word][lane]) / 2) if residual else code)
        want.append((100 + word, entry["mask"], [c for lane, c in enumerate(codes) if entry["mask"] >> lane & 1]))
    pipeline = OutputPipeline(chip)
    finished = []

    async def drive(ctx):
        await send(ctx, pipeline.result, payloads, stall, 1)

    async def collect(ctx):
        current: dict[int, int] = {}
        for _ in range(3000):
            *_, lanes, address, data, written = await ctx.tick().sample(
                pipeline.write_lanes, pipeline.write_address, pipeline.write_data, pipeline.written
            )
            current.update({lane: data >> 8 * lane & 0xFF for lane in range(chip.channels) if lanes >> lane & 1})
            if written:
                mask = sum(1 << lane for lane in current)
                finished.append((address, mask, [current[lane] for lane in sorted(current)]))
                current = {}
            if len(finished) == len(want):
                break
        await ctx.tick()
        assert not ctx.get(pipeline.busy)

    simulate(pipeline, drive, collect, background=[bench(pipeline, chip, tiles, run, memory)])
    assert finished == want


def test_throughput_and_latency_are_as_documented():
    chip, pipeline = TINY, OutputPipeline(TINY)
    rng = random.Random(5)
    tiles = random_tiles(chip, rng)
    taken, written = [], []

    async def drive(ctx):
        ctx.set(pipeline.result.payload, {"sums": [1] * chip.channels, "parameter": 0, "offset": 0})
        ctx.set(pipeline.result.valid, 1)
        for cycle in range(100):
            *_, ready, done = await ctx.tick().sample(pipeline.result.ready, pipeline.written)
            taken.extend([cycle] * ready)
            written.extend([cycle] * done)

    simulate(pipeline, drive, background=[bench(pipeline, chip, tiles, {"clamp_high": 255}, [])])
    beats = chip.channels // chip.output_lanes
    assert {b - a for a, b in zip(taken, taken[1:], strict=False)} == {beats}
    assert written[0] - taken[0] == Lane.LATENCY + OutputPipeline.EXTRA_LATENCY


@pytest.mark.parametrize(
    ("run", "parameter", "fault"),
    [
        ({"output_base": TINY.activation_words}, 0, "output_fault"),
        ({"residual": 1, "residual_base": TINY.activation_words}, 0, "output_fault"),
        ({}, TINY.parameter_tiles, "parameter_fault"),
    ],
)
def test_addresses_past_a_memory_are_faults_and_write_nothing(run, parameter, fault):
    pipeline, seen = OutputPipeline(TINY), []
    tiles = [{"offset": 0, "mask": 15, "bias": [0] * 4, "scale": [1.0] * 4}] * (TINY.parameter_tiles + 1)

    async def drive(ctx):
        ctx.set(pipeline.result.payload, {"sums": [1] * 4, "parameter": parameter, "offset": 0})
        ctx.set(pipeline.result.valid, 1)
        for _ in range(60):
            *_, faulty, lanes = await ctx.tick().sample(getattr(pipeline, fault), pipeline.write_lanes)
            seen.append(faulty)
            assert lanes == 0

    simulate(pipeline, drive, background=[bench(pipeline, TINY, tiles, run, [[0] * 4] * 2048)])
    assert any(seen)
