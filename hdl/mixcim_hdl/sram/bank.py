"""SRAM-CIM bank: `channels` exact bit-serial dot products of one vector at a time."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import wiring

from ..config import ChipConfig
from ..emission import for_fpga, once
from ..formats import SUM_BITS
from ..interfaces import TAG_LAYOUT, BankSignature, planes_layout
from .column import SramColumn
from .fpga_column import FpgaColumn


class SramBank(wiring.Component):
    """step -> dpv with sum[k] = sum over rows of integer[r] * weight[slot][k][r], exact.

    ```
     step --> operand (bit planes) --MSB first, one plane a cycle--> columns (with a register) --> shift-add --> dpv
                                  (two's complement: the first one counts negative)
     address --> weight memories of all columns (fetched while the step is taken)
    ```

    Latency: `input_bits` + EXTRA_LATENCY cycles from a step taken to its dpv. One step per `input_bits` cycles.
    Load address: slot * channels + kernel. `mode` is not used.
    """

    EXTRA_LATENCY = 2

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(BankSignature(chip))

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        kernel_bits = (chip.channels - 1).bit_length()
        form = FpgaColumn if for_fpga(platform) else SramColumn
        columns = [form(chip) for _ in range(chip.channels)]
        width = min(len(columns[0].sum) + chip.input_planes, SUM_BITS)  # of all planes together

        advance = Signal()  # everything stands still while a finished dpv waits for its receiver
        busy = Signal()
        planes = Signal(planes_layout(chip))
        bit = Signal(range(chip.input_planes))
        tag = Signal(TAG_LAYOUT)
        first = Signal()
        last_bit = Signal()
        taken = Signal()
        m.d.comb += [
            last_bit.eq(bit == 0),
            self.step.ready.eq(advance & (~busy | last_bit)),
            taken.eq(self.step.ready & self.step.valid),
        ]
        with m.If(advance & busy):
            m.d.sync += [bit.eq(bit - 1), first.eq(0)]
            with m.If(last_bit):
                m.d.sync += busy.eq(0)
        with m.If(taken):
            m.d.sync += [
                busy.eq(1),
                first.eq(1),
                bit.eq(self.input_bits - 1),
                planes.eq(self.step.payload.planes),
                tag.eq(self.step.payload.tag),
            ]

        plane = Signal(chip.rows)
        m.d.comb += plane.eq(Array([planes[index] for index in range(chip.input_planes)])[bit])
        sum_valid, sum_first, sum_last = Signal(), Signal(), Signal()
        sum_tag = Signal(TAG_LAYOUT)
        with m.If(advance):
            m.d.sync += [sum_valid.eq(busy), sum_first.eq(first), sum_last.eq(last_bit), sum_tag.eq(tag)]
        done = Signal()
        m.d.comb += [
            done.eq(sum_valid & sum_last),
            advance.eq(~(done & self.dpv.valid & ~self.dpv.ready)),
        ]
        with m.If(self.dpv.ready):
            m.d.sync += self.dpv.valid.eq(0)
        with m.If(advance & done):
            m.d.sync += [self.dpv.valid.eq(1), self.dpv.payload.tag.eq(sum_tag)]

        for kernel, column in enumerate(columns):
            m.submodules[f"column{kernel}"] = once(column, "sram_column", platform)
            m.d.comb += [
                column.load_enable.eq(self.load_enable & (self.load_address[:kernel_bits] == kernel)),
                column.load_address.eq(self.load_address[kernel_bits:]),
                column.load_data.eq(self.load_data),
                column.read_enable.eq(taken),
                column.read_address.eq(self.step.payload.address),
                column.plane.eq(plane),
                column.enable.eq(advance),
            ]
            shifted = Signal(signed(width), name=f"shifted{kernel}")
            total = Signal(signed(width), name=f"total{kernel}")
            first_plane = Mux(self.input_signed, -column.sum, column.sum) if chip.floating_point else column.sum
            m.d.comb += total.eq(Mux(sum_first, first_plane, (shifted << 1) + column.sum))
            with m.If(advance):
                m.d.sync += shifted.eq(total)
                with m.If(done):
                    m.d.sync += self.dpv.payload.sums[kernel].eq(total)
        return m
