"""Session: decides which requests are executed, executes them, and keeps the last reply."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.registers import CONTRACT_VERSION

from ..protocol import (
    IDENTITY_WORDS,
    LINK_IDENTIFICATION,
    LINK_VERSION,
    MAX_WORDS,
    WAIT_WORDS,
    WINDOW,
    Command,
    Status,
)
from .bus_master import BURST_LAYOUT
from .frames import BURST_WORDS, HEADER_LAYOUT, REPLY_LAYOUT, REQUEST_LAYOUT, WORD_INDEX

_BURSTS = (Command.WRITE, Command.WRITE_SPARSE, Command.READ)


class Session(wiring.Component):
    """Answers each request with one reply, as protocol.py has it.

    Members
    -------
    request : stream of REQUEST_LAYOUT; taken when everything before it is answered.
    reply : stream of REPLY_LAYOUT; its payload is in the reply buffer.
    burst, done, response : of the BusMaster.
    store_enable, store_address, store_data : of the reply buffer; never while a burst is under way.
    interrupt : that of the processor.
    busy : a request is at work, its reply included.    garbled : high for a cycle when there was no sound frame.
    """

    def __init__(self, chip: ChipConfig, clock_frequency: int) -> None:
        self._chip, self._clock_frequency = chip, clock_frequency
        super().__init__(
            {
                "request": In(stream.Signature(REQUEST_LAYOUT)),
                "reply": Out(stream.Signature(REPLY_LAYOUT)),
                "burst": Out(stream.Signature(BURST_LAYOUT)),
                "done": In(range(BURST_WORDS + 1)),
                "response": In(2),
                "store_enable": Out(1),
                "store_address": Out(WORD_INDEX),
                "store_data": Out(32),
                "interrupt": In(1),
                "busy": Out(1),
                "garbled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        header, bank = Signal(HEADER_LAYOUT), Signal(range(WINDOW))
        begun, halted = Signal(), Signal(init=1)  # there was an IDENTIFY; nothing is executed before the next one
        last, kept = Signal(8), Signal(REPLY_LAYOUT)  # the request executed last, and its reply
        refuse, refusal = Signal(), Signal(Status)  # the reply is not the kept one, but this status alone
        repeated, in_order, bursting = Signal(), Signal(), Signal()
        result, flags = Signal(32), Signal(2)  # the two words of a reply to WAIT, and to a burst that failed
        index = Signal(range(len(IDENTITY_WORDS) + 1))
        reply = self.reply.payload
        m.d.sync += [  # looked at a cycle after the header is there
            repeated.eq(begun & (header.sequence == last)),
            in_order.eq(~halted & (header.sequence == (last + 1)[:8])),
            bursting.eq(header.command.matches(*_BURSTS) & (header.count <= MAX_WORDS)),
        ]
        m.d.comb += [
            self.burst.payload.write.eq(header.command != Command.READ),
            self.burst.payload.sparse.eq(header.command == Command.WRITE_SPARSE),
            self.burst.payload.address.eq(header.address),
            self.burst.payload.step.eq(header.step),
            self.burst.payload.count.eq(header.count),
            self.burst.payload.bank.eq(bank),
            reply.eq(kept),
            reply.last.eq(last),
            self.busy.eq(1),
        ]
        with m.If(refuse):
            m.d.comb += [reply.sequence.eq(header.sequence), reply.status.eq(refusal), reply.count.eq(0)]

        def execute() -> None:
            """From now on this request is `last`; its reply is a bare DONE until there is more."""
            m.d.sync += [last.eq(header.sequence), kept.eq(0), kept.sequence.eq(header.sequence)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.busy.eq(0), self.request.ready.eq(1)]
                m.d.sync += [header.eq(self.request.payload.header), bank.eq(self.request.payload.bank)]
                m.d.sync += [refuse.eq(self.request.payload.garbled), refusal.eq(Status.GARBLED)]
                m.d.sync += [result.eq(0), index.eq(0)]
                with m.If(self.request.valid):
                    m.d.comb += self.garbled.eq(self.request.payload.garbled)
                    m.next = "WEIGH"
            with m.State("WEIGH"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "REPLY"
                with m.If(refuse):
                    pass
                with m.Elif(header.command == Command.IDENTIFY):
                    execute()
                    m.d.sync += [begun.eq(1), halted.eq(0)]
                    m.next = "STORE"
                with m.Elif(repeated):
                    pass
                with m.Elif(~in_order):
                    m.d.sync += [refuse.eq(1), refusal.eq(Mux(halted, Status.HALTED, Status.OUT_OF_ORDER))]
                with m.Elif(header.command == Command.WAIT):
                    execute()
                    m.next = "WAIT"
                with m.Elif(bursting):
                    execute()
                    with m.If(header.count != 0):
                        m.next = "BURST"
                with m.Else():
                    m.d.sync += [refuse.eq(1), refusal.eq(Status.ILLEGAL)]
            with m.State("WAIT"):
                m.d.sync += flags.eq(self.interrupt)
                with m.If(self.interrupt | (result == header.address)):
                    m.next = "STORE"
                with m.Else():
                    m.d.sync += result.eq(result + 1)
            with m.State("BURST"):
                m.d.comb += self.burst.valid.eq(1)
                m.d.sync += [result.eq(self.done), flags.eq(self.response)]
                with m.If(self.burst.ready):
                    m.next = "REPLY"
                    with m.If(self.response != 0):
                        m.d.sync += [halted.eq(1), kept.status.eq(Status.BUS_ERROR)]
                        m.next = "STORE"
                    with m.Elif(header.command == Command.READ):
                        m.d.sync += kept.count.eq(header.count)
            with m.State("STORE"):  # a reply that is not the words of a READ
                identify = header.command == Command.IDENTIFY
                count = Mux(identify, len(IDENTITY_WORDS), len(WAIT_WORDS))
                m.d.comb += [
                    self.store_enable.eq(1),
                    self.store_address.eq(index),
                    self.store_data.eq(
                        Mux(identify, self._identity(header.address)[index], Array([result, flags])[index])
                    ),
                ]
                m.d.sync += [index.eq(index + 1), kept.count.eq(count)]
                with m.If(index == count - 1):
                    m.next = "REPLY"
            with m.State("REPLY"):
                m.d.comb += self.reply.valid.eq(1)
                with m.If(self.reply.ready):
                    m.next = "IDLE"
        return m

    def _identity(self, nonce: Value) -> Array:
        """The words of IDENTIFY's reply."""
        words = {
            "identification": Const(LINK_IDENTIFICATION, 32),
            "nonce": nonce,
            "link_version": Const(LINK_VERSION, 32),
            "contract_version": Const(CONTRACT_VERSION, 32),
            "fingerprint": Const(self._chip.fingerprint, 32),
            "clock_frequency": Const(self._clock_frequency, 32),
            "limits": Const(WINDOW << 16 | MAX_WORDS, 32),
        }
        return Array(words[name] for name in IDENTITY_WORDS)
