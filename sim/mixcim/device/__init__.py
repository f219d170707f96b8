"""Memristor cells as data: device models, drawing of cells, write-verify programming, spare columns, fits."""

from .cells import apply_device, conductance_codes
from .library import DEVICES, load_device
from .model import DeviceModel
from .spares import column_map
from .write_verify import ProgrammingReport, WriteVerify, program_lines

__all__ = [
    "DEVICES",
    "DeviceModel",
    "ProgrammingReport",
    "WriteVerify",
    "apply_device",
    "column_map",
    "conductance_codes",
    "load_device",
    "program_lines",
]
