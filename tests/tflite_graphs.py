"""Build small TFLite files for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite

_OPTIONS = {
    "CONV_2D": ("Conv2DOptions", "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", "DepthwiseConv2DOptions"),
    "FULLY_CONNECTED": ("FullyConnectedOptions", "FullyConnectedOptions"),
    "ADD": ("AddOptions", "AddOptions"),
    "AVERAGE_POOL_2D": ("Pool2DOptions", "Pool2DOptions"),
    "MAX_POOL_2D": ("Pool2DOptions", "Pool2DOptions"),
}


@dataclass
class TfliteGraph:
    """A graph under construction. `tensor` and `operator` return tensor indices."""

    tensors: list[dict[str, Any]] = field(default_factory=list)
    operators: list[tuple[str, list[int], list[int], dict[str, int]]] = field(default_factory=list)

    def tensor(
        self,
        shape: tuple[int, ...],
        scale: Any = 0.05,
        zero_point: int = 0,
        dtype: str = "int8",
        values: np.ndarray | None = None,
        axis: int = 0,
    ) -> int:
        """A tensor; `scale` None if it is not quantised, `values` if it is constant."""
        scales = np.zeros(0, np.float32) if scale is None else np.atleast_1d(np.asarray(scale, np.float32))
        entry = {"shape": shape, "scale": scales, "zero": zero_point, "dtype": dtype, "values": values, "axis": axis}
        self.tensors.append({"name": f"tensor{len(self.tensors)}", **entry})
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, scale: Any = None, axis: int = 0, zero_point: int = 0) -> int:
        """A constant tensor."""
        return self.tensor(values.shape, scale, zero_point, values.dtype.name, values, axis)

    def operator(self, kind: str, inputs: list[int], output: int, **options: int) -> int:
        """An operator; `options` by their names in the schema. Returns `output`."""
        self.operators.append((kind, inputs, [output], options))
        return output

    def save(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        """Write the file."""
        builder = flatbuffers.Builder(1024)
        buffers = [_buffer(builder, None)]
        tensors = []
        for entry in self.tensors:
            number = 0
            if entry["values"] is not None:
                number = len(buffers)
                buffers.append(_buffer(builder, entry["values"].tobytes()))
            tensors.append(_tensor(builder, entry, number))
        kinds = sorted({kind for kind, *_ in self.operators})
        operators = [_operator(builder, kinds, *operator) for operator in self.operators]
        codes = [_code(builder, getattr(tflite.BuiltinOperator, kind)) for kind in kinds]
        parts = {
            "Tensors": _offsets(builder, tflite.SubGraphStartTensorsVector, tensors),
            "Inputs": builder.CreateNumpyVector(np.array(inputs, np.int32)),
            "Outputs": builder.CreateNumpyVector(np.array(outputs, np.int32)),
            "Operators": _offsets(builder, tflite.SubGraphStartOperatorsVector, operators),
        }
        graph = _table(builder, "SubGraph", parts)
        model = {
            "OperatorCodes": _offsets(builder, tflite.ModelStartOperatorCodesVector, codes),
            "Subgraphs": _offsets(builder, tflite.ModelStartSubgraphsVector, [graph]),
            "Buffers": _offsets(builder, tflite.ModelStartBuffersVector, buffers),
        }
        builder.Finish(_table(builder, "Model", {"Version": 3, **model}), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def _table(builder: flatbuffers.Builder, name: str, parts: dict[str, Any]) -> int:
    getattr(tflite, f"{name}Start")(builder)
    for part, value in parts.items():
        getattr(tflite, f"{name}Add{part}")(builder, value)
    return getattr(tflite, f"{name}End")(builder)


def _offsets(builder: flatbuffers.Builder, start: Any, offsets: list[int]) -> int:
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _buffer(builder: flatbuffers.Builder, data: bytes | None) -> int:
    return _table(builder, "Buffer", {} if data is None else {"Data": builder.CreateByteVector(data)})


def _tensor(builder: flatbuffers.Builder, entry: dict[str, Any], number: int) -> int:
    parts = {
        "Shape": builder.CreateNumpyVector(np.array(entry["shape"], np.int32)),
        "Name": builder.CreateString(entry["name"]),
        "Type": getattr(tflite.TensorType, entry["dtype"].upper()),
        "Buffer": number,
    }
    if entry["scale"].size:
        scale = builder.CreateNumpyVector(entry["scale"])
        zero = builder.CreateNumpyVector(np.full(entry["scale"].size, entry["zero"], np.int64))
        quantisation = {"Scale": scale, "ZeroPoint": zero, "QuantizedDimension": entry["axis"]}
        parts["Quantization"] = _table(builder, "QuantizationParameters", quantisation)
    return _table(builder, "Tensor", parts)


def _operator(
    builder: flatbuffers.Builder,
    kinds: list[str],
    kind: str,
    inputs: list[int],
    outputs: list[int],
    options: dict[str, int],
) -> int:
    parts = {
        "OpcodeIndex": kinds.index(kind),
        "Inputs": builder.CreateNumpyVector(np.array(inputs, np.int32)),
        "Outputs": builder.CreateNumpyVector(np.array(outputs, np.int32)),
    }
    if kind in _OPTIONS:
        name, number = _OPTIONS[kind]
        parts["BuiltinOptions"] = _table(builder, name, options)
        parts["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, number)
    return _table(builder, "Operator", parts)


def _code(builder: flatbuffers.Builder, number: int) -> int:
    parts = {"DeprecatedBuiltinCode": min(number, 127), "BuiltinCode": number, "Version": 1}
    return _table(builder, "OperatorCode", parts)
