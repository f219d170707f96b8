"""`Network`: the quantised network between the importers (ONNX, TFLite) and the code generator.

```
 float ONNX --quantise--> QDQ ONNX --.
                                      >--import--> Network --place, allocate, emit--> Program
 INT8 TFLite -----------------------'
```

A network is a list of layers in execution order; each reads one tensor, optionally a second one (the residual), and
writes one tensor. Everything is already folded: BatchNorm into weights, ReLU/ReLU6/Clip into clamps, Flatten/Reshape
into the kernel shape of the layer that follows, Pad into padding.

Arithmetic of a layer (all types numpy's; `zero_point` are the tensors' own)::

    accumulator[k] = sum(weight[k] * (x - x.zero_point)) + bias[k]                      int32, wraps
    y[k] = clip(round_half_even(float32(accumulator[k]) * scale[k]) + y.zero_point)     float32 product, rounded once
    MAX_POOL:   accumulator = max(x) - x.zero_point      AVERAGE_POOL, IDENTITY: weight = 1

A position in the padding holds x.zero_point (for MAX_POOL: it never wins). With a residual, `y` above is an
intermediate in `residual.quantisation`. The tensor written is the sum of A and B, the first and the second operand of
the Add in the network file: `y` and the residual tensor, or the other way round where `residual.order_swapped`. With
fma() a float32 fused multiply-add, and all else float32 too::

    scale_A = A.scale / out.scale,  scale_B = B.scale / out.scale
    fixed = out.zero_point - fma(scale_A, A.zero_point, scale_B * B.zero_point)
    out = clip(round_half_even(fma(A, scale_A, fma(B, scale_B, fixed))))        the second operand goes first

`Residual.coefficients` gives the three constants. This is what onnxruntime computes on x86-64, integer for integer, for
QLinearConv, QLinearMatMul, QGemm, QLinearAdd, QLinearGlobalAveragePool and MaxPool (measured over every pair of
operands and chosen near ties; its ARM kernels add in fixed point). One operator is different there: QLinearAveragePool
averages in float32 and rounds after adding the zero point, so that an exact tie may come out one higher or lower than
here. Here it is rounded as ONNX defines QuantizeLinear.

A layer with `floating` reads, weighs or writes floating point, and is this instead, with r() one rounding to float32::

    X = x - x.zero_point for an INTEGER x, u = 0; else x aligned to `input_bits`, u = E - (input_bits - 2), E the
        largest exponent of the window, or of a group of its channels (hdl's floating.py and commands.py, RUN)
    y[k] = r(r(r(sum(weight[k] * X) * 2**(u + t[k])) * m[k]) + bias[k])     scale[k] = m[k] * 2**t[k], 1 <= m[k] < 2
    without weights and x floating point (`Network.pools`): nothing is aligned. Over the window row by row,
        MAX_POOL:   p[k] = the largest of x[k], -infinity of none, NaN if one is NaN
        AVERAGE_POOL, IDENTITY:   p[k] = +0, then p[k] = r(p[k] + x[k]) again and again
        y[k] = r(r(p[k] * scale[k]) + bias[k])
    with a residual: y = r(y + residual)                                    as a real number, rounded to float32
    out = y limited to `limits`, then rounded once to the output's format (INTEGER: r(y * r(1 / scale)) + zero point)

Its weights are integers: int8 of a quantised kernel, or those of a floating-point kernel, aligned ahead of time to the
largest exponent of the kernel; `scale` has the worth of one unit, a power of two for floating-point weights.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from mixcim_hdl.floating import ElementFormat, Rounding

from .float32 import fused_multiply_add


class LayerKind(enum.Enum):
    """What a layer computes over its window."""

    CONVOLUTION = "convolution"  #: every kernel sees every channel; fully connected layers too (window = whole input)
    DEPTHWISE = "depthwise"  #: kernel k sees channel k only
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"  #: window sum, the division is in `scale`; global pooling too
    IDENTITY = "identity"  #: 1 x 1 window: a lone Add or re-quantisation


@dataclass(frozen=True)
class Quantisation:
    """Affine quantisation of a tensor: real = scale * (q - zero_point).

    `scale`: float32 > 0. `zero_point`: int in the range of the type. `signed`: int8 if true, uint8 if not.
    """

    scale: float
    zero_point: int
    signed: bool

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of the type."""
        return (-128, 127) if self.signed else (0, 255)


