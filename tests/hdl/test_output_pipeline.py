"""Output pipeline: addresses, masks, residual words, exponents and faults, with stalls before and conflicts inside."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from hdl.chips import CHIPS, DEEP, OTHER, TINY
from hdl.streams import send, simulate
from hdl.test_float_lane import NO_LIMITS, expected
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.output.float_lane import FloatLane
from mixcim_hdl.output.lane import Lane
from mixcim_hdl.output.pipeline import OutputPipeline

INTEGER_ONLY = dataclasses.replace(TINY, name="integer_only", aligned_bits=0)


def pattern_of(value: float) -> int:
    """Pattern of a float32."""
    return int(np.float32(value).view(np.uint32))


def bench(pipeline, chip, tiles, run, memory, refusal=0.0):
    """Background bench that plays tile map, parameter memory and activation memory around the pipeline.

    `refusal`: how often each access to a memory of all engines is refused.
    """
    rng = random.Random(len(memory))
    lanes = chip.output_lanes
    beats = chip.channels // lanes

    async def answer(ctx):
        for name, value in run.items():
            ctx.set(pipeline.run[name], value)
        while True:
            for ready in (pipeline.residual_ready, pipeline.write_ready, pipeline.exponent_ready):
                ctx.set(ready, rng.random() >= refusal)
            *_, tile, tile_address, parameter, address, residual, word = await ctx.tick().sample(
                pipeline.tile_enable, pipeline.tile_address, pipeline.parameter_enable, pipeline.parameter_address,
                pipeline.residual_enable & pipeline.residual_ready, pipeline.residual_address,
            )  # fmt: skip
            if tile:
                entry = tiles[tile_address]
                ctx.set(pipeline.tile_data, entry["offset"] | entry["mask"] << 16 | entry.get("exponent", 0) << 32)
            if parameter:
                first = address % beats * lanes
                entry = tiles[address // beats]
                pairs = zip(entry["bias"][first : first + lanes], entry["scale"][first : first + lanes], strict=True)
                data = [(bias & 0xFFFFFFFF) | pattern_of(scale) << 32 for bias, scale in pairs]
                ctx.set(pipeline.parameter_data, sum(value << 64 * n for n, value in enumerate(data)))
            if residual:
                wide = ctx.get(pipeline.residual_wide)
                words = [*memory[word & ~1], *memory[word | 1]] if wide else memory[word]
                ctx.set(pipeline.residual_data, int.from_bytes(bytes(words), "little"))

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


@pytest.mark.parametrize("chip", [*CHIPS, INTEGER_ONLY], ids=lambda chip: chip.name)
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
            lanes &= -ctx.get(pipeline.write_ready)
            current.update({lane: data >> 8 * lane & 0xFF for lane in range(chip.channels) if lanes >> lane & 1})
            if written:
                mask = sum(1 << lane for lane in current)
                finished.append((address, mask, [current[lane] for lane in sorted(current)]))
                current = {}
            if len(finished) == len(want):
                break
        await ctx.tick()
        assert not ctx.get(pipeline.busy)

    simulate(pipeline, drive, collect, background=[bench(pipeline, chip, tiles, run, memory, stall / 2)])
    assert finished == want


def random_floating_tiles(chip, rng):
    """Tiles of two entries' room; scales from 2**-20 on."""
    return [
        {
            "offset": rng.randrange(4),
            "exponent": rng.randrange(8),
            "mask": rng.choice([rng.getrandbits(chip.channels), rng.getrandbits(chip.channels), 0]),
            "bias": [pattern_of(rng.gauss(0, 2)) for _ in range(chip.channels)],
            "scale": [rng.choice([-1, 1]) * 2.0 ** rng.randint(-20, 0) * rng.random() for _ in range(chip.channels)],
        }
        for _ in range(8)
    ]


def elements_of(words, format):
    """Patterns or codes of the word at an element's address, [low bytes, high bytes]."""
    return np.array(words[0], np.int64) | (np.array(words[1], np.int64) << 8 if format.bytes == 2 else 0)


