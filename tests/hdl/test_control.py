"""Sequencer, kernel controller, accumulator, arbiter and loader, each against its sentence of definition."""

from __future__ import annotations

import random

import pytest

from hdl.chips import NO_FLOAT, OTHER, TINY
from hdl.streams import STALLS, receive, send, simulate
from mixcim_hdl.control.accumulator import Accumulator
from mixcim_hdl.control.kernel_controller import KernelController
from mixcim_hdl.control.loader import Loader
from mixcim_hdl.control.sequencer import Sequencer
from mixcim_hdl.output.arbiter import ResultArbiter

by_stall = pytest.mark.parametrize("stalls", STALLS)


def vectors(rng: random.Random, pixels: int, groups: int, per_window: int) -> list[dict]:
    """Payloads of whole pixels."""
    return [
        {
            "planes": [rng.getrandbits(16) for _ in range(TINY.input_planes)],
            "length": rng.randint(1, 16),
            "pixel_start": int(group == 0 and number == 0),
            "window_start": int(number == 0),
            "window_end": int(number == per_window - 1),
            "offset": 10 * pixel,
            "exponent": {"unit": rng.randint(-140, 122), "special": rng.getrandbits(1)},
        }
        for pixel in range(pixels)
        for group in range(groups)
        for number in range(per_window)
    ]


@by_stall
@pytest.mark.parametrize("slices", [1, 2, 3])
@pytest.mark.parametrize(("tiles", "stride", "groups", "per_window"), [(1, 1, 3, 2), (3, 1, 1, 4), (2, 4, 2, 1)])
def test_sequencer_numbers_slots_and_parameters(stalls, tiles, stride, groups, per_window, slices):
    payloads = vectors(random.Random(1), 2, groups, per_window)
    sequencer = Sequencer(TINY, capacity=1000)
    slot, parameter = 7, 100

    async def drive(ctx):
        fields = {"tiles": tiles, "slices": slices, "stride": stride, "slot": slot, "parameter": parameter}
        for name, value in fields.items():
            ctx.set(getattr(sequencer, name), value)
        await send(ctx, sequencer.vector, payloads, stalls[0], 1)

    async def check(ctx):
        steps = iter(await receive(ctx, sequencer.step, len(payloads) * tiles * slices, stalls[1], 1))
        for number, payload in enumerate(payloads):
            within = number % (groups * per_window)
            for tile in range(tiles):
                for slice in range(slices):
                    step = next(steps)
                    assert step["planes"] == payload["planes"]
                    assert step["address"] == slot + ((within * tiles + tile) * slices + slice) * stride
                    assert step["tag"] == {
                        "tile": tile,
                        "parameter": parameter + within // per_window * tiles + tile,
                        "offset": payload["offset"],
                        "first": int(payload["window_start"] and slice == 0),
                        "last": int(payload["window_end"] and slice == slices - 1),
                        "slice": slice,
                        "exponent": payload["exponent"],
                    }

    simulate(sequencer, drive, check)


def test_sequencer_without_floating_point_has_one_slice():
    """Whatever the field says."""
    payloads = vectors(random.Random(1), 1, 1, 3)
    for payload in payloads:
        payload["planes"] = payload["planes"][: NO_FLOAT.input_planes]
    sequencer = Sequencer(NO_FLOAT, capacity=8)

    async def drive(ctx):
        ctx.set(sequencer.tiles, 1)
        ctx.set(sequencer.slices, 3)
        ctx.set(sequencer.stride, 1)
        await send(ctx, sequencer.vector, payloads, 0.0, 1)

    async def check(ctx):
        steps = await receive(ctx, sequencer.step, 3, 0.0, 1)
        assert [(step["address"], step["tag"]["first"], step["tag"]["last"]) for step in steps] == [
            (0, 1, 0), (1, 0, 0), (2, 0, 1),
        ]  # fmt: skip

    simulate(sequencer, drive, check)


def test_sequencer_refuses_an_address_past_the_memory():
    sequencer = Sequencer(TINY, capacity=8)
    offered = []

    async def drive(ctx):
        ctx.set(sequencer.tiles, 1)
        ctx.set(sequencer.slices, 1)
        ctx.set(sequencer.stride, 4)
        ctx.set(sequencer.slot, 5)
        ctx.set(sequencer.step.ready, 1)
        ctx.set(sequencer.vector.payload, vectors(random.Random(1), 1, 1, 1)[0])
        ctx.set(sequencer.vector.valid, 1)
        for _ in range(3):
            *_, fault, valid, ready = await ctx.tick().sample(
                sequencer.fault, sequencer.step.valid, sequencer.vector.ready
            )
            offered.append((fault, valid, ready))

    simulate(sequencer, drive)
    assert offered == [(1, 0, 0)] * 3


def test_sequencer_without_memory_never_faults():
    """Stride 0 (maximum): no weight is read, wherever the slot points."""
    sequencer = Sequencer(TINY, capacity=8)

    async def drive(ctx):
        ctx.set(sequencer.tiles, 1)
        ctx.set(sequencer.slices, 1)
        ctx.set(sequencer.slot, 9)
        await send(ctx, sequencer.vector, vectors(random.Random(1), 1, 1, 4), 0.0, 1)

    async def check(ctx):
        assert len(await receive(ctx, sequencer.step, 4, 0.0, 1)) == 4

    simulate(sequencer, drive, check)


