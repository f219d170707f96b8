"""Bit-line ADC: difference of two currents, in steps of digits, rounded and saturated, with its own errors."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import TABLE_ENTRY_FIELDS
from ..config import ChipConfig
from ..formats import ADC_GAIN, ADC_PARAMETERS, ADC_SEGMENTS, WEIGHT_MODES, conductance_unit
from ..primitives.delayed import delayed
from .macro import current_bits
from .noise import noise_range

#: Largest power of two of an ADC step: that of the table's entry and that of an SLC.
LARGEST_SHIFT = (1 << TABLE_ENTRY_FIELDS["step_shift"]) - 1 + max(max(mode.step_log2) for mode in WEIGHT_MODES.values())

ADC_STAGES = 3  #: registers in an ADC of a deep pipeline


def difference_bits(chip: ChipConfig) -> int:
    """Width of a noisy current less the noisy reference, two's complement."""
    return max(current_bits(chip), noise_range()) + 3


def parameter_shape(name: str):
    """Shape of an ADC parameter."""
    low, high = ADC_PARAMETERS[name]
    return signed((high + 1).bit_length()) if low < 0 else high.bit_length()


#: The parameters of an ADC, one field each.
PARAMETERS_LAYOUT = data.StructLayout({name: parameter_shape(name) for name in ADC_PARAMETERS})


class Adc(wiring.Component):
    """v = (difference * gain >> 8) + offset, + inl of its segment; code = clip(floor(v / step + 1/2)) (commands.py).

    Combinational; of a chip with a deep pipeline latency ADC_STAGES, one per cycle, while `parameters` are constant.

    Members: difference: signed, conductance codes; parameters: PARAMETERS_LAYOUT; shift: 0..17, of the step; code:
    unsigned, `adc_bits`; saturated: the value was above the largest code.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "difference": In(signed(difference_bits(chip))),
                "parameters": In(PARAMETERS_LAYOUT),
                "shift": In(range(LARGEST_SHIFT + 1)),
                "code": Out(chip.adc_bits),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, parameters = self._chip, self.parameters
        unit = conductance_unit(chip.conductance_bits).bit_length() - 1
        gain_bits = ADC_GAIN.bit_length() - 1
        scaled = Signal(signed(len(self.difference) + 3))
        digits = Signal(signed(len(scaled)))  # whole digits at this step
        segment = Signal(signed(len(scaled)))
        part = Signal(range(ADC_SEGMENTS))
        corrected = Signal(signed(max(len(scaled), 6 + LARGEST_SHIFT) + 1))
        half_steps = Signal(signed(len(corrected) + 1))
        rounded = Signal(signed(len(half_steps)))
        largest = (1 << chip.adc_bits) - 1
        inl = Array([parameters[f"inl{number}"] for number in range(ADC_SEGMENTS)])
        deep = chip.deep_pipeline
        m.d.comb += scaled.eq(((self.difference * parameters.gain) >> gain_bits) + parameters.offset)
        scaled1, shift1 = delayed(m, scaled, deep, "scaled"), delayed(m, self.shift, deep, "shift_scaled")
        m.d.comb += [
            digits.eq((scaled1 >> unit) >> shift1),
            segment.eq(digits >> (chip.adc_bits - 3)),
            part.eq(Mux(segment < 0, 0, Mux(segment >= ADC_SEGMENTS, ADC_SEGMENTS - 1, segment))),
        ]
        part2, scaled2, shift2 = (
            delayed(m, value, deep, name)
            for name, value in (("part", part), ("parted", scaled1), ("shift_part", shift1))
        )
        m.d.comb += corrected.eq(scaled2 + (inl[part2] << shift2))
        corrected3, shift3 = delayed(m, corrected, deep, "corrected"), delayed(m, shift2, deep, "shift_corrected")
        m.d.comb += [
            # In half steps, so that one shift serves every step: floor(2 v / step), then (h + 1) / 2.
            half_steps.eq(((corrected3 << 1) >> unit) >> shift3),
            rounded.eq((half_steps + 1) >> 1),
            self.saturated.eq(rounded > largest),
            self.code.eq(Mux(rounded < 0, 0, Mux(self.saturated, largest, rounded))),
        ]
        return m
