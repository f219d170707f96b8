"""Sequencer, kernel controller, accumulator, arbiter and loader, each against its sentence of definition."""

from __future__ import annotations

import dataclasses
import random

import pytest

from hdl.chips import NO_FLOAT, OTHER, TINY
from hdl.streams import STALLS, plain, receive, send, simulate
from mixcim_hdl.commands import SramMode
from mixcim_hdl.control.accumulator import Accumulator
from mixcim_hdl.control.kernel_controller import KernelController
from mixcim_hdl.control.loader import Loader
from mixcim_hdl.control.sequencer import Sequencer
from mixcim_hdl.output.arbiter import ResultArbiter

by_stall = pytest.mark.parametrize("stalls", STALLS)


def vectors(rng: random.Random, pixels: int, groups: int, per_window: int) -> list[dict]:
    """Payloads of whole layers, group after group; windows are of copies 0 and 1 in turn."""
    return [
        {
            "planes": [rng.getrandbits(16) for _ in range(TINY.input_planes)],
            "length": rng.randint(1, 16),
            "window_start": int(number == 0),
            "window_end": int(number == per_window - 1),
            "copy": pixel % 2,
            "odd_group": group % 2,
            "offset": 10 * pixel,
            "exponent": {"unit": rng.randint(-140, 122), "special": rng.getrandbits(1)},
        }
        for group in range(groups)
        for pixel in range(pixels)
        for number in range(per_window)
    ]


async def begin(ctx, sequencer: Sequencer) -> None:
    """Begin a layer."""
    ctx.set(sequencer.start, 1)
    await ctx.tick()
    ctx.set(sequencer.start, 0)


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
        await begin(ctx, sequencer)
        await send(ctx, sequencer.vector, payloads, stalls[0], 1)

    async def check(ctx):
        steps = iter(await receive(ctx, sequencer.step, len(payloads) * tiles * slices, stalls[1], 1))
        for number, payload in enumerate(payloads):
            pixels = len(payloads) // (groups * per_window)
            group, within = number // (pixels * per_window), number % per_window
            for tile in range(tiles):
                for slice in range(slices):
                    step = next(steps)
                    assert step["planes"] == payload["planes"]
                    assert (
                        step["address"]
                        == slot + (((group * per_window + within) * tiles + tile) * slices + slice) * stride
                    )
                    assert step["tag"] == {
                        "tiles": 1,
                        "tile": tile,
                        "parameter": parameter + group * tiles + tile,
                        "offset": payload["offset"],
                        "first": int(payload["window_start"] and slice == 0),
                        "last": int(payload["window_end"] and slice == slices - 1),
                        "slice": slice,
                        "exponent": payload["exponent"],
                    }

    simulate(sequencer, drive, check)


@pytest.mark.parametrize("mode", SramMode)
@pytest.mark.parametrize("tiles", [1, 3, 8, 11])
def test_sequencer_packs_tiles(mode, tiles):
    """A bank with segments does several tiles in a step: short vectors repeated, or any vector split."""
    payloads = vectors(random.Random(2), 2, 1, 3)
    for payload, length in zip(payloads, (16, 16, 4, 16, 16, 2), strict=True):
        payload["length"] = length
    sequencer = Sequencer(TINY, 1000, tiles_per_step=8)
    packing: dict[int, int] = dict.fromkeys((16, 4, 2), 1 << mode)
    if mode is SramMode.REPEATED:
        packing = {16: 1, 4: 4, 2: 8}
    expected, address = [], 5
    for number, payload in enumerate(payloads):
        address = 5 if number == 3 else address
        packed = packing[int(payload["length"])]
        for first in range(0, tiles, packed):
            expected.append((address, packed, first, min(packed, tiles - first), 40 + first))
            address += 1

    async def drive(ctx):
        for name, value in {"tiles": tiles, "slices": 1, "stride": 1, "slot": 5, "parameter": 40, "mode": mode}.items():
            ctx.set(getattr(sequencer, name), value)
        await begin(ctx, sequencer)
        await send(ctx, sequencer.vector, payloads, 0.0, 1)

    async def check(ctx):
        steps = await receive(ctx, sequencer.step, len(expected), 0.0, 1)
        tags = [step["tag"] for step in steps]
        assert expected == [
            (step["address"], 1 << step["packing"], tag["tile"], tag["tiles"], tag["parameter"])
            for step, tag in zip(steps, tags, strict=True)
        ]

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
        await begin(ctx, sequencer)
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
        await begin(ctx, sequencer)
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
        ctx.set(sequencer.start, 1)
        await ctx.tick()
        ctx.set(sequencer.start, 0)
        await send(ctx, sequencer.vector, vectors(random.Random(1), 1, 1, 4), 0.0, 1)

    async def check(ctx):
        assert len(await receive(ctx, sequencer.step, 4, 0.0, 1)) == 4

    simulate(sequencer, drive, check)


