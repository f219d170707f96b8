"""Costs of the methods of alignment, counted by hand for two layers."""

from __future__ import annotations

import pytest

from mixcim.explore.alignment import Method
from mixcim.explore.alignment_cost import Cost, network_cost
from mixcim.explore.float_network import LayerShape
from mixcim_hdl.floating import BF16, FP16, FloatFormat

#: 9 * 4 * 100 = 3,600 and 20 * 10 * 2 = 400 multiply-accumulates; 900 + 40 inputs; 36 + 200 weights; 14 kernels.
SHAPES = [LayerShape("first", 9, 4, 100), LayerShape("last", 20, 10, 2)]


@pytest.mark.parametrize(
    ("method", "format", "cost"),
    [
        (Method.PRODUCT, BF16, Cost(1, 8, 9 * 9, 8 + 5, 16)),
        (Method.INPUT, BF16, Cost(1 + 940 / 4000, 16 + 8 * 940 / 4000, 8 * 9, 16 + 5, 16)),
        (Method.INPUT, FP16, Cost(1 + 940 / 4000, 19 + 8 * 940 / 4000, 8 * 12, 19 + 5, 16)),
        (Method.LAYER, BF16, Cost(940 / 4000, 8 * 940 / 4000, 64, 15 + 5, 8 + 8 * 2 / 236)),
        (Method.KERNEL, BF16, Cost(940 / 4000, 8 * 940 / 4000, 64, 15 + 5, 8 + 8 * 14 / 236)),
        (Method.KERNEL, FP16, Cost(940 / 4000, 8 * 940 / 4000, 64, 15 + 5, 8 + 5 * 14 / 236)),
    ],
)
def test_costs_of_8_bits(method: Method, format: FloatFormat, cost: Cost) -> None:
    found = network_cost(SHAPES, method, format, 8)
    assert [value for value, _ in found.named().values()] == pytest.approx(
        [value for value, _ in cost.named().values()]
    )


def test_more_bits_cost_more() -> None:
    for method in (Method.PRODUCT, Method.INPUT, Method.LAYER, Method.KERNEL):
        narrow, wide = (network_cost(SHAPES, method, BF16, bits) for bits in (8, 9))
        assert wide.adder_bits > narrow.adder_bits and wide.shifter_bits > narrow.shifter_bits
        assert (wide.weight_bits > narrow.weight_bits) == (method in (Method.LAYER, Method.KERNEL))
