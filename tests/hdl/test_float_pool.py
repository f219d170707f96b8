"""Float pool against the model: every format, NaN, infinities, padding, with refused reads and stalls at random."""

from __future__ import annotations

import dataclasses
import random
from functools import cache

import numpy as np
import pytest

from hdl.chips import OTHER, TINY
from hdl.streams import STALLS, receive, simulate
from hdl.test_feeder import FLOATING, random_contents, random_elements, random_run, start, word_pair
from hdl.test_floating_point import assert_equal, random_patterns
from mixcim.model import floating as model
from mixcim.model.activation import ActivationMemory
from mixcim.model.float_pool import FloatPool as PoolModel
from mixcim.rtl.unit import Unit
from mixcim_hdl.commands import Pooling
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.floating_point.add import FloatAdd
from mixcim_hdl.floating_point.element import ElementToFloat
from mixcim_hdl.pool.float_pool import FloatPool, word_period
from mixcim_hdl.pool.lane import PoolLane

#: One beat a word, and so many that they take longer than an addition.
BEATS = [dataclasses.replace(TINY, name=f"lanes{lanes}", channels=8, output_lanes=lanes) for lanes in (8, 1)]
POOLS = [Pooling.SUM, Pooling.MAXIMUM]


PLAIN = dict.fromkeys(("input_height", "input_width", "kernel_height", "kernel_width", "tap_words"), 1) | {
    "group_count": 1, "output_height": 1, "output_width": 1, "pixel_pitch": 2, "row_pitch": 2, "output_pitch": 1,
    "input_format": int(ElementFormat.BF16), "pooling": int(Pooling.SUM),
}  # fmt: skip
#: What the model looks up beside.
EXTRA_FIELDS = ("pool_parameter", "first_group", "pad_top", "pad_left", "stride_y", "window_step_y", "window_start")


def patterns(numbers: np.ndarray) -> np.ndarray:
    """FP32 patterns, int64, NaN canonical."""
    return model.canonical(numbers).astype(np.float32).view(np.uint32).astype(np.int64)


@cache
def unit(block: type, *parameters: int) -> Unit:
    """The verilated block, once per test process."""
    return Unit(block(*parameters))


@pytest.mark.parametrize("item", FLOATING, ids=lambda item: item.name)
def test_every_element_is_its_float32(item):
    elements = np.arange(1 << 8 * item.bytes)
    got = unit(ElementToFloat)(element=elements, format=item.value)["result"]
    assert_equal(patterns(got.astype(np.uint32).view(np.float32)), patterns(model.decode(elements, item.floating)))