@by_stall
@pytest.mark.parametrize("active", [0b000001, 0b101010, 0b111111])
@pytest.mark.parametrize("copies", [0b000000, 0b001010])
def test_kernel_controller_gives_every_vector_once_to_every_unit_that_it_concerns(stalls, active, copies):
    """Units of either copy take the windows of that copy; without any, the vector leaves by itself."""
    controller = KernelController(OTHER)
    payloads = vectors(random.Random(2), 3, 1, 4)
    units = len(OTHER.units)
    taken: list[list] = [[] for _ in range(units)]
    sent = []

    async def drive(ctx):
        ctx.set(controller.active, active)
        for unit in range(units):
            ctx.set(controller.copies[unit], copies >> unit & 1)
        await send(ctx, controller.vector, payloads, stalls[0], 5)
        sent.append(True)

    async def check(ctx):
        rng = random.Random(7)
        for _ in range(600):
            ready = sum((rng.random() >= stalls[1]) << unit for unit in range(units))
            ctx.set(controller.ready, ready)
            *_, valid, payload = await ctx.tick().sample(controller.valid, controller.vector.payload)
            for unit in range(units):
                if valid & ready & 1 << unit:
                    taken[unit].append(plain(payload))

    simulate(controller, drive, check)
    assert sent == [True]
    for unit in range(units):
        own = [payload for payload in payloads if payload["copy"] == copies >> unit & 1]
        assert taken[unit] == (own if active >> unit & 1 else [])


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
                    tag = {"tiles": 1, "tile": tile, "parameter": 50 + tile, "offset": window, "slice": slice}
                    tag |= {"first": int(number == slice == 0), "exponent": exponent}
                    tag |= {"last": int(number == length - 1 and slice == slices - 1)}
                    payloads.append({"sums": [partial[number][tile][slice]], "tag": tag})
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
@pytest.mark.parametrize("tiles", [1, 2, 4])
def test_accumulator_takes_the_tiles_of_a_dpv_apart(stalls, tiles):
    """Windows of a full vector, a tile a dpv, and a short one, all tiles in one; and of a short one alone."""
    rng = random.Random(4)
    accumulator = Accumulator(TINY, 4)
    payloads, expected = [], []

    def sums(count):
        return [[rng.randint(-1000, 1000) for _ in range(4)] for _ in range(count)]

    for window in range(4):
        exponent = {"unit": window, "special": 0}
        full, short = sums(tiles), sums(tiles)
        alone = window % 2 == 1
        rest = [[0] * 4] * (4 - tiles)
        tag = {"offset": window, "slice": 0, "exponent": exponent}
        for tile in range(0 if alone else tiles):
            own = {"tiles": 1, "tile": 2 + tile, "parameter": 50 + tile, "first": 1, "last": 0}
            payloads.append({"sums": [full[tile], *sums(3)], "tag": tag | own})
        own = {"tiles": tiles, "tile": 2, "parameter": 50, "first": int(alone), "last": 1}
        payloads.append({"sums": short + rest, "tag": tag | own})
        for tile in range(tiles):
            before = [0] * 4 if alone else full[tile]
            total = [one + two for one, two in zip(before, short[tile], strict=True)]
            expected.append({"sums": total, "parameter": 50 + tile, "offset": window, "exponent": exponent})

    async def drive(ctx):
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


@pytest.mark.parametrize(("latency", "parts"), [(1, 1), (3, 1), (3, 4)])
def test_loader_copies_words_a_part_per_cycle(latency, parts):
    loader = Loader(dataclasses.replace(TINY, load_cycles=parts), latency)
    reads, writes = [], []

    async def drive(ctx):
        for source, destination, count in [(5, 100, 4), (0, 7, 1), (9, 0, 0)]:
            fields = {"source": source, "destination": destination, "count": count, "unit": source, "units": 3}
            for name, value in {**fields, "start": 1}.items():
                ctx.set(getattr(loader, name), value)
            await ctx.tick()
            for name in (*fields, "start"):
                ctx.set(getattr(loader, name), 0)
            assert (ctx.get(loader.first), ctx.get(loader.end)) == (source, source + 3)
            busy_cycles, due = 0, [0] * latency
            for _ in range(6 + 4 * parts):
                *_, read, address, write, target, busy = await ctx.tick().sample(
                    loader.read_enable, loader.read_address, loader.load_enable, loader.load_address, loader.busy
                )
                reads.extend([address] * read)
                writes.extend([target] * write)
                due.append(read)
                assert write == due.pop(0)  # a word, so many cycles after it was asked for
                busy_cycles += busy
            assert busy_cycles == (count * parts + latency if count else 0)

    simulate(loader, drive)
    assert reads == [word * parts + part for word in (5, 6, 7, 8, 0) for part in range(parts)]
    assert writes == [word * parts + part for word in (100, 101, 102, 103, 7) for part in range(parts)]
