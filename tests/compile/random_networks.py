"""Small random networks of every kind of layer and format, with scales that use the codes' whole range."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mixcim.compile.network import EXACT, FloatArithmetic, Layer, LayerKind, Network, Quantisation, Residual, Tensor
from mixcim.model.floating import encode
from mixcim_hdl.config import UnitKind
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat, Rounding
from mixcim_hdl.formats import WEIGHT_BITS

KINDS = tuple(LayerKind)
INTEGERS = (ElementFormat.INTEGER,)
FORMATS = tuple(ElementFormat)
#: Clamps of floating layers: none, ReLU, ReLU6, one that lets both signs through.
LIMITS = ((-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.5, 2.0))


def random_network(
    seed: int,
    layers: int = 5,
    widest: int = 9,
    largest_weight: int = 127,
    formats: Sequence[ElementFormat] = INTEGERS,
    aligned_bits: int = 12,
    largest_side: int = 7,
    chained: bool = False,
) -> Network:
    """Network of `layers` random layers over an input of up to `largest_side` pixels each way; ends with a fully
    connected layer.

    `widest`: most channels of a tensor. `largest_weight`: largest magnitude of an integer layer's weight. `formats`:
    those of tensors and weights, each drawn by chance; with others than INTEGER layers are floating where they must be,
    and sometimes where they need not. `aligned_bits`: of the chip, the most that inputs and weights are aligned to.
    `chained`: each layer reads what the one before it writes, few have a residual, and strides are seldom.
    """
    random = np.random.default_rng(seed)
    signed = bool(random.integers(2))
    height, width = (int(random.integers(largest_side // 2, largest_side + 1)) for _ in range(2))
    shape = (height, width, int(random.integers(1, widest + 1)))
    tensors = {"in": _tensor(random, "in", shape, signed, _drawn(random, formats))}
    network = Network(f"random{seed}", tensors, [], "in", "in", "NHWC", shape, shape)
    for number in range(layers):
        layer, shape = _geometry(random, network, number, number == layers - 1, widest, chained)
        output = _drawn(random, formats)
        integer = tensors[layer.input].format is output is ElementFormat.INTEGER
        if integer and (len(formats) == 1 or random.integers(4)):
            layer = _integer_layer(random, network, layer, shape, signed, largest_weight)
        else:
            layer = _floating_layer(random, network, layer, shape, signed, output, formats, aligned_bits)
        if chained and layer.residual is not None and random.integers(4):
            layer = replace(layer, residual=None)
        network.layers.append(layer)
    output = network.layers[-1].output
    return Network(
        network.name, tensors, network.layers, "in", output, "NHWC", tensors["in"].shape, tensors[output].shape
    )


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
    """Random inputs of a network, (count, height, width, channels): int16 integers in the tensor's own type, or
    patterns of its format (uint8, uint16) of values far apart, some of them 0 or subnormal."""
    random = np.random.default_rng(seed)
    tensor = network.tensors[network.input]
    shape = (count, *tensor.shape)
    if tensor.format.floating is None:
        low, high = tensor.quantisation.limits
        return random.integers(low, high + 1, shape).astype(np.int16)
    values = random.normal(size=shape) * 2.0 ** random.integers(-6, 4, shape)
    tiny = 2.0**tensor.format.floating.smallest_exponent * random.uniform(-1, 1, shape)
    kind = random.integers(12, size=shape)
    values = np.where(kind == 0, 0.0, np.where(kind == 1, tiny, values))
    return encode(values.astype(np.float32), tensor.format.floating)


def random_rules(network: Network, seed: int, channels: int) -> list[str]:
    """Placement rules that put every kernel of every layer on a unit by chance (max-pooling: tiny-digital; what pools
    floating point: none).

    `channels`: of an activation word. A floating depthwise layer takes one exponent for each word of its input if none
    of several is split; so they are not.
    """
    random = np.random.default_rng(seed)
    units = [kind.value for kind in UnitKind]
    apart = [layer for layer in network.layers if layer.floating and layer.kind is LayerKind.DEPTHWISE]
    whole = {layer.input for layer in apart}
    rules = []
    for layer in network.layers:
        if layer.kind is LayerKind.MAX_POOL or network.pools(layer):
            continue
        count = network.tensors[layer.output].shape[2]
        if layer.output in whole and count > channels:
            rules.append(f"{layer.name}={random.choice(units)}")
        else:
            rules.append(f"{layer.name}:" + ",".join(f"{k}={random.choice(units)}" for k in range(count)))
    return rules


def _drawn(random: np.random.Generator, formats: Sequence[ElementFormat]) -> ElementFormat:
    """One of the formats."""
    return formats[0] if len(formats) == 1 else formats[int(random.integers(len(formats)))]


def _tensor(
    random: np.random.Generator, name: str, shape: tuple[int, int, int], signed: bool, format: ElementFormat
) -> Tensor:
    integer = format is ElementFormat.INTEGER
    return Tensor(name, shape, _quantisation(random, signed) if integer else EXACT, format)


def _quantisation(random: np.random.Generator, signed: bool) -> Quantisation:
    low = -128 if signed else 0
    return Quantisation(float(np.float32(random.uniform(0.01, 0.1))), low + int(random.integers(0, 256)), signed)


def _geometry(
    random: np.random.Generator, network: Network, number: int, last: bool, widest: int, chained: bool
) -> tuple[Layer, tuple[int, int, int]]:
    """A layer without weights, parameters and clamps, and the shape of its output."""
    tensors = network.tensors
    source = tensors[str(random.choice(list(tensors)[-1 if chained else -2 :]))] if number else tensors["in"]
    height, width, channels = source.shape
    kind = LayerKind.CONVOLUTION if last else KINDS[int(random.integers(len(KINDS)))]
    kernel, stride, padding = (height, width), (1, 1), (0, 0, 0, 0)
    if kind is LayerKind.IDENTITY:
        kernel = (1, 1)
    elif not last:
        kernel = (int(random.integers(1, min(3, height) + 1)), int(random.integers(1, min(3, width) + 1)))
        stride = (int(random.integers(1, 3)), int(random.integers(1, 3)))
        if chained and random.integers(3):
            stride = (1, 1)
        top, left, bottom, right = (int(random.integers(0, side)) for side in (*kernel, *kernel))
        padding = (top, left, bottom, right)
    kernels = int(random.integers(1, widest + 1)) if kind is LayerKind.CONVOLUTION else channels
    shape = (
        (height + padding[0] + padding[2] - kernel[0]) // stride[0] + 1,
        (width + padding[1] + padding[3] - kernel[1]) // stride[1] + 1,
        kernels,
    )
    nothing = (None, np.zeros(kernels, np.int32), np.ones(kernels, np.float32), (0, 0))
    window = (kernel, stride, padding)
    return Layer(f"{kind.value}{number}", kind, source.name, f"tensor{number}", *window, *nothing), shape


def _weight_shape(network: Network, layer: Layer) -> tuple[int, ...] | None:
    """Shape of a layer's weights; None for a layer without."""
    kernels, channels = len(layer.bias), network.tensors[layer.input].shape[2]
    return {
        LayerKind.CONVOLUTION: (kernels, *layer.kernel, channels),
        LayerKind.DEPTHWISE: (kernels, *layer.kernel),
    }.get(layer.kind)


