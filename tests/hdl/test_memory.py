"""Memories: RAM, host store, banked activation memory."""

from __future__ import annotations

import random

import pytest

from hdl.chips import CHIPS, TINY
from hdl.streams import simulate
from mixcim_hdl.memory.activation import ActivationMemory
from mixcim_hdl.memory.exponent import ExponentMemory
from mixcim_hdl.memory.store import Store
from mixcim_hdl.primitives.ram import Ram


@pytest.mark.parametrize(("width", "depth", "lanes"), [(8, 1, 1), (32, 5, 4), (24, 16, 3)])
def test_ram_reads_old_data_and_writes_by_lane(width, depth, lanes):
    ram, rng = Ram(width, depth, lanes), random.Random(1)
    contents, lane = [0] * depth, width // lanes

    async def drive(ctx):
        expected = 0
        for _ in range(200):
            enable, address, data = rng.getrandbits(lanes), rng.randrange(depth), rng.getrandbits(width)
            read, source = rng.getrandbits(1), rng.randrange(depth)
            for name, value in {"write_enable": enable, "write_address": address, "write_data": data,
                                "read_enable": read, "read_address": source}.items():  # fmt: skip
                ctx.set(getattr(ram, name), value)
            await ctx.tick()
            if read:
                expected = contents[source]
            assert ctx.get(ram.read_data) == expected
            mask = sum((1 << lane) - 1 << lane * n for n in range(lanes) if enable >> n & 1)
            contents[address] = (contents[address] & ~mask) | (data & mask)

    simulate(ram, drive)


def test_ram_refuses_lanes_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match=r"width must be a multiple of lanes \(3\), not 32"):
        Ram(32, 4, 3)


@pytest.mark.parametrize(("width", "depth"), [(32, 8), (128, 4)])
def test_store_is_little_endian_for_the_host(width, depth):
    store, rng = Store(width, depth), random.Random(2)
    words = [rng.getrandbits(32) for _ in range(store.host_words)]

    async def drive(ctx):
        for address, word in enumerate(words):
            ctx.set(store.host_address, address)
            ctx.set(store.host_data, word)
            ctx.set(store.host_write, 1)
            await ctx.tick()
        ctx.set(store.host_write, 0)
        ctx.set(store.host_read, 1)
        for address, word in enumerate(words):
            ctx.set(store.host_address, address)
            await ctx.tick()
            assert ctx.get(store.host_read_data) == word
        ctx.set(store.host_read, 0)
        ctx.set(store.read_enable, 1)
        parts = width // 32
        for address in range(depth):
            ctx.set(store.read_address, address)
            await ctx.tick()
            whole = sum(word << 32 * n for n, word in enumerate(words[address * parts : (address + 1) * parts]))
            assert ctx.get(store.read_data) == whole

    simulate(store, drive)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_activation_memory_serves_both_readers(chip):
    """Random traffic of both readers and the writer, narrow and wide; the second reader waits exactly while the first
    has one of its banks."""
    memory, rng = ActivationMemory(chip), random.Random(3)
    contents, bits = [0] * chip.activation_words, 8 * chip.channels
    conflicts, word = [], (1 << bits) - 1

    def touched(address: int, wide: int) -> list[int]:
        """Words of an access, the lower one first."""
        return [address & ~1, address | 1] if wide else [address]

    async def drive(ctx):
        expected: dict[str, list[int]] = {"first": [0], "second": [0]}
        for _ in range(2000):
            use = {name: rng.getrandbits(1) for name in expected}
            wide = {name: rng.getrandbits(1) if chip.floating_point else 0 for name in (*expected, "write")}
            address = {name: rng.randrange(chip.activation_words) for name in (*expected, "write")}
            lanes, data = rng.getrandbits(chip.channels), rng.getrandbits(2 * bits)
            for name in expected:
                ctx.set(getattr(memory, f"{name}_enable"), use[name])
            for name, value in address.items():
                ctx.set(getattr(memory, f"{name}_address"), value)
                ctx.set(getattr(memory, f"{name}_wide"), wide[name])
            ctx.set(memory.write_lanes, lanes)
            ctx.set(memory.write_data, data)
            words = {name: touched(address[name], wide[name]) for name in address}
            banks = {name: {place % chip.activation_banks for place in words[name]} for name in expected}
            conflict = use["first"] and banks["first"] & banks["second"]
            *_, ready = await ctx.tick().sample(memory.second_ready)
            assert ready == (not conflict)
            conflicts.append(bool(conflict and use["second"]))
            if use["first"]:
                expected["first"] = [contents[place] for place in words["first"]]
            if use["second"] and ready:
                expected["second"] = [contents[place] for place in words["second"]]
            for name, values in expected.items():
                got = ctx.get(getattr(memory, f"{name}_data"))
                assert [got >> bits * half & word for half in range(len(values))] == values
            mask = sum(0xFF << 8 * n for n in range(chip.channels) if lanes >> n & 1)
            for half, target in enumerate(words["write"]):
                contents[target] = (contents[target] & ~mask) | (data >> bits * half & mask)

    simulate(memory, drive)
    assert sum(conflicts) > 50


def test_exponent_memory_keeps_what_was_read():
    memory, rng = ExponentMemory(TINY), random.Random(4)
    contents = [0] * TINY.activation_words

    async def drive(ctx):
        expected = 0
        for _ in range(500):
            write, read = rng.getrandbits(1), rng.getrandbits(1)
            target, source = rng.randrange(8), rng.choice([rng.randrange(8), TINY.activation_words - 1])
            entry = rng.getrandbits(9)
            for name, value in {"write_enable": write, "write_address": target, "write_data": entry,
                                "read_enable": read, "read_address": source}.items():  # fmt: skip
                ctx.set(getattr(memory, name), value)
            await ctx.tick()
            if read:
                expected = contents[source]
            assert ctx.get(memory.read_data) == expected
            if write:
                contents[target] = entry

    simulate(memory, drive)
    assert sum(entry > 255 for entry in contents) > 2
