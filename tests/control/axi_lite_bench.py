"""cocotb side of `test_axi_lite_cocotb`: runs inside the simulator, with a bus master that we did not write."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

COUNTER = 0x8000
MEMORY_BYTES = 4096


async def start(dut) -> AxiLiteMaster:
    """Clock, reset, and a master on the bus."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return master


def stall(master: AxiLiteMaster, seed: int) -> None:
    """Seeded pauses on all five channels."""
    writer, reader = master.write_if, master.read_if
    assert writer is not None and reader is not None
    channels = (writer.aw_channel, writer.w_channel, writer.b_channel, reader.ar_channel, reader.r_channel)
    for number, channel in enumerate(channels):
        generator = random.Random(seed + number)
        channel.set_pause_generator(generator.random() < 0.4 for _ in itertools.count())


@cocotb.test()
async def bytes_at_any_alignment(dut) -> None:
    master = await start(dut)
    generator = random.Random(7)
    for paused in (False, True):
        if paused:
            stall(master, 7)
        for _ in range(30):
            address = generator.randrange(MEMORY_BYTES - 40)
            content = generator.randbytes(generator.randrange(1, 40))
            written = await master.write(address, content)
            assert written.resp == AxiResp.OKAY
            read = await master.read(address, len(content))
            assert read.resp == AxiResp.OKAY
            assert read.data == content


@cocotb.test()
async def reads_and_writes_at_the_same_time(dut) -> None:
    master = await start(dut)
    stall(master, 21)
    first, second = random.Random(1).randbytes(512), random.Random(2).randbytes(512)
    await master.write(0, first)
    reading = cocotb.start_soon(master.read(0, 512))
    await master.write(1024, second)
    assert (await reading).data == first
    assert (await master.read(1024, 512)).data == second


@cocotb.test()
async def illegal_addresses_answer_with_an_error(dut) -> None:
    master = await start(dut)
    assert (await master.write(0x4000, b"1234")).resp == AxiResp.SLVERR
    assert (await master.read(0x4000, 4)).resp == AxiResp.SLVERR
    assert (await master.read(0, 4)).resp == AxiResp.OKAY


@cocotb.test()
async def counter_raises_the_interrupt(dut) -> None:
    master = await start(dut)
    await master.write_dword(COUNTER, 50)
    for _ in range(80):
        await RisingEdge(dut.clk)
    assert dut.interrupt.value == 1
    assert await master.read_dword(COUNTER) == 0
    await RisingEdge(dut.clk)
    assert dut.interrupt.value == 0
