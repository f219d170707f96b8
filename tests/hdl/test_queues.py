"""A queue of registers is one in a memory, cycle by cycle."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.streams import simulate
from mixcim_hdl.primitives.queues import MemoryQueue, RegisterQueue


class Both(wiring.Component):
    """Both kinds with the same inputs. Members: valid, word, ready; what each says, a pair (room, valid, word)."""

    def __init__(self, depth: int):
        self._queues = {"memory": MemoryQueue(8, depth), "register": RegisterQueue(8, depth)}
        said = {f"{name}_{what}": Out(width) for name in self._queues for what, width in
                {"room": 1, "valid": 1, "word": 8}.items()}  # fmt: skip
        super().__init__({"valid": In(1), "word": In(8), "ready": In(1), **said})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, queue in self._queues.items():
            m.submodules[name] = queue
            m.d.comb += [
                queue.input.valid.eq(self.valid),
                queue.input.payload.eq(self.word),
                queue.output.ready.eq(self.ready),
                getattr(self, f"{name}_room").eq(queue.input.ready),
                getattr(self, f"{name}_valid").eq(queue.output.valid),
                getattr(self, f"{name}_word").eq(queue.output.payload),
            ]
        return m


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_both_queues_say_the_same_in_every_cycle(depth):
    both, coin = Both(depth), random.Random(depth)
    full = passed = 0

    async def drive(ctx):
        nonlocal full, passed
        for cycle in range(2000):
            busy = (cycle // 100) % 3 / 2  # times of much to take, and of much to give
            ctx.set(both.valid, coin.random() < 0.9 - 0.6 * busy)
            ctx.set(both.word, coin.getrandbits(8))
            ctx.set(both.ready, coin.random() < 0.3 + 0.6 * busy)
            said = {name: [ctx.get(getattr(both, f"{name}_{what}")) for what in ("room", "valid", "word")]
                    for name in ("memory", "register")}  # fmt: skip
            (room, valid, word), (same_room, same_valid, same_word) = said["memory"], said["register"]
            assert (room, valid) == (same_room, same_valid), cycle
            assert not valid or word == same_word, cycle
            full, passed = full + (not room), passed + valid
            await ctx.tick()

    simulate(both, drive)
    assert full > 100 and passed > 500
