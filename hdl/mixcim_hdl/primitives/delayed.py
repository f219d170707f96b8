"""Registers that carry what a stage does not use to a later one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal


def delayed(m: Module, value: Any, cycles: int, name: str, reset_less: bool = False) -> Any:
    """`value`, a Value or a View, as it was so many clock edges ago. `reset_less`: resets leave it."""
    for cycle in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
