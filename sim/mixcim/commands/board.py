"""Inputs on a chip on a board, one after the other, with progress."""

from __future__ import annotations

import time

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program

from ..host.processor import Processor
from ..host.serial_bus import SerialBus
from .report import Advance
from .simulate import ChipRun


def run_on_board(bus: SerialBus, program: Program, chip: ChipConfig, codes: np.ndarray, advance: Advance) -> ChipRun:
    """Load the chip at the other end of a bus, and run inputs, codes (N, height, width, channels). Raises MixcimError.

    Seconds are without loading, with the inputs' and outputs' way over the line.
    """
    processor = Processor(bus, chip)
    bus.on_transfer = lambda moved: advance(0, len(codes), f"loading the board, {moved / 1000:,.0f} kB")
    try:
        processor.load(program)
    finally:
        bus.on_transfer = None
    outputs, counters = [], []
    begin = time.perf_counter()
    for number, code in enumerate(codes):

        def report(done: int = number) -> None:
            layer, cycles = processor.position()
            advance(done, len(codes), f"board, {layer} at cycle {cycles:,}")

        bus.on_progress = report
        output, counted = processor.infer(code)
        outputs.append(output)
        counters.append(counted)
        rate = (number + 1) / (time.perf_counter() - begin)
        advance(number + 1, len(codes), f"board, {rate:.2g} images/s")
    seconds = time.perf_counter() - begin
    return ChipRun(np.array(outputs), counters, processor.command_cycles(), seconds)
