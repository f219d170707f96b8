"""A chip behind its host link in simulation, as it is on a board: `Device` of mixcim_fpga, on its serial pins."""

from __future__ import annotations

from pathlib import Path

import mixcim_fpga
import mixcim_hdl
from mixcim_fpga.protocol import GAP_SECONDS
from mixcim_hdl.config import ChipConfig

from .build import Progress, build_library
from .serial import serial_driver
from .sources import kept_verilog

TOP = "mixcim_device"  #: name of the top module


def device_library(
    chip: ChipConfig,
    clock_frequency: int,
    baud: int,
    gap_seconds: float = GAP_SECONDS,
    progress: Progress | None = None,
) -> Path:
    """The library that simulates Device(chip, clock_frequency, baud) for SerialSimulator, built once per content."""

    def write() -> str:
        # Imported here: everything else in this package works without Amaranth, and much faster to start.
        from mixcim_fpga.device import Device
        from mixcim_hdl.verilog import to_verilog

        device = Device(chip, clock_frequency, baud, gap_seconds=gap_seconds)
        return to_verilog(
            device, TOP, f"mixcim: chip '{chip.name}' behind a UART of {baud} baud at {clock_frequency} Hz"
        )

    if progress is not None:
        progress(0, 1, "writing Verilog")
    folders = [Path(package.__path__[0]) for package in (mixcim_hdl, mixcim_fpga)]
    verilog = kept_verilog(TOP, f"{chip!r} {clock_frequency} {baud} {gap_seconds}", folders, write)
    return build_library(verilog, TOP, driver=serial_driver(), progress=progress)
