"""Input feeder against RUN of commands.py written as loops, with bank conflicts and stalls at random."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from hdl.chips import CHIPS, NO_FLOAT, OTHER, TINY, WIDEST
from hdl.streams import STALLS, receive, simulate
from mixcim.model import floating as model
from mixcim.rtl.unit import Unit
from mixcim_hdl.feeder.exponents import WindowExponents
from mixcim_hdl.feeder.feeder import Feeder
from mixcim_hdl.feeder.pre_alignment import PreAlignment
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat, Rounding

FLOATING = [item for item in ElementFormat if item.floating]
#: More words at a time; without a memory of the last window, with a small one, with one of 3 or 5 words a lane.
TWO = dataclasses.replace(TINY, name="two", feeder_words=2)
FOUR = dataclasses.replace(TINY, name="four", feeder_words=4, activation_banks=4)
LANES = [
    TWO, FOUR,
    dataclasses.replace(FOUR, name="forgets", window_words=0), dataclasses.replace(TINY, name="of_5", window_words=5),
    dataclasses.replace(FOUR, name="four_of_3", window_words=12, aligned_bits=0),
    dataclasses.replace(TWO, name="two_of_4", window_words=8, aligned_bits=0),
]  # fmt: skip
#: What only the tests know of a run, beside RUN's fields.
EXTRA = ("base", "words")


@dataclass
class Window:
    """A window of a run: output pixel, column and group, and where its taps lie for group and w 0 (None: padding)."""

    pixel: int
    column: int
    group: int
    places: list[int | None]


def windows_of(run) -> Iterator[Window]:
    """In the order of RUN's loops."""
    for group in range(run["group_count"]):
        for oy in range(run["output_height"]):
            for ox in range(run["output_width"]):
                places = []
                for ky in range(run["kernel_height"]):
                    for kx in range(run["kernel_width"]):
                        y, x = oy * run["stride_y"] - run["pad_top"] + ky, ox * run["stride_x"] - run["pad_left"] + kx
                        inside = 0 <= y < run["input_height"] and 0 <= x < run["input_width"]
                        place = run["window_start"] + oy * run["window_step_y"] + ox * run["window_step_x"]
                        place += ky * run["row_pitch"] + kx * run["pixel_pitch"]
                        places.append(place % (1 << 24) if inside else None)
                yield Window(oy * run["output_width"] + ox, ox, group, places)


@dataclass
class Beat:
    """What the feeder takes at a time: the lanes that read the activation memory, and of what it is the last."""

    lanes: set[int]
    vector_end: bool
    window_end: bool


def beats_of(chip, run) -> list[Beat]:
    """By the first paragraphs of the feeder's description."""
    beats, width = [], chip.feeder_words
    words = run["kernel_height"] * run["kernel_width"] * run["tap_words"]
    kept = words <= chip.window_words and run["window_step_x"] == run["stride_x"] * run["pixel_pitch"]
    vector = chip.rows >> run["granule_log2"]
    for window in windows_of(run):
        for start in range(0, words, width):
            lanes = set()
            for tap in range(start, min(start + width, words)):
                place = tap // run["tap_words"]
                known = (
                    kept and window.column > 0 and place % run["kernel_width"] + run["stride_x"] < run["kernel_width"]
                )
                if window.places[place] is not None and not known:
                    lanes.add(tap - start)
            last = start + width >= words
            beats.append(Beat(lanes, last or (start + width) % vector == 0, last))
    return beats


def window_field(run, entries, group, places) -> tuple[int, int]:
    """Largest exponent field and special flag of a window."""
    taken = [
        int(entries[tap + (group if run["grouped_exponents"] else 0) + n])
        for tap in places
        if tap is not None
        for n in range(run["tap_exponents"])
    ]
    return max((entry & 0xFF for entry in taken), default=0), int(any(entry >> 8 for entry in taken))


def aligned(pattern: int, run, exponent: int) -> int:
    """An element as integer, by the sentences in floating.py."""
    format, bits = ElementFormat(run["input_format"]).floating, run["input_bits"]
    assert format is not None
    field = pattern >> format.mantissa_bits & ((1 << format.exponent_bits) - 1)
    significand = (pattern & ((1 << format.mantissa_bits) - 1)) + (bool(field) << format.mantissa_bits)
    own = max(field, 1) - format.bias
    exact = significand * Fraction(2) ** (own - format.mantissa_bits - (exponent - (bits - 2)))
    magnitude = round(exact) if run["rounding"] == Rounding.NEAREST_EVEN else int(exact)
    magnitude = min(magnitude, (1 << (bits - 1)) - 1)
    return -magnitude if pattern >> (format.bits - 1) else magnitude


