"""Input feeder: walks the windows of a layer in im2col order and cuts them into vectors."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig
from ..formats import ACTIVATION_BITS
from ..interfaces import run_view, vector_layout


class Feeder(wiring.Component):
    """RUN's loops over pixels, groups, taps and words (commands.py) -> vector stream.

    ```
     loops --> address, or padding --> activation memory --> first 2**granule_log2 --> word, --> vector --> stream
               (one granule per cycle)                       channels                  packed              (bit planes)
    ```

    Throughput: one granule per cycle that the memory grants; a vector of n granules every n cycles. Latency: n + 2.

    Members
    -------
    run : fields of the command, constant from `start` until `done`.
    start : one cycle, begins the layer.    busy : until the last vector has left.
    read_enable, read_ready, read_address, read_data : reader of the activation memory, latency 1.
    vector : stream out.    fault, fault_address : a tap lies outside the memory; the feeder stops.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "run": In(run_view(chip)),
                "start": In(1),
                "busy": Out(1),
                "read_enable": Out(1),
                "read_ready": In(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(chip.channels * ACTIVATION_BITS),
                "vector": Out(stream.Signature(vector_layout(chip))),
                "fault": Out(1),
                "fault_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, run = self._chip, self.run
        granule_bits = (chip.channels - 1).bit_length()
        walking = Signal()

        # The loops, innermost first: each counter steps when all inside it are at their end.
        word, tap_x, tap_y = Signal(8), Signal(8), Signal(8)
        group, pixel_x, pixel_y = Signal(12), Signal(12), Signal(12)
        counters = (
            (word, run.tap_words),
            (tap_x, run.kernel_width),
            (tap_y, run.kernel_height),
            (group, run.group_count),
            (pixel_x, run.output_width),
            (pixel_y, run.output_height),
        )
        step = Signal()
        ends = []  # ends[n]: counters 0..n are all at their end
        for level, (counter, limit) in enumerate(counters):
            end = Signal(name=f"end{level}")
            m.d.comb += end.eq((counter + 1 == limit) & (ends[-1] if ends else 1))
            with m.If(step & (ends[-1] if ends else 1)):
                m.d.sync += counter.eq(Mux(end, 0, counter + 1))
            ends.append(end)
        end_word, end_row, end_window, end_pixel, end_line, end_layer = ends

        # Addresses of window, row of taps and tap; in the padding they may point anywhere.
        line_start, window_start, row_start, tap_start = (
            Signal(ADDRESS_BITS, name=name) for name in ("line_start", "window_start", "row_start", "tap_start")
        )
        top, left = Signal(signed(22)), Signal(signed(22))  # stride x output size: 8 + 12 bits, and a sign
        next_window = Signal(ADDRESS_BITS)
        m.d.comb += next_window.eq(
            Mux(
                end_line,
                line_start + run.window_step_y,
                Mux(end_pixel, window_start + run.window_step_x, window_start),
            )
        )
        offset = Signal(ADDRESS_BITS)
        with m.If(step):
            with m.If(end_word):
                m.d.sync += tap_start.eq(tap_start + run.pixel_pitch)
            with m.If(end_row):
                m.d.sync += [row_start.eq(row_start + run.row_pitch), tap_start.eq(row_start + run.row_pitch)]
            with m.If(end_window):
                m.d.sync += [window_start.eq(next_window), row_start.eq(next_window), tap_start.eq(next_window)]
            with m.If(end_pixel):
                m.d.sync += [left.eq(left + run.stride_x), offset.eq(offset + run.output_pitch)]
            with m.If(end_line):
                m.d.sync += [line_start.eq(next_window), left.eq(-run.pad_left), top.eq(top + run.stride_y)]
            with m.If(end_layer):
                m.d.sync += walking.eq(0)
        with m.If(self.start):
            m.d.sync += [walking.eq(1), offset.eq(0), top.eq(-run.pad_top), left.eq(-run.pad_left)]
            m.d.sync += [start.eq(run.window_start) for start in (line_start, window_start, row_start, tap_start)]

        # Issue one granule: read it, or take the pad value.
        y, x = Signal(signed(23)), Signal(signed(23))
        inside = Signal()
        position = Signal(range(chip.rows))  # of the granule in its vector
        last_position = Signal(range(chip.rows))
        first_vector = Signal(init=1)
        vector_end = Signal()
        filled_valid, filled_last = Signal(), Signal()  # the granule whose data is there now
        may_issue = Signal()
        m.d.comb += [
            y.eq(top + tap_y),
            x.eq(left + tap_x),
            inside.eq((y >= 0) & (y < run.input_height) & (x >= 0) & (x < run.input_width)),
            self.read_address.eq(tap_start + word + group),
            last_position.eq((chip.rows >> run.granule_log2) - 1),
            vector_end.eq((position == last_position) | end_window),
            may_issue.eq(walking & ~(vector_end & (self.vector.valid | (filled_valid & filled_last)))),
            self.fault.eq(may_issue & inside & (self.read_address >= chip.activation_words)),
            self.fault_address.eq(self.read_address),
            self.read_enable.eq(may_issue & inside & ~self.fault),
            step.eq(may_issue & ~self.fault & (~inside | self.read_ready)),
        ]
        issued = {
            "last": vector_end,
            "inside": inside,
            "position": position,
            "pixel_start": (group == 0) & first_vector,
            "window_start": first_vector,
            "window_end": end_window,
            "offset": offset,
        }
        filled = {name: Signal.like(Signal(len(value)), name=f"filled_{name}") for name, value in issued.items()}
        m.d.comb += filled_last.eq(filled["last"])
        m.d.sync += filled_valid.eq(step)
        with m.If(step):
            m.d.sync += [filled[name].eq(value) for name, value in issued.items()]
            m.d.sync += [position.eq(Mux(vector_end, 0, position + 1))]
            with m.If(vector_end):
                m.d.sync += first_vector.eq(end_window)
        with m.If(self.start):
            m.d.sync += [first_vector.eq(1), position.eq(0)]

        # Put it into the vector: granules narrower than a word are packed into one first.
        word_width = chip.channels * ACTIVATION_BITS
        granule = Signal(word_width)  # the granule, repeated over the width of a word
        lanes = Signal(chip.channels)  # where in the word it goes
        fresh = Signal(word_width)
        source = Signal(word_width)
        row = Signal(range(chip.rows))
        m.d.comb += [
            source.eq(Mux(filled["inside"], self.read_data, run.pad_value.replicate(chip.channels))),
            row.eq(filled["position"] << run.granule_log2),
        ]
        with m.Switch(run.granule_log2):
            for log2 in range(granule_bits + 1):
                with m.Case(log2):
                    width = 1 << log2
                    m.d.comb += [
                        granule.eq(source[: width * ACTIVATION_BITS].replicate(chip.channels // width)),
                        lanes.eq(((1 << width) - 1) << (row % chip.channels)),
                    ]
        m.d.comb += fresh.eq(granule & Cat(lane.replicate(ACTIVATION_BITS) for lane in lanes))
        words = Signal(data.ArrayLayout(word_width, chip.taps_per_vector))
        updated = Signal.like(words)
        for index in range(chip.taps_per_vector):
            here = row // chip.channels == index
            kept = Mux(filled["position"] == 0, 0, words[index])
            m.d.comb += updated[index].eq(kept | Mux(here, fresh, 0))
        with m.If(filled_valid):
            m.d.sync += words.eq(updated)

        # Hand over a complete vector, as bit planes.
        payload = self.vector.payload
        with m.If(self.vector.ready):
            m.d.sync += self.vector.valid.eq(0)
        with m.If(filled_valid & filled_last):
            m.d.sync += [
                self.vector.valid.eq(1),
                payload.length.eq((filled["position"] + 1) << run.granule_log2),
                payload.pixel_start.eq(filled["pixel_start"]),
                payload.window_start.eq(filled["window_start"]),
                payload.window_end.eq(filled["window_end"]),
                payload.offset.eq(filled["offset"]),
            ]
            flat = updated.as_value()
            for bit in range(ACTIVATION_BITS):
                m.d.sync += payload.planes[bit].eq(Cat(flat[row * ACTIVATION_BITS + bit] for row in range(chip.rows)))
        m.d.comb += self.busy.eq(walking | filled_valid | self.vector.valid)
        return m