def _taps(network: Network, layer: Layer) -> int:
    """Products that a sum of the layer has."""
    channels = network.tensors[layer.input].shape[2] if layer.kind is LayerKind.CONVOLUTION else 1
    return layer.kernel[0] * layer.kernel[1] * channels


def _integer_layer(
    random: np.random.Generator,
    network: Network,
    layer: Layer,
    shape: tuple[int, int, int],
    signed: bool,
    largest_weight: int,
) -> Layer:
    """Adds the layer's output to the network's tensors."""
    kernels, weight_shape = len(layer.bias), _weight_shape(network, layer)
    weight, bias = None, layer.bias
    if weight_shape:
        weight = random.integers(-largest_weight - 1, largest_weight + 1, weight_shape).astype(np.int8)
    spread = 80 * np.sqrt(_taps(network, layer)) * (largest_weight / 1.7 if weight_shape else 1)
    scale = (random.uniform(40, 120, kernels) / spread).astype(np.float32)
    if weight_shape:
        bias = random.integers(-2000, 2000, kernels).astype(np.int32)
    output = _tensor(random, layer.output, shape, signed, ElementFormat.INTEGER)
    clamp = _clamp(random, output.quantisation)
    candidates = [
        name
        for name, tensor in network.tensors.items()
        if tensor.shape == shape and tensor.format is ElementFormat.INTEGER
    ]
    residual = None
    if candidates and layer.kind is not LayerKind.MAX_POOL and random.integers(3):
        own = _quantisation(random, signed)
        name = str(random.choice(candidates))
        residual = Residual(name, own, own.limits, bool(random.integers(2)))
    network.tensors[output.name] = output
    return replace(layer, weight=weight, bias=bias, scale=scale, clamp=clamp, residual=residual)


