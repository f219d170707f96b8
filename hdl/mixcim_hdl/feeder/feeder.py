"""Input feeder: walks the windows of a layer in im2col order and cuts them into vectors of integers."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..banks import bank_bit
from ..commands import ADDRESS_BITS, RUN_FIELDS
from ..config import ChipConfig
from ..emission import once
from ..floating import ElementFormat
from ..floating_point.align import EXPONENT_BITS
from ..formats import ACTIVATION_BITS
from ..interfaces import COPY_BITS, run_view, vector_layout
from ..primitives.delayed import delayed
from ..primitives.queues import RegisterQueue
from .exponents import ENTRY_LAYOUT, WindowExponents
from .plane import Plane
from .pre_alignment import PreAlignment
from .taps import TapLane, TapSteps
from .window_store import WindowStore
from .windows import Windows

#: Formats of two bytes an element.
WIDE_FORMATS = [item for item in ElementFormat if item.bytes == 2]


class Feeder(wiring.Component):
    """RUN's loops over groups, pixels, taps and words (commands.py) -> vector stream.

    ```
     windows --> lanes: address, padding, ----> activation memory --.
       ^         or word of the last window --> window store -------+--> pre-alignment --> planes of --> stream
       '-- E --- window exponents <--> exponent memory                                     a vector
    ```

    A chip with a deep pipeline has a queue of two beats behind the lanes: the way from a tap to the memory and back to
    the next tap is the longest.

    Of a window's taps (a tap here: an activation word, ky, kx, w of RUN) a beat takes L = feeder_words at a time: taps
    n * L to n * L + L - 1, or what is left of them, so that a beat fills up to L << granule_log2 rows of one vector.

    A tap is not read from the memory if it is padding, or if the last window had it: tap T + stride_x * tap_words of
    that one, where ox > 0, kx + stride_x < kernel_width, the window has at most window_words taps, and window_step_x
    is stride_x * pixel_pitch. It is then taken from the window store, and costs nothing. The words of the others are
    asked for together; those that the memory refuses are asked for again in the next cycle, the others are not.

    Cycles
    ------
    A beat takes as many cycles as its slowest read needs until it is served: 1 without conflicts, or with nothing to
    read. Beats follow each other without a gap, over the ends of vectors, windows, rows and groups: a window of T taps
    takes ceil(T / L) cycles without conflicts. With `start` in cycle 0, the first beat is asked for in cycle L + 2 (in
    a deep pipeline L + 6). The words of a beat whose last read is served in cycle c are there in c + 1, their integers
    in c + 1 + A, A = PreAlignment.LATENCY (2; without floating point 0, deep 1), and `vector` is valid from c + 2 + A
    on if the beat is the last one of its vector. In a cycle in which the integers of such a beat are there, and the
    vector before is offered and not taken (in a deep pipeline: is offered), everything stands still, and nothing is
    asked for. So the vectors of single beats can leave one a cycle, in a deep pipeline one every other cycle.

    Floating inputs: no beat of window k (from 0) is asked for before cycle x[k], in which its exponent is there:
    x[0] = n + 2, x[k] = max(x[k - 1] + n, u[k - 1] + 1), where n = kernel_height * kernel_width * max(tap_exponents, 1)
    and u[k] is the cycle in which the last beat of window k is served.

    Members
    -------
    run : fields of the command, constant from `start` until `busy` falls.
    start : one cycle, begins the layer.    busy : until the last vector has left.
    read_enable, read_ready, read_address, read_data (for each lane), read_wide, read_now : readers of the activation
        memory, of latency 1, two words each; the data stays until the lane's next read.    read_banks,
        read_blocked : of a deep pipeline (BankedMemory).    reads : words that are read now.
    exponent_enable, exponent_address, exponent_data : reader of the exponent memory likewise, always served.
    vector : stream out.
    fault, fault_address : a tap or an exponent entry lies outside the memory; the feeder stops. The tap is the first
        such one in order, and no tap of its beat is read. What precedes in order has no fault; of a window the entries
        precede.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        lanes = chip.feeder_words
        super().__init__(
            {
                "run": In(run_view()),
                "start": In(1),
                "busy": Out(1),
                "read_enable": Out(lanes),
                "read_now": Out(1),
                "read_wide": Out(1),
                "read_ready": In(lanes),
                "read_address": Out(data.ArrayLayout(ADDRESS_BITS, lanes)),
                "read_banks": Out(data.ArrayLayout(chip.activation_banks, lanes)),
                "read_blocked": Out(lanes),
                "read_data": In(data.ArrayLayout(2 * chip.channels * ACTIVATION_BITS, lanes)),
                "reads": Out(range(2 * lanes + 1)),
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
        lanes = chip.feeder_words
        advance = Signal()  # everything stands still while a complete vector waits for the one before it to leave
        walking, step, window_end = Signal(), Signal(), Signal()  # a beat is there; on to the next; last of its window
        next_beat = Signal()  # the beat that is read is; on to the next
        floating, wide, exponent_ready = Signal(), Signal(), Signal()
        exponent = Signal(data.StructLayout({"biased": EXPONENT_BITS, "special": 1}))  # of the window; special: or not
        exponent_fault, exponent_fault_address = Signal(), Signal(ADDRESS_BITS)
        filled, vector_end = Signal(range(chip.rows)), Signal()  # rows of the vector that earlier beats have filled
        full = Signal(range(chip.rows + 1))  # and with a whole beat
        # What goes along with a beat while it is read and aligned.
        layout = data.StructLayout(
            {
                "valid": 1,
                "last": 1,  # of its vector
                "inside": lanes,
                "filled": filled.shape(),
                "length": full.shape(),
                "window_start": 1,
                "window_end": 1,
                "copy": COPY_BITS,
                "odd_group": 1,
                "offset": ADDRESS_BITS,
                "exponent": exponent.shape(),
            }
        )
        # Limits of the taps; a deep pipeline has them in registers, and begins a cycle later.
        limits = {
            name: delayed(m, _at_least_one(run[name]), chip.deep_pipeline, name)
            for name in ("kernel_height", "kernel_width", "tap_words")
        }
        set_out = delayed(m, self.start, chip.deep_pipeline, "set_out")
        m.submodules.windows = windows = Windows()
        m.submodules.steps = steps = TapSteps(lanes)
        m.d.comb += [
            windows.run.eq(run),
            windows.wide.eq(wide),
            windows.start.eq(self.start),
            windows.step.eq(step & window_end),
            steps.start.eq(set_out),
            steps.wide.eq(wide),
            steps.kernel_width.eq(limits["kernel_width"]),
            steps.tap_words.eq(limits["tap_words"]),
            steps.pixel_pitch.eq(run.pixel_pitch),
            steps.row_pitch.eq(run.row_pitch),
        ]
        prepare, begin = Signal(), Signal()
        if chip.deep_pipeline:
            m.d.sync += [prepare.eq(steps.finish), begin.eq(prepare)]
        else:
            m.d.comb += begin.eq(steps.finish)
        m.d.comb += windows.begin.eq(begin)
        with m.If(begin):
            m.d.sync += walking.eq(1)
        with m.If(windows.step & windows.end):
            m.d.sync += walking.eq(0)
        taps = self._build_lanes(m, platform, windows, steps, limits, step, prepare, begin)

        # A beat: its taps, but for padding and what is kept of the last window, have to be read.
        entries = chip.window_words // lanes
        reused, entry, kept, distance = self._build_reuse(m, taps, windows, entries, step)
        addresses = [Cat(tap.address[0] & ~wide, tap.address[1:]) for tap in taps]
        needed, outside = Signal(lanes), Signal(lanes)
        made = Signal(
            data.StructLayout(
                {
                    "address": data.ArrayLayout(ADDRESS_BITS, lanes),
                    "banks": data.ArrayLayout(chip.activation_banks if chip.deep_pipeline else 0, lanes),
                    "pairs": data.ArrayLayout(lanes if chip.deep_pipeline else 0, lanes),  # lower lanes of that bank
                    "needed": lanes,  # none if there is a fault
                    "outside": lanes,  # of the memory
                    "fault": 1,
                    "reused": lanes,
                    "entry": entry.shape(),  # of the window store
                    "kept": 1,  # there is such an entry
                    "issued": layout,
                }
            )
        )
        m.d.comb += [
            window_end.eq(~taps[0].more),
            needed.eq(Cat(tap.inside for tap in taps) & ~reused),
            *(made.address[lane].eq(address) for lane, address in enumerate(addresses)),
            outside.eq(needed & Cat(address >= chip.activation_words for address in addresses)),
            made.needed.eq(Mux(outside.any(), 0, needed)),
            made.outside.eq(outside),
            made.fault.eq(outside.any()),
            made.reused.eq(reused),
            made.entry.eq(entry),
            made.kept.eq(kept),
        ]
        done, wanted, served = (Signal(lanes, name=name) for name in ("done", "wanted", "served"))
        there_is = walking & (exponent_ready | ~floating)
        if chip.deep_pipeline:
            m.submodules.beats = beats = RegisterQueue(made.shape(), 2)
            beat, valid = beats.output.payload, beats.output.valid
            used = (chip.activation_words - 1).bit_length()
            m.d.comb += [
                *(
                    made.banks[lane].eq(bank_bit(address[:used], chip.activation_banks))
                    for lane, address in enumerate(addresses)
                ),
                *(
                    made.pairs[lane][lower].eq((made.banks[lane] & made.banks[lower]).any() & needed[lower])
                    for lane in range(lanes)
                    for lower in range(lane)
                ),
                self.read_banks.eq(beat.banks),
                *(self.read_blocked[lane].eq((beat.pairs[lane] & ~done).any()) for lane in range(lanes)),
                beats.input.payload.eq(made),
                beats.input.valid.eq(there_is),
                step.eq(there_is & beats.input.ready),
                beats.output.ready.eq(next_beat),
            ]
        else:
            beat, valid = made, there_is
            m.d.comb += step.eq(next_beat)

        # Read it.
        may_issue, value_fault, value_address = Signal(), Signal(), Signal(ADDRESS_BITS)
        m.d.comb += [
            may_issue.eq(valid & advance),
            value_fault.eq(may_issue & beat.fault),
            wanted.eq(beat.needed & ~done),
            self.read_wide.eq(wide),
            self.read_address.eq(beat.address),
            self.read_enable.eq(Mux(valid, wanted, 0)),
            self.read_now.eq(advance),
            served.eq(Mux(advance, self.read_enable & self.read_ready, 0)),
            self.reads.eq(sum(served, C(0)) << wide),
            next_beat.eq(may_issue & ~beat.fault & ~(wanted & ~self.read_ready).any()),
            self.fault.eq(value_fault | exponent_fault),
            self.fault_address.eq(Mux(value_fault, value_address, exponent_fault_address)),
        ]
        for lane in reversed(range(lanes)):
            with m.If(beat.outside[lane]):
                m.d.comb += value_address.eq(beat.address[lane])
        with m.If(self.start | next_beat):
            m.d.sync += done.eq(0)
        with m.Else():
            m.d.sync += done.eq(done | served)
        words = self._build_store(m, entries, beat, distance, may_issue, next_beat, advance)

        # Where the beat goes.
        first_vector = Signal()  # of its window
        m.d.comb += [
            full.eq(filled + (lanes << run.granule_log2)),
            vector_end.eq(window_end | (full >= chip.rows)),
        ]
        with m.If(step):
            m.d.sync += filled.eq(Mux(vector_end, 0, full))
            with m.If(vector_end):
                m.d.sync += first_vector.eq(window_end)
        with m.If(self.start):
            m.d.sync += [first_vector.eq(1), filled.eq(0)]

        issued = made.issued
        present = sum((tap.present for tap in taps), C(0))
        m.d.comb += [
            issued.valid.eq(1),
            issued.last.eq(vector_end),
            issued.inside.eq(Cat(tap.inside for tap in taps)),
            issued.filled.eq(filled),
            issued.length.eq(filled + (present << run.granule_log2)),
            issued.window_start.eq(first_vector),
            issued.window_end.eq(window_end),
            issued.exponent.eq(exponent),
        ]
        m.d.comb += [issued[name].eq(getattr(windows, name)) for name in ("copy", "odd_group", "offset")]
        aligners = [PreAlignment(chip) for _ in range(lanes)]
        stages = [beat.issued]
        for number in range(1 + aligners[0].LATENCY):
            stage = Signal(layout, name=f"stage{number}")
            with m.If(advance):
                m.d.sync += stage.eq(stages[-1])
                if number == 0:
                    m.d.sync += stage.valid.eq(next_beat)
            stages.append(stage)
        there, aligned = stages[1], stages[-1]  # the beat whose words are there now, and whose integers are
        complete = Signal()
        m.d.comb += [
            complete.eq(aligned.valid & aligned.last),
            # A deep pipeline does not wait for the units' answer: it stands still in a cycle more.
            advance.eq(~(complete & self.vector.valid & (chip.deep_pipeline | ~self.vector.ready))),
            self.busy.eq(
                (steps.busy | set_out | prepare | begin | walking | valid)
                | Cat(stage.valid for stage in stages[1:]).any()
                | self.vector.valid
            ),
        ]

        # Integers, as bit planes.
        for lane, aligner in enumerate(aligners):
            m.d.comb += [
                aligner.enable.eq(advance),
                aligner.elements.eq(words[lane]),
                aligner.inside.eq(there.inside[lane]),
                aligner.exponent.eq(there.exponent.biased),
            ]
            for name in ("input_format", "input_bits", "rounding", "input_zero_point", "pad_value"):
                m.d.comb += getattr(aligner, name).eq(run[name])
            m.submodules[f"pre_alignment{lane}"] = once(aligner, "pre_alignment", platform)
        payload = self.vector.payload
        before, fresh = Signal(chip.rows), Signal(chip.rows)
        m.d.comb += [
            before.eq((1 << aligned.filled) - 1),
            fresh.eq(((1 << aligned.length) - 1) & ~before),
        ]
        with m.If(self.vector.ready):
            m.d.sync += self.vector.valid.eq(0)
        with m.If(advance & complete):
            m.d.sync += self.vector.valid.eq(1)
            for name in ("length", "window_start", "window_end", "copy", "odd_group", "offset"):
                m.d.sync += payload[name].eq(aligned[name])
        for bit in range(chip.input_planes):
            plane = Plane(chip)
            m.d.comb += [
                plane.bits.eq(Cat(aligner.planes[bit] for aligner in aligners)),
                plane.granule_log2.eq(run.granule_log2),
                plane.before.eq(before),
                plane.fresh.eq(fresh),
                plane.enable.eq(advance & aligned.valid),
            ]
            with m.If(advance & complete):
                m.d.sync += payload.planes[bit].eq(plane.plane)
            m.submodules[f"plane{bit}"] = once(plane, "plane", platform)

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
                exponents.window.ready.eq(step & window_end & floating),
                self.exponent_enable.eq(exponents.read_enable),
                self.exponent_address.eq(exponents.read_address),
                exponent_ready.eq(exponents.window.valid),
                # Field 0 is that of zeros and subnormals, whose exponent is the smallest.
                exponent.biased.eq(Cat(window.field[0] | ~window.field.any(), window.field[1:])),
                exponent.special.eq(window.special & floating),
                exponent_fault.eq(exponents.fault),
                exponent_fault_address.eq(exponents.fault_address),
            ]
            with m.If(advance & complete):
                m.d.sync += [
                    payload.exponent.special.eq(aligned.exponent.special),
                    payload.exponent.unit.eq(Mux(floating, aligned.exponent.biased - bias - (run.input_bits - 2), 0)),
                ]
        return m

    def _build_lanes(self, m: Module, platform, windows, steps, limits, step, prepare, begin) -> list[TapLane]:
        """A lane for each tap of a beat. `prepare`, `begin`: one cycle, before the first window."""
        run = self.run
        taps = [TapLane(self._chip.deep_pipeline) for _ in range(self._chip.feeder_words)]
        for lane, tap in enumerate(taps):
            m.d.comb += [
                tap.capture.eq(steps.capture[lane]),
                tap.first.eq(steps.tap),
                tap.collect.eq(steps.finish),
                tap.prepare.eq(prepare),
                tap.load.eq(begin | windows.step),
                tap.base.eq(windows.base),
                tap.advance.eq(step),
                tap.step.eq(steps.step),
                tap.top.eq(windows.top),
                tap.left.eq(windows.left),
            ]
            m.d.comb += [getattr(tap, name).eq(limit) for name, limit in limits.items()]
            for name in ("input_height", "input_width", "stride_x"):
                m.d.comb += getattr(tap, name).eq(run[name])
            m.submodules[f"lane{lane}"] = once(tap, "tap_lane", platform)
        return taps

    def _build_reuse(self, m: Module, taps, windows: Windows, entries: int, step: Signal):
        """(lanes whose tap the last window had; entry of the window store for a beat; whether there is one; taps from
        a window to the next)."""
        run = self.run
        reused = Signal(self._chip.feeder_words)
        # Of the window, counted up to `entries`; there is room for it.
        beat, kept = Signal(range(entries + 1)), Signal()
        similar, shift = Signal(), Signal(RUN_FIELDS["stride_x"] + RUN_FIELDS["tap_words"])
        usable = Signal()  # the window before is that to the left, and it is in the store
        if entries:
            m.d.comb += [kept.eq(beat != entries), reused.eq(Mux(usable, Cat(tap.shared for tap in taps), 0))]
        with m.If(self.start):
            m.d.sync += [
                beat.eq(0),
                usable.eq(0),
                similar.eq(run.window_step_x == run.stride_x * run.pixel_pitch),
                shift.eq(run.stride_x * _at_least_one(run.tap_words)),
            ]
        with m.Elif(windows.step):
            m.d.sync += [beat.eq(0), usable.eq(similar & kept & ~windows.row_end)]
        with m.Elif(step & kept):
            m.d.sync += beat.eq(beat + 1)
        return reused, beat, kept, shift

    def _build_store(self, m: Module, entries: int, beat, distance: Signal, issue: Signal, next_beat, advance):
        """Words of the lanes one cycle after their beat was issued: those read, or kept of the last window."""
        chip = self._chip
        if not entries:
            return self.read_data
        lanes = chip.feeder_words
        width = chip.channels * ACTIVATION_BITS * (2 if chip.floating_point else 1)
        m.submodules.store = store = WindowStore(width, lanes, entries)
        there = Signal(data.StructLayout({"valid": 1, "reused": lanes, "entry": beat.entry.shape(), "kept": 1}))
        with m.If(advance):
            m.d.sync += there.valid.eq(next_beat)
            m.d.sync += [there[name].eq(beat[name]) for name in ("reused", "entry", "kept")]
        words = Signal(data.ArrayLayout(width, lanes), name="words")
        m.d.comb += [
            words[lane].eq(Mux(there.reused[lane], store.read_data[lane], self.read_data[lane][:width]))
            for lane in range(lanes)
        ]
        m.d.comb += [
            store.distance.eq(distance),
            store.read_enable.eq(issue),
            store.read_beat.eq(beat.entry),
            store.write_enable.eq(advance & there.valid & there.kept),
            store.write_beat.eq(there.entry),
            store.write_data.eq(words),
        ]
        return words


def _at_least_one(field: Value) -> Value:
    """A counter's limit, of which 0 is taken as 1."""
    return Cat(field[0] | ~field.any(), field[1:])
