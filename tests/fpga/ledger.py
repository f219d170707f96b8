"""A host link in front of a small memory and of registers that count how often they are read and written."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mixcim_fpga.host_link import HostLink, link_ports
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.control.axi_lite import AxiLiteSlave, axi_lite_ports
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.primitives.ram import Ram

CHIP: ChipConfig = PRESETS["tiny"]  #: what the link says it is in front of
CLOCK = 8_000_000
MEMORY_WORDS = 2048
#: Writing mixes the word into a sum that depends on the order and number of words; reading gives that.
SUM = 0x8000
WRITES = 0x8004  #: reading gives how often SUM was written
TICKET = 0x8008  #: reading gives how often it was read before
ALARM = 0x800C  #: the interrupt comes so many cycles after a write, and goes with the next write


class Ledger(wiring.Component):
    """Memory from 0 on, SUM, WRITES, TICKET, ALARM; an error everywhere else."""

    def __init__(self, baud: int, gap_seconds: float) -> None:
        self._link = HostLink(CHIP, CLOCK, baud, gap_seconds=gap_seconds)
        super().__init__(link_ports())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.bus = bus = AxiLiteSlave()
        m.submodules.memory = memory = Ram(32, MEMORY_WORDS)
        for name, member in axi_lite_ports().items():
            source, sink = (link.host, bus) if member.flow is In else (bus, link.host)
            m.d.comb += getattr(sink, name).eq(getattr(source, name))
        access, asked, response = bus.request.payload, bus.request.valid, bus.response
        in_memory, known, from_memory = Signal(), Signal(), Signal()
        total, writes, tickets, alarm, value = (Signal(32) for _ in range(5))
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.busy.eq(link.busy),
            self.fault.eq(link.fault),
            bus.request.ready.eq(1),
            in_memory.eq(access.address < 4 * MEMORY_WORDS),
            memory.write_enable.eq(asked & in_memory & access.write),
            memory.write_address.eq(access.address >> 2),
            memory.write_data.eq(access.data),
            memory.read_enable.eq(1),
            memory.read_address.eq(access.address >> 2),
            response.payload.data.eq(Mux(from_memory, memory.read_data, value)),
        ]
        m.d.sync += [
            response.valid.eq(asked),
            response.payload.error.eq(~(in_memory | known)),
            from_memory.eq(in_memory),
        ]
        with m.Switch(access.address):
            with m.Case(SUM):
                m.d.comb += known.eq(1)
                m.d.sync += value.eq(total)
                with m.If(asked & access.write):
                    m.d.sync += [total.eq((total << 3) - total + access.data + 1), writes.eq(writes + 1)]
            with m.Case(WRITES):
                m.d.comb += known.eq(~access.write)
                m.d.sync += value.eq(writes)
            with m.Case(TICKET):
                m.d.comb += known.eq(~access.write)
                m.d.sync += value.eq(tickets)
                with m.If(asked & ~access.write):
                    m.d.sync += tickets.eq(tickets + 1)
            with m.Case(ALARM):
                m.d.comb += known.eq(access.write)
        with m.If(alarm != 0):
            m.d.sync += alarm.eq(alarm - 1)
            with m.If(alarm == 1):
                m.d.sync += link.interrupt.eq(1)
        with m.If(asked & access.write & (access.address == ALARM)):
            m.d.sync += [alarm.eq(access.data), link.interrupt.eq(0)]
        return m


def mixed(words: list[int]) -> int:
    """What SUM has after these words."""
    total = 0
    for word in words:
        total = (7 * total + word + 1) % (1 << 32)
    return total