def vectors_by_definition(chip, run, memory, entries):
    """The vectors of RUN's loops in commands.py, as payloads."""
    granule, element = 1 << run["granule_log2"], ElementFormat(run["input_format"])
    for window in windows_of(run):
        group = run.get("first_group", 0) + window.group
        field, special = window_field(run, entries, group, window.places) if element.floating else (0, 0)
        exponent = max(field, 1) - element.floating.bias if element.floating else 0
        integers = []
        for tap in window.places:
            for w in range(run["tap_words"]):
                if element.floating:
                    if tap is None:
                        integers += [-(1 << (run["input_bits"] - 1)) if run["pad_value"] else 0] * granule
                        continue
                    low = tap + (group + w) * element.bytes
                    patterns = memory[low][:granule].astype(int)
                    if element.bytes == 2:
                        patterns = patterns + 256 * memory[low + 1][:granule].astype(int)
                    integers += [aligned(int(pattern), run, exponent) for pattern in patterns]
                else:
                    codes = [run["pad_value"]] * granule if tap is None else memory[tap + group + w][:granule]
                    integers += [int(code) - run["input_zero_point"] for code in codes]
        for start in range(0, len(integers), chip.rows):
            part = integers[start : start + chip.rows]
            padded = part + [0] * (chip.rows - len(part))
            yield {
                "planes": [
                    sum((value >> bit & 1) << row for row, value in enumerate(padded))
                    for bit in range(chip.input_planes)
                ],
                "length": len(part),
                "window_start": int(start == 0),
                "window_end": int(start + chip.rows >= len(integers)),
                "copy": window.pixel % run["copies"],
                "odd_group": window.group % 2,
                "offset": window.pixel * run["output_pitch"],
                "exponent": {"unit": exponent - (run["input_bits"] - 2) if element.floating else 0, "special": special},
            }


def random_run(chip, rng, element: ElementFormat = ElementFormat.INTEGER, sizes: dict | None = None) -> dict[str, int]:
    """Fields of a random layer inside 128 words of memory; `sizes`: (height, width) of kernel and output, words of a
    tap and stride of one without groups, whose padding is small."""
    log2 = int(rng.integers((chip.channels - 1).bit_length() + 1))
    words = int(rng.integers(1, 4))
    grouped = bool(rng.integers(2))
    first_group = int(rng.integers(words)) if grouped else 0
    height, width = (int(n) for n in rng.integers(2, 5, 2))
    kernel_height, kernel_width = (int(n) for n in rng.integers(1, 4, 2))
    signed = element.floating is not None or (chip.floating_point and bool(rng.integers(2)))
    run = {
        "granule_log2": log2,
        "pad_value": int(rng.integers(256)) * int(rng.integers(2)),
        "input_height": height,
        "input_width": width,
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        "tap_words": 1 if grouped else words,
        "first_group": first_group,
        "group_count": words - first_group if grouped else 1,
        "output_height": int(rng.integers(1, 4)),
        "output_width": int(rng.integers(1, 4)),
        "pixel_pitch": words * element.bytes,
        "row_pitch": words * element.bytes * width,
        "pad_top": int(rng.integers(4)),
        "pad_left": int(rng.integers(4)),
        "stride_y": int(rng.integers(1, 3)),
        "stride_x": int(rng.integers(1, 3)),
        "output_pitch": int(rng.integers(1, 5)),
        "copies": int(rng.integers(1, 6)),
        "base": int(rng.integers(8)) * element.bytes,
        "words": words,
        "input_format": element.value,
        "input_signed": int(signed),
        "input_bits": int(rng.integers(1, chip.input_planes + 1)),
        "input_zero_point": int(rng.integers(256)) if signed and not element.floating else 0,
        "rounding": int(rng.integers(2)),
        "tap_exponents": int(rng.integers(1, words + 1)),
        "grouped_exponents": int(rng.integers(2)),
    }
    if sizes:
        run |= {
            "kernel_height": sizes["kernel"][0], "kernel_width": sizes["kernel"][1], "stride_x": sizes["stride"],
            "output_height": sizes["output"][0], "output_width": sizes["output"][1], "words": sizes["words"],
            "tap_words": sizes["words"], "group_count": 1, "first_group": 0, "input_height": 3, "input_width": 6,
            "pixel_pitch": sizes["words"] * element.bytes, "row_pitch": 6 * sizes["words"] * element.bytes,
            "pad_top": 0, "pad_left": int(rng.integers(2)), "tap_exponents": 1,
        }  # fmt: skip
    if element.floating:
        run["input_bits"] = int(rng.choice([bits for bits in ALIGNED_BITS if bits <= chip.aligned_bits]))
    run["window_step_x"] = run["stride_x"] * run["pixel_pitch"]
    run["window_step_y"] = run["stride_y"] * run["row_pitch"]
    start = run["base"] - run["pad_top"] * run["row_pitch"] - run["pad_left"] * run["pixel_pitch"]
    run["window_start"] = start % (1 << 24)
    return run


