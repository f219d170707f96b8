"""The three kinds of compute unit against the definition of a dot product, with stalls, and their stated latency."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdl.chips import CHIPS, DEEP, NO_FLOAT, OFFSET, OTHER, TINY, TWO_PLANES, TWOS_COMPLEMENT, WIDEST
from hdl.streams import STALLS, latency, receive, send, simulate
from mixcim_hdl.commands import NOISE_STRIDE, SramMode, TinyMode, noise_state
from mixcim_hdl.formats import ADC_PARAMETERS, NOISE_BITS, Encoding, conductance_unit
from mixcim_hdl.memristor.bank import MemristorBank
from mixcim_hdl.sram.bank import SramBank
from mixcim_hdl.tiny.bank import TinyBank

#: Chips with each kind of integers that they take: unsigned ones, and two's complement.
KINDS = [(chip, signed) for chip in CHIPS for signed in (False, True) if chip.floating_point or not signed]
by_kind = pytest.mark.parametrize(("chip", "signed"), KINDS, ids=lambda value: getattr(value, "name", str(value)))
by_stall = pytest.mark.parametrize("stalls", STALLS)


def payload_of(chip, codes: np.ndarray, length: int, address: int, packing: int = 0, *, number: int) -> dict:
    """A step's payload; the tag carries a number to see that it travels along."""
    planes = [
        int(sum(int(code >> bit & 1) << row for row, code in enumerate(codes))) for bit in range(chip.input_planes)
    ]
    tag = {
        "tiles": 1 + number % 8,
        "tile": number % 256,
        "parameter": number,
        "offset": 3 * number,
        "first": number & 1,
        "last": number >> 1 & 1,
        "slice": number % 3,
        "exponent": {"unit": -number, "special": number >> 2 & 1},
    }
    return {"planes": planes, "length": length, "address": address, "packing": packing, "tag": tag}


def largest_bits(chip, signed: bool) -> int:
    """Bits of the widest integers that a chip's vectors hold: unsigned ones are codes."""
    return chip.input_planes if signed else 8


def random_steps(chip, rng, count: int, slots: int, bits: int, signed: bool = False):
    """(integers, length, address) of random steps: rows past the length are 0."""
    for _ in range(count):
        length = int(rng.integers(1, chip.rows + 1))
        integers = rng.integers(-(1 << bits - 1) if signed else 0, 1 << bits - signed, chip.rows)
        integers[length:] = 0
        yield integers, length, int(rng.integers(slots))


async def load(ctx, bank, words: dict[int, np.ndarray]) -> None:
    """Write weight words through the load port, each in as many parts as it takes."""
    ctx.set(bank.load_enable, 1)
    for address, weights in words.items():
        data = weights.astype(np.int8).tobytes()
        size = len(bank.load_data) // 8
        parts = len(data) // size
        for part in range(parts):
            ctx.set(bank.load_address, address * parts + part)
            ctx.set(bank.load_data, int.from_bytes(data[part * size : (part + 1) * size], "little"))
            await ctx.tick()
    ctx.set(bank.load_enable, 0)


def check(bank, chip, prepare, steps, expected, stalls, seed=1) -> None:
    """Send steps, compare all dot-product values and tags."""

    async def driver(ctx):
        await prepare(ctx)
        payloads = [payload_of(chip, *step, number=number) for number, step in enumerate(steps)]
        await send(ctx, bank.step, payloads, stalls[0], seed)

    async def checker(ctx):
        # In a deep pipeline there is always room.
        got = await receive(ctx, bank.dpv, len(steps), 0.0 if chip.deep_pipeline else stalls[1], seed)
        for number, (dpv, want) in enumerate(zip(got, expected, strict=True)):
            assert dpv["sums"][: len(want)] == [list(tile) for tile in want], f"step {number}"
            assert dpv["tag"] == payload_of(chip, *steps[number], number=number)["tag"]

    simulate(bank, driver, checker)


