"""SRAM-CIM bank: `channels` exact bit-serial dot products of one vector at a time."""

from __future__ import annotations

from amaranth.hdl import Array, C, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring

from ..commands import SramMode
from ..config import ChipConfig
from ..emission import for_fpga, once
from ..formats import SUM_BITS
from ..interfaces import TAG_LAYOUT, BankSignature, planes_layout
from ..primitives.delayed import delayed
from .column import SramColumn, sum_shape
from .fpga_column import FpgaColumn


class SramBank(wiring.Component):
    """step -> dpv with sum[k] = sum over rows of integer[r] * weight[slot][k][r], exact.

    ```
     step --> operand (bit planes) --MSB first, sram_planes a cycle--> columns (with a register) --> shift-add --> dpv
                                  (two's complement: the first one counts negative)
     address --> weight memories of all columns (fetched while the step is taken)
    ```

    With row segments (commands.SramMode) a step has 2**packing sums for each kernel: tile t's is that over the rows of
    its segment, or of several neighbouring ones; a repeated vector stands in every one of them.

    `sram_planes` of the chip at a time: a step takes n = ceil(input_bits / sram_planes) cycles.

    Latency: n + EXTRA_LATENCY cycles from a step taken to its dpv; an instance's EXTRA_LATENCY is its own, in a deep
    pipeline one more. One step per n cycles.
    Weight word: slot * channels + kernel.
    """

    EXTRA_LATENCY = 2

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self.EXTRA_LATENCY = type(self).EXTRA_LATENCY + chip.deep_pipeline
        super().__init__(BankSignature(chip, chip.sram_segments))

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        kernel_bits = (chip.channels - 1).bit_length()
        load_part, load_word = self.load_address[: chip.load_part_bits], self.load_address[chip.load_part_bits :]
        form = FpgaColumn if for_fpga(platform) else SramColumn
        columns = [form(chip) for _ in range(chip.channels)]
        places = chip.sram_planes

        advance = Signal()  # everything stands still while a finished dpv waits for its receiver
        busy = Signal()
        planes = Signal(planes_layout(chip))
        group = Signal(range(chip.sram_cycles(chip.input_planes)))  # of planes: those at work
        packing = Signal(2)
        tag = Signal(TAG_LAYOUT)
        first = Signal()
        last_bit = Signal()
        taken = Signal()
        m.d.comb += [
            last_bit.eq(group == 0),
            self.step.ready.eq(advance & (~busy | last_bit)),
            taken.eq(self.step.ready & self.step.valid),
        ]
        if places & places - 1:  # else a shift does it, which takes fewer LUTs
            last_group = sum((self.input_bits > plane for plane in range(places, chip.input_planes, places)), C(0))
        else:
            last_group = (self.input_bits - 1) >> (places.bit_length() - 1)
        with m.If(advance & busy):
            m.d.sync += [group.eq(group - 1), first.eq(0)]
            with m.If(last_bit):
                m.d.sync += busy.eq(0)
        with m.If(taken):
            m.d.sync += [
                busy.eq(1),
                first.eq(1),
                group.eq(last_group),
                packing.eq(self.step.payload.packing),
                tag.eq(self.step.payload.tag),
            ]
            repeat = self.mode == SramMode.REPEATED
            m.d.sync += [
                planes[index].eq(_repeated(self.step.payload.planes[index], self.step.payload.packing, chip, repeat))
                for index in range(chip.input_planes)
            ]

        # Above an integer's highest plane there is its sign.
        sign = Mux(self.input_signed, planes[-1], 0) if chip.floating_point else C(0, chip.rows)
        given = [*planes, *[sign] * (-chip.input_planes % places)]
        selected = Signal(data.ArrayLayout(chip.rows, places))
        m.d.comb += [selected[index].eq(Array(given[index::places])[group]) for index in range(places)]
        sum_valid, sum_first, sum_last = Signal(), Signal(), Signal()
        sum_tag, sum_packing = Signal(TAG_LAYOUT), Signal(2)
        with m.If(advance):
            at_work = {"valid": busy, "first": first, "last": last_bit, "tag": tag, "packing": packing}
            now = {name: delayed(m, value, chip.deep_pipeline, name) for name, value in at_work.items()}
            m.d.sync += [
                sum_valid.eq(now["valid"]),
                sum_first.eq(now["first"]),
                sum_last.eq(now["last"]),
                sum_tag.eq(now["tag"]),
                sum_packing.eq(now["packing"]),
            ]
        done = Signal()
        m.d.comb += [
            done.eq(sum_valid & sum_last),
            # In a deep pipeline there is always room (ComputeUnit).
            advance.eq(1 if chip.deep_pipeline else ~(done & self.dpv.valid & ~self.dpv.ready)),
        ]
        with m.If(self.dpv.ready):
            m.d.sync += self.dpv.valid.eq(0)
        with m.If(advance & done):
            m.d.sync += [self.dpv.valid.eq(1), self.dpv.payload.tag.eq(sum_tag)]

        for kernel, column in enumerate(columns):
            m.submodules[f"column{kernel}"] = once(column, "sram_column", platform)
            m.d.comb += [
                column.load_enable.eq((self.load_enable & (load_word[:kernel_bits] == kernel)) << load_part),
                column.load_address.eq(load_word[kernel_bits:]),
                column.load_data.eq(self.load_data),
                column.read_enable.eq(taken),
                column.read_address.eq(self.step.payload.address),
                column.planes.eq(selected),
                column.negative.eq(sum_first & self.input_signed),
                column.enable.eq(advance),
            ]
            for tile, tile_sum in enumerate(_tile_sums(m, column.sums, sum_packing, chip, f"{kernel}")):
                width = min(len(tile_sum) + chip.input_planes, SUM_BITS)  # of all planes
                shifted = Signal(signed(width), name=f"shifted{kernel}_{tile}")
                total = Signal(signed(width), name=f"total{kernel}_{tile}")
                m.d.comb += total.eq(Mux(sum_first, 0, shifted << places) + tile_sum)
                with m.If(advance):
                    m.d.sync += shifted.eq(total)
                    with m.If(done):
                        m.d.sync += self.dpv.payload.sums[tile][kernel].eq(total)
        return m


