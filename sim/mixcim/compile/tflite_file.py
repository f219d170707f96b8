"""Read a TFLite file into plain tensors and operators, so that nothing else meets its flatbuffer."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import tflite

from ..errors import MixcimError

_Part = TypeVar("_Part")
_TYPE_NAMES = {value: name.lower() for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
_OPERATOR_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
_ACTIVATION_NAMES = {
    value: name for name, value in vars(tflite.ActivationFunctionType).items() if isinstance(value, int)
}


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor of the file. `dtype`: numpy's name of it. `scale` and `zero_point` are empty if it is not quantised.

    `axis`: dimension along which scales differ. `values`: its constant value, or None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    values: np.ndarray | None


@dataclass(frozen=True)
class FileOperator:
    """An operator: its `kind` (CONV_2D), tensor indices (-1: absent), and `options` by their names in the schema."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How messages call the operator."""
        return f"operator {self.index} ({self.kind})"


@dataclass(frozen=True, eq=False)
class FileGraph:
    """The file's only subgraph."""

    tensors: list[FileTensor]
    operators: list[FileOperator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


#: Operator -> (class of its options, getters of the options that mixcim looks at).
_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_DILATION = ("DilationHFactor", "DilationWFactor")
_OPTIONS = {
    "CONV_2D": (tflite.Conv2DOptions, (*_WINDOW, *_DILATION)),
    "DEPTHWISE_CONV_2D": (tflite.DepthwiseConv2DOptions, (*_WINDOW, *_DILATION)),
    "FULLY_CONNECTED": (tflite.FullyConnectedOptions, ("FusedActivationFunction", "WeightsFormat")),
    "ADD": (tflite.AddOptions, ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": (tflite.Pool2DOptions, (*_WINDOW, "FilterHeight", "FilterWidth")),
    "MAX_POOL_2D": (tflite.Pool2DOptions, (*_WINDOW, "FilterHeight", "FilterWidth")),
}
#: Operator -> number of inputs that it has at least, where that is not 1.
_LEAST_INPUTS: dict[str, int] = dict.fromkeys(
    ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "PAD"), 2
)


def read_tflite(path: str | Path) -> FileGraph:
    """The graph in file `path`. Raises MixcimError if it is missing, damaged, or has several subgraphs."""
    path = Path(path)
    if not path.is_file():
        raise MixcimError(f"network file '{path}' does not exist or is no file; check the path")
    data = path.read_bytes()
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise MixcimError(f"'{path}' is not a TFLite file (no TFL3 mark); check the path")
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        count = model.SubgraphsLength()
        graph = _read_graph(model) if count == 1 else None
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, MemoryError, OverflowError) as error:
        # The flatbuffer reader checks nothing: damage surfaces as whatever Python makes of wild offsets.
        raise MixcimError(f"'{path}' is a damaged TFLite file ({error}); export it again") from error
    if graph is None:
        raise MixcimError(f"'{path}' has {count} subgraphs; mixcim runs networks with one, without control flow")
    return graph


def activation_name(option: int) -> str:
    """Name of a fused activation function."""
    return _ACTIVATION_NAMES.get(option, str(option))


def _read_graph(model: tflite.Model) -> FileGraph:
    graph = _present(model.Subgraphs(0))
    tensors = [_read_tensor(model, _present(graph.Tensors(index))) for index in range(graph.TensorsLength())]
    operators = []
    for index in range(graph.OperatorsLength()):
        operator = _present(graph.Operators(index))
        code = _present(model.OperatorCodes(operator.OpcodeIndex()))
        # Old files hold the code in a field of 8 bits, new ones in one of 32.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = _OPERATOR_NAMES.get(number, f"operator code {number}")
        inputs, outputs = _integers(operator.InputsAsNumpy()), _integers(operator.OutputsAsNumpy())
        for reference in (*inputs, *outputs):
            if not -1 <= reference < len(tensors):
                raise ValueError(f"operator {index} refers to tensor {reference} of {len(tensors)}")
        operators.append(FileOperator(index, kind, inputs, outputs, _read_options(operator, kind)))
        if not outputs or len(inputs) < _LEAST_INPUTS.get(kind, 1):
            raise ValueError(f"operator {index}, a {kind}, has {len(inputs)} inputs and {len(outputs)} outputs")
    ends = _integers(graph.InputsAsNumpy()), _integers(graph.OutputsAsNumpy())
    for reference in (*ends[0], *ends[1]):
        if not 0 <= reference < len(tensors):
            raise ValueError(f"the graph refers to tensor {reference} of {len(tensors)}")
    return FileGraph(tensors, operators, *ends)


def _read_options(operator: tflite.Operator, kind: str) -> dict[str, int]:
    table = operator.BuiltinOptions()
    if kind not in _OPTIONS:
        return {}
    if table is None:
        raise ValueError(f"{kind} without options")
    cls, getters = _OPTIONS[kind]
    options = cls()
    options.Init(table.Bytes, table.Pos)
    return {name: int(getattr(options, name)()) for name in getters}


def _read_tensor(model: tflite.Model, tensor: tflite.Tensor) -> FileTensor:
    # Names go into one-line messages.
    name = "".join(mark if mark.isprintable() else "?" for mark in (tensor.Name() or b"").decode("utf-8", "replace"))
    shape = _integers(tensor.ShapeAsNumpy())
    dtype = _TYPE_NAMES.get(tensor.Type(), f"type {tensor.Type()}")
    quantisation = tensor.Quantization()
    scale, zero_point, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    if quantisation is not None and quantisation.ScaleLength():
        scale = np.array(quantisation.ScaleAsNumpy(), np.float32)
        zero_point = np.zeros(scale.size, np.int64)
        if quantisation.ZeroPointLength():
            zero_point = np.array(quantisation.ZeroPointAsNumpy(), np.int64)
        axis = quantisation.QuantizedDimension()
    values = None
    content = model.Buffers(tensor.Buffer())
    if content is not None and content.DataLength() and dtype in ("int8", "uint8", "int32", "int64", "float32"):
        values = np.frombuffer(np.asarray(content.DataAsNumpy()).tobytes(), dtype).reshape(shape)
    return FileTensor(name, shape, dtype, scale, zero_point, axis, values)


def _present(value: _Part | None) -> _Part:
    """A part of the flatbuffer that every file has."""
    if value is None:
        raise ValueError("a part of the file is missing")
    return value


def _integers(array: np.ndarray | int) -> tuple[int, ...]:
    """The reader gives 0 for an empty list."""
    return () if isinstance(array, int) else tuple(int(value) for value in array)