@dataclass(frozen=True)
class Tensor:
    """An activation tensor. `shape`: (height, width, channels), without the batch.

    `format`: of its elements; `quantisation` is that of INTEGER ones, and EXACT (scale 1, zero point 0) of others.
    """

    name: str
    shape: tuple[int, int, int]
    quantisation: Quantisation
    format: ElementFormat = ElementFormat.INTEGER


#: Quantisation of a tensor that is not quantised.
EXACT = Quantisation(1.0, 0, False)


@dataclass(frozen=True)
class FloatArithmetic:
    """How a layer computes in floating point; see the head of this file.

    `weight_format`: of the weights before alignment (INTEGER: int8). `input_bits`: aligned width of floating-point
    inputs, sign included; `rounding`: of their alignment, where there is one. `limits`: clamp in real numbers, float32,
    -inf and inf for none.
    """

    weight_format: ElementFormat
    input_bits: int
    rounding: Rounding
    limits: tuple[float, float]


@dataclass(frozen=True)
class Residual:
    """Second operand of a layer's Add, and how the first operand is quantised before the addition.

    `order_swapped` is true where the network file has the residual as the first operand of its Add. The first operand
    is multiplied last, so by default the residual is multiplied first and the layer's own value second; if swapped,
    the layer's own value first and the residual second. The order can change the last bit.
    """

    tensor: str
    quantisation: Quantisation
    clamp: tuple[int, int]
    order_swapped: bool = False

    def coefficients(self, residual: Quantisation, output: Quantisation) -> tuple[np.float32, np.float32, np.float32]:
        """Factor of the layer's own value, factor of the residual's value, and the fixed part, all float32.

        `residual` and `output`: quantisation of the residual tensor and of the tensor that the layer writes.
        """
        own_scale = np.float32(self.quantisation.scale) / np.float32(output.scale)
        residual_scale = np.float32(residual.scale) / np.float32(output.scale)
        own = (own_scale, np.float32(self.quantisation.zero_point))
        other = (residual_scale, np.float32(residual.zero_point))
        (scale_a, zero_a), (scale_b, zero_b) = (other, own) if self.order_swapped else (own, other)
        fixed = np.float32(output.zero_point) - np.float32(fused_multiply_add(scale_a, zero_a, scale_b * zero_b))
        return own_scale, residual_scale, fixed


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer. Weight is int8: (kernels, kernel_height, kernel_width, channels), depthwise (channels, kernel_height,
    kernel_width).

    `bias`: int32 (kernels,). `scale`: float32 (kernels,), x.scale * weight.scale / y.scale evaluated left to right in
    float32; AVERAGE_POOL: x.scale / (y.scale * positions in the window). y is `residual.quantisation` with a residual.
    `clamp`: smallest and largest integer written, in the output tensor's own type (ReLU, ReLU6 and Clip are in it).
    `padding`: (top, left, bottom, right). `source`: names of the network file's nodes that went into the layer.
    Pooling and identity layers have weight None and bias zero.

    With `floating`: `weight` int32 integers of the same shapes, `bias` float32, `scale` float32 (kernels,): worth of
    one unit of the sum where u = 0 (AVERAGE_POOL: / positions), INTEGER inputs' scale included. `clamp`: that of the
    output's codes, if it is INTEGER. Of `residual` only the tensor counts.
    """

    name: str
    kind: LayerKind
    input: str
    output: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    weight: np.ndarray | None
    bias: np.ndarray
    scale: np.ndarray
    clamp: tuple[int, int]
    residual: Residual | None = None
    source: tuple[str, ...] = ()
    floating: FloatArithmetic | None = None

    def multiply_accumulates(self, output: Tensor) -> int:
        """Useful multiply-accumulates of the layer for one input (0 for pooling and identity)."""
        if self.weight is None:
            return 0
        height, width, _ = output.shape
        return height * width * self.weight.size


@dataclass(frozen=True, eq=False)
class Network:
    """A quantised network with one input and one output.

    `host_output`: what the host does to the dequantised output, in order, from {"softmax"}.
    `input_layout`: "NCHW" or "NHWC" or "NC", how the network file's own input is laid out (data sets keep that layout).
    `file_shape`: shape of the network file's input without the batch. `output_shape` likewise for its output.
    """

    name: str
    tensors: dict[str, Tensor]
    layers: list[Layer]
    input: str
    output: str
    input_layout: str
    file_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    host_output: tuple[str, ...] = field(default=())

    def pools(self, layer: Layer) -> bool:
        """Whether a layer is one of float32 sums or maxima of floating-point elements, which no compute unit does."""
        return layer.weight is None and self.tensors[layer.input].format is not ElementFormat.INTEGER
