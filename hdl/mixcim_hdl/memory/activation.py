"""Activation memory: the words of all tensors, for residuals, feeder and output pipelines at the same time."""

from __future__ import annotations

from ..config import ChipConfig
from ..formats import ACTIVATION_BITS
from .banked import BankedMemory


class ActivationMemory(BankedMemory):
    """`activation_words` words of `channels` bytes, a BankedMemory of `activation_banks`; a lane is a channel.

    Readers 0 .. engines - 1 are the residuals of the engines, the next `feeder_words` ones the feeder's lanes. Writers
    are the output pipelines of the engines. On a chip with floating point data ports have two words (two bytes an
    element), else one, and there are no wide accesses.
    """

    def __init__(self, chip: ChipConfig):
        super().__init__(
            chip.channels * ACTIVATION_BITS,
            chip.activation_words,
            chip.activation_banks,
            readers=chip.engines + chip.feeder_words,
            writers=chip.engines,
            lanes=chip.channels,
            pairs=chip.floating_point,
            given=chip.engines if chip.deep_pipeline else 0,
            late_writes=chip.deep_pipeline,
        )
