"""A network of random weights that is small enough for every chip: for a first sign of life."""

from __future__ import annotations

import numpy as np

from ..compile.network import Layer, LayerKind, Network, Quantisation, Tensor

_SIDE, _CHANNELS, _KERNELS, _CLASSES = 5, 3, 4, 3
_HIDDEN = (_SIDE - 3) // 2 + 1
_SCALE = 0.001  #: keeps most outputs within a code


def small_network(seed: int = 0) -> Network:
    """3 x 3 convolution of 3 channels to 4 over 5 x 5 pixels, stride 2, then a fully connected layer to 3 outputs."""
    random = np.random.default_rng(seed)
    codes = Quantisation(1.0, 0, False)
    tensors = {
        "image": Tensor("image", (_SIDE, _SIDE, _CHANNELS), codes),
        "hidden": Tensor("hidden", (_HIDDEN, _HIDDEN, _KERNELS), codes),
        "classes": Tensor("classes", (1, 1, _CLASSES), Quantisation(1.0, 128, False)),
    }

    def layer(name: str, source: str, target: str, kernels: int, side: int, stride: int) -> Layer:
        channels = tensors[source].shape[2]
        return Layer(
            name,
            LayerKind.CONVOLUTION,
            source,
            target,
            (side, side),
            (stride, stride),
            (0, 0, 0, 0),
            random.integers(-127, 128, (kernels, side, side, channels)).astype(np.int8),
            random.integers(-2000, 2001, kernels).astype(np.int32),
            np.full(kernels, _SCALE, np.float32),
            (0, 255),
        )

    layers = [
        layer("convolution", "image", "hidden", _KERNELS, 3, 2),
        layer("classifier", "hidden", "classes", _CLASSES, _HIDDEN, 1),
    ]
    shape = tensors["image"].shape
    return Network("small", tensors, layers, "image", "classes", "NHWC", shape, tensors["classes"].shape)


def small_inputs(count: int, seed: int = 0) -> np.ndarray:
    """Random codes for it: uint8 (count, height, width, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (count, _SIDE, _SIDE, _CHANNELS), np.uint8)
