"""Event counters: what happened since the start of the run, for the host."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..registers import Event

COUNTER_BITS = 64


def event_ranges(chip: ChipConfig) -> dict[Event, int]:
    """Most events of each kind in one cycle."""
    banks = max(chip.memristor_banks, 1)
    return {
        Event.MEMRISTOR_READS: banks,
        Event.ADC_CONVERSIONS: banks * chip.adcs,
        Event.ADC_SATURATIONS: banks * chip.adcs,
        Event.WORD_LINES_ON: banks * chip.rows,
    }


class EventCounters(wiring.Component):
    """One counter of 64 bits for each registers.Event.

    Members
    -------
    clear : all to 0.    <event>, in lower case : how many happen in this cycle.    counts : one per Event.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "clear": In(1),
                **{event.name.lower(): In(range(most + 1)) for event, most in event_ranges(chip).items()},
                "counts": Out(data.ArrayLayout(COUNTER_BITS, len(Event))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for event in Event:
            count = Signal(COUNTER_BITS, name=f"count_{event.name.lower()}")
            m.d.comb += self.counts[event].eq(count)
            m.d.sync += count.eq(count + getattr(self, event.name.lower()))
            with m.If(self.clear):
                m.d.sync += count.eq(0)
        return m
