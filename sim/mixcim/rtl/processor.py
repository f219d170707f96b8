"""A whole processor in simulation: chip configuration in, host driver on the running RTL out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mixcim_hdl
from mixcim_hdl.config import ChipConfig

from ..host.processor import Processor
from .build import Progress, build_library, trace_format
from .simulator import Simulator
from .sources import kept_verilog

TOP = "mixcim"  #: name of the top module


def rtl_processor(chip: ChipConfig, wave: Path | str | None = None, progress: Progress | None = None) -> Processor:
    """The chip's RTL, built (once per content) and reset, behind a host driver; `processor.bus` is the Simulator.

    `wave`: waveform file, in the best format there is here (see trace_format). `progress`: see build_library.
    Raises MixcimError when a tool is missing or the waveform cannot be written.
    """
    simulator = Simulator(processor_library(chip, None if wave is None else trace_format()[0], progress))
    if wave is not None:
        simulator.trace(wave)
    return Processor(simulator, chip)


def processor_library(chip: ChipConfig, trace: str | None = None, progress: Progress | None = None) -> Path:
    """The library that simulates the chip, built once per content. `trace`, `progress`: see build_library."""
    if progress is not None:
        progress(0, 1, "writing Verilog")
    return build_library(processor_verilog(chip), TOP, trace=trace, progress=progress)


def processor_verilog(chip: ChipConfig) -> str:
    """Verilog of the processor; kept in the cache folder by a hash of the chip and of the hardware's sources."""
    return kept_verilog(TOP, repr(chip), [Path(mixcim_hdl.__path__[0])], lambda: write_verilog(chip))


def write_verilog(chip: ChipConfig) -> str:
    """Verilog of the processor, made from Amaranth anew."""
    # Imported here: everything else in this package works without Amaranth, and much faster to start.
    from mixcim_hdl.processor import Processor as Hardware
    from mixcim_hdl.verilog import to_verilog

    parameters = dataclasses.asdict(chip)
    header = [
        f"mixcim: mixed-precision memristor and SRAM compute-in-memory processor, chip '{chip.name}'",
        "written by 'mixcim verilog'; do not edit",
        "",
        f"Parameters (mixcim_hdl/config.py), fingerprint {chip.fingerprint:#010x}:",
        *(f"  {name:<{max(map(len, parameters))}}  {value}" for name, value in parameters.items()),
    ]
    return to_verilog(Hardware(chip), TOP, "\n".join(header))
