"""Activation memory: banks interleaved by the low address bits, each with one read and one write port."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS
from ..config import ChipConfig
from ..formats import ACTIVATION_BITS
from ..primitives.ram import Ram


class ActivationMemory(wiring.Component):
    """`activation_words` words of `channels` bytes. Two readers and one writer at a time, the first reader wins a bank.

    Read latency 1; a reader's data stays until its own next read. Addresses beyond the memory must not be given. Data
    ports have two words: the lower half is the word at the address. A `wide` access (two bytes an element) takes bit 0
    of the address as 0, and the upper half is the word after it, in the neighbouring bank; else it means nothing. A
    chip without floating point has no wide accesses.

    Members
    -------
    first_enable, first_wide, first_address, first_data : reader that is always served (the residual).
    second_enable, second_wide, second_ready, second_address, second_data : reader that waits while the first uses a
        bank of its own (feeder).
    write_lanes (one enable per channel, in both words), write_wide, write_address, write_data.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        words = 2 * chip.channels * ACTIVATION_BITS
        super().__init__(
            {
                "first_enable": In(1),
                "first_wide": In(1),
                "first_address": In(ADDRESS_BITS),
                "first_data": Out(words),
                "second_enable": In(1),
                "second_wide": In(1),
                "second_ready": Out(1),
                "second_address": In(ADDRESS_BITS),
                "second_data": Out(words),
                "write_lanes": In(chip.channels),
                "write_wide": In(1),
                "write_address": In(ADDRESS_BITS),
                "write_data": In(words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        select = (chip.activation_banks - 1).bit_length()
        word = chip.channels * ACTIVATION_BITS
        first_wide, second_wide, write_wide = (
            wide if chip.floating_point else Value.cast(0)
            for wide in (self.first_wide, self.second_wide, self.write_wide)
        )
        first_bank, second_bank = self.first_address[:select], self.second_address[:select]
        # A wide access also uses the bank whose number differs in bit 0.
        either = first_wide | second_wide
        m.d.comb += self.second_ready.eq(~(self.first_enable & ((first_bank | either) == (second_bank | either))))
        banks = []
        for number in range(chip.activation_banks):
            m.submodules[f"bank{number}"] = bank = Ram(
                word, chip.activation_words // chip.activation_banks, lanes=chip.channels
            )
            first = self.first_enable & ((first_bank | first_wide) == (number | first_wide))
            second = self.second_enable & ((second_bank | second_wide) == (number | second_wide))
            written = (self.write_address[:select] | write_wide) == (number | write_wide)
            upper = write_wide if number % 2 else Value.cast(0)
            m.d.comb += [
                bank.read_enable.eq(first | second),
                bank.read_address.eq(Mux(first, self.first_address, self.second_address) >> select),
                bank.write_enable.eq(Mux(written, self.write_lanes, 0)),
                bank.write_address.eq(self.write_address >> select),
                bank.write_data.eq(Mux(upper, self.write_data[word:], self.write_data[:word])),
            ]
            banks.append(bank.read_data)
        first_served = self.first_enable, first_bank, first_wide, self.first_data
        second_served = self.second_enable & self.second_ready, second_bank, second_wide, self.second_data
        for name, (enable, source, wide, out) in {"first": first_served, "second": second_served}.items():
            new, origin = Signal(name=f"{name}_new"), Signal(select, name=f"{name}_from")
            kept = Signal.like(out, name=f"{name}_kept")
            m.d.sync += [new.eq(enable), origin.eq(Cat(source[0] & ~wide, source[1:])), kept.eq(out)]
            # A bank's register may be overwritten by the other reader, so each reader keeps what it got.
            m.d.comb += out.eq(kept)
            for number, data in enumerate(banks):
                with m.If(new & (origin == number)):
                    m.d.comb += out[:word].eq(data)
                if number % 2 and chip.floating_point:
                    with m.If(new & (origin == number - 1)):
                        m.d.comb += out[word:].eq(data)
        return m