def layer_of(rng, output, residual_format, residual):
    return {
        "floating": 1, "output_base": 2 * rng.randrange(40, 50), "residual_base": 2 * rng.randrange(10),
        "residual": residual, "residual_format": int(residual_format), "output_format": int(output),
        "residual_zero_point": 90, "residual_scale": pattern_of(0.03), "output_scale": pattern_of(7.3),
        "zero_point": 50, "clamp_low": 3, "clamp_high": 250, **NO_LIMITS,
    }  # fmt: skip


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(
    ("chip", "output", "residual_format"),
    [
        *((TINY, output, ElementFormat((output + 2) % len(ElementFormat))) for output in ElementFormat),
        (OTHER, ElementFormat.BF16, ElementFormat.FP16),
        (OTHER, ElementFormat.FP8_E4M3, ElementFormat.INTEGER),
    ],
    ids=lambda item: item.name,
)
def test_floating_tiles_reach_words_and_exponent_entries(chip, output, residual_format, stall):
    """Memory images after random tiles: elements in one or two words, other lanes untouched, an entry for each tile."""
    rng = random.Random(10 * output + residual_format)
    tiles = random_floating_tiles(chip, rng)
    memory = [[rng.randrange(256) for _ in range(chip.channels)] for _ in range(256)]
    run = layer_of(rng, output, residual_format, residual=1)
    layer = {name: run[name] for name in run if name not in ("floating", "output_base", "residual_base")}
    payloads, image, entries = [], {}, []
    for number in range(14):
        parameter, entry = (index := rng.randrange(len(tiles))), tiles[index]
        sums = [rng.randint(-(2**40), 2**40) >> rng.randrange(40) for _ in range(chip.channels)]
        exponent = {"unit": rng.randint(-9, 3), "special": int(rng.random() < 0.1)}
        offset = 9 * number
        payloads.append({"sums": sums, "parameter": parameter, "offset": offset, "exponent": exponent})

        def address(base, format, offset=offset, entry=entry):
            word = run[base] + offset + format.bytes * entry["offset"]
            return word & ~1 if format.bytes == 2 else word

        from_word, to_word = address("residual_base", residual_format), address("output_base", output)
        operands = {
            "sum": np.array(sums), "unit": exponent["unit"], "special": exponent["special"],
            "scale": np.array([pattern_of(scale) for scale in entry["scale"]]), "bias": np.array(entry["bias"]),
            "old": elements_of(memory[from_word : from_word + 2], residual_format),
        }  # fmt: skip
        elements = expected(operands, layer)
        lanes = [lane for lane in range(chip.channels) if entry["mask"] >> lane & 1]
        for lane in lanes:
            for byte in range(output.bytes):
                image[to_word + byte, lane] = int(elements[lane]) >> 8 * byte & 0xFF
        if output.floating is not None:
            format = output.floating
            magnitudes = [int(elements[lane]) & (1 << format.bits - 1) - 1 for lane in lanes]
            field = max((magnitude >> format.mantissa_bits for magnitude in magnitudes), default=0)
            special = any(magnitude > format.largest_pattern for magnitude in magnitudes)
            special |= format.infinity and format.infinity_pattern in magnitudes
            entries.append((run["output_base"] + offset + entry["exponent"], field | special << 8))
    pipeline = OutputPipeline(chip)
    got, got_entries, finished = {}, [], []

    async def drive(ctx):
        await send(ctx, pipeline.result, payloads, stall, 1)

    async def collect(ctx):
        outputs = (
            pipeline.write_lanes, pipeline.write_wide, pipeline.write_address, pipeline.write_data, pipeline.written,
            pipeline.exponent_write, pipeline.exponent_address, pipeline.exponent_data.as_value(),
        )  # fmt: skip
        for _ in range(3000):
            *_, enables, wide, word, data, written, write, entry, exponent = await ctx.tick().sample(*outputs)
            for lane in range(chip.channels):
                for byte in range((1 + wide) * (enables >> lane & 1)):
                    got[word + byte, lane] = data >> 8 * (byte * chip.channels + lane) & 0xFF
            if written:
                assert write == (output is not ElementFormat.INTEGER)
            if write and written:
                got_entries.append((entry, exponent))
            finished.extend([1] * written)
            if len(finished) == len(payloads):
                break
        await ctx.tick()
        assert not ctx.get(pipeline.busy)

    simulate(pipeline, drive, collect, background=[bench(pipeline, chip, tiles, run, memory, stall / 2)])
    assert got == image
    assert got_entries == entries


