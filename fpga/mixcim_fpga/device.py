"""Device: the processor and its host link, all that a board's top has to connect to pins."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.control.axi_lite import axi_lite_ports
from mixcim_hdl.processor import Processor

from .host_link import HostLink, link_ports
from .protocol import GAP_SECONDS


class Device(wiring.Component):
    """A chip whose host port is reached over a UART.

    Parameters as for HostLink.

    Members
    -------
    rx, tx : the UART's pins.
    busy : a request is being executed or answered.
    fault : something came since reset that was no sound frame; a sign of a bad cable or another baud rate.
    """

    def __init__(self, chip: ChipConfig, clock_frequency: int, baud: int, *, gap_seconds: float = GAP_SECONDS) -> None:
        self._chip = chip
        self._link = HostLink(chip, clock_frequency, baud, gap_seconds=gap_seconds)
        super().__init__(link_ports())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.processor = processor = Processor(self._chip)
        for name, member in axi_lite_ports().items():
            source, sink = (link.host, processor) if member.flow is In else (processor, link.host)
            m.d.comb += getattr(sink, name).eq(getattr(source, name))
        m.d.comb += [
            link.rx.eq(self.rx),
            link.interrupt.eq(processor.interrupt),
            self.tx.eq(link.tx),
            self.busy.eq(link.busy),
            self.fault.eq(link.fault),
        ]
        return m
