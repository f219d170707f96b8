"""Drivers and checkers of ready/valid streams for Amaranth's simulator, with seeded stalls on both sides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from amaranth.hdl import Elaboratable
from amaranth.lib import data
from amaranth.sim import Simulator

#: Probability of a stall at the sender and at the receiver; every stream test runs with each.
STALLS = [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4)]


def plain(value):
    """A sampled payload as int, list or dict of ints, comparable and printable."""
    if isinstance(value, data.Const):
        layout = value.shape()
        if isinstance(layout, data.ArrayLayout):
            return [plain(value[index]) for index in range(layout.length)]
        return {name: plain(value[name]) for name, _ in layout}
    return int(value)


async def send(ctx, stream, payloads: Iterable, stall: float, seed: int) -> None:
    """Offer the payloads one after the other; before each, wait while a seeded coin says so."""
    coin = random.Random(seed)
    for payload in payloads:
        while coin.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, payload)
        ctx.set(stream.valid, 1)
        while True:
            *_, ready = await ctx.tick().sample(stream.ready)
            if ready:
                break
        ctx.set(stream.valid, 0)


async def receive(ctx, stream, count: int, stall: float, seed: int, limit: int = 20000) -> list:
    """Take `count` payloads; fails when one changes or vanishes before it is taken, or none comes in `limit` cycles."""
    coin = random.Random(~seed)
    taken: list = []
    offered = None
    for _ in range(limit):
        ready = coin.random() >= stall
        ctx.set(stream.ready, ready)
        *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if offered is not None:
            assert valid, "valid fell before the payload was taken"
            assert plain(payload) == offered, "the payload changed before it was taken"
        offered = plain(payload) if valid and not ready else None
        if valid and ready:
            taken.append(plain(payload))
            if len(taken) == count:
                ctx.set(stream.ready, 0)
                return taken
    raise AssertionError(f"{len(taken)} of {count} payloads after {limit} cycles")


def simulate(component: Elaboratable, *benches: Callable, background: Iterable[Callable] = ()) -> None:
    """Run test benches on a component with a clock `sync`; ends when all but the background ones have."""
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    simulator.run()


async def latency(ctx, start, finish, limit: int = 1000) -> int:
    """Clock edges from the one that sees `start` high to the one that sees `finish` high."""
    began = None
    for cycle in range(limit):
        *_, started, finished = await ctx.tick().sample(start, finish)
        if began is None and started:
            began = cycle
        if began is not None and finished:
            return cycle - began
    raise AssertionError(f"no end within {limit} cycles")