@by_kind
@by_stall
@pytest.mark.parametrize("bits", [1, 3, None])
def test_sram_bank(chip, stalls, bits, signed):
    """`bits` None: all that there are. Planes above hold the sign, which must not count."""
    bits = bits or largest_bits(chip, signed)
    rng = np.random.default_rng(bits)
    weights = rng.integers(-128, 128, (chip.sram_slots, chip.channels, chip.rows))
    weights[0] = -128
    slots = min(chip.sram_slots, 6)
    words = {s * chip.channels + k: weights[s, k] for s in range(slots) for k in range(chip.channels)}
    steps = list(random_steps(chip, rng, 10, slots, bits, signed))
    steps[0] = (np.full(chip.rows, -(1 << bits - 1) if signed else (1 << bits) - 1), chip.rows, 0)
    expected = [[weights[address] @ integers] for integers, _, address in steps]
    bank = SramBank(chip)

    async def prepare(ctx):
        ctx.set(bank.input_bits, bits)
        ctx.set(bank.input_signed, signed)
        await load(ctx, bank, words)

    check(bank, chip, prepare, steps, expected, stalls)


@by_stall
@pytest.mark.parametrize("mode", SramMode)
def test_sram_bank_with_segments(stalls, mode):
    """Every packing: each segment's rows with the vector's first ones (REPEATED), or with those of the segment."""
    chip = dataclasses.replace(TINY, name="segments", sram_segments=8)
    rng = np.random.default_rng(7)
    weights = rng.integers(-128, 128, (6, chip.channels, chip.rows))
    steps, expected = [], []
    for number in range(12):
        packing = number % 4 if mode is SramMode.REPEATED else int(mode)
        height = chip.rows >> packing
        length = height if mode is SramMode.REPEATED else chip.rows
        integers = rng.integers(0, 256, chip.rows)
        integers[length:] = 0
        slot = int(rng.integers(6))
        steps.append((integers, length, slot, packing))
        segments = [slice(first, first + height) for first in range(0, chip.rows, height)]
        own = [integers[:height] if mode is SramMode.REPEATED else integers[segment] for segment in segments]
        expected.append([weights[slot][:, rows] @ part for rows, part in zip(segments, own, strict=True)])
    bank = SramBank(chip)

    async def prepare(ctx):
        ctx.set(bank.input_bits, 8)
        ctx.set(bank.mode, mode)
        await load(ctx, bank, {s * chip.channels + k: weights[s, k] for s in range(6) for k in range(chip.channels)})

    check(bank, chip, prepare, steps, expected, stalls)


