"""UART, 8 data bits, no parity, 1 stop bit: receiver and transmitter, with bits of any length in clock cycles.

A bit is `clock_frequency / baud` cycles, in steps of 1/256: at 25 MHz and 3 Mbaud it is 8.33 cycles, and rounding that
to 8 would be 4 % off, more than ten bits of a byte can bear. Single bits differ by a cycle, their mean does not.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

_FRACTION = 256  #: steps of a clock cycle
#: Cycles of a bit from which the middle of a bit is found well enough.
SHORTEST_BIT = 4
LONGEST_BIT = 1 << 16
#: A received byte; `error`: it had no stop bit.
BYTE_LAYOUT = data.StructLayout({"byte": 8, "error": 1})


def bit_length(clock_frequency: int, baud: int) -> int:
    """Length of a bit in 1/256 cycles. Raises ValueError for a baud rate that the clock cannot make."""
    if clock_frequency < 1 or baud < 1:
        raise ValueError(f"clock frequency and baud rate must be at least 1, not {clock_frequency} and {baud}")
    length = (clock_frequency * _FRACTION + baud // 2) // baud
    if not SHORTEST_BIT * _FRACTION <= length <= LONGEST_BIT * _FRACTION:
        raise ValueError(
            f"baud {baud} makes bits of {length / _FRACTION:.4g} cycles at {clock_frequency} Hz: choose a baud rate "
            f"from {-(-clock_frequency // LONGEST_BIT)} to {clock_frequency // SHORTEST_BIT}"
        )
    return length


class BitTimer(wiring.Component):
    """Ticks once a bit.

    Members
    -------
    load_half, load_whole : the next tick is half a bit, a whole bit from now.
    tick : high for one cycle; the next tick is a whole bit later, without a load.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        super().__init__({"load_half": In(1), "load_whole": In(1), "tick": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self._length + _FRACTION))
        m.d.comb += self.tick.eq(left < _FRACTION)
        with m.If(self.load_half):
            m.d.sync += left.eq(self._length // 2 - _FRACTION)
        with m.Elif(self.load_whole):
            m.d.sync += left.eq(self._length - _FRACTION)
        with m.Elif(self.tick):
            m.d.sync += left.eq(left + self._length - _FRACTION)
        with m.Else():
            m.d.sync += left.eq(left - _FRACTION)
        return m


class UartReceiver(wiring.Component):
    """Bytes from the `rx` pin. Each bit is sampled in its middle; a start bit that is gone by then was a glitch.

    Members
    -------
    rx : the pin, of no clock; two registers take it into the clock domain.
    received : stream of BYTE_LAYOUT without `ready`, one byte for one cycle, half a bit before the end of its stop bit.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        super().__init__(
            {
                "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]
                "received": Out(stream.Signature(BYTE_LAYOUT, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        m.submodules.timer = timer = BitTimer(self._length)
        content, count = Signal(8), Signal(range(8))
        m.d.comb += self.received.payload.byte.eq(content)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += timer.load_half.eq(1)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(timer.tick):
                m.d.sync += count.eq(0)
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "DATA"
            with m.State("DATA"), m.If(timer.tick):
                m.d.sync += [content.eq(Cat(content[1:], line)), count.eq(count + 1)]
                with m.If(count == 7):
                    m.next = "STOP"
            with m.State("STOP"), m.If(timer.tick):
                m.d.comb += [self.received.valid.eq(1), self.received.payload.error.eq(~line)]
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):  # no start bit before the line was high
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to the `tx` pin, back to back: 10 bits each.

    Members
    -------
    tx : the pin, from a register.
    byte : stream of 8 bits, taken when the byte before it has left.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        super().__init__(
            {
                "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
                "byte": In(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.timer = timer = BitTimer(self._length)
        shift, count = Signal(9, init=0x1FF), Signal(range(11))
        idle = Signal()
        m.d.comb += [idle.eq(count == 0), self.byte.ready.eq(idle | (timer.tick & (count == 1)))]
        with m.If(self.byte.ready & self.byte.valid):
            m.d.comb += timer.load_whole.eq(idle)  # behind a byte the timer runs on, with its fraction of a cycle
            m.d.sync += [self.tx.eq(0), shift.eq(Cat(self.byte.payload, 1)), count.eq(10)]
        with m.Elif(timer.tick & ~idle):
            m.d.sync += [self.tx.eq(shift[0]), shift.eq(Cat(shift[1:], 1)), count.eq(count - 1)]
        return m
