"""Lanes behind the last channel: whatever a residual holds there, exponents are those of the elements."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from compile.test_compiler import compare
from mixcim.compile.compiler import compile_network
from mixcim.compile.network import EXACT, FloatArithmetic, Layer, LayerKind, Network, Quantisation, Residual, Tensor
from mixcim.compile.unused import unused_biases
from mixcim_hdl.floating import ElementFormat, Rounding
from mixcim_hdl.presets import PRESETS

CHIP = dataclasses.replace(PRESETS["tiny"], activation_words=64)
SHAPE = (2, 2, 3)  # one lane of four is unused
INPUT = Quantisation(0.5, 100, True)
BIAS = -10.0


def network(limits: tuple[float, float], integer_sum: bool) -> Network:
    """out = copy(sum), a depthwise layer in 8 aligned bits, sum = copy(own) + in; with `integer_sum`, in + in in
    integers for `in`."""
    tensors = {
        "in": Tensor("in", SHAPE, INPUT),
        "twice": Tensor("twice", SHAPE, Quantisation(1.0, -100, True)),
        **{name: Tensor(name, SHAPE, EXACT, ElementFormat.BF16) for name in ("own", "sum", "out")},
    }
    one = np.ones(3, np.float32)
    window = ((1, 1), (1, 1), (0, 0, 0, 0), None)

    def floating(name: str, source: str, residual: str | None = None, bias: float = 0) -> Layer:
        """A layer that copies."""
        arithmetic = FloatArithmetic(ElementFormat.INTEGER, 8, Rounding.NEAREST_EVEN, limits)
        return Layer(
            *(name, LayerKind.IDENTITY, source, name, *window, np.full(3, bias, np.float32), one, (0, 0)),
            residual=None if residual is None else Residual(residual, EXACT, EXACT.limits),
            floating=arithmetic,
        )

    # Its codes end above its zero point.
    twice = Layer("twice", LayerKind.IDENTITY, "in", "twice", *window, np.zeros(3, np.int32), one, (-90, 127),
                  residual=Residual("in", INPUT, INPUT.limits))  # fmt: skip
    layers = [
        *([twice] if integer_sum else []),
        floating("own", "in", bias=BIAS),
        floating("sum", "own", "twice" if integer_sum else "in"),
        replace(floating("out", "sum"), kind=LayerKind.DEPTHWISE, weight=np.ones((3, 1, 1), np.int32)),
    ]
    used = {layer.output for layer in layers} | {"in"}
    tensors = {name: tensor for name, tensor in tensors.items() if name in used}
    return Network("unused", tensors, layers, "in", "out", "NHWC", SHAPE, SHAPE)


@pytest.mark.parametrize("integer_sum", [False, True])
@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (3.0, np.inf)])
def test_a_residual_does_not_reach_the_exponents_by_unused_lanes(
    limits: tuple[float, float], integer_sum: bool
) -> None:
    one = network(limits, integer_sum)
    # Small numbers; an unused byte of the input is -114 in real numbers.
    codes = np.random.default_rng(0).integers(97, 104, (4, *SHAPE)).astype(np.int16)
    program = compile_network(one, CHIP)
    assert compare(one, program, CHIP, codes) == ([], 0)


def test_biases_take_off_what_the_residual_holds() -> None:
    biases = unused_biases(network((-np.inf, np.inf), False))
    assert biases == {"own": 0, "sum": (128 + 100) * 0.5, "out": 0}
    biases = unused_biases(network((3.0, np.inf), True))
    # -128 + -128 in halves is beyond the codes that `twice` may hold: -90, which is 10.
    assert biases == {"own": 0, "sum": -10, "out": 0}
