"""A chip's Verilog cut into blocks that are verilated one by one, and the code that joins them again.

```
 Verilog --cut--> block, block, ..., rest --Verilator, each for itself--> C++ --> one library
                  (each repeated block once)    in the rest, a module of calls stands in each block's place
```

Verilator flattens what it is given: a chip of 64 equal banks would become 64 copies of a bank. Cut, it is one bank with
64 states. A block whose inputs and state do not change is not evaluated (blocks.h), so idle units cost almost nothing.
Which modules become blocks follows from their sizes alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

#: Lines of Verilog that a block must save when it is verilated once and not once per instance. Below, the calls between
#: blocks cost more simulation time than the compiler needs for the copies; measured on the presets demo and paper.
LEAST_SAVING = 10_000
#: Lines, with everything inside, from which a module may be a block.
LEAST_SIZE = 400

_MODULE = re.compile(r"^module (\w+)(.*?)^endmodule\n", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^ +(\w+) +(?:#\(|(?:\\\S+|\w+) +\($)", re.MULTILINE)
_PORT = re.compile(r"^  (input|output) (signed )?(?:\[(\d+):0\] )?(\\\S+ |\w+);$", re.MULTILINE)


@dataclass(frozen=True)
class Port:
    """A port as the Verilog writes it. `name`: with the escape of an escaped name; `sign`: "signed " or ""."""

    name: str
    direction: str
    sign: str
    width: int

    @property
    def range(self) -> str:
        """The declaration's range, with a space behind it."""
        return f"[{self.width - 1}:0] " if self.width > 1 else ""


@dataclass(frozen=True)
class Module:
    """A module of the Verilog text. `instances`: name of each module of the text inside -> how often."""

    name: str
    text: str
    instances: Counter[str]

    @cached_property
    def ports(self) -> list[Port]:
        """In the order of the text, for modules without parameters."""
        return [
            Port(name, direction, sign or "", int(high or 0) + 1)
            for direction, sign, high, name in _PORT.findall(self.text)
        ]

    @property
    def parametric(self) -> bool:
        """Whether it has parameters: such a module is no block."""
        return self.text.startswith(f"module {self.name} #(")


@dataclass(frozen=True)
class Part:
    """What Verilator gets at a time. `model`: name of the C++ class; `top`: the module to verilate.

    `glue`: C++ that the calls from outside reach; empty for the top, whose class is `Vtop`.
    """

    model: str
    top: str
    verilog: str
    glue: str


def cut(verilog: str, top: str) -> list[Part]:
    """The parts of a Verilog text; the last one is the top module's, and the only one if there are no blocks.

    `verilog` is as `to_verilog` writes it; other texts come back as one part.
    """
    modules = _parse(verilog)
    blocks = _choose(modules, top) if top in modules else set()
    if not blocks:
        return [Part("Vtop", top, verilog, "")]
    head = verilog[: verilog.index("module ")]
    parts = []
    for name in [*sorted(blocks), top]:
        inside = "".join(
            _calls(modules[module]) if module in blocks and module != name else modules[module].text + "\n"
            for module in _below(modules, name, blocks)
        )
        if name == top:
            parts.append(Part("Vtop", top, head + inside, ""))
        else:
            ports = modules[name].ports
            parts.append(Part(f"V{name}_block", f"{name}_block", inside + _shell(name, ports), _glue(name, ports)))
    return parts


def _parse(verilog: str) -> dict[str, Module]:
    texts = {match[1]: match[0] for match in _MODULE.finditer(verilog)}
    return {
        name: Module(
            name, text, Counter(child for child in _INSTANCE.findall(text) if child in texts and child != name)
        )
        for name, text in texts.items()
    }


def _below(modules: dict[str, Module], name: str, blocks: set[str]) -> Iterator[str]:
    """A module and those inside it, without those inside blocks, in the order of the text."""
    found, todo = {name}, [name]
    while todo:
        for child in modules[todo.pop()].instances:
            if child not in found:
                found.add(child)
                if child not in blocks:
                    todo.append(child)
    return (module for module in modules if module in found)


def _choose(modules: dict[str, Module], top: str) -> set[str]:
    """Names of the modules that become blocks: from the top down, all that save enough."""
    order = _top_down(modules, top)
    blocks: set[str] = set()
    for name in order:
        module = modules[name]
        if name == top or module.parametric or not any(port.name == "clk" for port in module.ports):
            continue
        size = _sizes(modules, order, blocks)[name]
        if size >= LEAST_SIZE and size * (_copies(modules, order, blocks)[name] - 1) >= LEAST_SAVING:
            blocks.add(name)
    return blocks


