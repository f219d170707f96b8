"""Number formats and cell encodings that RTL, model and compiler share.

Activations on the chip are unsigned 8-bit codes: an int8 tensor is stored with its sign bit inverted (code = q + 128),
so word lines only ever carry 0 or 1 with a positive place value. Weights are two's complement, 8 bit.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

ACTIVATION_BITS = 8  #: width of an activation code
WEIGHT_BITS = 8  #: width of a weight, two's complement
SUM_BITS = 32  #: width of a bank's dot-product value and of the bias, two's complement, wraps
SLICE_BITS = 8  #: a weight wider than WEIGHT_BITS is sum(slice[s] << SLICE_BITS * s), slices as weights of WEIGHT_BITS
LARGEST_SLICES = 3  #: slices of a weight: three hold every integer of 16 bits, two of up to 15

#: Conductance of each value of a cell in level steps (quarters of G_LRS), by the bits that it holds. An SLC is in its
#: high-resistance state (HRS) or at G_LRS; an MLC is never in its HRS. Source: Wen et al., Science 384, 325 (2024).
CELL_LEVELS = {1: (0, 4), 2: (1, 2, 3, 4)}


@dataclass(frozen=True)
class WeightMode:
    """How the digits of a weight are cut into memristor cells; what number the digits hold is the Encoding's matter.

    `cells`: bits held by each cell, least significant first (1: SLC, 2: MLC, see CELL_LEVELS). A digit is the value of
    one cell; its place is the sum of the bits below it. Source: Wen et al., Science 384, 325 (2024), weight modes;
    differential encoding: DESIGN section 2.
    """

    name: str
    cells: tuple[int, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Place (power of two) of each digit, least significant first."""
        return tuple(sum(self.cells[:index]) for index in range(len(self.cells)))

    @property
    def step_log2(self) -> tuple[int, ...]:
        """ADC step of each digit, as a power of two of a level step: what its cells' neighbouring values lie apart."""
        return tuple((CELL_LEVELS[bits][1] - CELL_LEVELS[bits][0]).bit_length() - 1 for bits in self.cells)

    @property
    def largest_magnitude(self) -> int:
        """Largest |w| that the cells can hold."""
        return (1 << sum(self.cells)) - 1


ADC_GAIN = 256  #: gain 1.0 of an ADC
ADC_SEGMENTS = 8  #: parts of an ADC's range with an integral non-linearity of their own
#: Parameters of an ADC in the order of the host's register: (smallest, largest), conductance codes but for the gain.
ADC_PARAMETERS = {"gain": (0, 511), "offset": (-512, 511), **{f"inl{part}": (-32, 31) for part in range(ADC_SEGMENTS)}}
NOISE_BITS = 12  #: width of an entry of the noise table


class Encoding(enum.Enum):
    """How a weight becomes digits. Columns of kernel k in a bank: differential w+ at 2k and w- at 2k + 1, else k.

    DIFFERENTIAL: sign-magnitude, w = w+ - w-, both magnitudes. OFFSET: w + 128, and 128 times the sum of the inputs
    is taken off again. TWOS_COMPLEMENT: the most significant digit, which must be one bit wide, counts negative.
    """

    DIFFERENTIAL = "differential"
    OFFSET = "offset"
    TWOS_COMPLEMENT = "twos_complement"

    @property
    def columns(self) -> int:
        """Columns of a kernel."""
        return 2 if self is Encoding.DIFFERENTIAL else 1


WEIGHT_MODES = {
    mode.name: mode
    for mode in (
        WeightMode("MM-S", (1,) * 8),
        WeightMode("MM-1", (2, 2, 1, 1, 1, 1)),
        WeightMode("MM-2", (2, 2, 2, 1, 1)),
        WeightMode("MM-M", (2, 2, 2, 2)),
    )
}


def conductance_unit(conductance_bits: int) -> int:
    """Conductance code of one level step, a quarter of G_LRS.

    `conductance_bits`: width of a conductance code; G_LRS is half of its range, which leaves room for programming
    spread.
    """
    return 1 << (conductance_bits - 3)


def ideal_conductance(digit: int, cell_bits: int, conductance_bits: int) -> int:
    """Conductance code of a cell of `cell_bits` that holds `digit`, without any non-ideality."""
    return CELL_LEVELS[cell_bits][digit] * conductance_unit(conductance_bits)
