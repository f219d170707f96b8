"""Memristor cells as data: device models, drawing of cells, write-verify programming, fits."""

from .cells import apply_device, conductance_codes
from .library import DEVICES, load_device
from .model import DeviceModel
from .programming import CellArray, program_cells
from .write_verify import ProgrammingReport, WriteVerify, program_lines

__all__ = [
    "CellArray",
    "DEVICES",
    "DeviceModel",
    "ProgrammingReport",
    "WriteVerify",
    "apply_device",
    "conductance_codes",
    "load_device",
    "program_lines",
    "program_cells",
]
