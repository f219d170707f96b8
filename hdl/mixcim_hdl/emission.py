"""How repeated blocks and memories reach Verilog: written once, instantiated by name, like a foundry's macros.

In Amaranth's simulator (no platform) every instance is elaborated for itself. When Verilog is written, `once` puts an
instance of a named module in the place of the component and notes the component here; `verilog.to_verilog` converts
each noted one a single time. That makes the cost of conversion that of the distinct blocks, not of all instances.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib.wiring import Component, Flow

SHARED = "shared"  #: path prefix of modules that `once` makes


class Technology(enum.Enum):
    """What the Verilog is for. Blocks may have a form for each; all forms agree in every cycle at every port."""

    GENERIC = "generic"  #: simulation, and cells of an ASIC: the blocks as their sources describe them
    FPGA = "fpga"  #: look-up tables with carry chains; for ECP5's own cells define MIXCIM_ECP5 in synthesis


@dataclass(eq=False)
class VerilogPlatform:
    """Passed to `elaborate` while Verilog is written. `modules`: name -> component to convert under that name."""

    technology: Technology = Technology.GENERIC
    modules: dict[str, Component] = field(default_factory=dict)


def for_fpga(platform: object) -> bool:
    """Whether a block is to take its form for FPGAs."""
    return isinstance(platform, VerilogPlatform) and platform.technology is Technology.FPGA


def once(component: Component, name: str, platform: object, reset: Value | None = None) -> Any:
    """`component`, or in Verilog an instance of the module `shared.name` with the component's ports.

    Every component passed under one name must be equal in all but its connections, and keep no state that a
    ResetInserter above it is to clear. Unused clock and reset pins are left open.
    `reset`: what resets the instance in Verilog; default: the reset of its clock domain.
    """
    if not isinstance(platform, VerilogPlatform):
        return component
    platform.modules.setdefault(name, component)
    component._MustUse__used = True  # type: ignore[attr-defined]  # its ports are used; amaranth would warn otherwise
    ports: dict[str, object] = {"i_clk": ClockSignal(), "i_rst": ResetSignal() if reset is None else reset}
    for path, member, value in component.signature.flatten(component):
        ports[f"{'i' if member.flow is Flow.In else 'o'}_{'__'.join(map(str, path))}"] = value
    return Instance(f"{SHARED}.{name}", **ports)
