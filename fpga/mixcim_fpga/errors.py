"""BoardError: what a user can remedy, in one line."""


class BoardError(RuntimeError):
    """A board that is unknown, a chip too big for one, a tool missing or failing. The message is one line."""


class DoesNotFit(BoardError):
    """A chip that needs more than the board's FPGA has."""


class OutOfMemory(BoardError):
    """A chip that is too large for a tool."""


class ClockMissed(BoardError):
    """A chip that fits, but reaches only `megahertz`."""

    def __init__(self, message: str, megahertz: float) -> None:
        super().__init__(message)
        self.megahertz = megahertz