@by_kind
@by_stall
@pytest.mark.parametrize("mode", TinyMode)
def test_tiny_bank(chip, stalls, mode, signed):
    rng = np.random.default_rng(mode.value)
    words = rng.integers(-128, 128, (chip.tiny_words, chip.rows))
    words[0] = -128
    taps, bits = chip.taps_per_vector, largest_bits(chip, signed)
    span = chip.channels if mode is TinyMode.BROADCAST else 1
    given = list(random_steps(chip, rng, 10, min(chip.tiny_words, 32) - span, bits, signed))
    if signed:  # the largest of negative integers; all the least
        given[0] = (-abs(given[0][0]) - 1, chip.rows, given[0][2])
        given[1] = (np.full(chip.rows, -(1 << bits - 1)), chip.rows, given[1][2])
    steps, expected = [], []
    for integers, length, address in given:
        if mode is not TinyMode.BROADCAST:
            length = -(-length // chip.channels) * chip.channels
        steps.append((integers, length, address))
        if mode is TinyMode.BROADCAST:
            weights = words[address : address + chip.channels].reshape(-1, chip.channels)
            expected.append(integers[:length] @ weights[:length])
        else:
            by_tap = integers.reshape(taps, chip.channels)[: length // chip.channels]
            weights = words[address].reshape(taps, chip.channels)[: length // chip.channels]
            expected.append((by_tap * weights).sum(0) if mode is TinyMode.DEPTHWISE else by_tap.max(0))
    bank = TinyBank(chip)

    async def prepare(ctx):
        ctx.set(bank.mode, mode.value)
        ctx.set(bank.input_signed, signed)
        await load(ctx, bank, dict(enumerate(words[:32])))

    check(bank, chip, prepare, steps, [[sums] for sums in expected], stalls)


def xorshift(state: int) -> int:
    """Marsaglia's generator with the shifts 13, 17, 5."""
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ (state << 5 & 0xFFFFFFFF)


class Readout:
    """Reads by the definition in commands.py. `lines`: (slots, digits, bit lines, rows); `adc`: (adcs, parameters);
    `repair`: (slots, digits, spares)."""

    def __init__(self, chip, lines, repair, table, digits, skip, adc, noise, seed):
        self.chip, self.lines, self.repair, self.adc, self.noise = chip, lines, repair, adc, noise
        self.table, self.digits, self.skip = table, digits, skip
        self.states = [noise_state(seed, 0, column) for column in range(chip.memristor_columns)]
        self.reads = self.saturations = self.lines_on = 0

    def cells(self, slot, digit):
        """Cells of every column, (columns, rows)."""
        columns = self.lines[slot, digit, : self.chip.memristor_columns].copy()
        for spare, column in enumerate(self.repair[slot, digit]):
            if column:
                columns[column - 1] = self.lines[slot, digit, self.chip.memristor_columns + spare]
        return columns.astype(int)

    def noise_of(self, column, count):
        state = self.states[column]
        self.states[column] = xorshift(state)
        gauss = sum(state >> shift & 0xFF for shift in (0, 8, 16, 24)) - 510
        return (gauss * int(self.noise[count]) + (1 << 11)) >> 12

    def code(self, number, difference, shift):
        chip = self.chip
        gain, offset, *inl = (int(value) for value in self.adc[number])
        step, largest = conductance_unit(chip.conductance_bits) << shift, (1 << chip.adc_bits) - 1
        value = (difference * gain >> 8) + offset
        value += inl[min(max(value // (step << chip.adc_bits - 3), 0), 7)] << shift
        code = (value + step // 2) // step
        self.saturations += code > largest
        return min(max(code, 0), largest)

    def step(self, codes, length, slot, bits, signed):
        """Sums of one step."""
        chip = self.chip
        encoding, sums = chip.weight_encoding, np.zeros(chip.channels, int)
        for digit, place in enumerate(chip.mode.places[: self.digits]):
            cells = self.cells(slot, digit)
            for bit in range(bits):
                rows_per_read, shift = (int(value) for value in self.table[bit, digit])
                top = -1 if signed and bit == bits - 1 else 1
                for row in range(0, length, rows_per_read):
                    on = (codes[row : row + rows_per_read] >> bit) & 1
                    if self.skip and not on.any():
                        continue
                    ideal = cells[:, row : row + rows_per_read] @ on
                    current = [int(value) + self.noise_of(column, on.sum()) for column, value in enumerate(ideal)]
                    self.reads += 1
                    self.lines_on += int(on.sum())
                    wide = shift + chip.mode.step_log2[digit]
                    values = [self.code(n, current[n] - current[-1], wide) for n in range(chip.adcs)]
                    for kernel in range(chip.channels):
                        if encoding is Encoding.DIFFERENTIAL:
                            value = values[2 * kernel] - values[2 * kernel + 1]
                        elif encoding is Encoding.TWOS_COMPLEMENT and digit == len(chip.mode.places) - 1:
                            value = -values[kernel]
                        else:
                            value = values[kernel]
                        sums[kernel] += top * value << (bit + place + shift)
                    if encoding is Encoding.OFFSET and digit == 0:
                        sums -= top * int(on.sum()) << (bit + 7)
        return sums


@pytest.mark.parametrize(
    ("chip", "stalls", "bits", "signed"),
    [
        *((chip, STALLS[0], 8, False) for chip in (TINY, OTHER, NO_FLOAT, OFFSET, TWOS_COMPLEMENT)),
        *((chip, STALLS[3], 2, False) for chip in (TINY, OTHER, NO_FLOAT, OFFSET, TWOS_COMPLEMENT)),
        *((chip, STALLS[3], chip.input_planes, True) for chip in (WIDEST, OTHER, OFFSET, TWOS_COMPLEMENT)),
        (TINY, STALLS[0], 5, True),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_memristor_bank(chip, stalls, bits, signed, noisy, skip):
    """Cells hold any code (stuck, random reference), tables any rows and steps, ADCs any error; spares replace columns,
    some digits are not read, groups without word line left out; counters count."""
    rng = np.random.default_rng(bits)
    digits, slots = len(chip.mode.cells), 2
    used = digits - 1 if skip else digits
    lines = rng.integers(0, 1 << chip.conductance_bits, (slots, digits, chip.physical_columns, chip.rows))
    reference = chip.memristor_columns - 1
    lines[:, :, reference] = conductance_unit(chip.conductance_bits)
    lines[1, 0, reference] = rng.integers(0, 1 << chip.conductance_bits, chip.rows)
    repair = rng.integers(0, chip.memristor_columns + 1, (slots, digits, chip.spare_columns))
    repair[0, 0] = reference + 1
    repair[1, 1] = 0
    table = np.stack(
        [rng.integers(low, high, (chip.input_planes, digits)) for low, high in ((1, chip.rows + 1), (0, 3))], -1
    )
    adc = np.array([[256, *[0] * 9]] * chip.adcs)
    noise = np.zeros(chip.rows + 1, int)
    if noisy:
        adc = np.stack([rng.integers(low, high + 1, chip.adcs) for low, high in ADC_PARAMETERS.values()], -1)
        adc[::2, 0] = rng.integers(230, 280, len(adc[::2]))
        noise = rng.integers(0, 1 << NOISE_BITS, chip.rows + 1)
    seed = (0 - NOISE_STRIDE) & 0xFFFFFFFF if noisy else 1  # the first column's state would be 0
    steps = list(random_steps(chip, rng, 4, slots, bits, signed))
    if skip:
        sparse = [
            codes * (rng.random(chip.rows) < share) for share, (codes, *_) in zip((0.02, 0.2), steps, strict=False)
        ]
        steps = [(np.zeros(chip.rows, int), chip.rows, 0), *((codes, chip.rows, 1) for codes in sparse), *steps]
    readout = Readout(chip, lines, repair, table, used, skip, adc, noise, seed)
    expected = [list(readout.step(codes, length, slot, bits, signed)) for codes, length, slot in steps]
    bank = MemristorBank(chip)
    counted = {"reading": 0, "saturations": 0, "lines_on": 0}

    async def prepare(ctx):
        ctx.set(bank.input_bits, bits)
        ctx.set(bank.input_signed, signed)
        for entry, (rows, shift) in enumerate(table.reshape(-1, 2)):
            ctx.set(bank.table.entries[entry], {"rows_per_read": int(rows), "step_shift": int(shift)})
        ctx.set(bank.table.digits, used)
        ctx.set(bank.skip_zero_groups, skip)
        ctx.set(bank.repair_write, 1)
        for word, spare in np.ndindex(slots * digits, chip.spare_columns):
            ctx.set(bank.repair_word, word)
            ctx.set(bank.repair_spare, spare)
            ctx.set(bank.repair_column, int(repair.reshape(-1, chip.spare_columns)[word, spare]))
            await ctx.tick()
        ctx.set(bank.repair_write, 0)
        ctx.set(bank.adc_write, 1)
        for number, parameter in np.ndindex(*adc.shape):
            ctx.set(bank.adc_number, number)
            ctx.set(bank.adc_parameter, parameter)
            ctx.set(bank.adc_value, int(adc[number, parameter]) & 0xFFFF)
            await ctx.tick()
        ctx.set(bank.adc_write, 0)
        ctx.set(bank.noise_write, 1)
        for index, value in enumerate(noise):
            ctx.set(bank.noise_index, index)
            ctx.set(bank.noise_value, int(value))
            await ctx.tick()
        ctx.set(bank.noise_write, 0)
        ctx.set(bank.program_valid, 1)
        for word in range(slots * digits):
            ctx.set(bank.program_word, word)
            for column in range(chip.physical_columns):
                ctx.set(bank.program_column, column)
                cells = lines.reshape(-1, chip.physical_columns, chip.rows)[word, column]
                for row in range(0, chip.rows, 4):
                    ctx.set(bank.program_last, row + 4 == chip.rows)
                    ctx.set(bank.program_cells, sum(int(c) << 8 * n for n, c in enumerate(cells[row : row + 4])))
                    await ctx.tick()
        ctx.set(bank.program_valid, 0)
        ctx.set(bank.seed, seed)
        ctx.set(bank.seed_write, 1)
        await ctx.tick()
        ctx.set(bank.seed_write, 0)

    async def count(ctx):
        async for _, _, *values in ctx.tick().sample(*(getattr(bank, name) for name in counted)):
            for name, value in zip(counted, values, strict=True):
                counted[name] += value

    payloads = [payload_of(chip, *step, number=number) for number, step in enumerate(steps)]

    async def driver(ctx):
        await prepare(ctx)
        await send(ctx, bank.step, payloads, stalls[0], 1)

    async def checker(ctx):
        got = await receive(ctx, bank.dpv, len(steps), stalls[1], 1)
        assert [dpv["sums"] for dpv in got] == [[tile] for tile in expected]
        assert [dpv["tag"] for dpv in got] == [payload["tag"] for payload in payloads]

    simulate(bank, driver, checker, background=[count])
    expected_counts = {"reading": readout.reads, "saturations": readout.saturations, "lines_on": readout.lines_on}
    assert counted == expected_counts


@pytest.mark.parametrize(
    ("kind", "chip"),
    [(SramBank, TINY), (SramBank, TWO_PLANES), (TinyBank, TINY), (MemristorBank, TINY), (MemristorBank, DEEP)],
)
def test_latency_and_throughput_are_as_documented(kind, chip):
    bits, rows_per_read = 5, 6
    bank = kind(chip)
    work = {
        SramBank: chip.sram_cycles(bits),
        TinyBank: chip.rows,  # BROADCAST: one row a cycle
        MemristorBank: bits * len(chip.mode.cells) * -(-chip.rows // rows_per_read),
    }[kind]
    payload = payload_of(chip, np.full(chip.rows, 3), chip.rows, 0, number=1)
    taken_at, done_at = [], []

    async def driver(ctx):
        ctx.set(bank.input_bits, bits)
        ctx.set(bank.dpv.ready, 1)
        if kind is MemristorBank:
            for entry in range(chip.input_planes * len(chip.mode.cells)):
                ctx.set(bank.table.entries[entry], {"rows_per_read": rows_per_read, "step_shift": 0})
            ctx.set(bank.table.digits, len(chip.mode.cells))
        ctx.set(bank.step.payload, payload)
        ctx.set(bank.step.valid, 1)
        for cycle in range(5 * work):
            *_, ready, valid = await ctx.tick().sample(bank.step.ready, bank.dpv.valid)
            taken_at.extend([cycle] * ready)
            done_at.extend([cycle] * valid)

    simulate(bank, driver)
    assert done_at[0] - taken_at[0] == work + bank.EXTRA_LATENCY
    assert {b - a for a, b in zip(taken_at, taken_at[1:], strict=False)} == {work}


def test_latency_helper_sees_a_cycle():
    """The helper that other tests rely on: a register is one cycle late."""
    from amaranth.hdl import Module, Signal

    m = Module()
    start, finish = Signal(), Signal()
    m.d.sync += finish.eq(start)

    async def drive(ctx):
        await ctx.tick()
        ctx.set(start, 1)
        await ctx.tick()

    async def measure(ctx):
        assert await latency(ctx, start, finish) == 1

    simulate(m, drive, measure)
