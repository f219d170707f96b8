"""cocotb side of `test_uart_cocotb`: runs inside the simulator, with a UART that we did not write."""

import random
import struct
import zlib

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.uart import UartSink, UartSource

BAUD = 1_000_000  #: at 8 MHz: 125 ns a clock cycle


async def start(dut) -> tuple[UartSource, UartSink]:
    """Clock, reset, and a UART at the pins."""
    source, sink = UartSource(dut.rx, baud=BAUD), UartSink(dut.tx, baud=BAUD)
    Clock(dut.clk, 125, unit="ns").start()
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return source, sink


def request(sequence: int, command: int, address: int, words: list[int] | None = None, count: int = 0) -> bytes:
    """A frame, written from the protocol's text and not with the driver's code."""
    count = count if words is None else len(words)
    frame = struct.pack("<BBBBHI", 0xA6, sequence, command, 4, count, address)
    frame += b"" if words is None else struct.pack(f"<{len(words)}I", *words)
    return frame + struct.pack("<I", zlib.crc32(frame))


async def answer(sink: UartSink) -> tuple[int, int, list[int]]:
    """(sequence, status, words) of the next reply."""
    frame = b""
    while len(frame) < 6 or len(frame) < 10 + 4 * struct.unpack("<H", frame[4:6])[0]:
        frame += bytes(await sink.read(1))
    assert frame[0] == 0x59
    assert struct.unpack("<I", frame[-4:])[0] == zlib.crc32(frame[:-4])
    return frame[1], frame[2], list(struct.unpack(f"<{len(frame) // 4 - 2}I", frame[6:-4]))


@cocotb.test()
async def an_independent_uart_talks_to_the_link(dut) -> None:
    source, sink = await start(dut)
    await source.write(request(10, 1, 0xCAFE))
    sequence, status, words = await answer(sink)
    assert (sequence, status, words[:2]) == (10, 0, [0x4E4C584D, 0xCAFE])
    content = [random.Random(1).randrange(1 << 32) for _ in range(40)]
    await source.write(request(11, 2, 0x100, content))
    assert await answer(sink) == (11, 0, [])
    await source.write(request(12, 3, 0x100, count=40))
    assert await answer(sink) == (12, 0, content)
    assert dut.fault.value == 0


@cocotb.test()
async def a_byte_of_another_rate_is_garbled_and_answered(dut) -> None:
    _, sink = await start(dut)
    dut.rx.value = 0  # 20 us low: no stop bit
    for _ in range(160):
        await RisingEdge(dut.clk)
    dut.rx.value = 1
    assert (await answer(sink))[1] == 4
    assert dut.fault.value == 1
