"""Input feeder: walks the windows of a layer in im2col order and cuts them into vectors of integers."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig
from ..floating import ElementFormat
from ..floating_point.align import EXPONENT_BITS
from ..formats import ACTIVATION_BITS
from ..interfaces import run_view, vector_layout
from .exponents import ENTRY_LAYOUT, WindowExponents
from .pre_alignment import PreAlignment
from .walker import WindowWalker

#: Formats of two bytes an element.
WIDE_FORMATS = [item for item in ElementFormat if item.bytes == 2]


class Feeder(wiring.Component):
    """RUN's loops over pixels, groups, taps and words (commands.py) -> vector stream.

    ```
     walker ---> address, or padding --> activation memory --> pre-alignment --> granule --> vector --> stream
       ^         (one granule per cycle)                                         packed     (bit planes)
       '-- E --- window exponents <--> exponent memory             (floating inputs, one window ahead)
    ```

    Throughput: one granule per cycle that the memory grants, also from one vector to the next; a vector of n granules
    every n cycles, one of a single granule every 2. Latency from `start` to the first vector: n + 2 + that of
    PreAlignment (2, or 0 without floating point); floating inputs: n exponent entries of a window take n + 1 more.

    Members
    -------
    run : fields of the command, constant from `start` until `busy` falls.
    start : one cycle, begins the layer.    busy : until the last vector has left.
    read_enable, read_wide, read_ready, read_address, read_data : reader of the activation memory, latency 1, two words;
        the data stays until the next read.
    exponent_enable, exponent_address, exponent_data : reader of the exponent memory likewise, always served.
    vector : stream out.
    fault, fault_address : a tap or an exponent entry lies outside the memory; the feeder stops. What precedes in order
        was read without one, and of a window the entries precede.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "run": In(run_view(chip)),
                "start": In(1),
                "busy": Out(1),
                "read_enable": Out(1),
                "read_wide": Out(1),
                "read_ready": In(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(2 * chip.channels * ACTIVATION_BITS),
                "exponent_enable": Out(1),
                "exponent_address": Out(ADDRESS_BITS),
                "exponent_data": In(ENTRY_LAYOUT.size),
                "vector": Out(stream.Signature(vector_layout(chip))),
                "fault": Out(1),
                "fault_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, run = self._chip, self.run
        advance = Signal()  # everything stands still while a complete vector waits for the one before it to leave
        floating, wide, exponent_ready = Signal(), Signal(), Signal()
        exponent = Signal(data.StructLayout({"biased": EXPONENT_BITS, "special": 1}))  # of the window; special: or not
        exponent_fault, exponent_fault_address = Signal(), Signal(ADDRESS_BITS)
        m.submodules.walker = walker = WindowWalker(chip, "tap_words")

        # Issue one granule: read it, or take its padding.
        position, last_position = Signal(range(chip.rows)), Signal(range(chip.rows))  # of the granule in its vector
        first_vector = Signal()  # of its window
        offset = Signal(ADDRESS_BITS)
        may_issue, value_fault, vector_end = Signal(), Signal(), Signal()
        place = walker.group + walker.inner
        address = walker.tap + place
        if chip.floating_point:
            address = Mux(wide, (walker.tap + (place << 1)) & ~1, address)
        m.d.comb += [
            walker.run.eq(run),
            walker.start.eq(self.start),
            self.read_wide.eq(wide),
            self.read_address.eq(address),
            last_position.eq((chip.rows >> run.granule_log2) - 1),
            vector_end.eq((position == last_position) | walker.window_end),
            may_issue.eq(walker.walking & advance & (exponent_ready | ~floating)),
            value_fault.eq(may_issue & walker.inside & (self.read_address >= chip.activation_words)),
            self.fault.eq(value_fault | exponent_fault),
            self.fault_address.eq(Mux(value_fault, self.read_address, exponent_fault_address)),
            self.read_enable.eq(may_issue & walker.inside & ~value_fault),
            walker.step.eq(may_issue & ~value_fault & (~walker.inside | self.read_ready)),
        ]
        with m.If(walker.step):
            m.d.sync += position.eq(Mux(vector_end, 0, position + 1))
            with m.If(vector_end):
                m.d.sync += first_vector.eq(walker.window_end)
            with m.If(walker.pixel_end):
                m.d.sync += offset.eq(offset + run.output_pitch)
        with m.If(self.start):
            m.d.sync += [first_vector.eq(1), position.eq(0), offset.eq(0)]

        # What goes along with a granule while it is read and aligned.
        layout = data.StructLayout(
            {
                "valid": 1,
                "last": 1,  # of its vector
                "inside": 1,
                "position": position.shape(),
                "pixel_start": 1,
                "window_start": 1,
                "window_end": 1,
                "offset": ADDRESS_BITS,
                "exponent": exponent.shape(),
            }
        )
        issued, pre_alignment = Signal(layout), PreAlignment(chip)
        m.d.comb += [
            issued.valid.eq(walker.step),
            issued.last.eq(vector_end),
            issued.inside.eq(walker.inside),
            issued.position.eq(position),
            issued.pixel_start.eq(walker.pixel_start & first_vector),
            issued.window_start.eq(first_vector),
            issued.window_end.eq(walker.window_end),
            issued.offset.eq(offset),
            issued.exponent.eq(exponent),
        ]
        stages = [issued]
        for number in range(1 + pre_alignment.LATENCY):
            stage = Signal(layout, name=f"stage{number}")
            with m.If(advance):
                m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        there, aligned = stages[1], stages[-1]  # the granule whose elements are there now, and whose integers are
        m.submodules.pre_alignment = EnableInserter(advance)(pre_alignment)
        m.d.comb += [
            pre_alignment.elements.eq(self.read_data),
            pre_alignment.inside.eq(there.inside),
            pre_alignment.exponent.eq(there.exponent.biased),
            advance.eq(~(aligned.valid & aligned.last & self.vector.valid)),
        ]
        for name in ("input_format", "input_bits", "rounding", "input_zero_point", "pad_value"):
            m.d.comb += getattr(pre_alignment, name).eq(run[name])

        # Hand over a complete vector, as bit planes.
        payload = self.vector.payload
        vector = self._pack(m, pre_alignment.integers, aligned, advance)
        with m.If(self.vector.ready):
            m.d.sync += self.vector.valid.eq(0)
        with m.If(advance & aligned.valid & aligned.last):
            m.d.sync += [
                self.vector.valid.eq(1),
                payload.length.eq((aligned.position + 1) << run.granule_log2),
                payload.pixel_start.eq(aligned.pixel_start),
                payload.window_start.eq(aligned.window_start),
                payload.window_end.eq(aligned.window_end),
                payload.offset.eq(aligned.offset),
            ]
            planes = chip.input_planes
            for bit in range(planes):
                m.d.sync += payload.planes[bit].eq(Cat(vector[row * planes + bit] for row in range(chip.rows)))
        inside = Cat(stage.valid for stage in stages[1:]).any()
        m.d.comb += self.busy.eq(walker.walking | inside | self.vector.valid)

        if chip.floating_point:
            m.submodules.exponents = exponents = WindowExponents(chip)
            window, bias = exponents.window.payload, Signal(EXPONENT_BITS)
            with m.Switch(run.input_format):
                for item in ElementFormat:
                    if item.floating:
                        with m.Case(item):
                            m.d.comb += bias.eq(item.floating.bias)
            m.d.comb += [
                floating.eq(run.input_format != ElementFormat.INTEGER),
                wide.eq(Cat(run.input_format == item for item in WIDE_FORMATS).any()),
                exponents.run.eq(run),
                exponents.start.eq(self.start & floating),
                exponents.read_data.eq(self.exponent_data),
                exponents.window.ready.eq(walker.step & walker.window_end & floating),
                self.exponent_enable.eq(exponents.read_enable),
                self.exponent_address.eq(exponents.read_address),
                exponent_ready.eq(exponents.window.valid),
                # Field 0 is that of zeros and subnormals, whose exponent is the smallest.
                exponent.biased.eq(Cat(window.field[0] | ~window.field.any(), window.field[1:])),
                exponent.special.eq(window.special & floating),
                exponent_fault.eq(exponents.fault),
                exponent_fault_address.eq(exponents.fault_address),
            ]
            with m.If(advance & aligned.valid & aligned.last):
                m.d.sync += [
                    payload.exponent.special.eq(aligned.exponent.special),
                    payload.exponent.unit.eq(Mux(floating, aligned.exponent.biased - bias - (run.input_bits - 2), 0)),
                ]
        return m

    def _pack(self, m: Module, integers, granule, advance: Signal) -> Value:
        """The vector up to and with `granule`: narrower than a word, granules are packed into one first."""
        chip, planes = self._chip, self._chip.input_planes
        word_width = chip.channels * planes
        source = integers.as_value()
        repeated = Signal(word_width)  # the granule, repeated over the width of a word
        lanes = Signal(chip.channels)  # where in the word it goes
        row = Signal(range(chip.rows))
        m.d.comb += row.eq(granule.position << self.run.granule_log2)
        with m.Switch(self.run.granule_log2):
            for log2 in range((chip.channels - 1).bit_length() + 1):
                with m.Case(log2):
                    width = 1 << log2
                    m.d.comb += [
                        repeated.eq(source[: width * planes].replicate(chip.channels // width)),
                        lanes.eq(((1 << width) - 1) << (row % chip.channels)),
                    ]
        fresh = Signal(word_width)
        m.d.comb += fresh.eq(repeated & Cat(lane.replicate(planes) for lane in lanes))
        words = Signal(data.ArrayLayout(word_width, chip.taps_per_vector))
        updated = Signal.like(words)
        for index in range(chip.taps_per_vector):
            here = row // chip.channels == index
            kept = Mux(granule.position == 0, 0, words[index])
            m.d.comb += updated[index].eq(kept | Mux(here, fresh, 0))
        with m.If(advance & granule.valid):
            m.d.sync += words.eq(updated)
        return updated.as_value()
