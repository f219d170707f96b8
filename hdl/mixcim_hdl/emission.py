"""How repeated blocks and memories reach Verilog: written once, instantiated by name, like a foundry's macros.

In Amaranth's simulator (no platform) every instance is elaborated for itself. When Verilog is written, `once` puts an
instance of a named module in the place of the component and notes the component here; `verilog.to_verilog` converts
each noted one a single time. That makes the cost of conversion that of the distinct blocks, not of all instances.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib.wiring import Component, Flow

SHARED = "shared"  #: path prefix of modules that `once` makes


@dataclass(eq=False)
class VerilogPlatform:
    """Passed to `elaborate` while Verilog is written. `modules`: name -> component to convert under that name."""

    modules: dict[str, Component] = field(default_factory=dict)


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