def random_elements(rng, element: ElementFormat, shape) -> np.ndarray:
    """Patterns: any bits, exponents near each other, zeros and subnormals, infinities and NaN."""
    format = element.floating
    assert format is not None
    patterns = rng.integers(0, 1 << format.bits, shape)
    mantissa = patterns & ~(((1 << format.exponent_bits) - 1) << format.mantissa_bits)
    near = format.bias + rng.integers(-4, 4, shape)
    kinds = [
        patterns, *[mantissa | near << format.mantissa_bits] * 5, mantissa, patterns & 1 << (format.bits - 1),
        mantissa | ((1 << format.exponent_bits) - 1) << format.mantissa_bits,
    ]  # fmt: skip
    pick = np.minimum(rng.integers(0, len(kinds), shape), rng.choice([5, 7, len(kinds) - 1], p=[0.5, 0.3, 0.2]))
    return np.choose(pick, kinds)


def random_contents(chip, run, rng) -> tuple[np.ndarray, np.ndarray]:
    """Activation memory and exponent memory that fit a run: no entry is below the elements that it stands for."""
    memory, entries = rng.integers(0, 256, (256, chip.channels)), rng.integers(0, 512, 256)
    element = ElementFormat(run["input_format"])
    if not element.floating:
        return memory, entries
    format = element.floating
    top = (1 << format.exponent_bits) - 1
    for y in range(run["input_height"]):
        for x in range(run["input_width"]):
            pixel = run["base"] + y * run["row_pitch"] + x * run["pixel_pitch"]
            largest = np.zeros(run["words"], int)
            for w in range(run["words"]):
                patterns = random_elements(rng, element, chip.channels)
                if not run["tap_exponents"]:  # of what is there then, only zeros and subnormals fit
                    patterns &= ~(top << format.mantissa_bits)
                for byte in range(element.bytes):
                    memory[pixel + w * element.bytes + byte] = patterns >> 8 * byte & 0xFF
                alone = run["grouped_exponents"] and run["tap_words"] == 1  # each group has an entry of its own
                entry = w if alone else w % max(run["tap_exponents"], 1)
                largest[entry] = max(largest[entry], (patterns >> format.mantissa_bits & top).max())
            larger = np.minimum(largest + rng.integers(0, 4, run["words"]) * rng.integers(0, 2, run["words"]), top)
            entries[pixel : pixel + run["words"]] = larger | (rng.random(run["words"]) < 0.2) * 256
    return memory, entries


def word_pair(memory, address: int, wide: int) -> int:
    """What the activation memory gives; behind a narrow word lies rubbish."""
    low, high = (address & ~1, address | 1) if wide else (address, (address * 7) % len(memory))
    return int.from_bytes(bytes(memory[low].tolist() + memory[high].tolist()), "little")


def answers(feeder, contents: list, conflict: float, seed: int, log: list | None = None):
    """Benches that answer the feeder's reads a cycle later; the activation memory refuses some. `contents`: the present
    (activation, exponent) memory in a list, for the test to change. `log` takes (lanes ready, address that each lane
    reads or None, `reads`) of every cycle."""
    lanes = range(len(feeder.read_enable))

    async def activation(ctx):
        coin = random.Random(seed)
        while True:
            ready = sum((coin.random() >= conflict) << lane for lane in lanes)
            ctx.set(feeder.read_ready, ready)
            *_, enable, wide, address, reads = await ctx.tick().sample(
                feeder.read_enable & feeder.read_now.replicate(len(lanes)),
                *(feeder.read_wide, feeder.read_address, feeder.reads),
            )
            served = [address[lane] if (enable & ready) >> lane & 1 else None for lane in lanes]
            for lane, place in enumerate(served):
                if place is not None:
                    ctx.set(feeder.read_data[lane], word_pair(contents[0][0], place, wide))
            if log is not None:
                log.append((ready, served, reads))

    async def exponent(ctx):
        while True:
            *_, enable, address = await ctx.tick().sample(feeder.exponent_enable, feeder.exponent_address)
            if enable:
                ctx.set(feeder.exponent_data, int(contents[0][1][address]))

    return [activation, exponent]


