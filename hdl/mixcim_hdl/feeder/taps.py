"""The taps of a window, several in a cycle: a lane for each, and how far a lane goes in a step."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS, RUN_FIELDS

#: Number of a tap as row, column and word, RUN's innermost loops, the last one innermost. Rows count on past the
#: window's end, by the taps of a cycle (at most 32).
DIGITS = {"y": RUN_FIELDS["kernel_height"] + 1, "x": RUN_FIELDS["kernel_width"], "word": RUN_FIELDS["tap_words"]}
#: A tap: its digits, and its address from that of the window's first tap on.
TAP_LAYOUT = data.StructLayout({**DIGITS, "place": ADDRESS_BITS})
#: To the tap that is a fixed number of taps later: digits of that number, and the ways in memory: without carry, with
#: one from word to column, with one from column to row, with both.
STEP_LAYOUT = data.StructLayout({**DIGITS, "ways": data.ArrayLayout(ADDRESS_BITS, 4)})
#: Position of a window's first tap in the tensor: stride x output size, 8 + 12 bits, and a sign; then a tap's.
CORNER_SHAPE = signed(22)
POSITION_BITS = 23


def _ahead(m: Module, tap, step, kernel_width, tap_words):
    """(row, column, word) of the tap that a step leads to from `tap`, and which of the step's ways goes there."""
    words, columns = Signal(DIGITS["word"] + 1), Signal(DIGITS["x"] + 1)
    x, word = Signal(DIGITS["x"]), Signal(DIGITS["word"])
    carry = Signal(2)
    m.d.comb += [
        words.eq(tap.word + step.word),
        columns.eq(tap.x + step.x + carry[0]),
        carry.eq(Cat(words >= tap_words, columns >= kernel_width)),
        word.eq(Mux(carry[0], words - tap_words, words)),
        x.eq(Mux(carry[1], columns - kernel_width, columns)),
    ]
    y = tap.y + step.y + carry[1]
    return y, x, word, carry


