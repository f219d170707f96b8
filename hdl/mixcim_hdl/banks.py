"""Which bank of a banked memory holds a word: read by the RTL and by what looks into a simulated chip's memories."""

from __future__ import annotations

from typing import Any

ADDRESS_BITS = 24  #: width of activation, weight-store and unit addresses in commands


def bank_of(address: Any, banks: int) -> Any:
    """Bank of a word, for an int, an integer array or an Amaranth Value: all groups of log2(banks) address bits, XORed.

    Words whose distance is a power of two lie in different banks, too, as those of an image's column do. The word's
    row in its bank is address >> log2(banks).
    """
    select = (banks - 1).bit_length()
    bank = address
    for shift in range(select, ADDRESS_BITS, select):
        bank = bank ^ (address >> shift)
    return bank & (banks - 1)


def bank_bit(address: Any, banks: int) -> Any:
    """A bit for each bank, that of the word's bank set, for an Amaranth Value."""
    return 1 << bank_of(address, banks)[: (banks - 1).bit_length()]