async def start(ctx, feeder, run) -> None:
    """Begin a run."""
    for name, value in run.items():
        if name not in EXTRA:
            ctx.set(feeder.run[name], value)
    ctx.set(feeder.start, 1)
    await ctx.tick()
    ctx.set(feeder.start, 0)


def check(chip, runs, rng, stalls, seed) -> list[dict]:
    """Runs one after the other, so that what one leaves behind shows; all vectors and the number of reads, compared."""
    feeder, contents, seen, log = Feeder(chip), [], [], []

    async def drive(ctx):
        for run in runs:
            contents[:] = [random_contents(chip, run, rng)]
            log.clear()
            await start(ctx, feeder, run)
            want = list(vectors_by_definition(chip, run, *contents[0]))
            assert await receive(ctx, feeder.vector, len(want), stalls[1], seed) == want
            await ctx.tick()
            assert not ctx.get(feeder.busy)
            words = sum(len(beat.lanes) for beat in beats_of(chip, run)) * ElementFormat(run["input_format"]).bytes
            assert sum(reads for *_, reads in log) == words
            seen.extend(want)

    simulate(feeder, drive, background=answers(feeder, contents, stalls[0], seed, log))
    return seen


@pytest.mark.parametrize("chip", [*CHIPS, *LANES], ids=lambda chip: chip.name)
@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("seed", range(3))
def test_feeder_is_im2col(chip, stalls, seed):
    rng = np.random.default_rng(seed)
    check(chip, [random_run(chip, rng) for _ in range(2)], rng, stalls, seed)


@pytest.mark.parametrize("chip", [TINY, NO_FLOAT, *LANES], ids=lambda chip: chip.name)
@pytest.mark.parametrize("stalls", STALLS)
def test_windows_share_words(chip, stalls):
    """Windows of one beat and of several, rows of several windows, strides up to the kernel's width."""
    rng, shared = np.random.default_rng(2), 0
    runs = [
        random_run(chip, rng, sizes={"kernel": (1, width), "output": (2, 4), "words": words, "stride": stride})
        for width, words, stride in ((2, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2), (4, 1, 3), (2, 2, 2))
    ]
    check(chip, runs, rng, stalls, 2)
    for run in runs:
        inside = sum(place is not None for window in windows_of(run) for place in window.places) * run["tap_words"]
        shared += inside - sum(len(beat.lanes) for beat in beats_of(chip, run))
    assert (shared > 20) == (chip.window_words > 0)


@pytest.mark.parametrize("chip", [TINY, OTHER, WIDEST, FOUR], ids=lambda chip: chip.name)
@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("element", FLOATING, ids=lambda element: element.name)
def test_feeder_aligns_windows(chip, stalls, element):
    """Floating inputs before and after integers."""
    rng = np.random.default_rng(element.value)
    order = (element, ElementFormat.INTEGER, element, FLOATING[element.value % 4], element, element)
    seen = check(chip, [random_run(chip, rng, item) for item in order], rng, stalls, element.value)
    assert len({vector["exponent"]["unit"] for vector in seen}) > 3
    assert {vector["exponent"]["special"] for vector in seen} == {0, 1}


