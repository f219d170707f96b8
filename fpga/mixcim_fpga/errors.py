"""BoardError: what a user can remedy, in one line."""


class BoardError(RuntimeError):
    """A board that is unknown, a chip too big for one, a tool missing or failing. The message is one line."""
