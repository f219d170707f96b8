"""Output pipeline: complete sums in, codes into the activation memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig
from ..formats import ACTIVATION_BITS, SUM_BITS
from ..interfaces import result_layout, run_view
from .lane import Lane, delay


class OutputPipeline(wiring.Component):
    """One kernel tile's sums -> bias, scale, round, residual, clamp -> its lanes of one activation word.

    ```
     result --> tile map ----> word address, lane mask ------------- delayed --------------------> write
            '-> sums, output_lanes at a time --> lanes (with bias and scale of each channel) --------^
                 residual word ------------------^
    ```

    A tile takes channels / output_lanes cycles (beats); latency Lane.LATENCY + EXTRA_LATENCY from the cycle that takes
    a tile to the cycle that writes its last beat. It never stalls once a tile is in.

    Members
    -------
    result : stream in.    run : fields of the command, constant while tiles are inside.
    tile_enable, tile_address, tile_data : reads a parameter tile's word_offset (15:0) and lane_mask (31:16), latency 1.
    parameter_enable, parameter_address, parameter_data : reads bias and scale of `output_lanes` channels, latency 1.
    residual_enable, residual_address, residual_data : reader of the activation memory, latency 1.
    write_lanes, write_address, write_data : writer of the activation memory.
    written : a tile's last beat is written.    busy : a tile is inside.
    parameter_fault, parameter : tile number past the parameter memory.
    output_fault, output_address : word past the activation memory; it is not written.
    """

    EXTRA_LATENCY = 2

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        word = chip.channels * ACTIVATION_BITS
        super().__init__(
            {
                "result": In(stream.Signature(result_layout(chip))),
                "run": In(run_view(chip)),
                "tile_enable": Out(1),
                "tile_address": Out(16),
                "tile_data": In(32),
                "parameter_enable": Out(1),
                "parameter_address": Out(20),
                "parameter_data": In(chip.output_lanes * 64),
                "residual_enable": Out(1),
                "residual_address": Out(ADDRESS_BITS),
                "residual_data": In(word),
                "write_lanes": Out(chip.channels),
                "write_address": Out(ADDRESS_BITS),
                "write_data": Out(word),
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
            taken.eq(result.valid & ~self.parameter_fault),
            result.ready.eq(taken & last),
            self.tile_enable.eq(taken & (beat == 0)),
            self.tile_address.eq(result.payload.parameter),
            self.parameter_enable.eq(taken),
            self.parameter_address.eq(result.payload.parameter * beats + beat),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))

        # Cycle 1: tile map and parameters are there; ask for the residual word with the first beat.
        valid1, beat1, offset1 = Signal(), Signal.like(beat), Signal(ADDRESS_BITS)
        sums1 = Signal(lanes * SUM_BITS)
        m.d.sync += [
            valid1.eq(taken),
            beat1.eq(beat),
            offset1.eq(result.payload.offset),
            sums1.eq(result.payload.sums.as_value().word_select(beat, lanes * SUM_BITS)),
        ]
        address1, residual_fault, write_fault = Signal(ADDRESS_BITS), Signal(), Signal()
        word1 = Signal(ADDRESS_BITS)
        m.d.comb += [
            word1.eq(offset1 + self.tile_data[:16]),
            address1.eq(run.output_base + word1),
            self.residual_address.eq(run.residual_base + word1),
            residual_fault.eq(run.residual & (self.residual_address >= chip.activation_words)),
            write_fault.eq(address1 >= chip.activation_words),
            self.output_fault.eq(valid1 & (residual_fault | write_fault)),
            self.output_address.eq(Mux(write_fault, address1, self.residual_address)),
            self.residual_enable.eq(valid1 & (beat1 == 0) & run.residual & ~residual_fault),
        ]

        # Cycle 2: everything is there; all lanes work on one beat.
        valid2, beat2, address2 = Signal(), Signal.like(beat), Signal(ADDRESS_BITS)
        sums2, parameters2, mask2 = Signal.like(sums1), Signal.like(self.parameter_data), Signal(chip.channels)
        m.d.sync += [
            valid2.eq(valid1 & ~self.output_fault),
            beat2.eq(beat1),
            address2.eq(address1),
            sums2.eq(sums1),
            parameters2.eq(self.parameter_data),
            mask2.eq(self.tile_data[16:]),
        ]
        old2 = self.residual_data.word_select(beat2, lanes * ACTIVATION_BITS)
        codes = []
        for index in range(lanes):
            m.submodules[f"lane{index}"] = lane = Lane()
            parameter = parameters2.word_select(index, 64)
            m.d.comb += [
                lane.sum.eq(sums2.word_select(index, SUM_BITS)),
                lane.bias.eq(parameter[:32]),
                lane.scale.eq(parameter[32:]),
                lane.old.eq(old2.word_select(index, ACTIVATION_BITS)),
            ]
            for name in ("zero_point", "clamp_low", "clamp_high", "residual", "residual_first", "residual_signed",
                         "scale_first", "scale_second", "fixed", "sum_low", "sum_high"):  # fmt: skip
                m.d.comb += getattr(lane, name).eq(run[name])
            codes.append(lane.code)
        valid = delay(m, valid2, Lane.LATENCY, "valid")
        beat_out = delay(m, beat2, Lane.LATENCY, "beat")
        mask = delay(m, mask2.word_select(beat2, lanes), Lane.LATENCY, "mask")
        m.d.comb += [
            self.write_address.eq(delay(m, address2, Lane.LATENCY, "address")),
            self.write_data.eq(Cat(codes).replicate(beats)),
            self.write_lanes.eq(Mux(valid, mask << (beat_out * lanes), 0)),
            self.written.eq(valid & (beat_out == beats - 1)),
        ]
        inside = Signal(range(Lane.LATENCY + 4))
        m.d.sync += inside.eq(inside + taken - (valid & (inside != 0)))
        m.d.comb += self.busy.eq(taken | (inside != 0))
        return m
