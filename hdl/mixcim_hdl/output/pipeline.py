"""Output pipeline: complete sums in, elements into the activation memory, their exponents into the exponent memory."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..banks import bank_bit
from ..commands import ADDRESS_BITS, Pooling
from ..config import ChipConfig
from ..emission import once
from ..floating import ElementFormat
from ..floating_point.element import ELEMENT_BITS
from ..floating_point.max_exponent import largest
from ..formats import ACTIVATION_BITS
from ..interfaces import EXPONENT_LAYOUT, result_layout, run_view
from ..primitives.delayed import delayed
from ..registers import EXPONENT_FIELDS
from .float_lane import FloatLane
from .lane import Lane, lane_latency

TILE_BITS = 64  #: width of an entry of the tile map (registers.Region.TILES)


class OutputPipeline(wiring.Component):
    """One tile's sums, or numbers if run.pooling -> its lanes of one activation word, or of two of two-byte elements.

    ```
     result --> tile map ----> word address, lane mask ------------- delayed --------------------> write
            '-> sums, output_lanes at a time --> lanes (with bias and scale of each channel) --------^
                 residual word ------------------^             '--> largest exponent of the tile --> exponent write
    ```

    Lanes are those of integers or, if run.floating, those of floating point. A tile takes channels / output_lanes
    cycles (beats); latency lane_latency or FloatLane.LATENCY, + EXTRA_LATENCY, from the cycle that takes a tile to the
    cycle that writes its last beat; a chip with a deep pipeline has one more between tile map and memories, and deep
    lanes: an instance's EXTRA_LATENCY is its own. It stands still as a whole while a memory refuses one of its
    accesses; the others are then made again.

    Members
    -------
    result : stream in.    run : fields of the command, constant while tiles are inside.
    tile_enable, tile_address, tile_data : reads an entry of the tile map (registers.Region.TILES), latency 1.
    parameter_enable, parameter_address, parameter_data : reads bias and scale of `output_lanes` channels, latency 1.
    residual_enable, residual_ready, residual_wide, residual_address, residual_data : reader of the activation memory,
        latency 1.    residual_banks : of a deep pipeline: bit of the address' bank, none while it is not enabled.
    write_lanes, write_ready, write_wide, write_address, write_data : writer of the activation memory.
        Data has two words; the upper one counts if `wide`: the word after an even address.
    exponent_write, exponent_ready, exponent_address, exponent_data : writer of the exponent memory, with a tile's last
        beat.
    written : a tile's last beat is written.    busy : a tile is inside.
    parameter_fault, parameter : tile number past the parameter memory.
    output_fault, output_address : word or entry past the activation memory; nothing is written.
    """

    EXTRA_LATENCY = 2

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self.EXTRA_LATENCY = type(self).EXTRA_LATENCY + chip.deep_pipeline
        words = 2 * chip.channels * ACTIVATION_BITS
        super().__init__(
            {
                "result": In(stream.Signature(result_layout(chip))),
                "run": In(run_view()),
                "tile_enable": Out(1),
                "tile_address": Out(16),
                "tile_data": In(TILE_BITS),
                "parameter_enable": Out(1),
                "parameter_address": Out(20),
                "parameter_data": In(chip.output_lanes * 64),
                "residual_enable": Out(1),
                "residual_ready": In(1),
                "residual_wide": Out(1),
                "residual_address": Out(ADDRESS_BITS),
                "residual_banks": Out(chip.activation_banks),
                "residual_data": In(words),
                "write_lanes": Out(chip.channels),
                "write_ready": In(1),
                "write_wide": Out(1),
                "write_address": Out(ADDRESS_BITS),
                "write_data": Out(words),
                "exponent_write": Out(1),
                "exponent_ready": In(1),
                "exponent_address": Out(ADDRESS_BITS),
                "exponent_data": Out(data.StructLayout(EXPONENT_FIELDS)),
                "written": Out(1),
                "busy": Out(1),
                "parameter_fault": Out(1),
                "parameter": Out(16),
                "output_fault": Out(1),
                "output_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance, written, residual = Signal(), Signal(), Signal()  # no memory refuses; no writer; residual wanted
        banks = Signal(self._chip.activation_banks)  # of the residual that is wanted, of a deep pipeline
        m.d.comb += [
            written.eq((self.write_ready | ~self.write_lanes.any()) & (self.exponent_ready | ~self.exponent_write)),
            # The word that is there must stay while a write is refused.
            self.residual_enable.eq(residual & written),
            self.residual_banks.eq(Mux(written, banks, 0)),
            advance.eq(written & (self.residual_ready | ~residual)),
        ]
        stages = Module()
        self._build_stages(stages, advance, residual, banks, platform)
        m.submodules.stages = EnableInserter(advance)(stages)
        return m

    def _build_stages(self, m: Module, advance: Signal, residual: Signal, banks: Signal, platform: object) -> None:
        """All registers; they keep their contents without `advance`. Sets `residual` and `banks`."""
        chip, run, result = self._chip, self.run, self.result
        lanes, beats = chip.output_lanes, chip.channels // chip.output_lanes
        beat_bits = (beats - 1).bit_length()

        # Beats of a tile: the first begins as the tile is taken.
        beat = Signal(max(beat_bits, 1))
        taken = Signal()
        last = Signal()
        m.d.comb += [
            last.eq(beat == beats - 1),
            self.parameter_fault.eq(result.valid & (result.payload.parameter >= chip.parameter_tiles)),
            self.parameter.eq(result.payload.parameter),
            # A deep pipeline does not wait for the fault, whose reset comes long before the tile is written.
            taken.eq(result.valid & ~(0 if chip.deep_pipeline else self.parameter_fault)),
            result.ready.eq(taken & last & advance),
            self.tile_enable.eq(taken & (beat == 0) & advance),
            self.tile_address.eq(result.payload.parameter),
            self.parameter_enable.eq(taken & advance),
            self.parameter_address.eq(result.payload.parameter * beats + beat),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))

        # Cycle 1: tile map and parameters are there; ask for the residual word with the first beat.
        valid1, beat1, offset1, exponent1 = Signal(), Signal.like(beat), Signal(ADDRESS_BITS), Signal(EXPONENT_LAYOUT)
        sums1 = Signal(lanes * chip.accumulator_bits)
        m.d.sync += [
            valid1.eq(taken),
            beat1.eq(beat),
            offset1.eq(result.payload.offset),
            exponent1.eq(result.payload.exponent),
            sums1.eq(result.payload.sums.as_value().word_select(beat, lanes * chip.accumulator_bits)),
        ]
        word_offset, mask1, exponent_offset = (self.tile_data.word_select(index, 16) for index in range(3))
        write1, residual1, entry1 = (
            Signal(ADDRESS_BITS, name=name) for name in ("write_address1", "residual_address1", "entry_address1")
        )
        residual_fault, write_fault, entry_fault = Signal(), Signal(), Signal()
        m.d.comb += [
            write1.eq(self._address(run.output_base + offset1, word_offset, run.output_format)),
            residual1.eq(self._address(run.residual_base + offset1, word_offset, run.residual_format)),
        ]
        # A deep pipeline has the addresses a cycle before the memories.
        if chip.deep_pipeline:
            used = residual1[: (chip.activation_words - 1).bit_length()]
            wanted = valid1 & (beat1 == 0) & run.residual
            m.d.sync += banks.eq(Mux(wanted, bank_bit(used, chip.activation_banks), 0))
        valid1, beat1, exponent1, sums1, mask1, write1, residual1, parameters1 = (
            delayed(m, value, chip.deep_pipeline, f"addressed{index}")
            for index, value in enumerate(
                (valid1, beat1, exponent1, sums1, mask1, write1, residual1, self.parameter_data)
            )
        )
        m.d.comb += [
            write_fault.eq(write1 >= chip.activation_words),
            residual_fault.eq(run.residual & (residual1 >= chip.activation_words)),
            self.output_fault.eq(valid1 & (write_fault | residual_fault | entry_fault)),
            self.output_address.eq(Mux(write_fault, write1, Mux(residual_fault, residual1, entry1))),
            self.residual_address.eq(residual1),
            # Of a wrong address, too: what it reads comes to nothing, and to know it as wrong takes long.
            residual.eq(valid1 & (beat1 == 0) & run.residual),
        ]
        if chip.floating_point:
            m.d.comb += [
                self.residual_wide.eq(_two_bytes(run.residual_format)),
                entry1.eq(run.output_base + offset1 + exponent_offset),
                entry_fault.eq((run.output_format != ElementFormat.INTEGER) & (entry1 >= chip.activation_words)),
            ]

        # Cycle 2: everything is there; all lanes work on one beat.
        tag2 = Signal(
            data.StructLayout(
                {
                    "valid": 1,
                    "beat": len(beat),
                    "mask": lanes,
                    "address": range(chip.activation_words),
                    **({"entry": range(chip.activation_words)} if chip.floating_point else {}),
                }
            )
        )
        sums2, parameters2, exponent2 = Signal.like(sums1), Signal.like(self.parameter_data), Signal(EXPONENT_LAYOUT)
        m.d.sync += [
            tag2.valid.eq(valid1 & ~self.output_fault),
            tag2.beat.eq(beat1),
            tag2.mask.eq(mask1.word_select(beat1, lanes)),
            tag2.address.eq(write1),
            sums2.eq(sums1),
            parameters2.eq(parameters1),
            exponent2.eq(exponent1),
        ]
        old_words = [
            self.residual_data.word_select(index, chip.channels * ACTIVATION_BITS).word_select(
                tag2.beat, lanes * ACTIVATION_BITS
            )
            for index in range(2 if chip.floating_point else 1)
        ]
        operands = []
        for index in range(lanes):
            parameter = parameters2.word_select(index, 64)
            operands.append(
                {
                    "sum": sums2.word_select(index, chip.accumulator_bits),
                    "bias": parameter[:32],
                    "scale": parameter[32:],
                    "old": Cat(old.word_select(index, ACTIVATION_BITS) for old in old_words),
                }
            )

        latency, last_written = lane_latency(chip.deep_pipeline), Signal()
        done, words = delayed(m, tag2, latency, "tag"), [self._codes(m, operands, advance, platform)]
        if chip.floating_point:
            latency = FloatLane.LATENCY
            m.d.sync += tag2.entry.eq(entry1)
            done, words = self._build_floating(m, operands, exponent2, done, words[0], advance, platform)
            m.d.comb += self.exponent_write.eq(last_written & (run.output_format != ElementFormat.INTEGER))
        m.d.comb += [
            self.write_address.eq(done.address),
            self.write_data.eq(Cat(word.replicate(beats) for word in words)),
            self.write_lanes.eq(Mux(done.valid, done.mask << (done.beat * lanes), 0)),
            last_written.eq(done.valid & (done.beat == beats - 1)),
            self.written.eq(last_written & advance),
        ]
        inside = Signal(range(latency + 2 + self.EXTRA_LATENCY))
        m.d.sync += inside.eq(inside + taken - (done.valid & (inside != 0)))
        m.d.comb += self.busy.eq(taken | (inside != 0))

    def _address(self, first: Value, word_offset: Value, format: Value) -> Value:
        """Address of a tile's elements, modulo 2**ADDRESS_BITS: of two bytes, those of the low ones."""
        if not self._chip.floating_point:
            return first + word_offset
        two = _two_bytes(format)
        address = (first + (word_offset << two))[:ADDRESS_BITS]
        return Cat(address[0] & ~two, address[1:])

    def _codes(self, m: Module, operands: list[dict[str, Value]], advance: Signal, platform: object) -> Value:
        """Codes of a beat by the integer lanes, lane_latency later."""
        chip, codes = self._chip, []
        for index, operand in enumerate(operands):
            lane = Lane(chip.deep_pipeline)
            m.submodules[f"lane{index}"] = once(lane, "lane", platform)
            taken = ~self.run.floating if chip.floating_point else 1
            m.d.comb += lane.enable.eq(advance)
            m.d.comb += [getattr(lane, name).eq(Mux(taken, value, 0)) for name, value in operand.items()]
            for name in ("zero_point", "clamp_low", "clamp_high", "residual", "residual_first", "residual_signed",
                         "scale_first", "scale_second", "fixed", "sum_low", "sum_high"):  # fmt: skip
                m.d.comb += getattr(lane, name).eq(self.run[name])
            codes.append(lane.code)
        return Cat(codes)

    def _build_floating(self, m: Module, operands, exponent, integer_done, codes: Value, advance, platform):
        """(tag, words) of the beat that is written now: of the integer lanes, or of those of floating point.

        `integer_done`, `codes`: tag and codes of the beat that the integer lanes have done.
        """
        run, floating = self.run, self.run.floating
        lanes: list[FloatLane] = []
        for index, operand in enumerate(operands):
            lane = FloatLane(self._chip)
            m.submodules[f"float_lane{index}"] = once(lane, "float_lane", platform)
            m.d.comb += lane.enable.eq(advance)
            m.d.comb += [getattr(lane, name).eq(Mux(floating, value, 0)) for name, value in operand.items()]
            m.d.comb += [
                lane.unit.eq(exponent.unit),
                lane.special.eq(exponent.special),
                lane.pooled.eq(run.pooling != Pooling.NONE),
            ]
            for name in ("residual", "residual_format", "residual_zero_point", "residual_scale", "float_low",
                         "float_high", "output_format", "output_scale", "zero_point", "clamp_low",
                         "clamp_high"):  # fmt: skip
                m.d.comb += getattr(lane, name).eq(run[name])
            lanes.append(lane)
        started, done = Signal.like(integer_done, name="float_tag"), Signal.like(integer_done, name="done_tag")
        m.d.comb += [started.eq(integer_done), started.valid.eq(integer_done.valid & floating)]
        with_exponents = delayed(m, started, FloatLane.EXPONENT_LATENCY - Lane.LATENCY, "float_tag")
        float_done = delayed(m, with_exponents, FloatLane.LATENCY - FloatLane.EXPONENT_LATENCY, "float_done")
        m.d.comb += done.eq(Mux(floating, float_done.as_value(), integer_done.as_value()))

        # The largest exponent of a beat, then of the tile so far.
        of_beat, of_tile = (Signal(data.StructLayout(EXPONENT_FIELDS), name=name) for name in ("of_beat", "of_tile"))
        fields = [Mux(mask, lane.exponent.field, 0) for mask, lane in zip(with_exponents.mask, lanes, strict=True)]
        special = Cat(lane.exponent.special for lane in lanes) & with_exponents.mask
        first = delayed(m, with_exponents.beat == 0, 1, "first_beat")
        m.d.sync += [
            of_beat.field.eq(largest(m, fields, "lanes")),
            of_beat.special.eq(special.any()),
            of_tile.field.eq(Mux(first | (of_beat.field > of_tile.field), of_beat.field, of_tile.field)),
            of_tile.special.eq(of_beat.special | (of_tile.special & ~first)),
        ]
        spare = FloatLane.LATENCY - FloatLane.EXPONENT_LATENCY - 2
        m.d.comb += [
            self.write_wide.eq(_two_bytes(run.output_format)),
            self.exponent_address.eq(done.entry),
            self.exponent_data.eq(delayed(m, of_tile, spare, "tile_exponent")),
        ]
        low, high = (
            Cat(lane.element.word_select(index, ACTIVATION_BITS) for lane in lanes)
            for index in range(ELEMENT_BITS // ACTIVATION_BITS)
        )
        return done, [Mux(floating, low, codes), high]


def _two_bytes(format: Value) -> Value:
    """Whether elements of an ElementFormat have two bytes."""
    return Cat(format == item for item in ElementFormat if item.bytes == 2).any()
