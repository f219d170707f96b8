"""A chip cut into blocks: the same signals in every cycle as in one piece, while blocks rest and wake."""

import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixcim.rtl import blocks
from mixcim.rtl.build import build_library
from mixcim.rtl.simulator import Simulator
from mixcim.rtl.unit import Unit
from mixcim_hdl.control.axi_lite import axi_lite_ports
from mixcim_hdl.emission import once
from mixcim_hdl.primitives.ram import Ram
from mixcim_hdl.verilog import to_verilog


class Inner(wiring.Component):
    """A memory that is read and, where `stir`, written in every cycle; a ready that depends on inputs."""

    def __init__(self) -> None:
        super().__init__(
            {"table": In(4), "stir": In(1), "wide": In(100), "take": In(1), "ready": Out(1), "y": Out(100), "z": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = Ram(100, 16)
        count = Signal(3)
        # Registers before the write port: the state stays the same while the contents change, once.
        m.d.sync += [ram.write_enable.eq(self.stir), ram.write_data.eq(self.wide)]
        m.d.comb += [
            ram.read_enable.eq(1),
            ram.read_address.eq(self.table),
            ram.write_address.eq(self.table),
            self.y.eq(ram.read_data ^ self.wide[:7]),
            self.ready.eq(self.take & (count != 5)),
            self.z.eq(count[2]),
        ]
        with m.If(self.take):
            m.d.sync += count.eq(count + ram.read_data[:2])
        return m


class Outer(wiring.Component):
    """Two of them, one after the other, the second one's ready going back through the first."""

    def __init__(self) -> None:
        super().__init__({"integer": In(4), "stir": In(1), "wide": In(100), "take": In(1), "y": Out(100), "go": Out(2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first, second = Inner(), Inner()
        m.submodules.first, m.submodules.second = once(first, "inner", platform), once(second, "inner", platform)
        m.d.comb += [
            first.table.eq(self.integer),
            second.table.eq(self.integer ^ 3),
            first.stir.eq(self.stir),
            second.stir.eq(self.stir & first.z),
            first.wide.eq(self.wide),
            second.wide.eq(first.y),
            second.take.eq(self.take & first.z),
            first.take.eq(self.take & (second.ready | ~first.z)),
            self.y.eq(second.y),
            self.go.eq(first.ready + second.ready),
        ]
        return m


class Chip(wiring.Component):
    """Two of these side by side, one fed by the other's registers."""

    LATENCY = 0

    def __init__(self) -> None:
        super().__init__({"a": In(4), "stir": In(1), "wide": In(100), "take": In(1), "y": Out(100), "go": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, right = Outer(), Outer()
        m.submodules.left, m.submodules.right = once(left, "outer", platform), once(right, "outer", platform)
        kept = Signal(100)
        m.d.sync += kept.eq(left.y)
        for outer in (left, right):
            m.d.comb += [outer.integer.eq(self.a), outer.stir.eq(self.stir), outer.take.eq(self.take)]
        m.d.comb += [left.wide.eq(self.wide), right.wide.eq(kept), self.y.eq(right.y)]
        m.d.comb += self.go.eq(left.go + (right.go << 2))
        return m


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LEAST_SIZE", 5)
    monkeypatch.setattr(blocks, "LEAST_SAVING", 5)


def operands(count: int) -> dict[str, np.ndarray]:
    """Random inputs, each kept for 1 to 40 cycles, so that everything comes to rest in between."""
    random = np.random.default_rng(8)

    def kept(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, random.integers(1, 41, len(values)), axis=0)[:count]

    wide = random.integers(0, 1 << 32, (count, 4), np.uint32)
    wide[:, 3] &= 15
    narrow = {name: kept(random.integers(0, high, count)) for name, high in (("a", 16), ("stir", 2), ("take", 2))}
    return {**narrow, "wide": kept(wide)}


def test_every_cycle_is_as_in_one_piece(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    verilog = to_verilog(Chip(), "chip", "text")
    models = [part.model for part in blocks.cut(verilog, "chip")]
    assert models == ["Vchip_inner_block", "Vchip_outer_block", "Vtop"]
    inputs = operands(20_000)
    cut = Unit(Chip())(**inputs)
    monkeypatch.setattr(blocks, "LEAST_SAVING", 1 << 30)
    assert len(blocks.cut(verilog, "chip")) == 1
    whole = Unit(Chip())(**inputs)
    for name, values in whole.items():
        assert len(np.unique(values, axis=0)) > 5
        different = np.flatnonzero((values != cut[name]).reshape(len(values), -1).any(axis=1))
        assert not len(different), f"{name} differs from cycle {different[0]} on"


def test_what_is_written_once_stays_in_one_piece() -> None:
    verilog = to_verilog(Chip(), "chip", "text")
    assert [part.verilog for part in blocks.cut(verilog, "chip")] == [verilog]


def test_each_part_has_the_modules_that_it_needs(small_blocks: None) -> None:
    parts = {part.model: part for part in blocks.cut(to_verilog(Chip(), "chip", "text"), "chip")}
    module = re.compile(r"^module (\w+)(.*?)^endmodule", re.MULTILINE | re.DOTALL)
    bodies = {
        model: {name: "DPI-C" in body for name, body in module.findall(part.verilog)} for model, part in parts.items()
    }
    assert bodies["Vtop"] == {"chip": False, "chip_outer": True}
    assert bodies["Vchip_outer_block"] == {"chip_outer": False, "chip_inner": True, "chip_outer_block": False}
    assert bodies["Vchip_inner_block"] == {"chip_inner": False, "mixcim_ram": False, "chip_inner_block": False}


class Host(wiring.Component):
    """The chip of this file behind the ports of a processor: inputs from the bus's address, outputs on its data."""

    def __init__(self) -> None:
        super().__init__({**axi_lite_ports(), "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chip = chip = Chip()
        m.d.comb += [
            chip.wide.eq(self.s_axi_wdata),
            chip.stir.eq(self.s_axi_wvalid),
            chip.take.eq(self.s_axi_awvalid),
            self.s_axi_awready.eq(1),
            self.s_axi_wready.eq(1),
            self.s_axi_rdata.eq(chip.y),
            self.s_axi_bresp.eq(chip.go),
        ]
        return m


def test_everything_rests_when_nothing_moves_and_waveforms_have_the_blocks(small_blocks: None, tmp_path: Path) -> None:
    verilog = to_verilog(Host(), "host", "text")
    with Simulator(build_library(verilog, "host", trace="vcd")) as simulator:
        simulator.trace(tmp_path / "host.vcd")
        simulator.run(20)
        simulator.reset()
        assert simulator.blocks[0] == 6
        simulator.run(200)
        assert simulator.blocks == (6, 6)
        simulator.trace(None)
    waveform = (tmp_path / "host.vcd").read_text()
    assert "host_outer" in waveform and "host_inner" in waveform and "$enddefinitions" in waveform
