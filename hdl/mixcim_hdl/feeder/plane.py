"""One bit plane of the vector that the feeder fills."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import RUN_FIELDS
from ..config import ChipConfig


class Plane(wiring.Component):
    """A bit of every row of a vector, filled beat by beat.

    Members
    -------
    bits : of the channels of a beat's words.    granule_log2 : of RUN: so many channels of each word are rows.
    before : rows of the vector's earlier beats.    fresh : rows of this beat.    enable : the beat is there.
    plane : the vector up to and with this beat; combinational. Other rows are 0.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "bits": In(chip.feeder_words * chip.channels),
                "granule_log2": In(RUN_FIELDS["granule_log2"]),
                "before": In(chip.rows),
                "fresh": In(chip.rows),
                "enable": In(1),
                "plane": Out(chip.rows),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        kept, beat = Signal(chip.rows), Signal(chip.rows)  # the beat's rows, repeated over the vector
        words = [self.bits.word_select(index, chip.channels) for index in range(chip.feeder_words)]
        with m.Switch(self.granule_log2):
            for log2 in range((chip.channels - 1).bit_length() + 1):
                with m.Case(log2):
                    rows = Cat(word[: 1 << log2] for word in words)
                    m.d.comb += beat.eq(rows.replicate(chip.rows // len(rows)))
        m.d.comb += self.plane.eq((kept & self.before) | (beat & self.fresh))
        with m.If(self.enable):
            m.d.sync += kept.eq(self.plane)
        return m
