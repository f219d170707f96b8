"""What the model raises where the processor would stop with a fault."""

from __future__ import annotations

from mixcim.errors import MixcimError
from mixcim_hdl.commands import Fault


class FaultError(MixcimError):
    """The processor stops in this command. `fault`: code in the FAULT register; `command`: index of the command."""

    def __init__(self, command: int, fault: Fault, reason: str) -> None:
        super().__init__(f"command {command}: {reason} (fault {fault.name})")
        self.command = command
        self.fault = fault
