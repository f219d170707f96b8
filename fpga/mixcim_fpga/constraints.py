"""Constraints of a board's top in Lattice's LPF, a reason on every line; constraints/BOARD.lpf is what this writes."""

from __future__ import annotations

from .boards import Board, Pin, pins

_REASONS = {
    "clock": "the board's oscillator, reference of the PLL",
    "rx": "from the board's USB serial chip",
    "tx": "to the board's USB serial chip",
    "reset": "button that resets everything",
    "busy": "LED: a request of the host is at work",
    "fault": "LED: a frame from the host was garbled since reset",
    "ready": "LED: the PLL is locked, reset is over",
}
_ATTRIBUTES = {
    "IO_TYPE": "as the bank of the pin is supplied",
    "DRIVE": "as much as the board's LEDs need",
    "PULLMODE": "level of the pin while nothing drives it",
    "SLEWRATE": "edges no faster than needed",
}


def constraints(board: Board) -> str:
    """The LPF file of a board."""
    lines = [
        f"# {board.title}: pins of mixcim's board top, by fpga/mixcim_fpga/constraints.py from amaranth-boards.",
        "BLOCK ASYNCPATHS;  # pins that people or a serial chip drive have no phase to the clock",
        "BLOCK RESETPATHS;  # resets come through synchronisers",
    ]
    for pin in pins(board):
        lines += _lines(pin)
    lines.append(
        f"FREQUENCY PORT \"clock\" {board.crystal:g} MHZ;  # the oscillator's; the PLL's clock follows from it"
    )
    return "\n".join(lines) + "\n"


def _lines(pin: Pin) -> list[str]:
    """Site and buffer of a pin."""
    low = ", low active" if pin.inverted else ""
    lines = [f'LOCATE COMP "{pin.port}" SITE "{pin.site}";  # {_REASONS[pin.port]}{low}']
    for name, value in pin.attributes.items():
        lines.append(f'IOBUF PORT "{pin.port}" {name}={value};  # {_ATTRIBUTES[name]}')
    return lines
