"""Pre-alignment: elements of any format to two's complement integers; its second half, and the rule of the padding."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import RUN_FIELDS
from ..config import ChipConfig
from ..floating import ElementFormat
from ..floating_point.align import EXPONENT_BITS, SIGNIFICAND_BITS, Align
from ..formats import ACTIVATION_BITS
from ..primitives.delayed import delayed


class PreAlignment(wiring.Component):
    """X of RUN (commands.py) for an element of each channel. One word per cycle, `LATENCY` cycles of `enable` later.

    ```
     elements --> sign, exponent, significand of their format --> Align, one per channel --.
         '------> code, or pad_value; - input_zero_point --> registers -------------------+--> bit planes
    ```

    LATENCY is that of Align; on a chip without floating point, which has codes only, 0, or 1 with a deep pipeline.

    Members
    -------
    enable : everything stands still while it is low.
    elements : low bytes of all channels, then high bytes, if they have some.    inside : 0: padding.
    exponent : E of the window, biased, at least 1; for floating inputs.
    input_format, input_bits, rounding, input_zero_point, pad_value : fields of RUN, constant while words are in
        flight.
    planes : planes[b][c] is bit b of channel c's integer of `input_planes` bits, sign-extended if it has a sign.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self.LATENCY = Align.LATENCY if chip.floating_point else chip.deep_pipeline
        fields = ("input_format", "input_bits", "rounding", "input_zero_point", "pad_value")
        super().__init__(
            {
                "enable": In(1),
                "elements": In(2 * chip.channels * ACTIVATION_BITS),
                "inside": In(1),
                "exponent": In(EXPONENT_BITS),
                **{name: In(RUN_FIELDS[name]) for name in fields},
                "planes": Out(data.ArrayLayout(chip.channels, chip.input_planes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        integers = Signal(data.ArrayLayout(chip.input_planes, chip.channels))
        for bit in range(chip.input_planes):
            m.d.comb += self.planes[bit].eq(Cat(integers[channel][bit] for channel in range(chip.channels)))
        codes = [self.elements.word_select(channel, ACTIVATION_BITS) for channel in range(chip.channels)]
        if not chip.floating_point:
            for channel, code in enumerate(codes):
                integer = Mux(self.inside, code, self.pad_value)
                m.d.comb += integers[channel].eq(delayed(m, integer, self.LATENCY, f"integer{channel}"))
            return EnableInserter(self.enable)(m)
        floating = self.input_format != ElementFormat.INTEGER
        inside = delayed(m, self.inside, self.LATENCY, "inside")
        lowest = Signal(signed(chip.input_planes))  # -2**(input_bits - 1), sign-extended
        m.d.comb += lowest.eq(-1 << (self.input_bits - 1)[: len(self.input_bits)])
        float_padding = Mux(self.pad_value == 0, 0, lowest)
        for channel, code in enumerate(codes):
            integer = Signal(signed(ACTIVATION_BITS + 1), name=f"integer{channel}")
            m.d.comb += integer.eq(Mux(self.inside, code, self.pad_value) - self.input_zero_point)
            m.submodules[f"align{channel}"] = align = Align(chip.aligned_bits)
            m.d.comb += [
                align.vector_exponent.eq(self.exponent),
                align.aligned_bits.eq(self.input_bits),
                align.rounding.eq(self.rounding),
            ]
            self._unpack(m, channel, align)
            of_float = Mux(inside, align.result, float_padding)
            of_code = delayed(m, integer, self.LATENCY, f"integer{channel}")
            m.d.comb += integers[channel].eq(Mux(floating, of_float, of_code))
        return EnableInserter(self.enable)(m)

    def _unpack(self, m: Module, channel: int, align: Align) -> None:
        """Gives the element of a channel to its aligner, from whatever format."""
        low, high = (
            self.elements.word_select(word * self._chip.channels + channel, ACTIVATION_BITS) for word in (0, 1)
        )
        field, mantissa = (
            Signal(EXPONENT_BITS, name=f"field{channel}"),
            Signal(SIGNIFICAND_BITS - 1, name=f"mantissa{channel}"),
        )
        with m.Switch(self.input_format):
            for item in ElementFormat:
                if item.floating:
                    with m.Case(item):
                        pattern, bits = Cat(low, high)[: item.floating.bits], item.floating.mantissa_bits
                        m.d.comb += [
                            align.sign.eq(pattern[-1]),
                            field.eq(pattern[bits:-1]),
                            mantissa.eq(pattern[:bits] << (SIGNIFICAND_BITS - 1 - bits)),
                        ]
        normal = field.any()
        m.d.comb += [align.exponent.eq(Cat(field[0] | ~normal, field[1:])), align.significand.eq(Cat(mantissa, normal))]
