"""`AxiLiteSlave` against a dictionary, with seeded stalls on every channel and on the chip's side; the bus rules."""

import random

import pytest
from amaranth.sim import Simulator

from mixcim_hdl.control.axi_lite import AxiLiteSlave

CYCLES_LIMIT = 20_000
#: Words at and above this address answer with an error.
FIRST_ILLEGAL = 0x80


class Bench:
    """Drives one slave from plain Python: every process sees the same clock edges, state lives in lists."""

    def __init__(self, seed: int, stall: float, outstanding: int = 4, delay: int = 1) -> None:
        self.slave = AxiLiteSlave(outstanding=outstanding)
        self.random = random.Random(seed)
        self.stall = stall
        self.delay = delay
        self.cycle = 0
        self.running = 0
        self.memory: dict[int, int] = {}
        self.requests: list[tuple[int, bool]] = []
        self.writes: list[int] = []
        self.reads: list[tuple[int, int]] = []
        self.held = {"b": False, "r": False}
        self.finished_at: dict[str, int] = {}

    def waits(self) -> bool:
        return self.random.random() < self.stall

    def sender(self, prefix: str, fields: list[str], items: list[tuple[int, ...]]):
        """Sends every item on one master channel; valid goes up without looking at ready, payload is held."""
        port = lambda name: getattr(self.slave, f"s_axi_{prefix}{name}")  # noqa: E731

        async def process(ctx):
            for item in items:
                while self.waits():
                    await ctx.tick()
                for field, value in zip(fields, item, strict=True):
                    ctx.set(port(field), value)
                ctx.set(port("valid"), 1)
                while True:
                    _, _, ready = await ctx.tick().sample(port("ready"))
                    if ready:
                        break
                ctx.set(port("valid"), 0)
                for field in fields:
                    ctx.set(port(field), 0)

        return process

    def receiver(self, prefix: str, fields: list[str], count: int, out: list):
        """Takes `count` responses, and checks that a response which was not taken stays as it was."""
        port = lambda name: getattr(self.slave, f"s_axi_{prefix}{name}")  # noqa: E731

        async def process(ctx):
            pending = None
            while len(out) < count:
                while self.held[prefix]:
                    await ctx.tick()
                ready = not self.waits()
                ctx.set(port("ready"), ready)
                _, _, valid, *values = await ctx.tick().sample(port("valid"), *(port(field) for field in fields))
                if pending is not None:
                    assert valid and values == pending, "a response was withdrawn or changed before it was taken"
                pending = values if valid and not ready else None
                if valid and ready:
                    out.append(values[0] if len(values) == 1 else tuple(values))
            ctx.set(port("ready"), 0)
            self.finished_at[prefix] = self.cycle

        return process

    async def chip(self, ctx):
        """Memory behind the slave: takes requests with stalls, answers `delay` cycles later or more, in order."""
        request, response = self.slave.request, self.slave.response
        waiting: list[tuple[int, int, int]] = []
        pending = None
        while True:
            ready = not self.waits()
            ctx.set(request.ready, ready)
            if waiting and waiting[0][0] <= self.cycle and not self.waits():
                _, word, error = waiting.pop(0)
                ctx.set(response.payload, {"data": word, "error": error})
                ctx.set(response.valid, 1)
            else:
                ctx.set(response.valid, 0)
            _, _, valid, access = await ctx.tick().sample(request.valid, request.payload)
            self.cycle += 1
            assert self.cycle < CYCLES_LIMIT, "the bus hangs"
            fields = (int(access.address), int(access.write), int(access.data), int(access.strobe))
            if pending is not None:
                assert valid and fields == pending, "a request was withdrawn or changed before it was taken"
            pending = fields if valid and not ready else None
            if valid and ready:
                waiting.append((self.cycle + self.delay - 1, *self.perform(*fields)))

    def perform(self, address: int, write: int, word: int, strobe: int) -> tuple[int, int]:
        """(word read, error) of one access, which changes the memory."""
        self.requests.append((address, bool(write)))
        if address >= FIRST_ILLEGAL:
            return 0, 1
        old = self.memory.get(address, 0)
        if write:
            mask = sum(0xFF << (8 * lane) for lane in range(4) if strobe >> lane & 1)
            self.memory[address] = old & ~mask | word & mask
        return old, 0

    def run(self, writes: list[tuple[int, int, int]], reads: list[int]) -> None:
        """Does (address, data, strobe) writes and reads at the same time, until every response was taken."""
        simulator = Simulator(self.slave)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.sender("aw", ["addr"], [(address,) for address, _, _ in writes]))
        simulator.add_testbench(self.sender("w", ["data", "strb"], [(word, strobe) for _, word, strobe in writes]))
        simulator.add_testbench(self.sender("ar", ["addr"], [(address,) for address in reads]))
        simulator.add_testbench(self.receiver("b", ["resp"], len(writes), self.writes))
        simulator.add_testbench(self.receiver("r", ["data", "resp"], len(reads), self.reads))
        simulator.add_testbench(self.chip, background=True)
        simulator.run()


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("outstanding", [1, 4])
def test_every_access_once_in_order_with_its_own_response(stall: float, outstanding: int) -> None:
    bench = Bench(seed=11, stall=stall, outstanding=outstanding)
    writes = [
        (bench.random.randrange(0, 0x100, 4), bench.random.getrandbits(32), bench.random.getrandbits(4))
        for _ in range(60)
    ]
    bench.run(writes, [])
    assert [address for address, _ in bench.requests] == [address for address, _, _ in writes]
    assert bench.writes == [2 if address >= FIRST_ILLEGAL else 0 for address, _, _ in writes]

    memory = bench.memory
    reads = [bench.random.randrange(0, 0x100, 4) for _ in range(60)]
    again = Bench(seed=12, stall=stall, outstanding=outstanding)
    again.memory = dict(memory)
    again.run([], reads)
    assert again.reads == [(0, 2) if address >= FIRST_ILLEGAL else (memory.get(address, 0), 0) for address in reads]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_reads_and_writes_together_are_served_in_turn(stall: float) -> None:
    bench = Bench(seed=5, stall=stall)
    bench.run([(4 * (i % 16), i, 15) for i in range(80)], [4 * (i % 16) for i in range(80)])
    assert bench.writes == [0] * 80 and len(bench.reads) == 80
    if stall == 0.0:
        directions = [write for _, write in bench.requests[4:-4]]
        assert all(first != second for first, second in zip(directions, directions[1:], strict=False))


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_one_access_per_cycle_when_the_chip_answers_in_time(delay: int) -> None:
    bench = Bench(seed=0, stall=0.0, outstanding=delay + 3, delay=delay)
    bench.run([(0, i, 15) for i in range(200)], [])
    assert bench.finished_at["b"] <= 200 + delay + 5
    bench = Bench(seed=0, stall=0.0, outstanding=delay + 3, delay=delay)
    bench.run([], [0] * 200)
    assert bench.finished_at["r"] <= 200 + delay + 5


