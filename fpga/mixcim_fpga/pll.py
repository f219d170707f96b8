"""Dividers of the ECP5's PLL for a clock, after Lattice's FPGA-TN-02200 (sysCLOCK PLL/DLL design and usage guide)."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BoardError

#: Ranges in MHz of the data sheet (FPGA-DS-02012, PLL timing): oscillator, and input of the phase detector.
OSCILLATOR = (400.0, 800.0)
PHASE_DETECTOR = (10.0, 400.0)
LARGEST_DIVIDER = 128


@dataclass(frozen=True)
class PllDividers:
    """Output = input * `feedback` / `reference`; the oscillator runs at output * `output`."""

    reference: int
    feedback: int
    output: int


def pll_dividers(crystal: float, wanted: float) -> PllDividers:
    """Dividers that make exactly `wanted` MHz of `crystal` MHz. Raises BoardError, with the nearest clock that can be
    made, if there are none."""
    makes = []
    for reference in range(1, LARGEST_DIVIDER + 1):
        if not PHASE_DETECTOR[0] <= crystal / reference <= PHASE_DETECTOR[1]:
            continue
        for feedback in range(1, LARGEST_DIVIDER + 1):
            made = crystal * feedback / reference
            # The middle of the oscillator's range.
            output = round(sum(OSCILLATOR) / 2 / made)
            if not (1 <= output <= LARGEST_DIVIDER and OSCILLATOR[0] <= made * output <= OSCILLATOR[1]):
                continue
            if abs(made - wanted) < 1e-6:
                return PllDividers(reference, feedback, output)
            makes.append(made)
    nearest = min(makes, key=lambda made: abs(made - wanted))
    raise BoardError(
        f"the board's PLL makes no {wanted:g} MHz of its {crystal:g} MHz; the nearest is {nearest:g}: choose --clock"
    )