@pytest.mark.parametrize("period", [5, 16])
@pytest.mark.parametrize("pooling", POOLS, ids=lambda item: item.name)
@pytest.mark.parametrize("item", FLOATING, ids=lambda item: item.name)
def test_lane_is_the_definition(item, pooling, period):
    """Channels that take turns; windows of all lengths; latency by the way: results are taken LATENCY later."""
    rng, count = np.random.default_rng(item.value), 2000 * period
    elements = random_patterns(rng, item.floating, count)
    near = random_elements(rng, item, count)
    elements = np.where(np.arange(count) < count // 2, elements, near)
    inside, first = rng.random(count) < 0.8, rng.random(count) < 0.1
    first[:period] = True
    x = model.decode(elements, item.floating)
    number = np.zeros(count, np.float32)
    nothing = np.float32(-np.inf if pooling == Pooling.MAXIMUM else 0)
    for turn in range(0, count, period):
        here = slice(turn, turn + period)
        y = np.where(first[here], nothing, number[turn - period : turn] if turn else nothing)
        result = model.add(y, x[here]) if pooling == Pooling.SUM else model.clamp(x[here], y, np.float32(np.inf))
        number[here] = np.where(inside[here], result, y)
    got = unit(PoolLane, period)(
        element=elements, inside=inside, first=first, pooling=int(pooling), format=item.value
    )["number"]  # fmt: skip
    assert_equal(got, patterns(number), elements, inside, first)
    assert np.isnan(number).any() and (np.isinf(number).any() or not item.floating.infinity)


def test_a_lane_must_be_as_long_as_an_addition():
    with pytest.raises(ValueError, match="period must be at least 5, not 4"):
        PoolLane(4)


def pool_run(chip, rng, item: ElementFormat) -> dict[str, int]:
    """Fields of a random layer."""
    pooling, parameter = int(rng.choice(POOLS)), int(rng.integers(1 << 12))
    return random_run(chip, rng, item) | {"pooling": pooling, "pool_parameter": parameter}


def expected(chip, run, memory) -> list[dict]:
    """Results of a run by the model, as payloads."""
    activations = ActivationMemory(1, chip)
    count = min(len(memory), chip.activation_words)
    activations.words[0, :count] = memory[:count]
    pool, pixels = PoolModel(activations, run | {"first_group": run.get("first_group", 0)}), []
    for group in range(run["group_count"]):
        pool.group(group)
        pixels.append(patterns(pool.numbers(slice(0, 1), range(run["output_height"] * run["output_width"]))[0]))
    return [
        {
            "sums": pixels[group][pixel].tolist(),
            "parameter": run["pool_parameter"] + group,
            "offset": pixel * run["output_pitch"],
            "exponent": {"unit": 0, "special": 0},
        }
        for group in range(run["group_count"])
        for pixel in range(run["output_height"] * run["output_width"])
    ]


@pytest.mark.parametrize("chip", [TINY, OTHER, *BEATS], ids=lambda chip: chip.name)
@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("item", FLOATING, ids=lambda item: item.name)
def test_pool_is_the_model(chip, stalls, item):
    """Runs one after the other, so that what one leaves behind shows."""
    rng, pool, contents, seen = np.random.default_rng(item.value), FloatPool(chip), [], set()

    async def drive(ctx):
        for number in range(6):
            run = pool_run(chip, rng, FLOATING[(item.value + number) % 4] if number == 2 else item)
            contents[:] = [random_contents(chip, run, rng)]
            want = expected(chip, run, contents[0][0])
            await start(ctx, pool, run)
            assert await receive(ctx, pool.result, len(want), stalls[1], item.value) == want
            await ctx.tick()
            assert not ctx.get(pool.busy)
            seen.update(pattern for result in want for pattern in result["sums"])

    simulate(pool, drive, background=answers_activation(pool, contents, stalls[0], item.value))
    assert len(seen) > 8


@pytest.mark.parametrize("chip", [TINY, *BEATS], ids=lambda chip: chip.name)
@pytest.mark.parametrize("taps", [1, 2])
def test_nothing_is_lost_while_results_wait_for_long(chip, taps):
    """The word that is there stays while its last beat stands still, as it does where a period has a beat a cycle."""
    rng, pool = np.random.default_rng(taps), FloatPool(chip)
    run = PLAIN | {
        "kernel_width": taps, "input_width": 99, "output_width": 20, "stride_x": 1, "window_step_x": 2, "base": 0,
        "words": 1, "row_pitch": 200,
    }  # fmt: skip
    run |= {"grouped_exponents": 0, "tap_exponents": 1}
    contents = [random_contents(chip, run, rng)]
    want = expected(chip, run | dict.fromkeys(EXTRA_FIELDS, 0), contents[0][0])

    async def drive(ctx):
        await start(ctx, pool, run)
        assert await receive(ctx, pool.result, len(want), 0.95, taps) == want

    simulate(pool, drive, background=answers_activation(pool, contents))


def answers_activation(pool, contents, conflict=0.0, seed=1):
    """A bench that answers the pool's reads a cycle later; the activation memory refuses some."""

    async def activation(ctx):
        coin = random.Random(seed)
        while True:
            ready = coin.random() >= conflict
            ctx.set(pool.read_ready, ready)
            *_, enable, wide, address = await ctx.tick().sample(pool.read_enable, pool.read_wide, pool.read_address)
            if enable and ready:
                ctx.set(pool.read_data, word_pair(contents[0][0], address, wide))

    return [activation]


@pytest.mark.parametrize(("pooling", "nothing"), [(Pooling.SUM, 0), (Pooling.MAXIMUM, 0xFF800000)])
def test_a_window_in_the_padding_has_nothing(pooling, nothing):
    """Also between others: 3 pixels, of which the middle one alone is inside."""
    pool = FloatPool(TINY)
    run = PLAIN | {"output_width": 3, "pad_left": 1, "stride_x": 1, "window_step_x": 2, "pooling": int(pooling)}
    run["window_start"] = (1 << 24) - 2
    contents, results = [(np.full((256, 4), 0x40), np.zeros(256, int))], []

    async def drive(ctx):
        await start(ctx, pool, run)
        results.extend(await receive(ctx, pool.result, 3, 0.0, 1))

    simulate(pool, drive, background=answers_activation(pool, contents))
    assert [result["sums"] for result in results] == [[nothing] * 4, [0x40400000] * 4, [nothing] * 4]


@pytest.mark.parametrize("chip", [TINY, OTHER, *BEATS], ids=lambda chip: chip.name)
@pytest.mark.parametrize("taps", [1, 2, 9])
def test_throughput_and_latency_are_as_documented(chip, taps):
    pool, arrivals, taken = FloatPool(chip), [], []
    beats = chip.channels // chip.output_lanes
    run = PLAIN | {"kernel_width": taps, "input_width": 99, "output_width": 5, "stride_x": 1, "window_step_x": 2}

    async def drive(ctx):
        await start(ctx, pool, run)
        for cycle in range(1, 1000):
            # As the output pipeline: it takes a result in its last beat.
            ctx.set(pool.result.ready, len(taken) == beats - 1)
            *_, valid = await ctx.tick().sample(pool.result.valid)
            if valid and not taken:
                arrivals.append(cycle)
            taken[:] = [*taken, 1][: (len(taken) + 1) % beats] if valid else []
            if not ctx.get(pool.busy):
                break

    simulate(pool, drive, background=answers_activation(pool, [(np.zeros((256, 8), int), None)]))
    assert len(arrivals) == 5
    period = word_period(chip)
    assert period == max(beats, FloatAdd.LATENCY)
    assert arrivals[0] == (taps - 1) * period + beats + PoolLane.LATENCY + 2
    gaps = {later - earlier for earlier, later in zip(arrivals, arrivals[1:], strict=False)}
    assert gaps == {max(taps * period, 2 * beats - 1)}


@pytest.mark.parametrize("item", [ElementFormat.BF16, ElementFormat.FP8_E5M2], ids=lambda item: item.name)
def test_pool_stops_at_an_address_past_the_memory(item):
    """After the windows before it; and begins anew after a reset of its registers."""
    pool, seen, results = FloatPool(TINY), set(), []
    words = TINY.activation_words
    run = PLAIN | {
        "input_format": int(item), "kernel_width": 2, "input_width": 99, "output_width": 9, "stride_x": 1,
        "window_step_x": 2, "window_start": words - 8,
    }  # fmt: skip

    async def drive(ctx):
        ctx.set(pool.result.ready, 1)
        await start(ctx, pool, run)
        for _ in range(120):
            *_, fault, address, read, valid = await ctx.tick().sample(
                pool.fault, pool.fault_address, pool.read_enable, pool.result.valid
            )
            results.extend([1] * valid)
            if fault:
                seen.add((address, read))

    memory = np.zeros((words, TINY.channels), int)
    simulate(pool, drive, background=answers_activation(pool, [(memory, None)]))
    assert seen == {(words, 0)}
    assert len(results) <= 3


def test_pool_moves_while_it_walks_through_padding():
    """No watchdog fires in a window that lies in the padding: each word that is passed is a move."""
    pool, moves = FloatPool(TINY), []
    run = PLAIN | {"kernel_width": 20, "pad_left": 200}

    async def drive(ctx):
        ctx.set(pool.result.ready, 1)
        await start(ctx, pool, run)
        for cycle in range(150):
            *_, moving, reads = await ctx.tick().sample(pool.moving, pool.read_enable)
            assert not reads
            moves.extend([cycle] * moving)

    simulate(pool, drive)
    assert len(moves) == 21
    assert max(later - earlier for earlier, later in zip(moves[:20], moves[1:20], strict=False)) == 5
