"""Float pool: sums and maxima of windows of floating-point elements, channel by channel, in float32."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS, RUN_FIELDS
from ..config import ChipConfig
from ..feeder.walker import WindowWalker
from ..floating import ElementFormat
from ..floating_point.add import FloatAdd
from ..formats import ACTIVATION_BITS
from ..interfaces import result_layout, run_view
from .lane import PoolLane


def word_period(chip: ChipConfig) -> int:
    """Cycles from one word to the next: a beat for each `output_lanes` channels, and no less than an addition takes."""
    return max(chip.channels // chip.output_lanes, FloatAdd.LATENCY)


class FloatPool(wiring.Component):
    """A RUN with `pooling` (commands.py) -> result stream: a window's numbers instead of sums.

    ```
     walker --> address, or padding --> activation memory --> `output_lanes` lanes --> numbers of a window --> stream
                (one word per period)                         (beat by beat)
    ```

    Throughput: a word every P = max(beats, FloatAdd.LATENCY) cycles, beats = channels / output_lanes; a window of n
    words takes max(n P, 2 beats - 1) with an output pipeline that is free. Latency from `start` to the first result:
    (n - 1) P + beats + PoolLane.LATENCY + 2. Everything stands still while the memory refuses a word, or the numbers of
    a window wait for those of the one before to leave.

    Members
    -------
    run : fields of the command, constant from `start` until `busy` falls.
    start : one cycle, begins the layer.    busy : until the last result has left.    moving : a word is taken, read or
        padding, or a result.
    read_enable, read_wide, read_ready, read_address, read_data : reader of the activation memory, latency 1, two words;
        the data stays until the next read.
    result : stream out; sums hold FP32 patterns in their low bits.
    fault, fault_address : a tap lies outside the memory; the pool stops.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "run": In(run_view()),
                "start": In(1),
                "busy": Out(1),
                "moving": Out(1),
                "read_enable": Out(1),
                "read_wide": Out(1),
                "read_ready": In(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(2 * chip.channels * ACTIVATION_BITS),
                "result": Out(stream.Signature(result_layout(chip))),
                "fault": Out(1),
                "fault_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, run = self._chip, self.run
        lanes, period = chip.output_lanes, word_period(chip)
        beats = chip.channels // lanes
        m.submodules.walker = walker = WindowWalker("tap_words")

        # A word is fetched in the last cycle of a period, and is there in the first of the next one.
        advance, fetch, blocked = Signal(), Signal(), Signal()
        phase = Signal(range(period))
        place = walker.group + walker.inner
        m.d.comb += [
            walker.run.eq(run),
            walker.start.eq(self.start),
            self.read_wide.eq(Cat(run.input_format == item for item in ElementFormat if item.bytes == 2).any()),
            self.read_address.eq(Mux(self.read_wide, (walker.tap + (place << 1)) & ~1, walker.tap + place)),
            fetch.eq(walker.walking & (phase == period - 1)),
            self.fault.eq(fetch & walker.inside & (self.read_address >= chip.activation_words)),
            self.fault_address.eq(self.read_address),
            self.read_enable.eq(fetch & walker.inside & ~self.fault & ~blocked),
            advance.eq(~blocked & ~self.fault & (~self.read_enable | self.read_ready)),
            walker.step.eq(fetch & advance),
        ]
        with m.If(advance):
            m.d.sync += phase.eq(Mux(phase == period - 1, 0, phase + 1))
        with m.If(self.start):
            m.d.sync += phase.eq(period - 1)

        # What goes along with a word, then with each of its beats.
        word = Signal(data.StructLayout({"valid": 1, "inside": 1, "first": 1, "last": 1}))
        with m.If(advance & (phase == period - 1)):
            m.d.sync += [
                word.valid.eq(walker.walking),
                word.inside.eq(walker.inside),
                word.first.eq(walker.window_start),
                word.last.eq(walker.window_end),
            ]
        layout = data.StructLayout({"beat": range(beats), "valid": 1})
        begun = Signal(layout)  # a beat whose numbers will count
        m.d.comb += [begun.beat.eq(phase), begun.valid.eq(word.valid & word.last & (phase < beats))]
        stages = [begun]
        for number in range(PoolLane.LATENCY):
            stage = Signal(layout, name=f"stage{number}")
            with m.If(advance):
                m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        done = stages[-1]
        numbers = self._build_lanes(m, advance, phase, word)

        # Numbers of a window, while they come and until they leave.
        payload, complete = self.result.payload, Signal()
        m.d.comb += [
            blocked.eq(done.valid & self.result.valid & ~self.result.ready),
            complete.eq(advance & done.valid & (done.beat == beats - 1)),
        ]
        with m.If(advance & done.valid):
            for channel in range(chip.channels):
                with m.If(done.beat == channel // lanes):
                    m.d.sync += payload.sums[channel].eq(numbers[channel % lanes])
        with m.If(complete | self.result.ready):
            m.d.sync += self.result.valid.eq(complete)
        self._build_place(m)
        m.d.comb += [
            self.busy.eq(walker.walking | word.valid | Cat(stage.valid for stage in stages).any() | self.result.valid),
            self.moving.eq(walker.step | (self.result.valid & self.result.ready)),
        ]
        return m

    def _build_lanes(self, m: Module, advance, phase, word):
        """Lanes over the word that is there; their numbers."""
        chip, run = self._chip, self.run
        numbers = []
        halves = [self.read_data.word_select(half, chip.channels * ACTIVATION_BITS) for half in (0, 1)]
        parts = [half.word_select(phase, chip.output_lanes * ACTIVATION_BITS) for half in halves]
        for index in range(chip.output_lanes):
            lane = PoolLane(word_period(chip))
            m.submodules[f"lane{index}"] = EnableInserter(advance)(lane)
            m.d.comb += [
                lane.element.eq(Cat(part.word_select(index, ACTIVATION_BITS) for part in parts)),
                lane.inside.eq(word.inside),
                lane.first.eq(word.first),
                lane.pooling.eq(run.pooling),
                lane.format.eq(run.input_format),
            ]
            numbers.append(lane.number)
        return numbers

    def _build_place(self, m: Module):
        """Where a result belongs: the pixels of a group one after the other, then the next group."""
        run, payload = self.run, self.result.payload
        group, x, y = (
            Signal(RUN_FIELDS["group_count"]),
            Signal(RUN_FIELDS["output_width"]),
            Signal(RUN_FIELDS["output_height"]),
        )
        m.d.comb += payload.parameter.eq(run.pool_parameter + group)
        with m.If(self.result.valid & self.result.ready):
            m.d.sync += [x.eq(x + 1), payload.offset.eq(payload.offset + run.output_pitch)]
            with m.If(x + 1 >= run.output_width):
                m.d.sync += [x.eq(0), y.eq(y + 1)]
                with m.If(y + 1 >= run.output_height):
                    m.d.sync += [y.eq(0), group.eq(group + 1), payload.offset.eq(0)]
        with m.If(self.start):
            m.d.sync += [group.eq(0), x.eq(0), y.eq(0), payload.offset.eq(0)]