def _repeated(plane: Value, packing: Value, chip: ChipConfig, repeat: Value) -> Value:
    """A plane whose first rows >> packing rows stand in every segment, if `repeat`; the others must be 0 then."""
    levels = chip.sram_segments.bit_length() - 1
    for level in range(levels, 0, -1):
        plane = plane | Mux(repeat & (packing >= level), plane << (chip.rows >> level), 0)[: chip.rows]
    return plane


def _tile_sums(m: Module, sums: data.View, packing: Value, chip: ChipConfig, name: str) -> list[Value]:
    """Sum of each tile of a step, of the segments' sums: nodes of the tree that adds them up."""
    nodes: list[list[Value]] = [[sums[segment] for segment in range(chip.sram_segments)]]
    while len(nodes[-1]) > 1:
        shape, count = sum_shape(chip, 1 << len(nodes)), len(nodes[-1]) // 2
        level: list[Value] = [Signal(shape, name=f"node{name}_{len(nodes)}_{index}") for index in range(count)]
        m.d.comb += [node.eq(nodes[-1][2 * index] + nodes[-1][2 * index + 1]) for index, node in enumerate(level)]
        nodes.append(level)
    found: list[Value] = []
    for tile in range(chip.sram_segments):
        # The nodes that are the tile's, from the finest packing to the coarsest one that has it.
        choices = [
            (len(nodes) - 1 - level, nodes[level][tile]) for level in range(len(nodes)) if tile < len(nodes[level])
        ]
        value = choices[0][1]
        for number, node in choices[1:]:
            value = Mux(packing == number, node, value)
        found.append(value)
    return found
