"""Memories: RAM, host store, banked activation memory."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Instance, Module

from hdl.chips import CHIPS
from hdl.streams import simulate
from mixcim_hdl.emission import Technology, VerilogPlatform
from mixcim_hdl.memory.activation import ActivationMemory
from mixcim_hdl.memory.banked import BankedMemory, bank_of
from mixcim_hdl.memory.exponent import ExponentMemory
from mixcim_hdl.memory.store import Store
from mixcim_hdl.primitives.ram import Ram


class CutRam(Ram):
    """The form for FPGAs of memories that are cut; its parts are whole."""

    def elaborate(self, platform):
        return self._cut()


@pytest.mark.parametrize(
    ("form", "width", "depth", "lanes"), [(Ram, 8, 1, 1), (Ram, 32, 5, 4), (Ram, 24, 16, 3), (CutRam, 32, 11, 4)]
)
def test_ram_reads_old_data_and_writes_by_lane(form, width, depth, lanes):
    ram, rng = form(width, depth, lanes), random.Random(1)
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


@pytest.mark.parametrize(("depth", "parts"), [(18464, [16384, 2048, 32]), (1536, [1024, 512]), (512, []), (2048, [])])
def test_fpga_memories_are_cut_at_powers_of_two(depth, parts):
    platform = VerilogPlatform(Technology.FPGA)
    found, part = [], Ram(32, depth)
    while isinstance(block := part.elaborate(platform), Module):
        found.append(block._named_submodules["low"][0]._depth)
        part = block._named_submodules["high"][0]
    assert found + ([part._depth] if found else []) == parts
    assert isinstance(Ram(32, depth).elaborate(VerilogPlatform()), Instance)


def test_ram_refuses_lanes_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match=r"width must be a multiple of lanes \(3\), not 32"):
        Ram(32, 4, 3)


@pytest.mark.parametrize(("width", "depth", "late"), [(32, 8, 0), (128, 4, 0), (128, 4, 1), (32, 8, 1)])
def test_store_is_little_endian_for_the_host(width, depth, late):
    store, rng = Store(width, depth, late=late), random.Random(2)
    words = [rng.getrandbits(32) for _ in range(store.host_words)]

    async def drive(ctx):
        for address, word in enumerate(words):
            ctx.set(store.host_address, address)
            ctx.set(store.host_data, word)
            ctx.set(store.host_write, 1)
            await ctx.tick()
        ctx.set(store.host_write, 0)
        ctx.set(store.host_read, 1)
        for address, before in enumerate([None] * (1 + late) + words):  # one a cycle, two or three later
            ctx.set(store.host_address, address)
            ctx.set(store.host_read, address < len(words))
            await ctx.tick()
            assert before is None or ctx.get(store.host_read_data) == before
        ctx.set(store.read_enable, 1)
        parts = width // 32
        for address in range(depth):
            ctx.set(store.read_address, address)
            for _ in range(1 + late):
                await ctx.tick()
            whole = sum(word << 32 * n for n, word in enumerate(words[address * parts : (address + 1) * parts]))
            assert ctx.get(store.read_data) == whole

    simulate(store, drive)


#: As banked memories: of a power of two words and not, with pairs and without, of different numbers of ports.
SHAPES = {
    "pairs": {"width": 8, "depth": 64, "banks": 4, "readers": 3, "writers": 2, "lanes": 2, "pairs": True},
    "two_banks": {"width": 6, "depth": 22, "banks": 2, "readers": 2, "writers": 1, "lanes": 3, "pairs": True},
    "no_pairs": {"width": 4, "depth": 40, "banks": 8, "readers": 5, "writers": 3},
    "given": {"width": 6, "depth": 32, "banks": 4, "readers": 5, "writers": 2, "given": 2},
    "late": {
        "width": 6,
        "depth": 32,
        "banks": 4,
        "readers": 5,
        "writers": 2,
        "lanes": 2,
        "pairs": True,
        "late_writes": 1,
    },
    "row_each": {"width": 5, "depth": 16, "banks": 16, "readers": 4, "writers": 4, "pairs": True},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_banked_memory_serves_the_first_of_each_bank(shape):
    """Random traffic of all ports, narrow and wide: who is served, what is read, what stays."""
    size = {"lanes": 1, "pairs": False} | SHAPES[shape]
    memory, rng = BankedMemory(**size), random.Random(3)
    width, depth, banks, lanes = (size[name] for name in ("width", "depth", "banks", "lanes"))
    contents, refused = [0] * depth, {"read": 0, "write": 0}
    on_their_way: list[list[tuple[int, int, int]]] = [[]] * size.get("late_writes", 0)  # (word, mask, value)

    def traffic(ports: int) -> list[tuple[bool, int, int]]:
        """(enabled, wide, address) of each port; few addresses, so that they meet."""
        span = rng.choice([4, depth])
        return [(rng.random() < 0.6, rng.getrandbits(1), rng.randrange(depth - span, depth)) for _ in range(ports)]

    def words(wide: int, address: int) -> list[int]:
        return [address & ~1, address | 1] if wide and size["pairs"] else [address]

    def served(kind: str, ports) -> list[bool]:
        """Whether each port is served if it is enabled."""
        wanted, result = set(), []
        for enable, wide, address in ports:
            own = {bank_of(word, banks) for word in words(wide, address)}
            result.append(not own & wanted)
            refused[kind] += enable and not result[-1]
            wanted |= own if enable else set()
        return result

    async def drive(ctx):
        expected = [[0]] * size["readers"]
        for _ in range(1500):
            reads, writes = traffic(size["readers"]), traffic(size["writers"])
            enables = [rng.randrange(1, 1 << lanes) if enable else 0 for enable, *_ in writes]
            values = [rng.getrandbits(2 * width) for _ in writes]
            ctx.set(memory.read_enable, sum(enable << index for index, (enable, *_) in enumerate(reads)))
            now = [rng.random() < 0.8 for _ in reads]
            ctx.set(memory.read_now, sum(bit << index for index, bit in enumerate(now)))
            for kind, ports in (("read", reads), ("write", writes)):
                ctx.set(getattr(memory, f"{kind}_wide"), sum(wide << n for n, (_, wide, _) in enumerate(ports)))
                ctx.set(getattr(memory, f"{kind}_address"), [address for *_, address in ports])
            if given := size.get("given"):
                at = [bank_of(address, banks) for *_, address in reads]
                ctx.set(memory.read_banks, [1 << bank for bank in at])
                ctx.set(
                    memory.read_claims,
                    [enable << bank for (enable, *_), bank in zip(reads[:given], at[:given], strict=True)],
                )
                blocked = [any(reads[low][0] and at[low] == at[n] for low in range(given, n)) for n in range(len(at))]
                ctx.set(memory.read_blocked, sum(bit << n for n, bit in enumerate(blocked)))
            ctx.set(memory.write_lanes, enables)
            ctx.set(memory.write_data, values if size["pairs"] else [value % (1 << width) for value in values])
            *_, read_ready, write_ready = await ctx.tick().sample(memory.read_ready, memory.write_ready)
            read_served, write_served = served("read", reads), served("write", writes)
            for ready, ports, want in ((read_ready, reads, read_served), (write_ready, writes, write_served)):
                assert all(ready >> n & 1 == want[n] for n, (enable, *_) in enumerate(ports) if enable)
            assert read_ready & 1 and write_ready & 1
            for index, (enable, wide, address) in enumerate(reads):
                if enable and read_served[index] and now[index]:
                    expected[index] = [contents[word] for word in words(wide, address)]
                got = ctx.get(memory.read_data[index])
                assert [got >> width * half & (1 << width) - 1 for half in range(len(expected[index]))] == expected[
                    index
                ]
            on_their_way.append([])
            for index, (_, wide, address) in enumerate(writes):
                lane = width // lanes
                mask = sum((1 << lane) - 1 << lane * n for n in range(lanes) if enables[index] >> n & 1)
                for half, word in enumerate(words(wide, address) if write_served[index] else []):
                    on_their_way[-1].append((word, mask, values[index] >> width * half))
            for word, mask, value in on_their_way.pop(0):
                contents[word] = (contents[word] & ~mask) | (value & mask)

    simulate(memory, drive)
    assert refused["read"] > 50 and (size["writers"] == 1 or refused["write"] > 50)


@pytest.mark.parametrize("banks", [2, 4, 8, 16])
def test_words_a_power_of_two_apart_lie_in_different_banks(banks):
    """And every address has a place of its own: (bank, row)."""
    places = {(bank_of(address, banks), address // banks) for address in range(12 * banks)}
    assert len(places) == 12 * banks and {row for _, row in places} == set(range(12))
    for power in (2**n for n in range(12)):
        assert len({bank_of(power * n, banks) for n in range(banks)}) == banks


def test_banked_memory_refuses_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="banks must be a power of two, at least 2, not 3"):
        BankedMemory(8, 12, 3, readers=1, writers=1)
    with pytest.raises(ValueError, match=r"depth must be a multiple of banks \(4\), not 10"):
        BankedMemory(8, 10, 4, readers=1, writers=1)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_memories_of_a_chip_have_the_ports_that_their_users_need(chip):
    activations, exponents = ActivationMemory(chip), ExponentMemory(chip)
    words = 2 if chip.floating_point else 1
    assert len(activations.read_enable) == chip.engines + chip.feeder_words
    assert [len(data) for data in activations.read_data] == [words * 8 * chip.channels] * len(activations.read_enable)
    assert [len(lanes) for lanes in activations.write_lanes] == [chip.channels] * chip.engines
    assert (len(exponents.read_enable), len(exponents.read_data[0])) == (1, 9)
    assert len(exponents.write_wide) == chip.engines