@pytest.mark.parametrize("blocked, free", [("b", "r"), ("r", "b")])
def test_untaken_responses_do_not_block_the_other_direction(blocked: str, free: str) -> None:
    bench = Bench(seed=3, stall=0.2)
    bench.held[blocked] = True
    original = bench.perform

    def release_once_the_other_is_done(*access: int) -> tuple[int, int]:
        done = len(bench.reads if free == "r" else bench.writes)
        if done >= 30:
            bench.held[blocked] = False
        return original(*access)

    bench.perform = release_once_the_other_is_done
    bench.run([(0, i, 15) for i in range(40)], [0] * 40)
    assert len(bench.writes) == 40 and len(bench.reads) == 40


def test_latency_is_as_stated() -> None:
    slave = AxiLiteSlave()
    seen: dict[str, int] = {}

    async def bench(ctx):
        ctx.set(slave.request.ready, 1)
        ctx.set(slave.s_axi_araddr, 8)
        ctx.set(slave.s_axi_arvalid, 1)
        for cycle in range(12):
            if cycle == 1:
                ctx.set(slave.s_axi_arvalid, 0)
            if ctx.get(slave.request.valid):
                seen.setdefault("request", cycle)
                ctx.set(slave.response.valid, 1)
            elif "request" in seen:
                ctx.set(slave.response.valid, 0)
            if ctx.get(slave.s_axi_rvalid):
                seen.setdefault("rvalid", cycle)
            await ctx.tick()

    simulator = Simulator(slave)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen["request"] == AxiLiteSlave.REQUEST_LATENCY
    assert seen["rvalid"] == seen["request"] + AxiLiteSlave.RESPONSE_LATENCY


@pytest.mark.parametrize(
    "arguments, message", [({"address_width": 0}, "address_width must be"), ({"outstanding": 0}, "outstanding must be")]
)
def test_illegal_parameters_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AxiLiteSlave(**arguments)
