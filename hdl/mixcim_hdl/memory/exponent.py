"""Exponent memory: beside every activation word, what the elements of a tile have in common."""

from __future__ import annotations

from ..config import ChipConfig
from ..primitives.ram import Ram
from ..registers import EXPONENT_FIELDS


class ExponentMemory(Ram):
    """`activation_words` entries of EXPONENT_FIELDS (RUN in commands.py); 0 at power-up.

    Read latency 1, and `read_data` stays until the next read; one read and one write a cycle. Reading an entry in the
    cycle that writes it gives the old one. Addresses beyond the memory must not be given.

    Members: read_enable, read_address, read_data; write_enable, write_address, write_data.
    """

    def __init__(self, chip: ChipConfig):
        super().__init__(sum(EXPONENT_FIELDS.values()), chip.activation_words)
