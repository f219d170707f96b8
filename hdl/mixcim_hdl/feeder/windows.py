"""The windows of a RUN, in order: where each lies, and what its vectors are marked with."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS, RUN_FIELDS
from ..interfaces import COPY_BITS, run_view
from .taps import CORNER_SHAPE


class Windows(wiring.Component):
    """RUN's loops over groups and output pixels (commands.py).

    Members
    -------
    run : fields of the command, constant from `start` on.    wide : a group counts twice in addresses.
    start : the first window is there in the next cycle.    step : goes to the next one.
    begin : the lanes load the first window.    base : address of the first tap of the window that they load in this
        cycle: of the present one with `begin`, else of the next one.
    top, left : position of the first tap in the tensor.    offset, copy, odd_group : as in vector_layout.
    row_end : last window of a row.    end : of the RUN.
    """

    def __init__(self):
        super().__init__(
            {
                "run": In(run_view()),
                "wide": In(1),
                "start": In(1),
                "step": In(1),
                "begin": In(1),
                "base": Out(ADDRESS_BITS),
                "top": Out(CORNER_SHAPE),
                "left": Out(CORNER_SHAPE),
                "offset": Out(ADDRESS_BITS),
                "copy": Out(COPY_BITS),
                "odd_group": Out(1),
                "row_end": Out(1),
                "end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        run = self.run
        x, y, group = Signal(RUN_FIELDS["output_width"]), Signal(RUN_FIELDS["output_height"]), Signal(12)
        group_end, copy_end, last_row = Signal(), Signal(), Signal()
        row_end = Signal()  # and last_row: registers, for what they tell is needed early
        group_start, row_start, window = (
            Signal(ADDRESS_BITS, name=name) for name in ("group_start", "row_start", "window")
        )
        group_base, row_base, window_base = (
            Signal(ADDRESS_BITS, name=name) for name in ("group_base", "row_base", "window_base")
        )  # of the next group, row and window
        m.d.comb += [
            self.row_end.eq(row_end),
            group_end.eq(row_end & last_row),
            self.end.eq(group_end & (group + 1 >= run.group_count)),
            copy_end.eq(self.copy + 1 >= run.copies),
            self.odd_group.eq(group[0]),
            group_base.eq(group_start + (1 << self.wide)),
            row_base.eq(Mux(group_end, group_base, row_start + run.window_step_y)),
            window_base.eq(Mux(self.row_end, row_base, window + run.window_step_x)),
            self.base.eq(Mux(self.begin, window, window_base)),
        ]
        one_column, one_row = run.output_width <= 1, run.output_height <= 1
        with m.If(self.step):
            m.d.sync += row_end.eq(Mux(row_end, one_column, x + 2 >= run.output_width))
            with m.If(row_end):
                m.d.sync += last_row.eq(Mux(last_row, one_row, y + 2 >= run.output_height))
            m.d.sync += [
                window.eq(window_base),
                x.eq(x + 1),
                self.left.eq(self.left + run.stride_x),
                self.offset.eq(self.offset + run.output_pitch),
                self.copy.eq(Mux(copy_end, 0, self.copy + 1)),
            ]
            with m.If(self.row_end):
                m.d.sync += [
                    row_start.eq(row_base),
                    x.eq(0),
                    y.eq(y + 1),
                    self.left.eq(-run.pad_left),
                    self.top.eq(self.top + run.stride_y),
                ]
            with m.If(group_end):
                m.d.sync += [
                    group_start.eq(group_base),
                    y.eq(0),
                    group.eq(group + 1),
                    self.top.eq(-run.pad_top),
                    self.offset.eq(0),
                    self.copy.eq(0),
                ]
        first = run.window_start + (run.first_group << self.wide)
        with m.If(self.start):
            m.d.sync += [start.eq(first) for start in (group_start, row_start, window)]
            m.d.sync += [counter.eq(0) for counter in (x, y, group, self.offset, self.copy)]
            m.d.sync += [self.top.eq(-run.pad_top), self.left.eq(-run.pad_left)]
            m.d.sync += [row_end.eq(one_column), last_row.eq(one_row)]
        return m
