"""A network of random weights that is small enough for every chip: for a first sign of life."""

from __future__ import annotations

import numpy as np

from ..compile.network import Layer, LayerKind, Network, Quantisation, Tensor

_SIDE, _CHANNELS, _KERNELS, _CLASSES = 4, 3, 8, 5
_SCALE = 0.002  #: keeps most outputs within a code


def small_network(seed: int = 0) -> Network:
    """A 3 x 3 convolution of 3 channels to 8 over 4 x 4 pixels, then a fully connected layer to 5 outputs, int8."""
    random = np.random.default_rng(seed)
    codes = Quantisation(1.0, 0, False)
    tensors = {
        "image": Tensor("image", (_SIDE, _SIDE, _CHANNELS), codes),
        "hidden": Tensor("hidden", (_SIDE, _SIDE, _KERNELS), codes),
        "classes": Tensor("classes", (1, 1, _CLASSES), Quantisation(1.0, 128, False)),
    }

    def layer(name: str, source: str, target: str, kernels: int, side: int, padding: int) -> Layer:
        channels = tensors[source].shape[2]
        return Layer(
            name,
            LayerKind.CONVOLUTION,
            source,
            target,
            (side, side),
            (1, 1),
            (padding,) * 4,
            random.integers(-127, 128, (kernels, side, side, channels)).astype(np.int8),
            random.integers(-2000, 2001, kernels).astype(np.int32),
            np.full(kernels, _SCALE, np.float32),
            (0, 255),
        )

    layers = [
        layer("convolution", "image", "hidden", _KERNELS, 3, 1),
        layer("classifier", "hidden", "classes", _CLASSES, _SIDE, 0),
    ]
    shape = tensors["image"].shape
    return Network("small", tensors, layers, "image", "classes", "NHWC", shape, tensors["classes"].shape)


def small_inputs(count: int, seed: int = 0) -> np.ndarray:
    """Random codes for it: uint8 (count, height, width, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (count, _SIDE, _SIDE, _CHANNELS), np.uint8)
