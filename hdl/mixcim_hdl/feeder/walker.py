"""The loops of a RUN, a step at a time: which tap of which window is next, where it lies, whether it is padding."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS, RUN_FIELDS
from ..interfaces import run_view


class WindowWalker(wiring.Component):
    """RUN's loops over groups, output pixels and taps (commands.py), and `inner` steps of each tap.

    Combinational from its counters: one position per cycle of `step`, the first one in the cycle after `start`.

    Members
    -------
    run : fields of the command, constant while walking.    start : one cycle.    step : goes to the next position.
    walking : there is a position: the following ones describe it.
    tap : address of the tap's word for group and inner step 0, in the padding anything.    inside : not padding.
    group, inner : counters, the first one from `first_group` on.
    window_start, window_end : first and last position of a window.

    `inner` is the RUN field that counts the steps of a tap; 0 is taken as 1.
    """

    def __init__(self, inner: str):
        self._inner = inner
        super().__init__(
            {
                "run": In(run_view()),
                "start": In(1),
                "step": In(1),
                "walking": Out(1),
                "tap": Out(ADDRESS_BITS),
                "inside": Out(1),
                "group": Out(RUN_FIELDS["group_count"] + 1),
                "inner": Out(RUN_FIELDS[inner]),
                "window_start": Out(1),
                "window_end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        run, step = self.run, self.step

        # The loops, innermost first: each counter steps when all inside it are at their end.
        tap_x, tap_y, group = Signal(8), Signal(8), Signal(12)
        pixel_x, pixel_y = Signal(12), Signal(12)
        counters = (
            (self.inner, run[self._inner]),
            (tap_x, run.kernel_width),
            (tap_y, run.kernel_height),
            (pixel_x, run.output_width),
            (pixel_y, run.output_height),
            (group, run.group_count),
        )
        ends = []  # ends[n]: counters 0..n are all at their end
        for level, (counter, limit) in enumerate(counters):
            end = Signal(name=f"end{level}")
            m.d.comb += end.eq((counter + 1 >= limit) & (ends[-1] if ends else 1))
            with m.If(step & (ends[-1] if ends else 1)):
                m.d.sync += counter.eq(Mux(end, 0, counter + 1))
            ends.append(end)
        end_tap, end_row, end_window, end_line, end_group, end_layer = ends

        # Addresses of window, row of taps and tap; in the padding they may point anywhere.
        line_start, window_start, row_start = (
            Signal(ADDRESS_BITS, name=name) for name in ("line_start", "window_start", "row_start")
        )
        top, left = Signal(signed(22)), Signal(signed(22))  # stride x output size: 8 + 12 bits, and a sign
        next_window = Signal(ADDRESS_BITS)
        m.d.comb += next_window.eq(
            Mux(
                end_group,
                run.window_start,
                Mux(end_line, line_start + run.window_step_y, window_start + run.window_step_x),
            )
        )
        with m.If(step):
            m.d.sync += self.window_start.eq(end_window)
            with m.If(end_tap):
                m.d.sync += self.tap.eq(self.tap + run.pixel_pitch)
            with m.If(end_row):
                m.d.sync += [row_start.eq(row_start + run.row_pitch), self.tap.eq(row_start + run.row_pitch)]
            with m.If(end_window):
                m.d.sync += [window_start.eq(next_window), row_start.eq(next_window), self.tap.eq(next_window)]
                m.d.sync += left.eq(left + run.stride_x)
            with m.If(end_line):
                m.d.sync += [line_start.eq(next_window), left.eq(-run.pad_left), top.eq(top + run.stride_y)]
            with m.If(end_group):
                m.d.sync += top.eq(-run.pad_top)
            with m.If(end_layer):
                m.d.sync += self.walking.eq(0)
        with m.If(self.start):
            m.d.sync += [self.walking.eq(1), self.window_start.eq(1), top.eq(-run.pad_top), left.eq(-run.pad_left)]
            m.d.sync += [start.eq(run.window_start) for start in (line_start, window_start, row_start, self.tap)]

        y, x = Signal(signed(23)), Signal(signed(23))
        m.d.comb += [
            y.eq(top + tap_y),
            x.eq(left + tap_x),
            self.inside.eq((y >= 0) & (y < run.input_height) & (x >= 0) & (x < run.input_width)),
            self.group.eq(run.first_group + group),
            self.window_end.eq(end_window),
        ]
        return m
