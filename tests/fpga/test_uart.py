"""UART blocks: bits of any length, hosts whose clock is a little off, glitches and missing stop bits."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from mixcim_fpga.link.uart import UartReceiver, UartTransmitter, bit_length

CONTENT = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *random.Random(3).randbytes(26)]


def levels(content: list[int], bit: float, stop_bits: float = 1) -> list[int]:
    """What a UART with bits of so many cycles puts on the line, cycle by cycle."""
    edges, time = [], 0.0
    for byte in content:
        for level in (0, *(byte >> number & 1 for number in range(8))):
            edges.append((time, level))
            time += bit
        edges.append((time, 1))
        time += stop_bits * bit
    line, level = [], 1
    for cycle in range(round(time) + 1):
        while edges and edges[0][0] <= cycle:
            level = edges.pop(0)[1]
        line.append(level)
    return line


def received(line: list[int], length: int) -> list[tuple[int, int]]:
    """(byte, error) for everything that a receiver makes of a line."""
    receiver = UartReceiver(length)
    found = []

    async def bench(context) -> None:
        context.set(receiver.rx, 1)
        await context.tick().repeat(20)
        for level in [*line, *[1] * (20 * length // 256)]:
            context.set(receiver.rx, level)
            _, _, valid, byte, error = await context.tick().sample(
                receiver.received.valid, receiver.received.payload.byte, receiver.received.payload.error
            )
            if valid:
                found.append((byte, error))

    simulator = Simulator(receiver)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("bit", [4, 8 + 1 / 3, 217.01])
def test_bytes_go_through_transmitter_and_receiver_at_the_line_rate(bit: float) -> None:
    length = bit_length(round(bit * 100_000), 100_000)
    m = Module()
    m.submodules.transmitter = transmitter = UartTransmitter(length)
    m.submodules.receiver = receiver = UartReceiver(length)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    content = CONTENT if bit < 100 else CONTENT[:6]
    found, times = [], []

    async def send(context) -> None:
        await context.tick().repeat(10)
        context.set(transmitter.byte.valid, 1)
        for byte in content:
            context.set(transmitter.byte.payload, byte)
            await context.tick().until(transmitter.byte.ready)
        context.set(transmitter.byte.valid, 0)

    async def receive(context) -> None:
        cycle = 0
        while len(found) < len(content):
            _, _, valid, byte, error = await context.tick().sample(
                receiver.received.valid, receiver.received.payload.byte, receiver.received.payload.error
            )
            cycle += 1
            if valid:
                assert not error
                found.append(byte)
                times.append(cycle)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    simulator.run()
    assert found == content
    assert abs(times[-1] - times[0] - 10 * bit * (len(content) - 1)) <= 2  # no cycle between bytes is lost


@pytest.mark.parametrize("bit", [8, 8 + 1 / 3, 20])
@pytest.mark.parametrize("off", [-0.03, 0.0, 0.03])
def test_a_host_whose_clock_is_off_by_3_percent_is_understood(bit: float, off: float) -> None:
    line = levels(CONTENT, bit * (1 + off))
    assert received(line, bit_length(round(bit * 100_000), 100_000)) == [(byte, 0) for byte in CONTENT]


def test_a_glitch_is_no_start_bit() -> None:
    quiet = [1] * 40
    line = [*quiet, 0, 0, 0, *quiet, *levels([0x5A], 10), *quiet]
    assert received(line, bit_length(1_000_000, 100_000)) == [(0x5A, 0)]


def test_a_missing_stop_bit_is_an_error_and_the_next_byte_is_right() -> None:
    broken = levels([0x3C], 10)
    broken[90:] = [0] * 25  # the line stays low, then goes high: no start bit in between
    line = [*broken, *[1] * 10, *levels([0xC3], 10)]
    assert received(line, bit_length(1_000_000, 100_000)) == [(0x3C, 1), (0xC3, 0)]


def test_baud_rates_that_the_clock_cannot_make_are_refused() -> None:
    assert bit_length(25_000_000, 3_000_000) == 2133  # 8.33 cycles
    with pytest.raises(
        ValueError, match="makes bits of 2.5 cycles at 25000000 Hz: choose a baud rate from 382 to 6250000"
    ):
        bit_length(25_000_000, 10_000_000)
    with pytest.raises(ValueError, match="choose a baud rate"):
        bit_length(25_000_000, 300)
    with pytest.raises(ValueError, match="must be at least 1, not 25000000 and 0"):
        bit_length(25_000_000, 0)