class TapSteps(wiring.Component):
    """Where the lanes start in a window and how far they step: taps 0 .. `lanes`, walked one a cycle.

    Busy for `lanes` + 1 cycles after `start`, in cycle n with tap n; in the last one `finish` is high, and from the
    next one on `step` is the step over `lanes` taps.

    Members
    -------
    start.    kernel_width, tap_words (at least 1), wide (a word counts twice in addresses), pixel_pitch, row_pitch : of
        RUN, constant from `start` on.
    busy, finish.    capture : bit n is high in the cycle of tap n, with which lane n starts.    tap.    step.
    """

    def __init__(self, lanes: int):
        super().__init__(
            {
                "start": In(1),
                "kernel_width": In(DIGITS["x"]),
                "tap_words": In(DIGITS["word"]),
                "wide": In(1),
                "pixel_pitch": In(RUN_FIELDS["pixel_pitch"]),
                "row_pitch": In(ADDRESS_BITS),
                "busy": Out(1),
                "finish": Out(1),
                "capture": Out(lanes),
                "tap": Out(TAP_LAYOUT),
                "step": Out(STEP_LAYOUT),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tap, one = self.tap, Signal(STEP_LAYOUT)
        # What a carry adds to a way: on to the first word of the next column, and of the next row.
        to_column, to_row = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)

        def ways(straight):
            return [straight, straight + to_column, straight + to_row, straight + to_column + to_row]

        m.d.comb += [one.word.eq(1), self.busy.eq(self.capture.any() | self.finish)]
        m.d.comb += [one.ways[carry].eq(way) for carry, way in enumerate(ways(1 << self.wide))]
        y, x, word, way = _ahead(m, tap, one, self.kernel_width, self.tap_words)
        # Along all of its ways, for which one it is comes late.
        places = Cat((tap.place + one.ways[carry])[:ADDRESS_BITS] for carry in range(4))
        m.d.sync += [
            Cat(self.capture, self.finish).eq(Cat(self.start, self.capture)),
            tap.y.eq(y),
            tap.x.eq(x),
            tap.word.eq(word),
            tap.place.eq(places.word_select(way, ADDRESS_BITS)),
        ]
        with m.If(self.start):
            m.d.sync += [
                tap.eq(0),
                to_column.eq(self.pixel_pitch - (self.tap_words << self.wide)),
                to_row.eq(self.row_pitch - self.kernel_width * self.pixel_pitch),
            ]
        with m.If(self.finish):
            m.d.sync += [self.step[name].eq(tap[name]) for name in DIGITS]
            m.d.sync += [self.step.ways[carry].eq(way) for carry, way in enumerate(ways(tap.place))]
        return m


class TapLane(wiring.Component):
    """One lane of the feeder: its tap of the present beat.

    With `deep` it has the tap of the next beat in registers, too, so that `more` is a register: whether a window ends
    then comes early.

    Members
    -------
    capture, first : takes its tap of a window's first beat.    collect, prepare : it goes on to that of the second one;
        for `deep`, in the two cycles between the last `capture` and the first `load`; `step` is there in the second.
    load, base : goes to the first, in the window that begins at address `base`.
    advance, step : goes `step` on; `load` comes first.
    kernel_height, kernel_width, tap_words (at least 1), input_height, input_width, stride_x : of RUN.
    top, left : position of the window in the tensor.
    address : of the tap's word.    present : the tap belongs to the window.    inside : and is not padding.
    shared : the window to the left has the word too.    more : after a step the lane is still in the window.
    """

    def __init__(self, deep: int = 0):
        self._deep = deep
        fields = ("kernel_height", "kernel_width", "tap_words", "input_height", "input_width", "stride_x")
        super().__init__(
            {
                "capture": In(1),
                "first": In(TAP_LAYOUT),
                "collect": In(1),
                "prepare": In(1),
                "load": In(1),
                "base": In(ADDRESS_BITS),
                "advance": In(1),
                "step": In(STEP_LAYOUT),
                **{name: In(RUN_FIELDS[name]) for name in fields},
                "top": In(CORNER_SHAPE),
                "left": In(CORNER_SHAPE),
                "address": Out(ADDRESS_BITS),
                "present": Out(1),
                "inside": Out(1),
                "shared": Out(1),
                "more": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        first, tap = Signal(TAP_LAYOUT), Signal(data.StructLayout(DIGITS))
        with m.If(self.capture):
            m.d.sync += first.eq(self.first)
        if self._deep:
            self._build_next(m, first, tap)
        else:
            y, x, word, way = _ahead(m, tap, self.step, self.kernel_width, self.tap_words)
            way = self._way(way)
            m.d.comb += self.more.eq(y < self.kernel_height)
            with m.If(self.advance):
                m.d.sync += [tap.y.eq(y), tap.x.eq(x), tap.word.eq(word), self.address.eq(self.address + way)]
        with m.If(self.load):
            m.d.sync += [tap[name].eq(first[name]) for name in DIGITS]
            m.d.sync += self.address.eq(self.base + first.place)
        # Positions above or left of the tensor are large numbers.
        position_y, position_x = Signal(POSITION_BITS), Signal(POSITION_BITS)
        m.d.comb += [
            position_y.eq(self.top + tap.y),
            position_x.eq(self.left + tap.x),
            self.present.eq(tap.y < self.kernel_height),
            self.inside.eq(self.present & (position_y < self.input_height) & (position_x < self.input_width)),
            self.shared.eq(tap.x + self.stride_x < self.kernel_width),
        ]
        return m

    def _way(self, carry: Signal) -> Value:
        """One of the step's ways."""
        return self.step.ways.as_value().word_select(carry, ADDRESS_BITS)

    def _build_next(self, m: Module, first: data.View, tap: data.View) -> None:
        """The tap of the next beat, to which `tap` goes; from `prepare` on that of a window's second beat is kept."""
        second, after = Signal(TAP_LAYOUT), Signal(data.StructLayout(DIGITS))
        address, more, second_more = Signal(ADDRESS_BITS), Signal(), Signal()
        y, x, word, way = _ahead(m, after, self.step, self.kernel_width, self.tap_words)
        way = self._way(way)
        m.d.comb += self.more.eq(more)
        with m.If(self.collect):
            m.d.sync += [after[name].eq(first[name]) for name in DIGITS]
        with m.If(self.prepare):
            m.d.sync += [second.y.eq(y), second.x.eq(x), second.word.eq(word), second.place.eq(first.place + way)]
            m.d.sync += second_more.eq(y < self.kernel_height)
        with m.If(self.advance):
            m.d.sync += [tap.eq(after), self.address.eq(address)]
            m.d.sync += [after.y.eq(y), after.x.eq(x), after.word.eq(word), address.eq(address + way)]
            m.d.sync += more.eq(y < self.kernel_height)
        with m.If(self.load):
            m.d.sync += [after[name].eq(second[name]) for name in DIGITS]
            m.d.sync += [address.eq(self.base + second.place), more.eq(second_more)]
