"""HostLink: a UART's pins on one side, the master of an AXI4-Lite bus on the other."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.control.axi_lite import axi_lite_ports
from mixcim_hdl.primitives.ram import Ram

from .link.bus_master import BusMaster
from .link.frame_receiver import FrameReceiver
from .link.frame_transmitter import FrameTransmitter
from .link.session import Session
from .link.uart import UartReceiver, UartTransmitter, bit_length
from .protocol import GAP_SECONDS, MAX_WORDS, WINDOW


def link_ports() -> dict[str, wiring.Member]:
    """Members of all that a host speaks to: the UART's pins, high when idle, and what the link tells of itself."""
    return {
        "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]
        "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
        "busy": Out(1),
        "fault": Out(1),
    }


class HostLink(wiring.Component):
    """Drives the processor's host port with what the host asks for over a UART; protocol.py has the frames.

    Throughput: writes come at the line's rate, while the host keeps WINDOW requests under way.

    Parameters
    ----------
    chip: what IDENTIFY tells of the processor.
    clock_frequency, baud: in Hz; at least 4 clock cycles a bit. Raises ValueError otherwise.
    gap_seconds: quiet time that ends a frame; at least that of two bytes is taken.

    Members
    -------
    rx, tx : the UART's pins.
    host : AXI4-Lite, as `axi_lite_ports` with directions reversed.
    interrupt : that of the processor.
    busy : a request is being executed or answered.
    fault : something came since reset that was no sound frame.
    """

    def __init__(self, chip: ChipConfig, clock_frequency: int, baud: int, *, gap_seconds: float = GAP_SECONDS) -> None:
        self._chip, self._clock_frequency = chip, clock_frequency
        self._bit_length = bit_length(clock_frequency, baud)
        self._gap = max(int(gap_seconds * clock_frequency), 20 * clock_frequency // baud)
        super().__init__(
            {
                **link_ports(),
                "host": Out(wiring.Signature(axi_lite_ports()).flip()),
                "interrupt": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart_receiver = uart_receiver = UartReceiver(self._bit_length)
        m.submodules.uart_transmitter = uart_transmitter = UartTransmitter(self._bit_length)
        m.submodules.receiver = receiver = FrameReceiver(self._gap)
        m.submodules.transmitter = transmitter = FrameTransmitter()
        m.submodules.session = session = Session(self._chip, self._clock_frequency)
        m.submodules.bus_master = master = BusMaster()
        m.submodules.request_buffer = requests = Ram(32, MAX_WORDS * WINDOW)
        m.submodules.reply_buffer = replies = Ram(32, MAX_WORDS)
        connect(m, uart_receiver.received, receiver.received)
        connect(m, receiver.request, session.request)
        connect(m, session.burst, master.burst)
        connect(m, session.reply, transmitter.reply)
        connect(m, transmitter.byte, uart_transmitter.byte)
        connect(m, master.host, wiring.flipped(self.host))
        m.d.comb += [
            uart_receiver.rx.eq(self.rx),
            self.tx.eq(uart_transmitter.tx),
            session.interrupt.eq(self.interrupt),
            session.done.eq(master.done),
            session.response.eq(master.response),
            self.busy.eq(session.busy),
            requests.write_enable.eq(receiver.write_enable),
            requests.write_address.eq(receiver.write_address),
            requests.write_data.eq(receiver.write_data),
            requests.read_enable.eq(1),
            requests.read_address.eq(master.source_address),
            master.source_data.eq(requests.read_data),
            replies.write_enable.eq(master.store_enable | session.store_enable),
            replies.write_address.eq(master.store_address),
            replies.write_data.eq(master.store_data),
            replies.read_enable.eq(1),
            replies.read_address.eq(transmitter.read_address),
            transmitter.read_data.eq(replies.read_data),
        ]
        with m.If(session.store_enable):
            m.d.comb += [
                replies.write_address.eq(session.store_address),
                replies.write_data.eq(session.store_data),
            ]
        with m.If(session.garbled):
            m.d.sync += self.fault.eq(1)
        return m
