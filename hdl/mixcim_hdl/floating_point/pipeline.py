"""Registers that carry what a stage does not use to a later one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal


def delayed(m: Module, value: Any, cycles: int, name: str) -> Any:
    """`value`, a Value or a View, as it was so many clock edges ago."""
    for cycle in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{cycle}")
        m.d.sync += register.eq(value)
        value = register
    return value
