"""Floating layers as network.py defines them, on numbers that show each step."""

from typing import Any

import numpy as np
import pytest

from mixcim.compile.evaluate import evaluate
from mixcim.compile.network import EXACT, FloatArithmetic, Layer, LayerKind, Network, Quantisation, Residual, Tensor
from mixcim.errors import MixcimError
from mixcim.model import floating
from mixcim_hdl.floating import ElementFormat, Rounding

NO_LIMITS = (-np.inf, np.inf)


def network(
    kind: LayerKind,
    shape: tuple[int, int, int],
    input: ElementFormat | Quantisation = ElementFormat.FP16,
    output: ElementFormat | Quantisation = ElementFormat.FP16,
    bits: int = 8,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    limits: tuple[float, float] = NO_LIMITS,
    **fields: Any,
) -> Network:
    """A network of one floating layer, a 1 x 1 window with scale 1 and bias 0 unless `fields` say otherwise."""

    def tensor(name: str, side: tuple[int, int, int], format: ElementFormat | Quantisation) -> Tensor:
        if isinstance(format, Quantisation):
            return Tensor(name, side, format)
        return Tensor(name, side, EXACT, format)

    kernels = shape[2] if fields.get("weight") is None else len(fields["weight"])
    values = {
        "kernel": (1, 1),
        "stride": (1, 1),
        "padding": (0, 0, 0, 0),
        "weight": None,
        "bias": np.zeros(kernels, np.float32),
        "scale": np.ones(kernels, np.float32),
        "clamp": (0, 255),
        "floating": FloatArithmetic(ElementFormat.FP16, bits, rounding, limits),
        **fields,
    }
    layer = Layer("layer", kind, "x", "y", **values)
    top, left, bottom, right = layer.padding
    height = (shape[0] + top + bottom - layer.kernel[0]) // layer.stride[0] + 1
    width = (shape[1] + left + right - layer.kernel[1]) // layer.stride[1] + 1
    tensors = {"x": tensor("x", shape, input), "y": tensor("y", (height, width, kernels), output)}
    return Network("one", tensors, [layer], "x", "y", "NHWC", shape, tensors["y"].shape)


def run(network: Network, values: Any, channels: int | None = 4) -> np.ndarray:
    """Output of the layer as real numbers or codes, flat, for an input of real numbers or codes."""
    source, output = network.tensors["x"], network.tensors["y"]
    values = np.asarray(values, np.float32).reshape(1, *source.shape)
    codes = (
        values.astype(np.int16) if source.format.floating is None else floating.encode(values, source.format.floating)
    )
    result = evaluate(network, codes, channels)["y"].reshape(-1)
    return result if output.format.floating is None else floating.decode(result, output.format.floating)


def weights(*values: int) -> np.ndarray:
    """Weights of one kernel, a window of 1 x 1."""
    return np.array(values, np.int32).reshape(1, 1, 1, -1)


def test_inputs_are_aligned_to_the_largest_of_the_window() -> None:
    # E = 6, unit 1 in 8 bits: 64, 1.5 -> 2, 0.5 -> 0, -2.5 -> -2.
    one = network(LayerKind.CONVOLUTION, (1, 1, 4), weight=weights(1, 10, 100, 1000))
    assert run(one, [64, 1.5, 0.5, -2.5]).tolist() == [64 + 20 - 2000]
    cut = network(LayerKind.CONVOLUTION, (1, 1, 4), weight=weights(1, 10, 100, 1000), rounding=Rounding.TRUNCATE)
    assert run(cut, [64, 1.5, 0.5, -2.75]).tolist() == [64 + 10 - 2000]
    # A window of its own for each pixel.
    two = network(LayerKind.CONVOLUTION, (1, 2, 2), weight=weights(1, 1))
    assert run(two, [64, 0.25, 1, 0.25]).tolist() == [64, 1.25]
    # One exponent for all taps of a window.
    wide = network(LayerKind.CONVOLUTION, (1, 2, 2), kernel=(1, 2), weight=weights(1, 1, 1, 1).reshape(1, 1, 2, 2))
    assert run(wide, [64, 0.25, 1, 0.25]).tolist() == [65]


def test_depthwise_layers_have_an_exponent_for_each_word() -> None:
    deep = network(LayerKind.DEPTHWISE, (1, 1, 6), weight=np.arange(1, 7).astype(np.int32).reshape(6, 1, 1))
    assert run(deep, [64, 0.25, 0.5, 1.5, 1, 0.25]).tolist() == [64, 0, 0, 8, 5, 1.5]
    with pytest.raises(MixcimError, match="say how many"):
        run(deep, [0] * 6, None)


def test_layers_without_weights_pool_in_float32() -> None:
    """Element by element, each sum rounded once: nothing is aligned, and a large neighbour takes nothing away."""
    values = [65504, 2.0**-24, 0.5, -1.5, 1, 2.0**-14, 0.5, 0.75]
    for kind in (LayerKind.IDENTITY, LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL):
        assert run(network(kind, (1, 1, 8)), values, None).tolist() == values
    # In float32 2**30 + 1 is 2**30: the order of the window counts.
    bf16 = {"input": ElementFormat.BF16, "output": ElementFormat.BF16}
    window: dict[str, Any] = bf16 | {"kernel": (3, 1)}
    for order, total in (([2.0**30, 1, -(2.0**30)], 0), ([2.0**30, -(2.0**30), 1], 1)):
        assert run(network(LayerKind.AVERAGE_POOL, (3, 1, 1), **window), order).tolist() == [total]
        assert run(network(LayerKind.MAX_POOL, (3, 1, 1), **window), order).tolist() == [2.0**30]


