"""Activation memory: banks interleaved by the low address bits, each with one read and one write port."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig
from ..formats import ACTIVATION_BITS
from ..primitives.ram import Ram


class ActivationMemory(wiring.Component):
    """`activation_words` words of `channels` codes. Two readers and one writer at a time, the first reader wins a bank.

    Read latency 1; a reader's data stays until its own next read. Addresses beyond the memory must not be given.

    Members
    -------
    first_enable, first_address, first_data : reader that is always served (the residual).
    second_enable, second_ready, second_address, second_data : reader that waits while the first uses its bank (feeder).
    write_lanes (one enable per channel), write_address, write_data.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        word = chip.channels * ACTIVATION_BITS
        super().__init__(
            {
                "first_enable": In(1),
                "first_address": In(ADDRESS_BITS),
                "first_data": Out(word),
                "second_enable": In(1),
                "second_ready": Out(1),
                "second_address": In(ADDRESS_BITS),
                "second_data": Out(word),
                "write_lanes": In(chip.channels),
                "write_address": In(ADDRESS_BITS),
                "write_data": In(word),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        select = (chip.activation_banks - 1).bit_length()
        first_bank, second_bank = self.first_address[:select], self.second_address[:select]
        m.d.comb += self.second_ready.eq(~(self.first_enable & (first_bank == second_bank)))
        first_from, second_from = Signal(select), Signal(select)
        second_new, second_kept = Signal(), Signal.like(self.second_data)
        first_new, first_kept = Signal(), Signal.like(self.first_data)
        m.d.sync += [
            first_from.eq(first_bank),
            first_new.eq(self.first_enable),
            second_from.eq(second_bank),
            second_new.eq(self.second_enable & self.second_ready),
            second_kept.eq(self.second_data),
            first_kept.eq(self.first_data),
        ]
        # A bank's register may be overwritten by the other reader, so each reader keeps what it got.
        m.d.comb += [self.first_data.eq(first_kept), self.second_data.eq(second_kept)]
        for number in range(chip.activation_banks):
            m.submodules[f"bank{number}"] = bank = Ram(
                chip.channels * ACTIVATION_BITS, chip.activation_words // chip.activation_banks, lanes=chip.channels
            )
            first = self.first_enable & (first_bank == number)
            second = self.second_enable & (second_bank == number)
            m.d.comb += [
                bank.read_enable.eq(first | second),
                bank.read_address.eq(Mux(first, self.first_address, self.second_address) >> select),
                bank.write_enable.eq(Mux(self.write_address[:select] == number, self.write_lanes, 0)),
                bank.write_address.eq(self.write_address >> select),
                bank.write_data.eq(self.write_data),
            ]
            with m.If(first_new & (first_from == number)):
                m.d.comb += self.first_data.eq(bank.read_data)
            with m.If(second_new & (second_from == number)):
                m.d.comb += self.second_data.eq(bank.read_data)
        return m
