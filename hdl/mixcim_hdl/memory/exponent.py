"""Exponent memory: beside every activation word, what the elements of a tile have in common."""

from __future__ import annotations

from ..config import ChipConfig
from ..registers import EXPONENT_FIELDS
from .banked import BankedMemory


class ExponentMemory(BankedMemory):
    """`activation_words` entries of EXPONENT_FIELDS (RUN in commands.py), a BankedMemory of `activation_banks`.

    Reader 0 is the feeder, which is always served; writers are the output pipelines of the engines.
    """

    def __init__(self, chip: ChipConfig):
        super().__init__(
            sum(EXPONENT_FIELDS.values()),
            chip.activation_words,
            chip.activation_banks,
            readers=1,
            writers=chip.engines,
        )
