"""What the methods of alignment.py cost, in proxies counted from the shapes of a network's layers: no area, no energy.

A layer has P vectors of n inputs and K kernels: n K P multiply-accumulates (MAC). m mantissa bits, b aligned bits, s =
m + 2 bits of a significand with its sign, g = ceil(log2 n) bits that n terms add to a sum. A format has f bits.

| | PRODUCT | INPUT | LAYER | KERNEL |
| --- | --- | --- | --- | --- |
| multiplier | s x s | b x s | b x b | b x b |
| input shifters, n P of them: width | none | b | b | b |
| product shifters, n K P of them: width | b | b + m + 1 | none | none |
| adder width | b + g | b + m + 1 + g | 2 b - 1 + g | 2 b - 1 + g |
| bits stored of a weight | f | f | b | b |
| bits of exponents stored apart | none | none | one exponent a layer | one exponent a kernel |

Shifters: every number is shifted once where it arises, an input once for all kernels, so that an input's shifter counts
1/K in a MAC. Widths are those of what comes out. Weights of LAYER and KERNEL are shifted ahead of time. Finding the
largest exponent is not counted: it takes n P comparisons (INPUT, LAYER, KERNEL) or n K P additions and comparisons
(PRODUCT) of exponents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixcim_hdl.floating import FloatFormat

from .alignment import Method
from .float_network import LayerShape


@dataclass(frozen=True)
class Cost:
    """Of a whole network; `shifters`, `shifter_bits` and `multiplier_bits` a MAC; the adder is that of the longest dot
    product; `weight_bits`: stored for a weight, exponents kept apart included."""

    shifters: float
    shifter_bits: float
    multiplier_bits: int
    adder_bits: int
    weight_bits: float

    def named(self) -> dict[str, tuple[float, str]]:
        """Value and unit of each, in words."""
        return {
            "shifters": (self.shifters, "a MAC"),
            "shifter width times number": (self.shifter_bits, "bits a MAC"),
            "multiplier": (self.multiplier_bits, "bits x bits"),
            "adder width": (self.adder_bits, "bits"),
            "stored weight": (self.weight_bits, "bits"),
        }


def network_cost(shapes: Sequence[LayerShape], method: Method, format: FloatFormat, aligned_bits: int) -> Cost:
    """By the table above, summed over the layers of a network."""
    significand, work = format.mantissa_bits + 2, sum(shape.multiply_accumulates for shape in shapes)
    inputs = sum(shape.length * shape.vectors for shape in shapes)
    weights = sum(shape.length * shape.kernels for shape in shapes)
    growth = math.ceil(math.log2(max(shape.length for shape in shapes)))
    product = {Method.PRODUCT: aligned_bits, Method.INPUT: aligned_bits + significand - 1}.get(method, 0)
    input_width = 0 if method is Method.PRODUCT else aligned_bits
    left = significand if method is Method.PRODUCT else aligned_bits
    right = significand if method in (Method.PRODUCT, Method.INPUT) else aligned_bits
    exponents = {Method.LAYER: len(shapes), Method.KERNEL: sum(shape.kernels for shape in shapes)}.get(method, 0)
    stored = format.bits if method in (Method.PRODUCT, Method.INPUT) else aligned_bits
    return Cost(
        shifters=(product > 0) + (input_width > 0) * inputs / work,
        shifter_bits=product + input_width * inputs / work,
        multiplier_bits=left * right,
        adder_bits=(product or 2 * aligned_bits - 1) + growth,
        weight_bits=stored + exponents * format.exponent_bits / weights,
    )
