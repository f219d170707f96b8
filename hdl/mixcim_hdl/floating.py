"""Floating-point formats, and how vectors of them become integers (pre-alignment).

**Patterns.** Sign, exponent field, mantissa field, from the top bit down. With exponent e = max(field, 1) - bias and
significand s = mantissa + (field != 0) * 2**mantissa_bits, the value is (-1)**sign * s * 2**(e - mantissa_bits).
Subnormals (field 0) count in full everywhere. A field of all ones is infinity (mantissa 0) or NaN, except in a format
without infinities: there only the magnitude of all ones is NaN.

**Rounding and overflow.** Results are rounded once, to nearest, ties to even. What is then above the largest finite
value becomes infinity; in a format that `saturates`, it becomes the largest finite value, and so does an infinity. NaN
stays NaN: every NaN that an operation gives is `nan_pattern`, sign 0. Operands that cancel give +0.

**Pre-alignment.** The exponent E of a vector x of patterns is the largest e of its elements; a zero has none, and E of
a vector of zeros is the format's smallest exponent. Its integers are two's complement of `aligned_bits`, sign included:

    integer = round(x / 2**(E - (aligned_bits - 2)))        value of an integer = integer * 2**(E - (aligned_bits - 2))

|x| < 2**(E + 1), so |integer| < 2**(aligned_bits - 1): a magnitude that rounds up to that becomes one less. `Rounding`
is the way of rounding. E may also come from a longer vector, of which x is a part; it is never smaller than x's own.

An infinity or NaN in it makes a vector *special*: every result of it is NaN. E and the integers of a special vector are
defined all the same, so that hardware and model agree: the formulas above on the fields of all its elements.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: Widths of aligned integers, sign included.
ALIGNED_BITS = (8, 9, 10, 11, 12, 16)


class Rounding(enum.IntEnum):
    """How pre-alignment drops bits."""

    TRUNCATE = 0  #: toward zero: the magnitude is shifted, and then takes its sign
    NEAREST_EVEN = 1  #: to the nearest integer, ties to the even one


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format; the module's docstring says what its patterns mean.

    `exponent_bits`, `mantissa_bits`: widths of the fields, at least 2 and 1. `infinity`: it has infinities.
    `saturates`: overflow gives the largest finite value. Raises ValueError for sizes that make no format.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    infinity: bool = True
    saturates: bool = False

    def __post_init__(self) -> None:
        if self.exponent_bits < 2 or self.mantissa_bits < 1:
            raise ValueError(
                f"format '{self.name}': exponent_bits must be at least 2 and mantissa_bits at least 1, "
                f"not {self.exponent_bits} and {self.mantissa_bits}"
            )
        if not self.infinity and not self.saturates:
            raise ValueError(f"format '{self.name}': without infinities overflow must saturate")

    @property
    def bits(self) -> int:
        """Width of a pattern."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """Exponent field of the value 1."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def smallest_exponent(self) -> int:
        """Exponent of the smallest normal number, and of every subnormal one."""
        return 1 - self.bias

    @property
    def largest_exponent(self) -> int:
        """Exponent of the largest finite value."""
        return (self.largest_pattern >> self.mantissa_bits) - self.bias

    @property
    def largest(self) -> float:
        """The largest finite value."""
        significand = (1 << self.mantissa_bits) | (self.largest_pattern & ((1 << self.mantissa_bits) - 1))
        return significand * 2.0 ** (self.largest_exponent - self.mantissa_bits)

    @property
    def infinity_pattern(self) -> int:
        """Pattern of +infinity. Raises ValueError for a format that has none."""
        if not self.infinity:
            raise ValueError(f"format {self.name} has no infinities")
        return ((1 << self.exponent_bits) - 1) << self.mantissa_bits

    @property
    def nan_pattern(self) -> int:
        """The canonical NaN: quiet, sign 0, no payload."""
        all_ones = (1 << (self.bits - 1)) - 1
        return self.infinity_pattern | 1 << (self.mantissa_bits - 1) if self.infinity else all_ones

    @property
    def largest_pattern(self) -> int:
        """Pattern of the largest finite value."""
        return (self.infinity_pattern if self.infinity else self.nan_pattern) - 1

    @property
    def overflow_pattern(self) -> int:
        """What a positive result above the largest finite value becomes."""
        return self.largest_pattern if self.saturates else self.infinity_pattern


FP32 = FloatFormat("FP32", 8, 23)  #: IEEE 754 binary32, the format of the output pipeline
BF16 = FloatFormat("BF16", 8, 7)  #: the upper half of an FP32
FP16 = FloatFormat("FP16", 5, 10)  #: IEEE 754 binary16
#: OCP 8-bit floating point (OFP8, revision 1.0), saturating conversion
FP8_E4M3 = FloatFormat("FP8_E4M3", 4, 3, infinity=False, saturates=True)
FP8_E5M2 = FloatFormat("FP8_E5M2", 5, 2, saturates=True)

FLOAT_FORMATS = {item.name: item for item in (FP32, BF16, FP16, FP8_E4M3, FP8_E5M2)}


class ElementFormat(enum.IntEnum):
    """What an element of a tensor in the activation memory is; the numbers are those of RUN's fields."""

    INTEGER = 0  #: 8-bit code
    BF16 = 1
    FP16 = 2
    FP8_E4M3 = 3
    FP8_E5M2 = 4

    @property
    def floating(self) -> FloatFormat | None:
        """The floating-point format; None for INTEGER."""
        return FLOAT_FORMATS.get(self.name)

    @property
    def bytes(self) -> int:
        """Bytes of an element: activation words that `channels` elements take."""
        return 1 if self.floating is None else self.floating.bits // 8
