"""The processor's RTL in Amaranth's own simulator: slow, but there is no Verilog and no compiler in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from mixcim_hdl.config import ChipConfig

from .simulator import BusError

Job = Callable[[Any], Awaitable[None]]


class AmaranthBus:
    """Host port of a chip in Amaranth's simulator, freshly reset; give it to `host.Processor`.

    The test bench inside does one job after the other; a call puts in a job and advances time until it is done.
    `cycle`: clock cycles so far.
    """

    def __init__(self, chip: ChipConfig) -> None:
        # Imported here: everything else in this package works without Amaranth, and much faster to start.
        from amaranth.sim import Simulator

        from mixcim_hdl.processor import Processor

        self.cycle = 0
        self._ports: Any = Processor(chip)
        self._job: Job | None = None
        self._error: Exception | None = None
        self._simulator = Simulator(self._ports)
        self._simulator.add_clock(1e-6)
        self._simulator.add_testbench(self._bench)
        self._do(self._settle)

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        """Write words (uint32) to address, address + step, ..., back to back. Raises BusError if the chip refuses one;
        words after it may have been written."""
        values = np.ascontiguousarray(words).reshape(-1).tolist()
        self._do(lambda ctx: self._write(ctx, address, values, step))

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        """Read uint32 (count,) from address, address + step, ... Raises BusError if the chip refuses one."""
        values: list[int] = []

        async def job(ctx: Any) -> None:
            for index in range(count):
                values.append(await self._read(ctx, address + index * step))

        self._do(job)
        return np.array(values, np.uint32)

    def run_until_interrupt(self, max_cycles: int) -> int:
        """Advance the clock until the interrupt is up, at most `max_cycles`; cycles taken."""
        begin = self.cycle

        async def job(ctx: Any) -> None:
            while not ctx.get(self._ports.interrupt) and self.cycle - begin < max_cycles:
                await self._tick(ctx)

        self._do(job)
        return self.cycle - begin

    def _do(self, job: Job) -> None:
        self._job = job
        while self._job is not None:
            self._simulator.advance()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def _bench(self, ctx: Any) -> None:
        while True:
            if self._job is not None:
                try:
                    await self._job(ctx)
                except BusError as error:
                    self._error = error
                self._job = None
            await self._tick(ctx)

    async def _settle(self, ctx: Any) -> None:
        """Wait out the reset that the processor gives itself at power-on; be ready for every response."""
        ctx.set(self._ports.s_axi_bready, 1)
        ctx.set(self._ports.s_axi_rready, 1)
        ctx.set(self._ports.s_axi_wstrb, 0b1111)
        for _ in range(4):
            await self._tick(ctx)

    async def _tick(self, ctx: Any, *signals: Any) -> list[int]:
        """One cycle; the signals' values right before the clock edge."""
        self.cycle += 1
        return [int(value) for value in (await ctx.tick().sample(*signals))[2:]]

    async def _write(self, ctx: Any, address: int, words: list[int], step: int) -> None:
        """Addresses and data wait for their own ready each; ends when every word is acknowledged."""
        ports = self._ports
        addressed = sent = answered = 0
        refused = None
        while answered < len(words):
            ctx.set(ports.s_axi_awvalid, addressed < len(words))
            ctx.set(ports.s_axi_wvalid, sent < len(words))
            ctx.set(ports.s_axi_awaddr, address + min(addressed, len(words) - 1) * step)
            ctx.set(ports.s_axi_wdata, words[min(sent, len(words) - 1)])
            offered = (addressed < len(words), sent < len(words))
            address_taken, data_taken, response_valid, response = await self._tick(
                ctx, ports.s_axi_awready, ports.s_axi_wready, ports.s_axi_bvalid, ports.s_axi_bresp
            )
            if response_valid and response and refused is None:
                refused = BusError("write", address + answered * step, response)
            addressed += offered[0] and address_taken
            sent += offered[1] and data_taken
            answered += response_valid
        ctx.set(ports.s_axi_awvalid, 0)
        ctx.set(ports.s_axi_wvalid, 0)
        if refused is not None:
            raise refused

    async def _read(self, ctx: Any, address: int) -> int:
        ports = self._ports
        ctx.set(ports.s_axi_araddr, address)
        ctx.set(ports.s_axi_arvalid, 1)
        while True:
            taken, answered, response, word = await self._tick(
                ctx, ports.s_axi_arready, ports.s_axi_rvalid, ports.s_axi_rresp, ports.s_axi_rdata
            )
            if taken:
                ctx.set(ports.s_axi_arvalid, 0)
            if answered:
                if response:
                    raise BusError("read", address, response)
                return word
