"""Puts a bitstream on a board with a loader that is installed; the loaders are no part of this project."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .boards import Board
from .errors import BoardError


def load(board: Board, bitstream: Path) -> str:
    """Load a bitstream into a board's FPGA, until power is off; the program that did it.

    Raises BoardError, in a line: no such file, no loader installed, or the loader fails, as without a board.
    """
    if not bitstream.is_file():
        raise BoardError(
            f"bitstream '{bitstream}' is not a file; make it with 'mixcim fpga build --board {board.name}'"
        )
    command = next((loader for loader in board.loaders if shutil.which(loader[0])), None)
    if command is None:
        names = " or ".join(loader[0] for loader in board.loaders)
        raise BoardError(
            f"{board.title} is loaded with {names}, which is not installed; install it, and put it on PATH"
        )
    try:
        result = subprocess.run(
            [*command, str(bitstream)], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise BoardError(f"{command[0]} does not start: {error.strerror}") from None
    if result.returncode:
        lines = [line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {result.returncode}"
        raise BoardError(f"{command[0]} failed: {reason}; is the board connected, and are its USB rights yours?")
    return command[0]
