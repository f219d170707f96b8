"""Bit-exact numpy model of the processor: one file per hardware block, written from the definition in commands.py."""

from .fault import FaultError
from .processor import ProcessorModel

__all__ = ["FaultError", "ProcessorModel"]
