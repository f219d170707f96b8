"""Folded inputs: the folded network gives the integers of the unfolded one, and the host folds what the file takes."""

import dataclasses

import numpy as np
import pytest

from compile.random_networks import random_codes
from mixcim.compile.compiler import compile_network
from mixcim.compile.evaluate import evaluate
from mixcim.compile.fold import fold_input
from mixcim.compile.network import EXACT, FloatArithmetic, Layer, LayerKind, Network, Quantisation, Tensor
from mixcim.host.values import fold_pixels, input_codes
from mixcim.model import ProcessorModel
from mixcim_hdl.floating import ElementFormat, Rounding
from mixcim_hdl.presets import PRESETS

DEMO = PRESETS["demo"]


def strided_network(
    seed: int,
    *,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (2, 2),
    size: tuple[int, int, int] = (12, 13, 3),
    padding: tuple[int, int, int, int] = (1, 0, 1, 1),
    identity: bool = False,
    format: ElementFormat = ElementFormat.INTEGER,
) -> Network:
    """A convolution with strides over an image, behind a requantisation if `identity`, before another layer."""
    random = np.random.default_rng(seed)
    height, width = (
        (size[axis] + padding[axis] + padding[axis + 2] - kernel[axis]) // stride[axis] + 1 for axis in (0, 1)
    )
    integer = format is ElementFormat.INTEGER
    image = Quantisation(0.02, int(random.integers(256)), False) if integer else EXACT
    tensors = {
        "in": Tensor("in", size, image, format),
        "image": Tensor("image", size, Quantisation(0.03, 7, False)),
        "out": Tensor("out", (height, width, 5), Quantisation(0.05, 100, False) if integer else EXACT, format),
    }
    weight = random.integers(-127, 128, (5, *kernel, size[2]))
    arithmetic = None if integer else FloatArithmetic(ElementFormat.INTEGER, 12, Rounding.NEAREST_EVEN, (-9.0, 9.0))
    layer = Layer(
        *("strided", LayerKind.CONVOLUTION, "image" if identity else "in", "out", kernel, stride, padding),
        weight.astype(np.int8 if integer else np.int32),
        random.integers(-500, 500, 5).astype(np.int32 if integer else np.float32),
        np.full(5, 0.004, np.float32),
        (0, 255),
        floating=arithmetic,
    )
    copy = Layer(
        *("copy", LayerKind.IDENTITY, "in", "image", (1, 1), (1, 1), (0, 0, 0, 0), None),
        *(np.zeros(size[2], np.int32), np.linspace(0.5, 0.7, size[2]).astype(np.float32), (0, 255)),
    )
    if not identity:
        del tensors["image"]
    layers = [copy, layer] if identity else [layer]
    return Network("strided", tensors, layers, "in", "out", "NHWC", size, (height, width, 5))