@by_stall
@pytest.mark.parametrize("active", [0b000001, 0b101010, 0b111111])
def test_kernel_controller_gives_every_vector_once_to_every_active_unit(stalls, active):
    controller = KernelController(OTHER)
    payloads = vectors(random.Random(2), 3, 1, 4)

    async def drive(ctx):
        ctx.set(controller.active, active)
        await send(ctx, controller.vector, payloads, stalls[0], 5)

    def receiver(unit):
        async def check(ctx):
            stream = getattr(controller, f"unit{unit}")
            if active >> unit & 1:
                assert await receive(ctx, stream, len(payloads), stalls[1], unit) == payloads
                for _ in range(50):
                    *_, valid = await ctx.tick().sample(stream.valid)
                    assert not valid, "a vector came twice"
            else:
                for _ in range(200):
                    *_, valid = await ctx.tick().sample(stream.valid)
                    assert not valid, "an inactive unit got a vector"

        return check

    simulate(controller, drive, *(receiver(unit) for unit in range(len(OTHER.units))))


@by_stall
@pytest.mark.parametrize(("maximum", "slices"), [(0, 1), (1, 1), (0, 2), (0, 3)])
@pytest.mark.parametrize("chip", [TINY, NO_FLOAT], ids=lambda chip: chip.name)
def test_accumulator_adds_a_window(stalls, maximum, slices, chip):
    """Partial sums anywhere in 32 bits, so that slices run past the width, and wrap; the window's exponent goes on."""
    rng = random.Random(3)
    slices = slices if chip.floating_point else 1
    tiles, per_window, windows, width = 3, 4, 3, chip.accumulator_bits
    accumulator = Accumulator(chip)
    payloads, expected = [], []
    for window in range(windows):
        length = 1 if window == 1 else per_window
        exponent = {"unit": rng.randint(-140, 122), "special": rng.getrandbits(1)}
        partial = [
            [[[rng.randint(-(2**31), 2**31 - 1) for _ in range(4)] for _ in range(slices)] for _ in range(tiles)]
            for _ in range(length)
        ]
        for number in range(length):
            for tile in range(tiles):
                for slice in range(slices):
                    tag = {"tile": tile, "parameter": 50 + tile, "offset": window, "slice": slice}
                    tag |= {"first": int(number == slice == 0), "exponent": exponent}
                    tag |= {"last": int(number == length - 1 and slice == slices - 1)}
                    payloads.append({"sums": partial[number][tile][slice], "tag": tag})
        for tile in range(tiles):
            columns = zip(
                *([value << 8 * slice for value in partial[number][tile][slice]]
                  for number in range(length) for slice in range(slices)),
                strict=True,
            )  # fmt: skip
            half = 1 << (width - 1)
            total = [max(column) if maximum else (sum(column) + half) % (2 * half) - half for column in columns]
            expected.append({"sums": total, "parameter": 50 + tile, "offset": window, "exponent": exponent})

    async def drive(ctx):
        ctx.set(accumulator.maximum, maximum)
        await send(ctx, accumulator.dpv, payloads, stalls[0], 1)

    async def check(ctx):
        assert await receive(ctx, accumulator.result, len(expected), stalls[1], 1) == expected

    simulate(accumulator, drive, check)


@by_stall
def test_arbiter_loses_and_repeats_nothing(stalls):
    arbiter = ResultArbiter(TINY)
    count = 20

    def payload(unit, number):
        return {
            "sums": [number, unit, -1, 7],
            "parameter": unit,
            "offset": number,
            "exponent": {"unit": -number, "special": unit & 1},
        }

    def sender(unit):
        async def drive(ctx):
            stream = getattr(arbiter, f"unit{unit}")
            await send(ctx, stream, [payload(unit, number) for number in range(count)], stalls[0], unit)

        return drive

    async def check(ctx):
        got = await receive(ctx, arbiter.result, 3 * count, stalls[1], 9)
        for unit in range(3):
            assert [result for result in got if result["parameter"] == unit] == [payload(unit, n) for n in range(count)]

    simulate(arbiter, *(sender(unit) for unit in range(3)), check)


def test_loader_copies_words_one_per_cycle():
    loader = Loader()
    reads, writes = [], []

    async def drive(ctx):
        for source, destination, count in [(5, 100, 4), (0, 7, 1), (9, 0, 0)]:
            for name, value in {"source": source, "destination": destination, "count": count, "start": 1}.items():
                ctx.set(getattr(loader, name), value)
            await ctx.tick()
            ctx.set(loader.start, 0)
            busy_cycles = 0
            for _ in range(10):
                *_, read, address, write, target, busy = await ctx.tick().sample(
                    loader.read_enable, loader.read_address, loader.load_enable, loader.load_address, loader.busy
                )
                reads.extend([address] * read)
                writes.extend([target] * write)
                busy_cycles += busy
            assert busy_cycles == (count + 1 if count else 0)

    simulate(loader, drive)
    assert reads == [5, 6, 7, 8, 0]
    assert writes == [100, 101, 102, 103, 7]
