"""FrameTransmitter: a reply as bytes, with its CRC."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..protocol import CRC_BYTES, MAX_WORDS, REPLY_HEADER, REPLY_SYNC
from .frames import REPLY_LAYOUT, WORD_INDEX, frame_crc


class FrameTransmitter(wiring.Component):
    """Sends a reply, its payload out of the reply buffer.

    Members
    -------
    reply : stream of REPLY_LAYOUT; taken with the last byte, so header and buffer must stay until then.
    read_address, read_data : of the reply buffer; data come a cycle after their address.
    byte : stream of 8 bits, to the UART.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "reply": In(stream.Signature(REPLY_LAYOUT)),
                "read_address": Out(WORD_INDEX),
                "read_data": In(32),
                "byte": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = frame_crc()
        header = Cat(Const(REPLY_SYNC, 8), self.reply.payload.as_value())
        number = Signal(range(4 * MAX_WORDS + 1))  # of the byte in its part of the frame
        held = Signal(8)  # block RAM is slow, and the byte goes through the CRC
        sent = Signal()
        summed, to_sum = Signal(8), Signal()  # the byte goes into the CRC a cycle after it was sent
        m.d.sync += [summed.eq(self.byte.payload), to_sum.eq(0)]
        m.d.comb += [
            sent.eq(self.byte.valid & self.byte.ready),
            crc.data.eq(summed),
            crc.valid.eq(to_sum),
            self.read_address.eq(number[2:]),
        ]
        with m.If(sent):
            m.d.sync += number.eq(number + 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += number.eq(0)
                with m.If(self.reply.valid):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [self.byte.valid.eq(1), self.byte.payload.eq(header.word_select(number[:3], 8))]
                m.d.sync += to_sum.eq(sent)
                with m.If(sent & (number == REPLY_HEADER - 1)):
                    m.d.sync += number.eq(0)
                    with m.If(self.reply.payload.count == 0):
                        m.next = "SUM"
                    with m.Else():
                        m.next = "FETCH"
            with m.State("FETCH"):  # the buffer's read register follows the address
                m.next = "HOLD"
            with m.State("HOLD"):
                m.d.sync += held.eq(self.read_data.word_select(number[:2], 8))
                m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += [self.byte.valid.eq(1), self.byte.payload.eq(held)]
                m.d.sync += to_sum.eq(sent)
                with m.If(sent):
                    m.next = "FETCH"
                    with m.If(number == (self.reply.payload.count << 2) - 1):
                        m.d.sync += number.eq(0)
                        m.next = "SUM"
            with m.State("SUM"):
                m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [self.byte.valid.eq(1), self.byte.payload.eq(crc.crc.word_select(number[:2], 8))]
                with m.If(sent & (number == CRC_BYTES - 1)):
                    m.d.comb += self.reply.ready.eq(1)
                    m.next = "IDLE"
        return m
