"""A small processor-like top: a memory and a counter that raises the interrupt, behind `AxiLiteSlave`."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import Out

from mixcim_hdl.control.axi_lite import AxiLiteSlave, axi_lite_ports, forward_axi_lite

#: Byte address of the counter: writing starts it, it counts down to 0 and raises the interrupt; reading clears that.
COUNTER = 0x8000
MEMORY_WORDS = 1024


class Lane(wiring.Component):
    """One byte of the memory, so that the toy has equal blocks; read data come one cycle after the address."""

    def __init__(self) -> None:
        super().__init__({"address": wiring.In(10), "data": wiring.In(8), "write": wiring.In(1), "read": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = storage = memory.Memory(shape=8, depth=MEMORY_WORDS, init=[])
        reader, writer = storage.read_port(), storage.write_port()
        m.d.comb += [
            reader.addr.eq(self.address),
            writer.addr.eq(self.address),
            writer.data.eq(self.data),
            writer.en.eq(self.write),
            self.read.eq(reader.data),
        ]
        return m


class Toy(wiring.Component):
    """Memory of 1024 words at 0, counter at COUNTER, SLVERR elsewhere."""

    def __init__(self) -> None:
        super().__init__({**axi_lite_ports(), "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bus = bus = AxiLiteSlave()
        forward_axi_lite(m, self, bus)
        request, response = bus.request, bus.response
        access = request.payload
        in_memory, in_counter, answered, read_counter = Signal(), Signal(), Signal(), Signal()
        counter = Signal(32)
        m.d.comb += [
            request.ready.eq(1),
            in_memory.eq(access.address < 4 * MEMORY_WORDS),
            in_counter.eq(access.address == COUNTER),
        ]
        with m.If(counter != 0):
            m.d.sync += counter.eq(counter - 1)
            with m.If(counter == 1):
                m.d.sync += self.interrupt.eq(1)
        with m.If(request.valid & in_counter):
            with m.If(access.write):
                m.d.sync += counter.eq(access.data)
            with m.Else():
                m.d.sync += self.interrupt.eq(0)
        words = []
        for index in range(4):
            m.submodules[f"lane_{index}"] = lane = Lane()
            m.d.comb += [
                lane.address.eq(access.address[2:12]),
                lane.data.eq(access.data.word_select(index, 8)),
                lane.write.eq(request.valid & in_memory & access.write & access.strobe[index]),
            ]
            words.append(lane.read)
        m.d.sync += [
            answered.eq(request.valid),
            read_counter.eq(in_counter),
            response.payload.error.eq(~in_memory & ~in_counter),
        ]
        m.d.comb += response.valid.eq(answered)
        with m.If(read_counter):
            m.d.comb += response.payload.data.eq(counter)
        with m.Else():
            for index, word in enumerate(words):
                m.d.comb += response.payload.data.word_select(index, 8).eq(word)
        return m
