"""One lane of the output pipeline: sum -> code, and code + residual code -> code."""

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..formats import ACTIVATION_BITS, SUM_BITS
from ..primitives.delayed import delayed
from .fp32 import FloatMultiply, FloatToInteger, FusedMultiplyAdd, IntegerToFloat, unpack_float32


def clamp(value, low, high):
    """`value` limited to low..high."""
    return Mux(value < low, low, Mux(value > high, high, value))


def _latencies(deep: int) -> tuple[int, int]:
    """Latency of requantising, and of adding the residual."""
    convert, multiply, fused, rounder = (
        step.LATENCY + deep * step.CUTS for step in (IntegerToFloat, FloatMultiply, FusedMultiplyAdd, FloatToInteger)
    )
    return 1 + convert + multiply + rounder + 1, 2 * fused + rounder + 1


def lane_latency(deep: int) -> int:
    """Latency of a lane."""
    return sum(_latencies(deep))


class Lane(wiring.Component):
    """int32 sum -> 8-bit code by the definition of RUN in commands.py. Latency `LATENCY`, one per cycle, no stalls.

    `deep` (0 or 1): with steps that are (fp32.py); the instance's LATENCY is then its own.

    ```
     sum + bias -> float32 -> x scale -> round -> + zero point, clamp --+------------------------------> code
                                                                        '-> fma -> fma -> round, clamp -^  (residual)
     old code (residual) ----------------------------- delayed ---------^
    ```

    Members: enable (without it all registers stay); sum, bias (int32), scale (float32 pattern), old (code, all at
    the same cycle); code. The rest is constant during a layer: zero_point, clamp_low, clamp_high, residual,
    residual_first, residual_signed, scale_first, scale_second, fixed (float32 patterns), sum_low, sum_high.
    """

    LATENCY = lane_latency(0)

    sum: In(signed(SUM_BITS))
    bias: In(signed(SUM_BITS))
    scale: In(32)
    old: In(ACTIVATION_BITS)
    zero_point: In(8)
    clamp_low: In(8)
    clamp_high: In(8)
    residual: In(1)
    residual_first: In(1)
    residual_signed: In(1)
    scale_first: In(32)
    scale_second: In(32)
    fixed: In(32)
    sum_low: In(8)
    sum_high: In(8)
    code: Out(ACTIVATION_BITS)
    enable: In(1, init=1)  # pyright: ignore[reportCallIssue]

    def __init__(self, deep: int = 0):
        self._deep = deep
        self.REQUANTISE_LATENCY, self.RESIDUAL_LATENCY = _latencies(deep)
        self.LATENCY = lane_latency(deep)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        deep = self._deep
        # Requantise
        total = Signal(signed(SUM_BITS))
        m.d.sync += total.eq(self.sum + self.bias)
        m.submodules.convert = convert = IntegerToFloat(deep)
        m.submodules.multiply = multiply = FloatMultiply(deep)
        m.submodules.round = rounder = FloatToInteger(deep)
        own = Signal(ACTIVATION_BITS)
        m.d.comb += [
            convert.integer.eq(total),
            multiply.a.eq(convert.result),
            multiply.b.eq(unpack_float32(m, delayed(m, self.scale, 1 + convert.LATENCY, "scale"), "scale_float")),
            rounder.value.eq(multiply.result),
        ]
        m.d.sync += own.eq(clamp(rounder.result + self.zero_point, self.clamp_low, self.clamp_high))

        # Add the residual
        old = delayed(m, self.old, self.REQUANTISE_LATENCY, "old")
        first, second = Signal(signed(9)), Signal(signed(9))
        own_operand, old_operand = Signal(signed(9)), Signal(signed(9))
        offset = Mux(self.residual_signed, 128, 0)
        m.submodules.first = fma_first = FusedMultiplyAdd(deep)
        m.submodules.second = fma_second = FusedMultiplyAdd(deep)
        m.submodules.sum_round = sum_rounder = FloatToInteger(deep)
        sum_code = Signal(ACTIVATION_BITS)
        m.d.comb += [
            own_operand.eq(own - offset),
            old_operand.eq(old - offset),
            first.eq(Mux(self.residual_first, old_operand, own_operand)),
            second.eq(Mux(self.residual_first, own_operand, old_operand)),
            fma_first.integer.eq(first),
            fma_first.scale.eq(unpack_float32(m, self.scale_first, "scale_first_float")),
            fma_first.addend.eq(unpack_float32(m, self.fixed, "fixed_float")),
            fma_second.integer.eq(delayed(m, second, fma_first.LATENCY, "second")),
            fma_second.scale.eq(unpack_float32(m, self.scale_second, "scale_second_float")),
            fma_second.addend.eq(fma_first.result),
            sum_rounder.value.eq(fma_second.result),
        ]
        m.d.sync += sum_code.eq(clamp(sum_rounder.result + offset, self.sum_low, self.sum_high))
        m.d.comb += self.code.eq(Mux(self.residual, sum_code, delayed(m, own, self.RESIDUAL_LATENCY, "own")))
        return EnableInserter(self.enable)(m)
