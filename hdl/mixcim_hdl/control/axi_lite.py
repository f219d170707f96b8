"""AXI4-Lite slave: the host's bus in, one in-order stream of word accesses out.

```
 AW --> FIFO --.
                >-- write --.
 W  --> FIFO --'             >-- alternate --> register --> request
 AR --> FIFO ----- read ----'                                  |
                                                             chip
 B  <-- FIFO <--.                                              |
                 >-- split, in the order of issue <--------- response
 R  <-- FIFO <--'
```

The accesses of both directions share the one request stream; when both wait, they take turns. An access is issued
only when its own response FIFO has room for the answer, so a host that does not take its write responses never blocks
reads, nor the other way round.

AXI rules: every ready is a function of registers alone and every valid of registers alone, so no path leads from one
channel to another within a cycle; valid never waits for ready; a payload is held until it is taken.
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Member, Out

DATA_BITS = 32
RESPONSE_OKAY = 0b00
RESPONSE_SLAVE_ERROR = 0b10


def request_layout(address_width: int) -> data.StructLayout:
    """One access of the internal bus.

    `address`: byte address, as it came from the bus; the receiver judges its alignment. `write`: 1 for a write.
    `data`, `strobe`: the word written and one enable per byte of it; without meaning in a read.
    """
    return data.StructLayout({"address": address_width, "write": 1, "data": DATA_BITS, "strobe": DATA_BITS // 8})


#: Answer to one access. `data`: the word read, without meaning after a write; `error`: 1 makes the bus answer SLVERR.
RESPONSE_LAYOUT = data.StructLayout({"data": DATA_BITS, "error": 1})


def axi_lite_ports(address_width: int = 32) -> dict[str, Member]:
    """Flat AXI4-Lite slave ports by their customary names, for the signature of a component that forwards them."""
    return {
        "s_axi_awaddr": In(address_width),
        "s_axi_awprot": In(3),
        "s_axi_awvalid": In(1),
        "s_axi_awready": Out(1),
        "s_axi_wdata": In(DATA_BITS),
        "s_axi_wstrb": In(DATA_BITS // 8),
        "s_axi_wvalid": In(1),
        "s_axi_wready": Out(1),
        "s_axi_bresp": Out(2),
        "s_axi_bvalid": Out(1),
        "s_axi_bready": In(1),
        "s_axi_araddr": In(address_width),
        "s_axi_arprot": In(3),
        "s_axi_arvalid": In(1),
        "s_axi_arready": Out(1),
        "s_axi_rdata": Out(DATA_BITS),
        "s_axi_rresp": Out(2),
        "s_axi_rvalid": Out(1),
        "s_axi_rready": In(1),
    }


def forward_axi_lite(m: Module, outer: wiring.Component, inner: wiring.Component) -> None:
    """Connect the `s_axi_*` ports of a parent to those of a component inside it; both have `axi_lite_ports()`."""
    for name, member in axi_lite_ports().items():
        source, sink = (outer, inner) if member.flow is In else (inner, outer)
        m.d.comb += getattr(sink, name).eq(getattr(source, name))


class AxiLiteSlave(wiring.Component):
    """Front of the chip on the host's AXI4-Lite bus, 32 bits of data.

    Sustains one access per cycle when the chip takes a request every cycle and answers it at most `outstanding - 3`
    cycles later (0: in the same cycle). A reset drops every access in flight; as AXI asks, the host is reset with it.
    Protection bits are ignored.

    Parameters
    ----------
    address_width: bits of a byte address.
    outstanding: accesses of each direction that may wait for their response to be taken; at least 1.

    Members
    -------
    s_axi_*: see `axi_lite_ports`.
    request: stream out of `request_layout(address_width)`; at most 2 * outstanding are unanswered.
    response: stream in of `RESPONSE_LAYOUT`, one per request, in order; ready is always 1, and a response may come in
        the very cycle in which its request is taken, not before.
    """

    #: Cycles from the later of the AW and W handshakes to request.valid, and from AR's, when nothing else waits.
    REQUEST_LATENCY = 2
    #: Cycles from the response handshake to bvalid or rvalid.
    RESPONSE_LATENCY = 1

    def __init__(self, address_width: int = 32, *, outstanding: int = 8) -> None:
        if not 1 <= address_width <= 64:
            raise ValueError(f"address_width must be from 1 to 64, not {address_width}")
        if outstanding < 1:
            raise ValueError(f"outstanding must be at least 1, not {outstanding}")
        self._address_width = address_width
        self._outstanding = outstanding
        super().__init__(
            {
                **axi_lite_ports(address_width),
                "request": Out(stream.Signature(request_layout(address_width))),
                "response": In(stream.Signature(RESPONSE_LAYOUT, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write_ready, write_taken = self._build_write_channels(m)
        read_ready, read_taken = self._build_read_channel(m)
        write_credit, read_credit = self._build_responses(m, write_taken, read_taken)
        self._build_arbiter(m, write_ready & write_credit, read_ready & read_credit, write_taken, read_taken)
        return m

    def _build_write_channels(self, m: Module) -> tuple[Signal, Signal]:
        """Buffer AW and W. Returns (an address and its data wait, take both)."""
        m.submodules.write_address = address = SyncFIFO(width=self._address_width, depth=2)
        m.submodules.write_data = word = SyncFIFO(width=DATA_BITS + DATA_BITS // 8, depth=2)
        ready, taken = Signal(name="write_ready"), Signal(name="write_taken")
        self._write_address, self._write_word = address.r_data, word.r_data
        m.d.comb += [
            address.w_data.eq(self.s_axi_awaddr),
            address.w_en.eq(self.s_axi_awvalid),
            self.s_axi_awready.eq(address.w_rdy),
            word.w_data[:DATA_BITS].eq(self.s_axi_wdata),
            word.w_data[DATA_BITS:].eq(self.s_axi_wstrb),
            word.w_en.eq(self.s_axi_wvalid),
            self.s_axi_wready.eq(word.w_rdy),
            ready.eq(address.r_rdy & word.r_rdy),
            address.r_en.eq(taken),
            word.r_en.eq(taken),
        ]
        return ready, taken

    def _build_read_channel(self, m: Module) -> tuple[Signal, Signal]:
        """Buffer AR. Returns (an address waits, take it)."""
        m.submodules.read_address = address = SyncFIFO(width=self._address_width, depth=2)
        ready, taken = Signal(name="read_ready"), Signal(name="read_taken")
        self._read_address = address.r_data
        m.d.comb += [
            address.w_data.eq(self.s_axi_araddr),
            address.w_en.eq(self.s_axi_arvalid),
            self.s_axi_arready.eq(address.w_rdy),
            ready.eq(address.r_rdy),
            address.r_en.eq(taken),
        ]
        return ready, taken

    def _build_arbiter(
        self, m: Module, write_possible: Value, read_possible: Value, write_taken: Signal, read_taken: Signal
    ) -> None:
        """Move one access per cycle into the request register; the direction that was not served last goes first."""
        last_was_write = Signal()
        free = Signal()
        request = self.request
        m.d.comb += [
            free.eq(~request.valid | request.ready),
            write_taken.eq(free & write_possible & ~(read_possible & last_was_write)),
            read_taken.eq(free & read_possible & ~write_taken),
        ]
        with m.If(free):
            m.d.sync += request.valid.eq(write_taken | read_taken)
        with m.If(write_taken | read_taken):
            m.d.sync += [
                last_was_write.eq(write_taken),
                request.payload.write.eq(write_taken),
                request.payload.data.eq(self._write_word[:DATA_BITS]),
                request.payload.strobe.eq(self._write_word[DATA_BITS:]),
            ]
            with m.If(write_taken):
                m.d.sync += request.payload.address.eq(self._write_address)
            with m.Else():
                m.d.sync += request.payload.address.eq(self._read_address)

    def _build_responses(self, m: Module, write_taken: Signal, read_taken: Signal) -> tuple[Signal, Signal]:
        """Send each answer to the channel of its request. Returns (a write may be issued, a read may be issued)."""
        depth = self._outstanding
        m.submodules.order = order = SyncFIFO(width=1, depth=2 * depth)
        m.submodules.write_response = write_response = SyncFIFO(width=1, depth=depth)
        m.submodules.read_response = read_response = SyncFIFO(width=DATA_BITS + 1, depth=depth)
        answer = self.response
        is_write = order.r_data
        m.d.comb += [
            order.w_data.eq(write_taken),
            order.w_en.eq(write_taken | read_taken),
            order.r_en.eq(answer.valid),
            write_response.w_data.eq(answer.payload.error),
            write_response.w_en.eq(answer.valid & is_write),
            read_response.w_data.eq(answer.payload.as_value()),
            read_response.w_en.eq(answer.valid & ~is_write),
            self.s_axi_bvalid.eq(write_response.r_rdy),
            self.s_axi_bresp[1].eq(write_response.r_data),
            write_response.r_en.eq(self.s_axi_bready),
            self.s_axi_rvalid.eq(read_response.r_rdy),
            self.s_axi_rdata.eq(read_response.r_data[:DATA_BITS]),
            self.s_axi_rresp[1].eq(read_response.r_data[DATA_BITS]),
            read_response.r_en.eq(self.s_axi_rready),
        ]
        write_credit = self._build_credit(m, "write", write_taken, self.s_axi_bvalid & self.s_axi_bready)
        read_credit = self._build_credit(m, "read", read_taken, self.s_axi_rvalid & self.s_axi_rready)
        return write_credit, read_credit

    def _build_credit(self, m: Module, name: str, issued: Signal, finished: Value) -> Signal:
        """Count accesses issued and not yet taken back by the host. Returns that one more may be issued."""
        count = Signal(range(self._outstanding + 1), name=f"{name}_count")
        credit = Signal(name=f"{name}_credit")
        m.d.comb += credit.eq(count != self._outstanding)
        m.d.sync += count.eq(count + issued - finished)
        return credit
