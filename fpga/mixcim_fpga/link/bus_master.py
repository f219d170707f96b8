"""BusMaster: bursts of words over the processor's host port, one access at a time."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mixcim_hdl.control.axi_lite import axi_lite_ports

from ..protocol import GROUP_WORDS, MAX_WORDS, WINDOW
from .frames import BUFFER_ADDRESS, BURST_WORDS, WORD_INDEX

#: A burst. `bank`: half of the request buffer that has the words to write; `count`: of the words to read, or of those
#: in the buffer, from 1 on; `sparse`: those are groups.
BURST_LAYOUT = data.StructLayout(
    {"write": 1, "sparse": 1, "address": 32, "step": 8, "count": range(MAX_WORDS + 1), "bank": range(WINDOW)}
)


class BusMaster(wiring.Component):
    """Makes the accesses of a burst one after the other; the first that is refused is the last one.

    One at a time is enough: an access takes about ten cycles, its word at least 160 on the line.

    Members
    -------
    burst : stream of BURST_LAYOUT; taken in the cycle in which the burst is over, with `done` and `response` valid.
    done : words that were accepted, those of a sparse burst that are 0 included.
    response : AXI response of the last access; 0 if all went well.
    host : the AXI4-Lite bus, as `axi_lite_ports` with directions reversed.
    source_address, source_data : of the request buffer; data come a cycle after their address.
    store_enable, store_address, store_data : of the reply buffer.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "burst": In(stream.Signature(BURST_LAYOUT)),
                "done": Out(range(BURST_WORDS + 1)),
                "response": Out(2),
                "host": Out(wiring.Signature(axi_lite_ports()).flip()),
                "source_address": Out(BUFFER_ADDRESS),
                "source_data": In(32),
                "store_enable": Out(1),
                "store_address": Out(WORD_INDEX),
                "store_data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        burst, host = self.burst.payload, self.host
        number = Signal(range(BURST_WORDS + 1))
        source = Signal(range(MAX_WORDS + 1))  # next word of the buffer
        mask, left, over = Signal(GROUP_WORDS), Signal(range(GROUP_WORDS + 1)), Signal()  # of a group
        word = Signal(32)  # block RAM is slow
        address = Signal(32)
        address_wanted, word_wanted = Signal(), Signal()  # what of a write the slave has not taken yet
        answered, response = Signal(), Signal(2)
        m.d.comb += [
            self.done.eq(number),
            self.source_address.eq(source | (burst.bank * MAX_WORDS)),
            over.eq(Mux(burst.sparse, (left == 0) & (source == burst.count), number == burst.count)),
            host.s_axi_awaddr.eq(address),
            host.s_axi_araddr.eq(address),
            host.s_axi_wdata.eq(word),
            host.s_axi_wstrb.eq(0xF),
            self.store_address.eq(number),
            self.store_data.eq(host.s_axi_rdata),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [number.eq(0), source.eq(0), left.eq(0), address.eq(burst.address)]
                with m.If(self.burst.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):  # the request buffer's read register follows the address
                m.d.sync += [address_wanted.eq(1), word_wanted.eq(1)]
                with m.If(~burst.write):
                    m.next = "READ"
                with m.Elif(burst.sparse & (left == 0)):
                    m.next = "GROUP"
                with m.Elif(burst.sparse & ~mask[0]):
                    m.d.sync += word.eq(0)
                    m.next = "WRITE"
                with m.Else():
                    m.next = "HOLD"
            with m.State("GROUP"):
                m.d.sync += [mask.eq(self.source_data), left.eq(GROUP_WORDS), source.eq(source + 1)]
                m.next = "BEGIN"
            with m.State("HOLD"):
                m.d.sync += [word.eq(self.source_data), source.eq(source + 1)]
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [host.s_axi_awvalid.eq(address_wanted), host.s_axi_wvalid.eq(word_wanted)]
                with m.If(host.s_axi_awready):
                    m.d.sync += address_wanted.eq(0)
                with m.If(host.s_axi_wready):
                    m.d.sync += word_wanted.eq(0)
                with m.If((host.s_axi_awready | ~address_wanted) & (host.s_axi_wready | ~word_wanted)):
                    m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += [
                    host.s_axi_bready.eq(1),
                    answered.eq(host.s_axi_bvalid),
                    response.eq(host.s_axi_bresp),
                ]
                with m.If(answered):
                    m.next = "NEXT"
            with m.State("READ"):
                m.d.comb += host.s_axi_arvalid.eq(1)
                with m.If(host.s_axi_arready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    host.s_axi_rready.eq(1),
                    answered.eq(host.s_axi_rvalid),
                    response.eq(host.s_axi_rresp),
                    self.store_enable.eq(answered),
                ]
                with m.If(answered):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.next = "BEGIN"
                with m.If((self.response != 0) | over):
                    m.d.comb += self.burst.ready.eq(1)
                    m.next = "IDLE"
        with m.If(answered):
            m.d.sync += [self.response.eq(response), address.eq(address + burst.step)]
            with m.If(burst.sparse):
                m.d.sync += [mask.eq(mask >> 1), left.eq(left - 1)]
            with m.If(response == 0):
                m.d.sync += number.eq(number + 1)
        return m
