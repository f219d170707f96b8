"""Queues of a few entries, in a memory or in registers: the same cycle by cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out


class MemoryQueue(wiring.Component):
    """Stream in -> stream out, `depth` entries of `shape`; latency 1, one a cycle."""

    def __init__(self, shape: Any, depth: int):
        self._depth = depth
        super().__init__({"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        source, target = Value.cast(self.input.payload), Value.cast(self.output.payload)
        m.submodules.entries = entries = SyncFIFO(width=len(source), depth=self._depth)
        m.d.comb += [
            entries.w_data.eq(source),
            entries.w_en.eq(self.input.valid),
            self.input.ready.eq(entries.w_rdy),
            target.eq(entries.r_data),
            self.output.valid.eq(entries.r_rdy),
            entries.r_en.eq(self.output.ready),
        ]
        return m


class RegisterQueue(wiring.Component):
    """MemoryQueue whose output is a register, and whose room depends on registers alone.

    ```
     input --> entry depth - 1 --> ... --> entry 0 --> output       each takes `input` where the one behind it is empty
    ```

    For long ways, and for FPGAs: a memory's address would drive a LUT a bit, and its word would come after that.
    """

    def __init__(self, shape: Any, depth: int):
        self._depth = depth
        super().__init__({"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._depth
        # Whether there are more than so many entries: what hangs on it hangs on a register.
        above = [Signal(name=f"above{index}") for index in range(depth)]
        given, taken = Signal(), Signal()
        source, target = Value.cast(self.input.payload), Value.cast(self.output.payload)
        entries = [target, *(Signal(len(target), name=f"entry{index}") for index in range(1, depth))]
        m.d.comb += [
            self.input.ready.eq(~above[-1]),
            self.output.valid.eq(above[0]),
            given.eq(self.input.valid & self.input.ready),
            taken.eq(self.output.valid & self.output.ready),
        ]
        for index, entry in enumerate(entries):
            # What an empty entry holds means nothing, so no enable waits for input.valid, nor the last one for `taken`.
            if index + 1 < depth:
                with m.If(taken | ~above[index]):
                    m.d.sync += entry.eq(Mux(above[index + 1], entries[index + 1], source))
            else:
                with m.If(self.input.ready):
                    m.d.sync += entry.eq(source)
            less = above[index - 1] if index else C(1)
            more = above[index + 1] if index + 1 < depth else C(0)
            with m.If(given & ~taken):
                m.d.sync += above[index].eq(less)
            with m.If(taken & ~given):
                m.d.sync += above[index].eq(more)
        return m