@pytest.mark.parametrize("pad_value", [0, 1])
def test_windows_in_the_padding_and_taps_without_entries(pad_value):
    """Field 0 and not special; the padding rules of sum and maximum."""
    rng, seen = np.random.default_rng(5), []
    for tap_exponents in (0, 1):
        run = random_run(TINY, rng, ElementFormat.BF16) | {
            "input_height": 2, "input_width": 2, "pad_top": 3, "pad_left": 3, "stride_y": 3, "stride_x": 3,
            "kernel_height": 3, "kernel_width": 3, "output_height": 2, "output_width": 2, "pad_value": pad_value,
            "tap_exponents": tap_exponents, "tap_words": 1, "group_count": 1, "input_bits": 12,
        }  # fmt: skip
        run["window_step_y"], run["window_step_x"] = 3 * run["row_pitch"], 3 * run["pixel_pitch"]
        run["window_start"] = (run["base"] - 3 * run["row_pitch"] - 3 * run["pixel_pitch"]) % (1 << 24)
        seen += check(TINY, [run], rng, (0.0, 0.0), 1)
    first = seen[0]
    assert first["exponent"] == {"unit": 1 - 127 - 10, "special": 0}
    assert all((plane != 0) == (pad_value and bit == 11) for bit, plane in enumerate(first["planes"]))


def steady(chip, element=ElementFormat.INTEGER, **fields: int) -> dict[str, int]:
    """A run of 16 windows without padding."""
    run = random_run(chip, np.random.default_rng(0), element) | {
        "granule_log2": (chip.channels - 1).bit_length(), "kernel_height": 1, "kernel_width": 1, "tap_words": 1,
        "group_count": 1, "first_group": 0, "output_height": 2, "output_width": 8, "pad_top": 0, "pad_left": 0,
        "window_start": 0, "base": 0, "tap_exponents": 1, "grouped_exponents": 0, "words": 1, "input_height": 2,
        "input_width": 8, "stride_x": 1, "stride_y": 1, "pixel_pitch": element.bytes, "row_pitch": 8 * element.bytes,
    } | fields  # fmt: skip
    run["window_step_x"], run["window_step_y"] = run["stride_x"] * run["pixel_pitch"], run["row_pitch"]
    return run


def arrivals_by_definition(chip, run, lanes_ready: list[int], vector_ready: list[int]) -> list[int]:
    """Cycles after that of `start` in which a vector is offered, by the feeder's description."""
    beats, element = beats_of(chip, run), ElementFormat(run["input_format"])
    entries = run["kernel_height"] * run["kernel_width"] * max(run["tap_exponents"], 1)
    exponent = entries + 2 if element.floating else 0  # cycle in which that of the window is there
    depth = 1 + PreAlignment(chip).LATENCY
    coming: list[Beat | None] = [None] * depth  # the last one: its integers are there
    offered, arrivals, left = False, [], set(beats[0].lanes) if beats else set()
    for cycle in range(1, len(vector_ready)):
        if offered:
            arrivals.append(cycle)
        complete = coming[-1] is not None and coming[-1].vector_end
        taken = offered and vector_ready[cycle]
        if complete and offered and not taken:
            continue
        served = None
        if beats and cycle >= max(chip.feeder_words + 2, exponent):
            left = {lane for lane in left if not lanes_ready[cycle] >> lane & 1}
            if not left:
                served = beats.pop(0)
                left = set(beats[0].lanes) if beats else set()
                if served.window_end and element.floating:
                    exponent = max(exponent + entries, cycle + 1)
        offered = complete or (offered and not taken)
        coming = [served, *coming[:-1]]
    return arrivals


def cycles_of_vectors(chip, run, conflict: float = 0.0, stall: float = 0.0, limit: int = 9999) -> list[int]:
    """Cycles after that of `start` in which a vector is offered, found to be those of the feeder's description."""
    feeder, arrivals, vector_ready, log = Feeder(chip), [], [1], []
    contents, coin = [random_contents(chip, run, np.random.default_rng(1))], random.Random(5)

    async def drive(ctx):
        await start(ctx, feeder, run)
        for cycle in range(1, limit):
            vector_ready.append(coin.random() >= stall)
            ctx.set(feeder.vector.ready, vector_ready[-1])
            *_, valid, busy = await ctx.tick().sample(feeder.vector.valid, feeder.busy)
            arrivals.extend([cycle] * valid)
            if not busy:
                return
        raise AssertionError("the feeder does not end")

    simulate(feeder, drive, background=answers(feeder, contents, conflict, 1, log))
    assert arrivals == arrivals_by_definition(chip, run, [ready for ready, *_ in log], vector_ready)
    return arrivals


