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
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

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
    """An activation tensor. `shape`: (height, width, channels), without the batch."""

    name: str
    shape: tuple[int, int, int]
    quantisation: Quantisation


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
