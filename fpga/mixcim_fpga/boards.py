"""The boards, and where the signals of a board's top are on each: from amaranth-boards, which knows the pins."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .devices import Resources, device_resources
from .errors import BoardError
from .protocol import DEFAULT_BAUD

#: (resource, number, subsignal or None) of amaranth-boards.
Place = tuple[str, int, str | None]


@dataclass(frozen=True)
class Board:
    """A board that amaranth-boards describes.

    `platform`: module and class of amaranth_boards. `chip`: preset that is built by default, with `megahertz`, the
    clock that it closes timing at. `clock`, `reset`: resources; without a reset button power-up alone resets.
    `loaders`: programs that load a bitstream, with their options, the first choice first; the file comes behind.
    `leds`: of the signals busy, fault and ready, in this order; those without an LED are left out.
    """

    name: str
    title: str
    platform: tuple[str, str]
    chip: str
    megahertz: float
    clock: str
    leds: tuple[Place, ...]
    loaders: tuple[tuple[str, ...], ...]
    reset: Place | None = None
    baud: int = DEFAULT_BAUD

    def description(self) -> Any:
        """A new platform object of amaranth-boards. Raises BoardError if that is not installed."""
        module, name = self.platform
        try:
            found = importlib.import_module(f"amaranth_boards.{module}")
        except ImportError:
            raise BoardError(
                "amaranth-boards, which knows the boards' pins, is not installed: pip install 'mixcim[fpga]'"
            ) from None
        return getattr(found, name)()

    @property
    def crystal(self) -> float:
        """Frequency of the board's clock in MHz."""
        return self.description().default_clk_frequency / 1e6

    @property
    def resources(self) -> Resources:
        """What the board's FPGA has."""
        return device_resources(self.description().device)


BOARDS = {
    board.name: board
    for board in (
        Board(
            name="ulx3s",
            title="Radiona ULX3S 85F",
            platform=("ulx3s", "ULX3S_85F_Platform"),
            chip="ulx3s",
            megahertz=50.0,
            clock="clk25",
            reset=("button_fire", 0, None),
            leds=(("led", 0, None), ("led", 1, None), ("led", 2, None)),
            loaders=(("openFPGALoader", "-b", "ulx3s", "-m"), ("fujprog",)),
        ),
        Board(
            name="ecpix5",
            title="LambdaConcept ECPIX-5 85F",
            platform=("ecpix5", "ECPIX585Platform"),
            chip="ulx3s",
            megahertz=60.0,
            clock="clk100",
            reset=("rst", 0, None),
            leds=(("rgb_led", 0, "b"), ("rgb_led", 0, "r"), ("rgb_led", 0, "g")),
            loaders=(("openFPGALoader", "-c", "ft2232", "-m"),),
        ),
        Board(
            name="icesugar-pro",
            title="Muse Lab iCESugar Pro 25F",
            platform=("icesugar_pro", "ICESugarProPlatform"),
            chip="ecp5-25f",
            megahertz=50.0,
            clock="clk25",
            leds=(("rgb_led", 0, "b"), ("rgb_led", 0, "r"), ("rgb_led", 0, "g")),
            loaders=(("icesprog",),),
        ),
    )
}

LEDS = ("busy", "fault", "ready")  #: what the LEDs show


def board_named(name: str) -> Board:
    """The board of that name. Raises BoardError, in a line that lists all, if there is none."""
    if name not in BOARDS:
        raise BoardError(f"board '{name}' is unknown; there are {', '.join(BOARDS)}")
    return BOARDS[name]


@dataclass(frozen=True)
class Pin:
    """A port of the board's top, one bit: `site` on the package, attributes of its buffer, and whether a high level of
    the pin is a low one of the signal."""

    port: str
    site: str
    attributes: dict[str, str]
    inverted: bool


def pins(board: Board) -> Iterator[Pin]:
    """Pins of every port of `board`'s top (top.py)."""
    description = board.description()
    wanted: dict[str, Place] = {"clock": (board.clock, 0, None), "rx": ("uart", 0, "rx"), "tx": ("uart", 0, "tx")}
    if board.reset:
        wanted["reset"] = board.reset
    wanted |= dict(zip(LEDS, board.leds, strict=False))
    for port, (resource, number, part) in wanted.items():
        definition = description.lookup(resource, number)
        leaf = definition
        attributes = dict(definition.attrs)
        if part is not None:
            leaf = next(item for item in definition.ios if getattr(item, "name", None) == part)
            attributes |= leaf.attrs
        io = leaf.ios[0]
        (site,) = io.map_names(description._conn_pins, definition)
        yield Pin(port, site, {name: str(value) for name, value in attributes.items()}, io.invert)
