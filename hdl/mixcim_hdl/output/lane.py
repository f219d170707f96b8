"""One lane of the output pipeline: sum -> code, and code + residual code -> code."""

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating_point.pipeline import delayed
from ..formats import ACTIVATION_BITS, SUM_BITS
from .fp32 import FloatMultiply, FloatToInteger, FusedMultiplyAdd, IntegerToFloat, unpack_float32


def clamp(value, low, high):
    """`value` limited to low..high."""
    return Mux(value < low, low, Mux(value > high, high, value))


class Lane(wiring.Component):
    """int32 sum -> 8-bit code by the definition of RUN in commands.py. Latency `LATENCY`, one per cycle, no stalls.

    ```
     sum + bias -> float32 -> x scale -> round -> + zero point, clamp --+------------------------------> code
                                                                        '-> fma -> fma -> round, clamp -^  (residual)
     old code (residual) ----------------------------- delayed ---------^
    ```

    Members: enable (without it all registers stay); sum, bias (int32), scale (float32 pattern), old (code, all at
    the same cycle); code. The rest is constant during a layer: zero_point, clamp_low, clamp_high, residual,
    residual_first, residual_signed, scale_first, scale_second, fixed (float32 patterns), sum_low, sum_high.
    """

    REQUANTISE_LATENCY = 1 + IntegerToFloat.LATENCY + FloatMultiply.LATENCY + FloatToInteger.LATENCY + 1
    RESIDUAL_LATENCY = 2 * FusedMultiplyAdd.LATENCY + FloatToInteger.LATENCY + 1
    LATENCY = REQUANTISE_LATENCY + RESIDUAL_LATENCY

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

    def elaborate(self, platform):
        m = Module()
        # Requantise
        total = Signal(signed(SUM_BITS))
        m.d.sync += total.eq(self.sum + self.bias)
        m.submodules.convert = convert = IntegerToFloat()
        m.submodules.multiply = multiply = FloatMultiply()
        m.submodules.round = rounder = FloatToInteger()
        own = Signal(ACTIVATION_BITS)
        m.d.comb += [
            convert.integer.eq(total),
            multiply.a.eq(convert.result),
            multiply.b.eq(
                unpack_float32(m, delayed(m, self.scale, 1 + IntegerToFloat.LATENCY, "scale"), "scale_float")
            ),
            rounder.value.eq(multiply.result),
        ]
        m.d.sync += own.eq(clamp(rounder.result + self.zero_point, self.clamp_low, self.clamp_high))

        # Add the residual
        old = delayed(m, self.old, self.REQUANTISE_LATENCY, "old")
        first, second = Signal(signed(9)), Signal(signed(9))
        own_operand, old_operand = Signal(signed(9)), Signal(signed(9))
        offset = Mux(self.residual_signed, 128, 0)
        m.submodules.first = fma_first = FusedMultiplyAdd()
        m.submodules.second = fma_second = FusedMultiplyAdd()
        m.submodules.sum_round = sum_rounder = FloatToInteger()
        sum_code = Signal(ACTIVATION_BITS)
        m.d.comb += [
            own_operand.eq(own - offset),
            old_operand.eq(old - offset),
            first.eq(Mux(self.residual_first, old_operand, own_operand)),
            second.eq(Mux(self.residual_first, own_operand, old_operand)),
            fma_first.integer.eq(first),
            fma_first.scale.eq(unpack_float32(m, self.scale_first, "scale_first_float")),
            fma_first.addend.eq(unpack_float32(m, self.fixed, "fixed_float")),
            fma_second.integer.eq(delayed(m, second, FusedMultiplyAdd.LATENCY, "second")),
            fma_second.scale.eq(unpack_float32(m, self.scale_second, "scale_second_float")),
            fma_second.addend.eq(fma_first.result),
            sum_rounder.value.eq(fma_second.result),
        ]
        m.d.sync += sum_code.eq(clamp(sum_rounder.result + offset, self.sum_low, self.sum_high))
        m.d.comb += self.code.eq(Mux(self.residual, sum_code, delayed(m, own, self.RESIDUAL_LATENCY, "own")))
        return EnableInserter(self.enable)(m)