def _top_down(modules: dict[str, Module], top: str) -> list[str]:
    """Every module after all that contain it."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for child in modules[name].instances:
                visit(child)
            order[name] = None

    visit(top)
    return list(reversed(order))


def _sizes(modules: dict[str, Module], order: list[str], blocks: set[str]) -> dict[str, int]:
    """Lines of each module with everything inside; a block inside counts as its calls."""
    sizes: dict[str, int] = {}
    for name in reversed(order):
        module = modules[name]
        inside = sum(
            count * (len(modules[child].ports) if child in blocks else sizes[child])
            for child, count in module.instances.items()
        )
        sizes[name] = module.text.count("\n") + inside
    return sizes


def _copies(modules: dict[str, Module], order: list[str], blocks: set[str]) -> dict[str, int]:
    """How often each module is flattened into something; what is in a block, once for all instances of the block."""
    copies = dict.fromkeys(order, 0)
    copies[order[0]] = 1
    for name in order:
        for child, count in modules[name].instances.items():
            copies[child] += count * (1 if name in blocks else copies[name])
    return copies


def _c_type(width: int) -> str:
    """Type of a value of up to 64 bits in calls."""
    return next(f"uint{bits}_t" for bits in (8, 16, 32, 64) if width <= bits)


def _call_type(width: int) -> str:
    """Verilog type of an argument."""
    if width == 1:
        return "bit"
    names = {8: "byte", 16: "shortint", 32: "int", 64: "longint"}
    return next((f"{name} unsigned" for bits, name in names.items() if width <= bits), f"bit [{width - 1}:0]")


def _inputs(ports: list[Port]) -> list[Port]:
    return [port for port in ports if port.direction == "input" and port.name != "clk"]


def _outputs(ports: list[Port]) -> list[Port]:
    return [port for port in ports if port.direction == "output"]


def _calls(module: Module) -> str:
    """The module that stands in a block's place: it calls the block at each clock edge and when an input changes."""
    name, ports = module.name, module.ports
    inputs, outputs = _inputs(ports), _outputs(ports)
    call = f"mixcim_block_{name}"
    arguments = [
        "input chandle block",
        "input bit tick",
        *(f"input {_call_type(port.width)} i{index}" for index, port in enumerate(inputs)),
        *(f"output {_call_type(port.width)} o{index}" for index, port in enumerate(outputs)),
    ]
    declared = [
        f"{port.direction} {'reg ' if port.direction == 'output' else ''}{port.sign}{port.range}{port.name}"
        for port in ports
    ]
    # `tick` comes out of the call at the edge, so that the outputs are asked for after it.
    lines = [
        f"module {name}({', '.join(declared)});",
        f'  import "DPI-C" function chandle {call}_create(input string path);',
        f'  import "DPI-C" function bit {call}_edge(input chandle block);',
        f'  import "DPI-C" function void {call}_settle({", ".join(arguments)});',
        "  chandle block__;",
        "  reg tick__ = 0;",
        f'  initial block__ = {call}_create($sformatf("%m"));',
        f"  always @(posedge clk) tick__ <= {call}_edge(block__);",
        "  always_comb",
        f"    {call}_settle({', '.join(['block__', 'tick__', *(port.name for port in inputs + outputs)])});",
        "endmodule",
    ]
    return "\n".join(lines) + "\n\n"


def _shell(name: str, ports: list[Port]) -> str:
    """The module that is verilated for a block: it takes its inputs when `load` changes, and has plain port names."""
    inputs, outputs = _inputs(ports), _outputs(ports)
    names = {id(port): f"r{index}" for index, port in enumerate(inputs)}
    names |= {id(port): f"o{index}" for index, port in enumerate(outputs)}
    connections = [f".{port.name}({names.get(id(port), 'clk')})" for port in ports]
    lines = [
        f"module {name}_block(",
        *(f"  input {port.range}i{index}," for index, port in enumerate(inputs)),
        *(f"  output {port.range}o{index}," for index, port in enumerate(outputs)),
        "  input clk, input load",
        ");",
        *(f"  reg {port.range}r{index};" for index, port in enumerate(inputs)),
        "  always @(posedge load or negedge load) begin",
        *(f"    r{index} = i{index};" for index in range(len(inputs))),
        "  end",
        f"  {name} inner({', '.join(connections)});",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _glue(name: str, ports: list[Port]) -> str:
    """C++ functions behind a block's calls."""
    inputs, outputs = _inputs(ports), _outputs(ports)
    call, model = f"mixcim_block_{name}", f"V{name}_block"
    arguments = ["void* handle", "uint8_t"]
    for index, port in enumerate(inputs):
        wide = port.width > 64
        arguments.append(f"const svBitVecVal* i{index}" if wide else f"{_c_type(port.width)} i{index}")
    arguments += [
        f"{'svBitVecVal' if port.width > 64 else _c_type(port.width)}* o{index}" for index, port in enumerate(outputs)
    ]
    lines = [
        f'#include "{model}.h"',
        f'#include "{model}___024root.h"',
        "",
        '#include "blocks.h"',
        "",
        f"using Block = mixcim::BlockOf<{model}, {model}___024root>;",
        'extern "C" {',
        f"void* {call}_create(const char* path) {{ return Block::create(path); }}",
        f"uint8_t {call}_edge(void* handle) {{ return static_cast<Block*>(handle)->edge(); }}",
        f"void {call}_settle({', '.join(arguments)}) {{",
        "    Block* const block = static_cast<Block*>(handle);",
        f"    {model}& top = block->top;",
        "    bool changed = false;",
        *(f"    changed |= mixcim::put(top.i{index}, i{index});" for index in range(len(inputs))),
        "    block->settle(changed);",
        *(f"    mixcim::get(o{index}, top.o{index});" for index in range(len(outputs))),
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"