CASES = {
    "mobilenet": {"padding": (0, 0, 1, 1), "size": (12, 12, 3)},
    "odd": {"size": (13, 11, 3)},
    "all sides": {"padding": (1, 1, 1, 1)},
    "last pixels are not read": {"padding": (0, 0, 0, 0), "size": (16, 14, 2), "kernel": (2, 2), "stride": (3, 3)},
    "one way": {"stride": (1, 2)},
    "kernel shorter than the stride": {"kernel": (1, 1), "stride": (2, 2), "padding": (0, 0, 0, 0)},
    "long padding": {"kernel": (5, 4), "padding": (3, 2, 2, 1)},
    "one channel": {"size": (11, 9, 1), "kernel": (4, 5)},
    "behind a requantisation": {"identity": True},
    "behind a requantisation, odd": {"identity": True, "size": (13, 11, 3)},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_folded_network_gives_the_same_integers(case: str, seed: int) -> None:
    network = strided_network(seed, **CASES[case])
    folded, fold = fold_input(network, DEMO)
    assert fold == network.layers[-1].stride
    assert folded.layers[-1].stride == (1, 1)
    codes = random_codes(network, 3, seed)
    zero_point = network.tensors["in"].quantisation.zero_point
    pixels = fold_pixels(codes, folded.tensors["in"].shape, fold, zero_point)
    assert np.array_equal(evaluate(folded, pixels)["out"], evaluate(network, codes)["out"])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("case", CASES)
def test_inputs_stay_as_the_file_has_them(case: str, layout: str) -> None:
    network = strided_network(5, **CASES[case])
    codes = random_codes(network, 2)
    values = codes.astype(np.uint8)
    if layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
        network = dataclasses.replace(network, input_layout=layout, file_shape=values.shape[1:])
    program = compile_network(network, DEMO)
    output = ProcessorModel(DEMO, program).run(input_codes(program, values))
    assert program.fold == network.layers[-1].stride
    assert np.array_equal(output, evaluate(network, codes)["out"])
    work = sum(layer.multiply_accumulates(network.tensors[layer.output]) for layer in network.layers)
    assert sum(record.multiply_accumulates for record in program.layers) == work


def test_a_pixel_takes_less_memory() -> None:
    program = compile_network(strided_network(1), DEMO)
    assert program.tensors["in"].shape == (6, 7, 12)


NOT_FOLDED = {
    "no stride": {"stride": (1, 1)},
    "as many words": {"size": (12, 12, 16), "kernel": (2, 2), "padding": (0, 0, 0, 0)},
    "longer windows": {"kernel": (4, 4), "size": (12, 12, 1)},  # 16 rows are one vector of 16, 24 are two
    "whole image": {"kernel": (12, 12), "size": (12, 12, 3), "padding": (0, 0, 0, 0)},
}


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_what_does_not_gain_is_not_folded(case: str) -> None:
    network = strided_network(2, **NOT_FOLDED[case])
    chip = dataclasses.replace(DEMO, rows=16) if case == "longer windows" else DEMO
    assert fold_input(network, chip) == (network, (1, 1))


def test_an_input_that_others_read_is_not_folded() -> None:
    network = strided_network(2)
    other = dataclasses.replace(network.layers[0], name="other", output="other")
    tensors = {**network.tensors, "other": dataclasses.replace(network.tensors["out"], name="other")}
    network = dataclasses.replace(network, tensors=tensors, layers=[other, *network.layers])
    assert fold_input(network, DEMO)[1] == (1, 1)


def test_floating_inputs_are_folded_where_the_windows_are_the_same_or_memory_is_short() -> None:
    same = strided_network(1, kernel=(2, 2), padding=(0, 0, 0, 0), format=ElementFormat.BF16, size=(12, 12, 3))
    other = strided_network(1, padding=(0, 0, 1, 1), format=ElementFormat.BF16, size=(12, 12, 3))
    short = dataclasses.replace(DEMO, activation_words=256)
    for network, chip, fold in ((same, DEMO, (2, 2)), (other, DEMO, (1, 1)), (other, short, (2, 2))):
        folded, found = fold_input(network, chip)
        assert found == fold
        program = compile_network(network, chip)
        codes = random_codes(network, 3)
        pixels = fold_pixels(codes, folded.tensors["in"].shape, fold, 0)
        expected = evaluate(folded, pixels, chip.channels)["out"]
        assert np.array_equal(ProcessorModel(chip, program).run(pixels), expected)
        if network is same:
            assert np.array_equal(expected, evaluate(network, codes, chip.channels)["out"])


def test_folding_puts_rows_before_columns_before_channels() -> None:
    image = np.arange(3 * 4 * 2).reshape(1, 3, 4, 2)
    folded = fold_pixels(image, (2, 2, 8), (2, 2), -1)
    assert folded[0, 0, 1].tolist() == [4, 5, 6, 7, 12, 13, 14, 15]
    assert folded[0, 1, 0].tolist() == [16, 17, 18, 19, -1, -1, -1, -1]
    assert fold_pixels(image, (1, 2, 8), (2, 2), -1).tolist() == folded[:, :1].tolist()
