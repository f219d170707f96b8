"""Integers that onnxruntime (or ONNX's reference evaluator) computes for a quantised ONNX network: what mixcim must
match.

A QDQ file says "dequantise, convolve, quantise" in float32; onnxruntime fuses that into integer operators
(QLinearConv, ...) when it optimises the graph. Asking for a tensor inside would keep the fusion around it from
happening. So the graph is optimised untouched and written to a file; only then are its integer tensors made outputs,
and it runs without further optimisation.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

from ..errors import MixcimError
from .onnx_file import ELEMENT_TYPES, declared_shape, graph_inputs, read_onnx

_PROVIDERS = ["CPUExecutionProvider"]
#: Inputs in one run, where the file leaves the batch open.
_BATCH = 32


def reference_tensors(
    qdq_path: str | Path, inputs: np.ndarray, evaluator: str = "onnxruntime"
) -> dict[str, np.ndarray]:
    """Integer value of every 8-bit activation tensor: name -> uint8 or int8 array, (N, H, W, C) or (N, features).

    Among them the network's input, the output of every layer, and the final output, under the names that `import_onnx`
    gives them. `inputs`: (N, ...) as the file takes them. `evaluator`: "onnxruntime" for its fused integer operators,
    or "onnx" for the reference evaluator, which follows the file node by node (slow; for small cases).

    Raises MixcimError if the file cannot be read or the evaluator is unknown, and RuntimeError if reading the tensors
    inside changed the network's output.
    """
    model = read_onnx(qdq_path)
    if evaluator == "onnx":
        return _by_reference_evaluator(model, inputs)
    if evaluator != "onnxruntime":
        raise MixcimError(f"evaluator '{evaluator}' is unknown; choose onnxruntime or onnx")
    optimised = optimised_model(qdq_path)
    signed = _has_signed_activations(model)
    names = _integer_tensors(optimised)
    final = optimised.graph.output[0].name
    optimised.graph.output.extend(
        helper.make_empty_tensor_value_info(name)
        for name in names
        if name not in (final, graph_inputs(model.graph)[0].name)
    )
    options = session_options(signed, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    session = onnxruntime.InferenceSession(optimised.SerializeToString(), options, providers=_PROVIDERS)
    untouched = onnxruntime.InferenceSession(str(qdq_path), session_options(signed), providers=_PROVIDERS)
    value = graph_inputs(model.graph)[0]
    tensors = _run(session, value, inputs)
    if not np.array_equal(tensors[final], _run(untouched, value, inputs)[final]):
        raise RuntimeError(f"onnxruntime gives another output for '{qdq_path}' once tensors inside are read")
    tensors[value.name] = np.asarray(inputs)
    return {name: _channels_last(array) for name, array in tensors.items() if array.dtype in (np.uint8, np.int8)}


def optimised_model(path: str | Path) -> onnx.ModelProto:
    """The graph that onnxruntime makes of the file: fused to integer operators, still in NCHW layout."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "optimised.onnx")
        signed = _has_signed_activations(onnx.load(str(path)))
        options = session_options(signed, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(str(path), options, providers=_PROVIDERS)
        return onnx.load(str(target))


def operator_counts(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs."""
    return Counter(node.op_type for node in model.graph.node)


def session_options(
    signed: bool, level: onnxruntime.GraphOptimizationLevel | None = None
) -> onnxruntime.SessionOptions:
    """Options for exact integers on x86-64 (with int8 activations: if it has VNNI). `signed`: activations are int8.

    `level`: of graph optimisation, onnxruntime's default if None.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if signed:
        # Without this, int8 activations of QDQ files become uint8 ones with names of onnxruntime's own. The integers
        # are the same but for the last bit of an Add.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    else:
        # Without VNNI, a processor adds pairs of uint8 x int8 products in 16 bits and may saturate. This turns weights
        # to uint8 there; int8 activations have no kernel for such weights, so for them the danger remains.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if level is not None:
        options.graph_optimization_level = level
    return options


def _has_signed_activations(model: onnx.ModelProto) -> bool:
    """Whether the network's input, or the first operand of a quantising node, is int8."""
    constants = {constant.name: constant.data_type for constant in model.graph.initializer}
    zero_points = [
        node.input[2]
        for node in model.graph.node
        if (node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"))
        and len(node.input) > 2
        and node.input[0] not in constants
    ]
    inputs = [value.type.tensor_type.elem_type for value in graph_inputs(model.graph)]
    return onnx.TensorProto.INT8 in [*inputs, *(constants.get(name) for name in zero_points)]


def _integer_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of the 8-bit activations, found by shape inference of each node's output type as onnxruntime has it."""
    constants = {initializer.name: initializer for initializer in model.graph.initializer}
    integers: dict[str, bool] = {
        value.name: value.type.tensor_type.elem_type in (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
        for value in model.graph.input
    }
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            integer = False
        elif node.op_type == "QuantizeLinear":
            zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
            integer = zero_point is None or numpy_helper.to_array(zero_point).dtype.itemsize == 1
        elif node.op_type.startswith("Q"):
            integer = True
        else:
            integer = integers.get(node.input[0], False) if node.input else False
        integers.update(dict.fromkeys(node.output, integer))
    return [name for name, integer in integers.items() if integer and name]


def _run(
    session: onnxruntime.InferenceSession, value: onnx.ValueInfoProto, inputs: np.ndarray
) -> dict[str, np.ndarray]:
    batch = declared_shape(value)[0] or _BATCH
    names = [output.name for output in session.get_outputs()]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, len(inputs), batch):
        chunk = inputs[start : start + batch]
        # A fixed batch must be full; what is added is cut off again.
        fill = chunk[np.arange(batch) % len(chunk)] if declared_shape(value)[0] else chunk
        for name, array in zip(names, session.run(names, {value.name: np.ascontiguousarray(fill)}), strict=True):
            parts[name].append(np.asarray(array)[: len(chunk)])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _by_reference_evaluator(model: onnx.ModelProto, inputs: np.ndarray) -> dict[str, np.ndarray]:
    value = graph_inputs(model.graph)[0]
    constants = {initializer.name for initializer in model.graph.initializer}
    names = [name for node in model.graph.node for name in node.output if name and name not in constants]
    # The evaluator implements quantisation from operator set 19 on; what older sets say of it means the same.
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    session = ReferenceEvaluator(model if opset >= 19 else version_converter.convert_version(model, 19))
    arrays: dict[str, Any] = dict(zip(names, session.run(names, {value.name: inputs}), strict=True))
    arrays[value.name] = inputs
    eight_bit = [dtype for dtype in ELEMENT_TYPES.values() if dtype.itemsize == 1]
    return {name: _channels_last(np.asarray(a)) for name, a in arrays.items() if np.asarray(a).dtype in eight_bit}


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