def _floating_layer(
    random: np.random.Generator,
    network: Network,
    layer: Layer,
    shape: tuple[int, int, int],
    signed: bool,
    output_format: ElementFormat,
    formats: Sequence[ElementFormat],
    aligned_bits: int,
) -> Layer:
    """Adds the layer's output to the network's tensors."""
    kernels, weight_shape = len(layer.bias), _weight_shape(network, layer)
    widths = [bits for bits in ALIGNED_BITS if bits <= aligned_bits]
    weight_format, weight, bias = ElementFormat.INTEGER, None, np.zeros(kernels, np.float32)
    magnitude = 1.0  # of a weight, as an integer
    if weight_shape:
        weight_format = _drawn(random, formats)
        bits = WEIGHT_BITS if weight_format is ElementFormat.INTEGER else int(random.choice(widths))
        largest = (1 << bits - 1) - 1
        weight = random.integers(-largest, largest + 1, weight_shape).astype(np.int32)
        bias, magnitude = random.normal(size=kernels).astype(np.float32), largest / 1.7
    integer_input = network.tensors[layer.input].format is ElementFormat.INTEGER
    spread = magnitude * np.sqrt(_taps(network, layer)) * (75 if integer_input else 1)
    scale = random.uniform(0.7, 4, kernels) / spread
    if weight_format is not ElementFormat.INTEGER and not integer_input:
        scale = 2.0 ** np.rint(np.log2(scale))
    output = _tensor(random, layer.output, shape, signed, output_format)
    arithmetic = FloatArithmetic(
        weight_format,
        int(random.choice(widths)),
        Rounding(int(random.integers(2))),
        LIMITS[int(random.integers(len(LIMITS)))],
    )
    candidates = [name for name, tensor in network.tensors.items() if tensor.shape == shape]
    residual = None
    if candidates and layer.kind is not LayerKind.MAX_POOL and random.integers(3):
        residual = Residual(str(random.choice(candidates)), EXACT, EXACT.limits)
    network.tensors[output.name] = output
    return replace(
        layer,
        weight=weight,
        bias=bias,
        scale=scale.astype(np.float32),
        clamp=_clamp(random, output.quantisation),
        residual=residual,
        floating=arithmetic,
    )


def _clamp(random: np.random.Generator, quantisation: Quantisation) -> tuple[int, int]:
    """The whole range of a type, or a part of it."""
    low, high = quantisation.limits
    return (low, high) if random.integers(2) else (low + int(random.integers(0, 40)), high - 100)
