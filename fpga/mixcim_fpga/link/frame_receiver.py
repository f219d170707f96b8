"""FrameReceiver: bytes in, whole frames with a right CRC out."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..protocol import CRC_BYTES, MAX_WORDS, REQUEST_HEADER, REQUEST_SYNC, Command
from .frames import BUFFER_ADDRESS, HEADER_LAYOUT, REQUEST_LAYOUT, frame_crc
from .uart import BYTE_LAYOUT


class FrameReceiver(wiring.Component):
    """Finds requests in the bytes from the host; payloads go to one half of the request buffer after the other.

    Whatever is wrong (a byte that begins no frame, no stop bit, too many words, CRC, a pause of `gap` cycles within a
    frame, a frame before the last but one was taken) makes it ignore the line until that was quiet for `gap` cycles;
    then it offers one request with `garbled` set.

    Members
    -------
    received : stream of BYTE_LAYOUT, always ready.
    request : stream of REQUEST_LAYOUT. Taking one frees the half of the buffer of the request before it.
    write_enable, write_address, write_data : of the request buffer.
    """

    def __init__(self, gap: int) -> None:
        self._gap = gap
        super().__init__(
            {
                "received": In(stream.Signature(BYTE_LAYOUT, always_ready=True)),
                "request": Out(stream.Signature(REQUEST_LAYOUT)),
                "write_enable": Out(1),
                "write_address": Out(BUFFER_ADDRESS),
                "write_data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = frame_crc()
        byte, valid = self.received.payload.byte, self.received.valid
        came, broken, paused = Signal(), Signal(), Signal()
        header, bank, overrun = Signal(HEADER_LAYOUT), Signal(), Signal()
        left = Signal(range(4 * MAX_WORDS + 1))  # bytes of this part of the frame that are still to come
        word = Signal(24)  # the first three bytes of a word
        index = Signal(range(MAX_WORDS))
        quiet = Signal(range(self._gap + 1))
        m.d.comb += [
            came.eq(valid & ~self.received.payload.error),
            broken.eq((valid & self.received.payload.error) | (paused & ~valid)),
            paused.eq(quiet == self._gap),
            crc.data.eq(byte),
            crc.valid.eq(came),
            self.request.payload.header.eq(header),
            self.request.payload.bank.eq(bank),
            self.write_address.eq(Cat(index, bank)),
            self.write_data.eq(Cat(word, byte)),
        ]
        with m.If(valid):
            m.d.sync += [quiet.eq(0), left.eq(left - 1)]
        with m.Elif(~paused):
            m.d.sync += quiet.eq(quiet + 1)
        with m.FSM():
            with m.State("HUNT"):
                m.d.comb += crc.start.eq(1)  # together with a byte, that is the first one of its CRC
                m.d.sync += left.eq(REQUEST_HEADER - 1)
                with m.If(came & (byte == REQUEST_SYNC)):
                    m.next = "HEADER"
                with m.Elif(valid):
                    m.next = "DISCARD"
            with m.State("HEADER"):
                with m.If(came):
                    m.d.sync += header.eq(Cat(header.as_value()[8:], byte))
                    with m.If(left == 1):
                        m.next = "LENGTH"
                with m.Elif(broken):
                    m.next = "DISCARD"
            with m.State("LENGTH"):  # one cycle: the next byte is some bits away
                m.d.sync += [index.eq(0), left.eq(header.count << 2)]
                with m.If(~header.command.matches(Command.WRITE, Command.WRITE_SPARSE) | (header.count == 0)):
                    m.d.sync += left.eq(CRC_BYTES)
                    m.next = "CRC"
                with m.Elif(header.count > MAX_WORDS):
                    m.next = "DISCARD"
                with m.Else():
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                with m.If(came):
                    m.d.sync += word.eq(Cat(word[8:], byte))
                    with m.If(left[:2] == 1):  # the fourth byte of a word
                        m.d.comb += self.write_enable.eq(1)
                        m.d.sync += index.eq(index + 1)
                    with m.If(left == 1):
                        m.d.sync += left.eq(CRC_BYTES)
                        m.next = "CRC"
                with m.Elif(broken):
                    m.next = "DISCARD"
            with m.State("CRC"):
                with m.If(came & (left == 1)):
                    m.next = "CHECK"
                with m.Elif(broken):
                    m.next = "DISCARD"
            with m.State("CHECK"):
                m.d.sync += overrun.eq(0)
                with m.If(crc.match_detected):
                    m.next = "OFFER"
                with m.Else():
                    m.next = "DISCARD"
            with m.State("OFFER"):
                m.d.comb += self.request.valid.eq(1)
                m.d.sync += overrun.eq(overrun | valid)  # bytes of a frame for which there is no room
                with m.If(self.request.ready):
                    m.d.sync += bank.eq(~bank)
                    self._go_on(m, overrun | valid)
            with m.State("DISCARD"):
                m.d.sync += overrun.eq(0)
                with m.If(paused & ~valid):
                    m.next = "GARBLED"
            with m.State("GARBLED"):
                m.d.comb += [self.request.valid.eq(1), self.request.payload.garbled.eq(1)]
                m.d.sync += overrun.eq(overrun | valid)
                with m.If(self.request.ready):
                    self._go_on(m, overrun | valid)
        return m

    @staticmethod
    def _go_on(m: Module, missed: Value) -> None:
        """The state after a request was taken; `missed`: whether bytes came meanwhile."""
        with m.If(missed):
            m.next = "DISCARD"
        with m.Else():
            m.next = "HUNT"
