"""One lane of the floating-point output pipeline: sum -> float32 -> element of the output's format."""

from __future__ import annotations

from amaranth.hdl import Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..floating import FP32, ElementFormat
from ..floating_point.add import FloatAdd
from ..floating_point.clamp import FloatClamp
from ..floating_point.convert import FloatConvert
from ..floating_point.element import ELEMENT_BITS, ElementToFloat
from ..floating_point.integer_to_float import IntegerToFloat
from ..floating_point.multiply import FloatMultiply
from ..floating_point.unpack import unpack
from ..formats import ACTIVATION_BITS
from ..interfaces import EXPONENT_LAYOUT
from ..primitives.delayed import delayed
from ..registers import EXPONENT_FIELDS
from .fp32 import FloatToInteger, unpack_float32
from .lane import clamp

FLOATING = tuple(item for item in ElementFormat if item.floating is not None)


class FloatLane(wiring.Component):
    """Sum -> element by the `floating` part of RUN in commands.py. Latency `LATENCY`, one per cycle, no stalls.

    ```
     sum * 2**(u + t) --> x m --> + bias --> + old --> limits --+--> BF16, FP16, FP8 ----------------------> element
     number -----------> x scale -^           ^                 |           '--> exponent
     old: FP16, FP8 --> FP32 -----------------+                 '--> x output scale --> round, clamp --^  (INTEGER)
          code - zero point --> FP32 x scale -'
    ```

    Members: enable (without it all registers stay), sum (of the chip's accumulator_bits; if `pooled`, a number, its
    float32 pattern below), unit, special (interfaces.EXPONENT_LAYOUT), bias, scale (float32 patterns), old (element
    of residual_format), all at the same cycle; element, a code in its low byte; exponent
    (registers.EXPONENT_FIELDS) of the element, EXPONENT_LATENCY after its sum, meaningless for INTEGER. The rest is
    constant during a layer: pooled, residual, residual_format, residual_zero_point, residual_scale, float_low,
    float_high, output_format, output_scale, zero_point, clamp_low, clamp_high, as in RUN.
    """

    BIAS_LATENCY = IntegerToFloat.LATENCY + FloatMultiply.LATENCY
    RESIDUAL_LATENCY = BIAS_LATENCY + FloatAdd.LATENCY
    LIMITED_LATENCY = RESIDUAL_LATENCY + FloatAdd.LATENCY + FloatClamp.LATENCY
    EXPONENT_LATENCY = LIMITED_LATENCY + FloatConvert.LATENCY + 1
    LATENCY = LIMITED_LATENCY + FloatMultiply.LATENCY + FloatToInteger.LATENCY + 1

    def __init__(self, chip: ChipConfig):
        super().__init__(
            {
                "enable": In(1, init=1),  # pyright: ignore[reportCallIssue]
                "sum": In(signed(chip.accumulator_bits)),
                "unit": In(EXPONENT_LAYOUT["unit"].shape),
                "special": In(1),
                "bias": In(FP32.bits),
                "scale": In(FP32.bits),
                "old": In(ELEMENT_BITS),
                "pooled": In(1),
                "residual": In(1),
                "residual_format": In(ElementFormat),
                "residual_zero_point": In(ACTIVATION_BITS),
                "residual_scale": In(FP32.bits),
                "float_low": In(FP32.bits),
                "float_high": In(FP32.bits),
                "output_format": In(ElementFormat),
                "output_scale": In(FP32.bits),
                "zero_point": In(ACTIVATION_BITS),
                "clamp_low": In(ACTIVATION_BITS),
                "clamp_high": In(ACTIVATION_BITS),
                "element": Out(ELEMENT_BITS),
                "exponent": Out(data.StructLayout(EXPONENT_FIELDS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        limited = self._limited(m, self._scaled(m))
        m.d.comb += self.element.eq(
            Mux(self.output_format == ElementFormat.INTEGER, self._code(m, limited), self._pattern(m, limited))
        )
        return EnableInserter(self.enable)(m)

    def _scaled(self, m: Module) -> Value:
        """float32(sum * 2**(u + t)) * m, or number * scale."""
        m.submodules.convert = convert = IntegerToFloat(len(self.sum))
        m.submodules.multiply = multiply = FloatMultiply(FP32)
        field = self.scale[FP32.mantissa_bits : -1]
        normal = Signal()
        factor = Signal(FP32.bits)
        m.d.comb += [
            normal.eq(field.any() & ~field.all() & ~self.pooled),
            factor.eq(self.scale),
            convert.value.eq(self.sum),
            convert.exponent.eq(self.unit + Mux(normal, field - FP32.bias, 0)),
            convert.special.eq(self.special),
            multiply.a.eq(
                Mux(self.pooled, delayed(m, self.sum[: FP32.bits], convert.LATENCY, "number"), convert.result)
            ),
            multiply.b.eq(delayed(m, factor, convert.LATENCY, "factor")),
        ]
        with m.If(normal):
            m.d.comb += factor[FP32.mantissa_bits : -1].eq(FP32.bias)
        return multiply.result

    def _limited(self, m: Module, product: Value) -> Value:
        """A product with bias and residual added and the limits applied."""
        m.submodules.add_bias = add_bias = FloatAdd(FP32)
        m.submodules.add_residual = add_residual = FloatAdd(FP32)
        m.submodules.limits = limits = FloatClamp(FP32)
        m.d.comb += [
            add_bias.a.eq(product),
            add_bias.b.eq(delayed(m, self.bias, self.BIAS_LATENCY, "bias")),
            add_residual.a.eq(add_bias.result),
            # Adding -0 changes nothing, not even a -0.
            add_residual.b.eq(Mux(self.residual, self._residual(m), 1 << (FP32.bits - 1))),
            limits.value.eq(add_residual.result),
            limits.low.eq(self.float_low),
            limits.high.eq(self.float_high),
        ]
        return limits.result

    def _residual(self, m: Module) -> Value:
        """The old element as a float32, RESIDUAL_LATENCY after it came."""
        m.submodules.old_integer = integer = IntegerToFloat(ACTIVATION_BITS + 1)
        m.submodules.old_scale = scale = FloatMultiply(FP32)
        m.submodules.old_element = element = ElementToFloat()
        before_codes = delayed(m, self.old, self.RESIDUAL_LATENCY - integer.LATENCY - scale.LATENCY, "old")
        before_patterns = delayed(m, before_codes, integer.LATENCY + scale.LATENCY - element.LATENCY, "old_pattern")
        m.d.comb += [
            integer.value.eq(before_codes[:ACTIVATION_BITS] - self.residual_zero_point),
            scale.a.eq(integer.result),
            scale.b.eq(self.residual_scale),
            element.element.eq(before_patterns),
            element.format.eq(self.residual_format),
        ]
        return Mux(self.residual_format == ElementFormat.INTEGER, scale.result, element.result)

    def _pattern(self, m: Module, limited: Value) -> Value:
        """`limited` in the floating-point output format; sets `exponent`."""
        pattern = Signal(ELEMENT_BITS)
        for item in FLOATING:
            format = item.floating
            assert format is not None
            m.submodules[f"to_{item.name.lower()}"] = convert = FloatConvert(FP32, format)
            m.d.comb += convert.value.eq(limited)
            parts = unpack(m, convert.result, format, item.name.lower())
            with m.If(self.output_format == item):
                m.d.sync += [
                    pattern.eq(convert.result),
                    self.exponent.field.eq(convert.result[format.mantissa_bits : -1]),
                    self.exponent.special.eq(parts.nan | parts.infinity),
                ]
        return delayed(m, pattern, self.LATENCY - self.EXPONENT_LATENCY, "pattern")

    def _code(self, m: Module, limited: Value) -> Value:
        """`limited` as a code; NaN counts as 0."""
        m.submodules.output_scale = multiply = FloatMultiply(FP32)
        m.submodules.round = rounder = FloatToInteger()
        product = Mux(multiply.result == FP32.nan_pattern, Const(0, FP32.bits), multiply.result)
        code = Signal(ACTIVATION_BITS)
        m.d.comb += [
            multiply.a.eq(limited),
            multiply.b.eq(self.output_scale),
            rounder.value.eq(unpack_float32(m, product, "product")),
        ]
        m.d.sync += code.eq(clamp(rounder.result + self.zero_point, self.clamp_low, self.clamp_high))
        return code
