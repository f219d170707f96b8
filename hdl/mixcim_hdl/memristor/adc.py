"""Bit-line ADC: current minus reference, in steps of digits, rounded and saturated."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import conductance_unit
from .macro import current_bits


class Adc(wiring.Component):
    """code = clip(floor((current - reference) / step + 1/2), 0, 2**adc_bits - 1), step = unit << step_shift.

    Combinational. Members: current, reference: conductance codes summed over rows; step_shift: 0..15;
    code: unsigned, `adc_bits`; saturated: the value was above the largest code.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "current": In(current_bits(chip)),
                "reference": In(current_bits(chip)),
                "step_shift": In(4),
                "code": Out(chip.adc_bits),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        unit = conductance_unit(chip.conductance_bits).bit_length() - 1
        difference = Signal(signed(current_bits(chip) + 1))
        # In half steps of the finest range, so that one shift serves every step: floor(2 d / step), then (v + 1) / 2.
        half_steps = Signal(signed(len(difference) - unit + 1))
        rounded = Signal(signed(len(half_steps)))
        largest = (1 << chip.adc_bits) - 1
        m.d.comb += [
            difference.eq(self.current - self.reference),
            half_steps.eq(((difference << 1) >> unit) >> self.step_shift),
            rounded.eq((half_steps + 1) >> 1),
            self.saturated.eq(rounded > largest),
            self.code.eq(Mux(rounded < 0, 0, Mux(self.saturated, largest, rounded))),
        ]
        return m
