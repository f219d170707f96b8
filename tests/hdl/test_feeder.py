"""Input feeder against im2col written as loops, with bank conflicts and stalls at random."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hdl.chips import CHIPS, TINY
from hdl.streams import STALLS, receive, simulate
from mixcim_hdl.control.feeder import Feeder


def vectors_by_definition(chip, run, memory):
    """The vectors of RUN's loops in commands.py, as payloads."""
    granule, offset = 1 << run["granule_log2"], 0
    for oy in range(run["output_height"]):
        for ox in range(run["output_width"]):
            for group in range(run["group_count"]):
                codes = []
                for ky in range(run["kernel_height"]):
                    for kx in range(run["kernel_width"]):
                        for word in range(run["tap_words"]):
                            y, x = (
                                oy * run["stride_y"] - run["pad_top"] + ky,
                                ox * run["stride_x"] - run["pad_left"] + kx,
                            )
                            if 0 <= y < run["input_height"] and 0 <= x < run["input_width"]:
                                address = run["base"] + y * run["row_pitch"] + x * run["pixel_pitch"] + group + word
                                codes += list(memory[address][:granule])
                            else:
                                codes += [run["pad_value"]] * granule
                for start in range(0, len(codes), chip.rows):
                    part = codes[start : start + chip.rows]
                    padded = [int(code) for code in part] + [0] * (chip.rows - len(part))
                    yield {
                        "planes": [
                            sum((code >> bit & 1) << row for row, code in enumerate(padded)) for bit in range(8)
                        ],
                        "length": len(part),
                        "pixel_start": int(group == 0 and start == 0),
                        "window_start": int(start == 0),
                        "window_end": int(start + chip.rows >= len(codes)),
                        "offset": offset,
                    }
            offset += run["output_pitch"]


def random_run(chip, rng) -> dict[str, int]:
    """Fields of a random layer inside 64 words of memory."""
    log2 = int(rng.integers((chip.channels - 1).bit_length() + 1))
    words = int(rng.integers(1, 4))
    grouped = bool(rng.integers(2))
    height, width = (int(n) for n in rng.integers(2, 5, 2))
    kernel_height, kernel_width = (int(n) for n in rng.integers(1, 4, 2))
    run = {
        "granule_log2": log2,
        "pad_value": int(rng.integers(256)),
        "input_height": height,
        "input_width": width,
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        "tap_words": 1 if grouped else words,
        "group_count": words if grouped else 1,
        "output_height": int(rng.integers(1, 4)),
        "output_width": int(rng.integers(1, 4)),
        "pixel_pitch": words,
        "row_pitch": words * width,
        "pad_top": int(rng.integers(3)),
        "pad_left": int(rng.integers(3)),
        "stride_y": int(rng.integers(1, 3)),
        "stride_x": int(rng.integers(1, 3)),
        "output_pitch": int(rng.integers(1, 5)),
        "base": int(rng.integers(8)),
    }
    run["window_step_x"] = run["stride_x"] * run["pixel_pitch"]
    run["window_step_y"] = run["stride_y"] * run["row_pitch"]
    start = run["base"] - run["pad_top"] * run["row_pitch"] - run["pad_left"] * run["pixel_pitch"]
    run["window_start"] = start % (1 << 24)
    return run


async def memory_of(ctx, feeder, memory, conflict: float, seed: int):
    """Answers the feeder's reads a cycle later; refuses some, as a bank in use does."""
    coin = random.Random(seed)
    while True:
        ready = coin.random() >= conflict
        ctx.set(feeder.read_ready, ready)
        *_, enable, address = await ctx.tick().sample(feeder.read_enable, feeder.read_address)
        if enable and ready:
            ctx.set(feeder.read_data, int.from_bytes(bytes(memory[address].tolist()), "little"))


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("seed", range(4))
def test_feeder_is_im2col(chip, stalls, seed):
    rng = np.random.default_rng(seed)
    memory = rng.integers(0, 256, (256, chip.channels))
    runs = [random_run(chip, rng) for _ in range(2)]  # one after the other: nothing is left behind
    feeder = Feeder(chip)

    async def drive(ctx):
        for run in runs:
            for name, value in run.items():
                if name != "base":
                    ctx.set(feeder.run[name], value)
            ctx.set(feeder.start, 1)
            await ctx.tick()
            ctx.set(feeder.start, 0)
            want = list(vectors_by_definition(chip, run, memory))
            assert await receive(ctx, feeder.vector, len(want), stalls[1], seed) == want
            await ctx.tick()
            assert not ctx.get(feeder.busy)

    async def answer(ctx):
        await memory_of(ctx, feeder, memory, stalls[0], seed)

    simulate(feeder, drive, background=[answer])


def test_feeder_takes_a_granule_per_cycle():
    """Vectors of n granules come every n cycles when nothing stalls."""
    feeder, arrivals = Feeder(TINY), []
    run = random_run(TINY, np.random.default_rng(0)) | {
        "granule_log2": 2, "kernel_height": 2, "kernel_width": 2, "tap_words": 1, "group_count": 1,
        "output_height": 2, "output_width": 8, "pad_top": 0, "pad_left": 0, "window_start": 0,
    }  # fmt: skip

    async def drive(ctx):
        for name, value in run.items():
            if name != "base":
                ctx.set(feeder.run[name], value)
        ctx.set(feeder.read_ready, 1)
        ctx.set(feeder.vector.ready, 1)
        ctx.set(feeder.start, 1)
        await ctx.tick()
        ctx.set(feeder.start, 0)
        for cycle in range(100):
            *_, valid = await ctx.tick().sample(feeder.vector.valid)
            arrivals.extend([cycle] * valid)

    simulate(feeder, drive)
    assert len(arrivals) == 16
    assert {later - earlier for earlier, later in zip(arrivals, arrivals[1:], strict=False)} == {4}


def test_feeder_stops_at_an_address_past_the_memory():
    feeder = Feeder(TINY)
    run = random_run(TINY, np.random.default_rng(3)) | {
        "window_start": TINY.activation_words - 1,
        "pad_top": 0,
        "pad_left": 0,
    }
    seen = []

    async def drive(ctx):
        for name, value in run.items():
            if name != "base":
                ctx.set(feeder.run[name], value)
        ctx.set(feeder.read_ready, 1)
        ctx.set(feeder.start, 1)
        await ctx.tick()
        ctx.set(feeder.start, 0)
        for _ in range(50):
            *_, fault, address, enable = await ctx.tick().sample(feeder.fault, feeder.fault_address, feeder.read_enable)
            if fault:
                seen.append((address, enable))

    simulate(feeder, drive)
    assert len(seen) > 10, "the feeder went on"
    assert {(address >= TINY.activation_words, enable) for address, enable in seen} == {(True, 0)}
