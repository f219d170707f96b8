"""Read an ONNX file: a checked model, the attributes of its nodes, and its constants as numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ..errors import MixcimError

#: Element types that a network's input or output may have.
ELEMENT_TYPES: dict[int, np.dtype] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
    onnx.TensorProto.INT8: np.dtype(np.int8),
}


def read_onnx(path: str | Path) -> onnx.ModelProto:
    """The model in file `path`: one input, one output, both float32 or 8-bit integers, all constants finite.

    Raises MixcimError if the file is missing, damaged or not of that kind.
    """
    path = Path(path)
    if not path.is_file():
        raise MixcimError(f"network file '{path}' does not exist or is no file; check the path")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(str(path))
        constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    except (DecodeError, onnx.checker.ValidationError, FileNotFoundError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MixcimError(f"'{path}' is not a readable ONNX file ({reason}); export it again") from error
    for kind, values in (("input", graph_inputs(model.graph)), ("output", list(model.graph.output))):
        if len(values) != 1:
            names = ", ".join(f"'{value.name}'" for value in values) or "none"
            raise MixcimError(f"'{path}' has {len(values)} {kind}s ({names}); mixcim runs networks with exactly one")
        element = values[0].type.tensor_type.elem_type
        if element not in ELEMENT_TYPES:
            name = helper.tensor_dtype_to_string(element).removeprefix("TensorProto.").lower()
            raise MixcimError(f"{kind} '{values[0].name}' of '{path}' is {name}; mixcim takes float32, uint8 or int8")
    for name, values in constants.items():
        check_constant(name, values)
    return model


def check_constant(name: str, values: np.ndarray) -> None:
    """Raises MixcimError for a float64 constant, and for NaN or infinity in a float32 constant of more than one
    element.

    A single infinity is allowed: Clip has one where it has no bound.
    """
    if values.dtype == np.float64:
        raise MixcimError(f"constant '{name}' is float64; export the network in float32")
    if values.dtype == np.float32 and not np.all(np.isfinite(values)) and (values.size > 1 or np.any(np.isnan(values))):
        count = int(np.sum(~np.isfinite(values)))
        raise MixcimError(f"constant '{name}' has {count} NaN or infinite values of {values.size}; repair the training")


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The graph's real inputs: old files list their constants among the inputs, too."""
    constants = {initializer.name for initializer in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def declared_shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Shape of a graph input or output, None where a side is symbolic."""
    dimensions = value.type.tensor_type.shape.dim
    return tuple(side.dim_value if side.dim_value > 0 else None for side in dimensions)


def input_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Shape of the network's input without the batch: (channels, height, width) or (channels,).

    Raises MixcimError for another rank or a symbolic side.
    """
    shape = declared_shape(value)
    if len(shape) not in (2, 4):
        raise MixcimError(
            f"input '{value.name}' has rank {len(shape)}; mixcim takes images (N, C, H, W) or vectors (N, C)"
        )
    sides = tuple(side for side in shape[1:] if side is not None)
    if len(sides) != len(shape) - 1:
        raise MixcimError(
            f"input '{value.name}' has shape {shape} with an open side; fix all but the batch when exporting"
        )
    return sides


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The node's attributes as Python values, strings decoded."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value for name, value in values.items()
    }


def fold(node: onnx.NodeProto, inputs: list[np.ndarray], opsets: list[onnx.OperatorSetIdProto]) -> np.ndarray:
    """First output of a node all of whose inputs are constants, computed by ONNX's reference evaluator."""
    names = [name for name in node.input if name]
    graph = helper.make_graph(
        [node],
        "constant",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, inputs, strict=True)
        ],
        [helper.make_empty_tensor_value_info(node.output[0])],
    )
    model = helper.make_model(graph, opset_imports=opsets)
    results = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    return np.asarray(list(results)[0])
