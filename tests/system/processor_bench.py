"""cocotb side of `test_processor_cocotb`: cocotbext-axi's master does the host's work, on files that the test wrote."""

from __future__ import annotations

import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from mixcim_hdl.registers import EVENT_COUNTERS, IDENTIFICATION, Event, Region, Register, window_address


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


def register(name: Register) -> int:
    return window_address(Region.REGISTERS, name)


@cocotb.test()
async def registers_answer(dut) -> None:
    master = await start(dut)
    assert await master.read_dword(register(Register.IDENTIFICATION)) == IDENTIFICATION
    assert (await master.write(register(Register.IDENTIFICATION), bytes(4))).resp == AxiResp.SLVERR
    assert (await master.write(register(Register.WATCHDOG), b"\1")).resp == AxiResp.SLVERR, "a part of a word"
    assert (await master.read(0xA000_0000, 4)).resp == AxiResp.SLVERR


@cocotb.test()
async def a_program_runs(dut) -> None:
    """Every memory window, the programming port, start, interrupt, result and counters."""
    master = await start(dut)
    files = np.load(os.environ["MIXCIM_BENCH"])
    for region in (Region.PROGRAM, Region.WEIGHTS, Region.PARAMETERS, Region.TILES, Region.ACTIVATIONS):
        response = await master.write(window_address(region), files[region.name].tobytes())
        assert response.resp == AxiResp.OKAY, region
    await master.write_dword(register(Register.MEMRISTOR_LINE), 0)
    for word in files["memristor"]:
        await master.write_dword(register(Register.MEMRISTOR_DATA), int(word))
    await master.write_dword(register(Register.MEMRISTOR_SPARE), 0)
    for column in files["repair"]:
        await master.write_dword(register(Register.MEMRISTOR_REPAIR), int(column))
    for select, value, words in (
        (Register.ADC_SELECT, Register.ADC_VALUE, files["adc"]),
        (Register.NOISE_INDEX, Register.NOISE_VALUE, files["noise_table"]),
    ):
        await master.write_dword(register(select), 0)
        for word in words:
            await master.write_dword(register(value), int(word))
    await master.write_dword(register(Register.NOISE_SEED), int(files["noise_seed"]))
    await master.write_dword(register(Register.INTERRUPT_ENABLE), 3)
    await master.write_dword(register(Register.CONTROL), 1)
    for _ in range(200_000):
        await RisingEdge(dut.clk)
        if dut.interrupt.value == 1:
            break
    assert await master.read_dword(register(Register.STATUS)) == 0b010
    got = await master.read(window_address(Region.ACTIVATIONS), files["memory"].size)
    assert np.array_equal(np.frombuffer(bytes(got.data), np.uint8), files["memory"].reshape(-1))
    for event in Event:
        address = window_address(Region.REGISTERS, EVENT_COUNTERS + 8 * event)
        low, high = [await master.read_dword(address + byte) for byte in (0, 4)]
        assert low + (high << 32) == files["events"][event], event
    await master.write_dword(register(Register.INTERRUPT_STATUS), 3)
    await RisingEdge(dut.clk)
    assert dut.interrupt.value == 0