def test_special_elements_in_a_pool() -> None:
    pairs = [(np.inf, 1), (-np.inf, -np.inf), (np.inf, -np.inf), (np.nan, 1), (1, np.nan), (-0.0, 0.0), (-0.0, -0.0)]
    values = np.array(pairs).T
    window: dict[str, Any] = {"kernel": (2, 1)}
    largest = run(network(LayerKind.MAX_POOL, (2, 1, 7), **window), values)
    np.testing.assert_array_equal(largest, [np.inf, -np.inf, np.inf, np.nan, np.nan, 0, 0])
    total = run(network(LayerKind.AVERAGE_POOL, (2, 1, 7), **window), values)
    np.testing.assert_array_equal(total, [np.inf, -np.inf, np.nan, np.nan, np.nan, 0, 0])


def test_padding_is_zero_and_never_the_maximum() -> None:
    pads: dict[str, Any] = {"kernel": (2, 2), "padding": (1, 1, 0, 0)}
    assert run(network(LayerKind.MAX_POOL, (1, 1, 4), **pads), [-8, -1, 0, 3]).tolist() == [-8, -1, 0, 3]
    quarter = np.full(4, 0.25, np.float32)
    assert run(network(LayerKind.AVERAGE_POOL, (1, 1, 4), scale=quarter, **pads), [-8, -1, 0, 3]).tolist() == [
        *(-2, -0.25),
        *(0, 0.75),
    ]
    codes = network(
        LayerKind.MAX_POOL, (1, 1, 2), Quantisation(0.5, 100, False), scale=np.full(2, 0.5, np.float32), **pads
    )
    assert run(codes, [0, 250]).tolist() == [-50, 75]


def test_every_step_rounds_once() -> None:
    # 257 * (1 + 2**-23) = 257 + 2**-15 + 2**-23 loses its last bit before the bias is added.
    bias = np.array([-(257 + 2.0**-15)], np.float32)
    one = network(
        LayerKind.CONVOLUTION,
        (1, 1, 2),
        output=Quantisation(2.0**-23, 3, False),
        weight=weights(1, 1),
        scale=np.array([1 + 2.0**-23], np.float32),
        bias=bias,
        bits=12,
    )
    assert run(one, [256, 1]).tolist() == [3]


def test_residual_limits_and_output() -> None:
    residual = Residual("x", EXACT, EXACT.limits)
    for limits, wanted in ((NO_LIMITS, [-6, 9, 3]), ((0, 6), [0, 6, 3]), ((-2, np.inf), [-2, 9, 3])):
        one = network(LayerKind.IDENTITY, (1, 1, 3), residual=residual, limits=limits)
        assert run(one, [-3, 4.5, 1.5]).tolist() == wanted
    codes = network(
        LayerKind.IDENTITY,
        (1, 1, 3),
        Quantisation(0.5, 10, False),
        Quantisation(0.25, 3, False),
        residual=residual,
        scale=np.full(3, 0.5, np.float32),
        clamp=(0, 15),
    )
    # (code - 10) / 2 twice, in quarters, + 3.
    assert run(codes, [10, 12, 40]).tolist() == [3, 11, 15]


def test_infinity_makes_a_window_nan() -> None:
    one = network(LayerKind.DEPTHWISE, (1, 2, 8), weight=np.ones((8, 1, 1), np.int32))
    result = run(one, [1, np.inf, 2, 3, 4, 5, 6, 7, *range(8)])
    assert np.isnan(result).tolist() == [True] * 4 + [False] * 12
    # NaN becomes the code of 0, and passes limits.
    codes = network(LayerKind.IDENTITY, (1, 1, 2), output=Quantisation(0.5, 7, False), limits=(1, 6))
    assert run(codes, [np.nan, 3]).tolist() == [7, 13]
    assert run(codes, [np.float32(50), 3]).tolist() == [19, 13]


def test_overflow_is_the_formats_own() -> None:
    big = {"weight": weights(1000), "scale": np.array([2.0**12], np.float32)}
    for element, wanted in (
        (ElementFormat.FP16, np.inf),
        (ElementFormat.FP8_E4M3, 448),
        (ElementFormat.BF16, 250 * 2**14),
    ):
        assert run(network(LayerKind.CONVOLUTION, (1, 1, 1), output=element, **big), [1]).tolist() == [wanted]


def test_scales_below_the_normal_numbers() -> None:
    """As RUN has it: t = 0 and m = the scale, a subnormal number."""
    tiny = np.array([2.0**-130], np.float32)
    one = network(
        LayerKind.CONVOLUTION, (1, 1, 1), ElementFormat.BF16, ElementFormat.BF16, weight=weights(96), scale=tiny
    )
    assert run(one, [2.0**20]).tolist() == [96 * 2.0**-110]
    assert run(one, [2.0**127]).tolist() == [np.inf]  # the sum's worth alone overflows


def test_patterns_are_checked() -> None:
    one = network(LayerKind.IDENTITY, (1, 1, 2), ElementFormat.FP8_E4M3)
    assert evaluate(one, np.array([[0, 255]]), 4)["x"].dtype == np.uint8
    assert evaluate(one, np.array([[8, 9]]), 4)["y"].dtype == np.uint16
    with pytest.raises(MixcimError, match="input holds 0 to 255"):
        evaluate(one, np.array([[0, 256]]), 4)
