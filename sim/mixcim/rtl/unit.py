"""One pipelined block of the hardware as a function of arrays: millions of operands a second through its Verilog."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixcim.errors import MixcimError

from .build import build_library

if TYPE_CHECKING:
    from amaranth.hdl import Shape
    from amaranth.lib.wiring import Component

_TOP = "mixcim_unit"  #: name of the top module, which no port may have
_DRIVER = Path(__file__).with_name("unit.cpp")


class Unit:
    """A component that takes operands each cycle and gives their results `LATENCY` edges later, verilated.

    Its ports are plain values, signed or not, and it has registers (clock and reset). Built on first use of its
    Verilog, then kept in the cache folder like every library.
    """

    def __init__(self, component: Component) -> None:
        # Imported here: the rest of the package works without Amaranth, and starts much faster.
        from amaranth.hdl import Shape
        from amaranth.lib.wiring import Flow

        from mixcim_hdl.verilog import to_verilog

        members = component.signature.members
        self._inputs, self._outputs = (
            {name: Shape.cast(member.shape) for name, member in members.items() if member.flow is flow}
            for flow in (Flow.In, Flow.Out)
        )
        self._initial = {name: int(members[name].init) for name in self._inputs if members[name].init}
        self.latency: int = component.LATENCY  # type: ignore[attr-defined]
        lists = (("INPUTS", self._inputs), ("OUTPUTS", self._outputs))
        macros = [f"#define {macro}(PORT) {' '.join(f'PORT({name})' for name in names)}" for macro, names in lists]
        driver = "\n".join([*macros, _DRIVER.read_text()])
        library = build_library(to_verilog(component, _TOP, "One block, for tests."), _TOP, driver=driver)
        self._library = ctypes.CDLL(str(library))

    def __call__(self, **operands: np.ndarray | int) -> dict[str, np.ndarray]:
        """Results by port: int64 arrays for signed ports, else unsigned ones of the narrowest type; one per element.

        `operands`: for each input port, integers of its range, one per element, or one for all; a port whose
        initial value is not 0 (an enable) may be left out, and keeps it. A port of more than 63 bits takes and
        gives uint32 words, lowest first, in a last axis. Raises MixcimError for other ports.
        """
        operands = {**self._initial, **operands}
        if operands.keys() != self._inputs.keys():
            raise MixcimError(f"operands must be {', '.join(self._inputs)}, not {', '.join(operands)}")
        count = max(len(np.atleast_1d(operand)) for operand in operands.values())
        inputs = [_stored(operands[name], shape, count) for name, shape in self._inputs.items()]
        outputs = [_empty(shape, count) for shape in self._outputs.values()]
        self._library.mixcim_stream(
            ctypes.c_uint64(count), ctypes.c_uint64(self.latency), _pointers(inputs), _pointers(outputs)
        )
        return {
            name: _extended(output, shape) for (name, shape), output in zip(self._outputs.items(), outputs, strict=True)
        }


def _empty(shape: Shape, count: int) -> np.ndarray:
    """An array of a port's elements as Verilator stores them."""
    if shape.width > 63:
        return np.zeros((count, (shape.width + 31) // 32), np.uint32)
    size = next(size for size in (1, 2, 4, 8) if 8 * size >= shape.width)
    return np.zeros(count, f"u{size}")


def _stored(operand: np.ndarray | int, shape: Shape, count: int) -> np.ndarray:
    """An operand as Verilator stores it; a negative number leaves its upper bits clear."""
    stored = _empty(shape, count)
    stored[:] = operand if shape.width > 63 else np.asarray(operand).astype(np.int64) & ((1 << shape.width) - 1)
    return stored


def _extended(stored: np.ndarray, shape: Shape) -> np.ndarray:
    """A result with its sign, if it has one."""
    if not shape.signed:
        return stored
    sign = 1 << (shape.width - 1)
    return (stored.astype(np.int64) ^ sign) - sign


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array:
    """A C array of pointers to arrays' data."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