@pytest.mark.parametrize(("chip", "floating"), [(TINY, 0), (TINY, 1), (DEEP, 0)])
def test_throughput_and_latency_are_as_documented(chip, floating):
    pipeline = OutputPipeline(chip)
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

    simulate(pipeline, drive, background=[bench(pipeline, chip, tiles, {"clamp_high": 255, "floating": floating}, [])])
    lane = FloatLane if floating else Lane(chip.deep_pipeline)
    beats = chip.channels // chip.output_lanes
    assert {b - a for a, b in zip(taken, taken[1:], strict=False)} == {beats}
    assert written[0] - taken[0] == lane.LATENCY + pipeline.EXTRA_LATENCY


PAST = TINY.activation_words
BF16, FP8 = ElementFormat.BF16, ElementFormat.FP8_E4M3


@pytest.mark.parametrize(
    ("run", "entry", "fault", "detail"),
    [
        ({"output_base": PAST}, {}, "output_fault", PAST),
        ({"residual": 1, "residual_base": PAST + 3}, {}, "output_fault", PAST + 3),
        ({}, {"parameter": TINY.parameter_tiles}, "parameter_fault", TINY.parameter_tiles),
        ({"output_format": FP8, "output_base": PAST - 1}, {"offset": 1}, "output_fault", PAST),
        ({"output_format": BF16, "output_base": PAST - 2}, {"offset": 1}, "output_fault", PAST),
        ({"output_format": BF16, "output_base": PAST + 1}, {}, "output_fault", PAST),
        ({"residual": 1, "residual_format": BF16, "residual_base": PAST - 1}, {"offset": 1}, "output_fault", PAST),
        ({"output_format": FP8, "output_base": PAST - 5}, {"exponent": 7}, "output_fault", PAST + 2),
        ({"output_base": (1 << 24) - 2, "output_format": BF16}, {"exponent": 1}, "output_fault", (1 << 24) - 2),
        ({"output_format": FP8, "output_base": PAST - 5}, {"exponent": 4}, None, None),
        ({"output_format": BF16, "output_base": PAST - 1}, {}, None, None),
        ({"output_base": PAST - 5}, {"exponent": 7}, None, None),
        ({"output_base": (1 << 24) - 2, "output_format": BF16}, {"offset": 1, "exponent": 2}, None, None),
    ],
)
def test_addresses_past_a_memory_are_faults_and_write_nothing(run, entry, fault, detail):
    pipeline = OutputPipeline(TINY)
    tile = {"offset": 0, "exponent": 0, "mask": 15, "bias": [0] * 4, "scale": [1.0] * 4}
    tiles = [tile | entry] * (TINY.parameter_tiles + 1)
    run = {"floating": int("output_format" in run or "residual_format" in run)} | run
    seen, details, wrote = [], set(), []

    async def drive(ctx):
        ctx.set(pipeline.result.payload, {"sums": [1] * 4, "parameter": entry.get("parameter", 0), "offset": 0})
        ctx.set(pipeline.result.valid, 1)
        for _ in range(60):
            *_, output, address, parameter, number, lanes, exponent = await ctx.tick().sample(
                pipeline.output_fault, pipeline.output_address, pipeline.parameter_fault, pipeline.parameter,
                pipeline.write_lanes, pipeline.exponent_write,
            )  # fmt: skip
            seen.extend(["output_fault"] * output + ["parameter_fault"] * parameter)
            details.update([address] * output + [number] * parameter)
            wrote.append(lanes or exponent)

    simulate(pipeline, drive, background=[bench(pipeline, TINY, tiles, run, [[0] * 4] * 2048)])
    assert set(seen) == ({fault} if fault else set())
    assert details == ({detail} if fault else set())
    assert any(wrote) == (fault is None)
