"""Elements of the activation memory to FP32."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..floating import FP8_E4M3, FP16, FP32, ElementFormat
from ..primitives.delayed import delayed
from .convert import FloatConvert

ELEMENT_BITS = 16  #: width of the widest element


class ElementToFloat(wiring.Component):
    """result = element of a floating-point format in FP32, exact. Latency 2, one per cycle.

    Members: element (pattern in its low bits), format (an ElementFormat but INTEGER, constant while elements are
    inside), result (FP32 pattern; of a NaN any NaN). Model: `decode(element)`.
    """

    LATENCY = FloatConvert.LATENCY

    def __init__(self) -> None:
        super().__init__({"element": In(ELEMENT_BITS), "format": In(ElementFormat), "result": Out(FP32.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.half = half = FloatConvert(FP16, FP32)
        m.submodules.e4m3 = e4m3 = FloatConvert(FP8_E4M3, FP32)
        m.d.comb += [half.value.eq(self.element), e4m3.value.eq(self.element)]
        with m.Switch(self.format):
            with m.Case(ElementFormat.BF16):
                m.d.comb += self.result.eq(delayed(m, self.element, self.LATENCY, "own") << (FP32.bits // 2))
            with m.Case(ElementFormat.FP8_E4M3):
                m.d.comb += self.result.eq(e4m3.result)
            with m.Case(ElementFormat.FP8_E5M2):
                # The upper half of an FP16, as BF16 is that of an FP32.
                m.d.comb += [half.value.eq(self.element << (FP16.bits // 2)), self.result.eq(half.result)]
            with m.Default():
                m.d.comb += self.result.eq(half.result)
        return m
