"""Small random quantised networks of every kind of layer, with scales that use the codes' whole range."""

import numpy as np

from mixcim.compile.evaluate import evaluate_layer
from mixcim.compile.network import Layer, LayerKind, Network, Quantisation, Residual, Tensor

KINDS = tuple(LayerKind)


def random_network(seed: int, layers: int = 5, widest: int = 9, largest_weight: int = 127) -> Network:
    """Network of `layers` random layers over an input of up to 7 x 7 pixels; ends with a fully connected layer.

    `widest`: most channels of a tensor. `largest_weight`: largest magnitude of a weight.
    """
    random = np.random.default_rng(seed)
    signed = bool(random.integers(2))
    shape = (int(random.integers(3, 8)), int(random.integers(3, 8)), int(random.integers(1, widest + 1)))
    tensors = {"in": Tensor("in", shape, _quantisation(random, signed))}
    network = Network(f"random{seed}", tensors, [], "in", "in", "NHWC", shape, shape)
    values = {"in": _codes(random, tensors["in"], 4)}
    for number in range(layers):
        last = number == layers - 1
        layer = _layer(random, network, number, signed, last, widest, largest_weight)
        other = values[layer.residual.tensor] if layer.residual else None
        network.layers.append(layer)
        values[layer.output] = evaluate_layer(network, layer, values[layer.input], other)
    output = network.layers[-1].output
    return Network(network.name, tensors, network.layers, "in", output, "NHWC", shape, tensors[output].shape)


def depthwise_network(channels: int) -> Network:
    """One depthwise layer with a window of 3 x 3 on 4 x 4 pixels."""
    random = np.random.default_rng(channels)
    shape = (4, 4, channels)
    tensors = {name: Tensor(name, shape, _quantisation(random, False)) for name in ("in", "out")}
    weight = random.integers(-127, 128, (channels, 3, 3)).astype(np.int8)
    window = ((3, 3), (1, 1), (1, 1, 1, 1))
    scale = np.full(channels, 0.002, np.float32)
    layer = Layer(
        "deep", LayerKind.DEPTHWISE, "in", "out", *window, weight, np.zeros(channels, np.int32), scale, (0, 255)
    )
    return Network("deep", tensors, [layer], "in", "out", "NHWC", shape, shape)


def random_codes(network: Network, count: int, seed: int = 0) -> np.ndarray:
    """Random integers for a network's input: int16 (count, height, width, channels), in the tensor's own type."""
    return _codes(np.random.default_rng(seed), network.tensors[network.input], count)


def _codes(random: np.random.Generator, tensor: Tensor, count: int) -> np.ndarray:
    low, high = tensor.quantisation.limits
    return random.integers(low, high + 1, (count, *tensor.shape)).astype(np.int16)


def _quantisation(random: np.random.Generator, signed: bool) -> Quantisation:
    low = -128 if signed else 0
    return Quantisation(float(np.float32(random.uniform(0.01, 0.1))), low + int(random.integers(0, 256)), signed)


def _layer(
    random: np.random.Generator,
    network: Network,
    number: int,
    signed: bool,
    last: bool,
    widest: int,
    largest_weight: int,
) -> Layer:
    tensors = network.tensors
    source = tensors[str(random.choice(list(tensors)[-2:]))] if number else tensors["in"]
    height, width, channels = source.shape
    kind = LayerKind.CONVOLUTION if last else KINDS[int(random.integers(len(KINDS)))]
    kernel, stride, padding = (height, width), (1, 1), (0, 0, 0, 0)
    if kind is LayerKind.IDENTITY:
        kernel = (1, 1)
    elif not last:
        kernel = (int(random.integers(1, min(3, height) + 1)), int(random.integers(1, min(3, width) + 1)))
        stride = (int(random.integers(1, 3)), int(random.integers(1, 3)))
        top, left, bottom, right = (int(random.integers(0, side)) for side in (*kernel, *kernel))
        padding = (top, left, bottom, right)
    kernels = int(random.integers(1, widest + 1)) if kind is LayerKind.CONVOLUTION else channels
    shape = (
        (height + padding[0] + padding[2] - kernel[0]) // stride[0] + 1,
        (width + padding[1] + padding[3] - kernel[1]) // stride[1] + 1,
        kernels,
    )
    weight_shape = {
        LayerKind.CONVOLUTION: (kernels, *kernel, channels),
        LayerKind.DEPTHWISE: (kernels, *kernel),
    }.get(kind)
    weight = None
    if weight_shape:
        weight = random.integers(-largest_weight - 1, largest_weight + 1, weight_shape).astype(np.int8)
    taps = kernel[0] * kernel[1] * (channels if kind is LayerKind.CONVOLUTION else 1)
    spread = 80 * np.sqrt(taps) * (largest_weight / 1.7 if weight_shape else 1)
    scale = (random.uniform(40, 120, kernels) / spread).astype(np.float32)
    bias = random.integers(-2000, 2000, kernels).astype(np.int32) if weight_shape else np.zeros(kernels, np.int32)
    output = Tensor(f"tensor{number}", shape, _quantisation(random, signed))
    limits = output.quantisation.limits
    clamp = limits if random.integers(2) else (limits[0] + int(random.integers(0, 40)), limits[1] - 100)
    candidates = [name for name, tensor in tensors.items() if tensor.shape == shape]
    residual = None
    if candidates and kind is not LayerKind.MAX_POOL and random.integers(3):
        own = _quantisation(random, signed)
        name = str(random.choice(candidates))
        residual = Residual(name, own, own.limits, bool(random.integers(2)))
    tensors[output.name] = output
    return Layer(
        f"{kind.value}{number}",
        kind,
        source.name,
        output.name,
        kernel,
        stride,
        padding,
        weight,
        bias,
        scale,
        clamp,
        residual,
    )