@pytest.mark.parametrize("taps", [1, 2, 4, 6])
@pytest.mark.parametrize(
    ("chip", "element"),
    [(chip, element) for chip in (TINY, FOUR) for element in ElementFormat] + [(NO_FLOAT, ElementFormat.INTEGER)],
    ids=lambda item: item.name,
)
def test_feeder_takes_a_beat_per_cycle(chip, element, taps):
    """The first vector is as late as documented, and they follow without a gap: one per cycle if a beat fills it."""
    run = steady(chip, element, kernel_width=taps)
    arrivals = cycles_of_vectors(chip, run)
    lanes, beats = chip.feeder_words, -(-taps // chip.feeder_words)
    vectors = -(-taps // chip.taps_per_vector)
    begin = 2 + (max(lanes, taps) if element.floating else lanes)
    first = begin + min(beats, chip.taps_per_vector // lanes) + 1 + PreAlignment(chip).LATENCY
    assert arrivals[0] == first and len(arrivals) == 16 * vectors
    assert arrivals[-1] - arrivals[-1 - 8 * vectors] == 8 * max(beats, taps if element.floating else 0)


@pytest.mark.parametrize("chip", [TINY, FOUR, NO_FLOAT, *LANES[3:]], ids=lambda chip: chip.name)
@pytest.mark.parametrize(("conflict", "stall"), STALLS)
def test_feeder_takes_the_cycles_of_its_description(chip, conflict, stall):
    """Random runs, conflicts, and a receiver that takes its time."""
    rng, elements = np.random.default_rng(8), list(ElementFormat) if chip.floating_point else [ElementFormat.INTEGER]
    for _ in range(3):
        run = random_run(chip, rng, elements[rng.integers(len(elements))])
        assert cycles_of_vectors(chip, run, conflict, stall)


@pytest.mark.parametrize("chip", [TINY, TWO, FOUR], ids=lambda chip: chip.name)
def test_a_pixel_is_read_once_per_row_of_windows(chip):
    """3 x 3 with stride 1 reads a pixel three times, not nine; a memory of the last window that is too small does not
    help; a stride of 2 takes over a column of three, one of 3 nothing."""
    size = {"input_height": 5, "input_width": 6, "pad_top": 1, "pad_left": 1, "kernel_height": 3, "kernel_width": 3}

    def reads(chip, stride: int) -> int:
        run = steady(
            chip, ElementFormat.INTEGER, output_height=5, output_width=6 // stride, stride_x=stride, row_pitch=6, **size
        )
        run["window_start"] = -7 % (1 << 24)
        log, feeder = [], Feeder(chip)
        contents = [(np.zeros((256, chip.channels), int), np.zeros(256, int))]

        async def drive(ctx):
            ctx.set(feeder.vector.ready, 1)
            await start(ctx, feeder, run)
            for _ in range(5 * 6 * 9 + 20):
                await ctx.tick()
            assert not ctx.get(feeder.busy)

        simulate(feeder, drive, background=answers(feeder, contents, 0.0, 1, log))
        return sum(reads for *_, reads in log)

    once = 6 * (3 * 5 - 2)  # of the outer rows, two windows each lie outside
    assert reads(chip, 1) == once
    assert reads(chip, 2) == once  # columns -1..1, 1..3, 3..5
    assert reads(chip, 3) == once - 13  # columns -1..1, 2..4
    small = dataclasses.replace(chip, window_words=8)
    assert reads(small, 1) == (3 * 6 - 2) * (3 * 5 - 2)


@pytest.mark.parametrize("chip", [TINY, FOUR], ids=lambda chip: chip.name)
def test_windows_that_are_not_a_stride_apart_share_nothing(chip):
    """Steps in memory may be anything: then all is read."""
    run = steady(chip, kernel_width=3, input_width=99) | {"window_step_x": 5, "window_step_y": 9}
    assert sum(len(beat.lanes) for beat in beats_of(chip, run)) == 16 * 3
    check(chip, [run], np.random.default_rng(1), (0.0, 0.0), 1)


def test_feeder_goes_on_while_a_vector_waits():
    """Up to the next complete one: that is there in the cycle after the first one has left."""
    feeder, arrivals, offsets = Feeder(TINY), [], []
    run = steady(TINY, kernel_height=2, kernel_width=2, output_height=1, output_width=3, output_pitch=1)
    contents = [random_contents(TINY, run, np.random.default_rng(1))]

    async def drive(ctx):
        await start(ctx, feeder, run)
        for cycle in range(60):
            ctx.set(feeder.vector.ready, cycle == 30)
            *_, valid, offset = await ctx.tick().sample(feeder.vector.valid, feeder.vector.payload.offset)
            arrivals.extend([cycle] * valid)
            offsets.append(offset)

    simulate(feeder, drive, background=answers(feeder, contents, 0.0, 1))
    assert [cycle for cycle in range(28, 36) if cycle not in arrivals] == []
    assert offsets[28:34] == [0, 0, 0, 1, 1, 1]


def test_padding_is_padding_however_far_out():
    """Window rows past 2**14 do not wrap around into the tensor."""
    feeder, last = Feeder(TINY), []
    run = dict.fromkeys(("input_height", "input_width", "kernel_height", "kernel_width", "tap_words"), 1) | {
        "group_count": 1, "output_height": 260, "output_width": 1, "stride_y": 128, "pixel_pitch": 1, "row_pitch": 1,
        "granule_log2": 2, "pad_value": 7, "copies": 1,
    }  # fmt: skip

    async def drive(ctx):
        ctx.set(feeder.read_ready, -1)
        await start(ctx, feeder, run)
        last.extend(await receive(ctx, feeder.vector, 260, 0.0, 1))

    simulate(feeder, drive)
    pad = [0b1111 * (7 >> bit & 1) for bit in range(TINY.input_planes)]
    assert [vector["planes"] == pad for vector in last] == [False] + [True] * 259


def faults_of(chip, run, entries_at: int = 0, cycles: int = 60) -> tuple[set, int]:
    """({(fault address, activation memory read, exponent memory read)} while there is a fault, vectors that came)."""
    feeder, seen, vectors = Feeder(chip), [], 0
    contents = [(np.zeros((chip.activation_words, chip.channels), int), np.zeros(chip.activation_words, int))]

    async def drive(ctx):
        nonlocal vectors
        ctx.set(feeder.vector.ready, 1)
        await start(ctx, feeder, run)
        for _ in range(cycles):
            *_, fault, valid, address, read, entry_read = await ctx.tick().sample(
                feeder.fault, feeder.vector.valid, feeder.fault_address, feeder.reads, feeder.exponent_enable
            )
            vectors += valid
            if fault:
                seen.append((address, read, entry_read))

    simulate(feeder, drive, background=answers(feeder, contents, 0.0, 1))
    assert len(seen) > 10, "the feeder went on"
    return set(seen), vectors


def line_of_pixels(chip, element: ElementFormat, **fields: int) -> dict[str, int]:
    """A run over 8 pixels of two taps, up to the end of the memory and four words beyond."""
    run = random_run(chip, np.random.default_rng(3), element) | {
        "granule_log2": 2, "kernel_height": 1, "kernel_width": 2, "tap_words": 1, "group_count": 1,
        "input_height": 1, "input_width": 100, "output_height": 1, "output_width": 8, "pad_top": 0, "pad_left": 0,
        "pixel_pitch": 2, "stride_x": 1, "window_step_x": 2, "window_start": chip.activation_words - 12,
        "tap_exponents": 1, "grouped_exponents": 0,
    }  # fmt: skip
    return run | fields


@pytest.mark.parametrize("chip", [TINY, NO_FLOAT, FOUR], ids=lambda chip: chip.name)
def test_feeder_stops_at_an_address_past_the_memory(chip):
    """After the windows before it."""
    faults, vectors = faults_of(chip, line_of_pixels(chip, ElementFormat.INTEGER))
    assert faults == {(chip.activation_words, 0, 0)}
    assert vectors == 5


def test_the_fault_is_that_of_the_first_tap():
    """Three of a beat lie outside; those before are not read either, so that no lane is ahead of another."""
    words = FOUR.activation_words
    run = line_of_pixels(FOUR, ElementFormat.INTEGER, tap_words=3, pixel_pitch=4, window_start=words - 1)
    assert faults_of(FOUR, run) == ({(words, 0, 0)}, 0)


def test_faults_come_in_the_order_of_windows_and_entries_first():
    """Entries are read ahead, but their fault waits until the windows before are read, and comes after theirs."""
    words = TINY.activation_words
    far = {"kernel_width": 1, "tap_words": 8, "granule_log2": 0, "window_start": words - 16, "window_step_x": 8}
    entry_first = line_of_pixels(TINY, ElementFormat.FP8_E4M3, **far)
    assert faults_of(TINY, entry_first) == ({(words, 0, 0)}, 2)
    overlong = far | {"tap_words": 10, "window_start": words - 17, "window_step_x": 9}
    word_first = line_of_pixels(TINY, ElementFormat.FP8_E4M3, **overlong)
    assert faults_of(TINY, word_first) == ({(words, 0, 0)}, 1)
    last_entry = line_of_pixels(TINY, ElementFormat.BF16, tap_exponents=5)
    assert faults_of(TINY, last_entry) == ({(words, 0, 0)}, 3)


@pytest.mark.parametrize("chip", [TINY, WIDEST], ids=lambda chip: chip.name)
@pytest.mark.parametrize("element", FLOATING, ids=lambda element: element.name)
def test_pre_alignment_of_many_elements(chip, element):
    """Verilated: every width and rounding; elements and exponents of every distance."""
    unit, rng, count, format = Unit(PreAlignment(chip)), np.random.default_rng(7), 10_000, element.floating
    assert format is not None
    for bits in (bits for bits in ALIGNED_BITS if bits <= chip.aligned_bits):
        for rounding in Rounding:
            patterns = random_elements(rng, element, (count, chip.channels))
            own = model.fields(patterns, format)[1].max(1)
            top = (1 << format.exponent_bits) - 1 - format.bias
            exponent = np.minimum(own + rng.integers(0, 24, count) * rng.integers(0, 2, count), top)
            expected = model.align(patterns, format, exponent[:, None], bits, rounding)
            inside, pad = rng.integers(0, 4, count) > 0, int(rng.integers(2))
            expected[~inside] = -(1 << (bits - 1)) if pad else 0
            got = unit(
                enable=1,
                elements=np.concatenate([patterns & 0xFF, patterns >> 8], 1).astype(np.uint8).view(np.uint32),
                inside=inside,
                exponent=exponent + format.bias,
                input_format=element.value,
                input_bits=bits,
                rounding=rounding.value,
                input_zero_point=99,
                pad_value=pad,
            )["planes"]
            assert np.array_equal(integers_of(got, chip), expected)


def integers_of(packed: np.ndarray, chip) -> np.ndarray:
    """Sign-extended integers (count, channels) of PreAlignment's bit planes, at most 64 bits of them."""
    words = packed.astype(np.uint64) if packed.ndim == 1 else packed.copy().view(np.uint64)[:, 0]
    places = np.arange(chip.input_planes * chip.channels, dtype=np.uint64)
    bits = (words[:, None] >> places & np.uint64(1)).astype(np.int64).reshape(-1, chip.input_planes, chip.channels)
    weights = 1 << np.arange(chip.input_planes)
    weights[-1] *= -1
    return np.einsum("npc,p->nc", bits, weights)


@pytest.mark.parametrize("stalls", STALLS)
def test_window_exponents_run_ahead(stalls):
    """The stream alone: every window's largest field and flag, whatever the receiver does."""
    rng = np.random.default_rng(11)
    run = random_run(TINY, rng, ElementFormat.FP8_E4M3) | {
        "kernel_height": 1, "kernel_width": 1, "tap_exponents": 2, "output_height": 3, "output_width": 3,
        "group_count": 2, "grouped_exponents": 1, "input_height": 4, "input_width": 4, "pad_top": 1, "pad_left": 0,
        "stride_x": 1, "stride_y": 1, "pixel_pitch": 3, "row_pitch": 12,
    }  # fmt: skip
    run["window_step_x"], run["window_step_y"] = run["pixel_pitch"], run["row_pitch"]
    run["window_start"] = (run["base"] - run["row_pitch"]) % (1 << 24)
    entries = rng.integers(0, 256, 256) | (rng.random(256) < 0.3) * 256
    exponents = WindowExponents(TINY)

    async def memory(ctx):
        while True:
            *_, enable, address = await ctx.tick().sample(exponents.read_enable, exponents.read_address)
            if enable:
                field, special = int(entries[address]) & 0xFF, int(entries[address]) >> 8
                ctx.set(exponents.read_data, {"field": field, "special": special})

    async def drive(ctx):
        await start(ctx, exponents, run)
        want = [
            dict(
                zip(
                    ("field", "special"),
                    window_field(run, entries, run["first_group"] + window.group, window.places),
                    strict=True,
                )
            )
            for window in windows_of(run)
        ]
        assert len({window["field"] for window in want}) > 3 and any(window["special"] for window in want)
        assert await receive(ctx, exponents.window, len(want), stalls[1], 1) == want

    simulate(exponents, drive, background=[memory])
