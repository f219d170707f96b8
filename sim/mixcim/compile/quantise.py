"""Quantise a float ONNX network to a QDQ one: uint8 activations, int8 weights for each kernel, integer output.

Weights of fewer bits are int8 whose magnitude the bits hold: any QDQ reader takes them, and the compiler sees that the
high digits are 0 and does not read them.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, shape_inference
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from mixcim_hdl.formats import WEIGHT_BITS

from ..errors import MixcimError
from .onnx_file import attributes, declared_shape, graph_inputs, input_shape, read_onnx
from .onnx_graph import unsupported
from .onnx_operators import HANDLERS, is_quantised
from .real_inputs import check_inputs

QUANTISED_LARGEST = 127  #: magnitude of onnxruntime's symmetric int8 weights
#: Inputs in one calibration step. Ranges do not depend on it.
_BATCH = 16
#: Severities of onnxruntime's log; warnings are its default.
_WARNING, _ERROR = 2, 3


def quantise_onnx(
    float_path: str | Path, calibration: np.ndarray, out_path: str | Path, weight_bits: int = WEIGHT_BITS
) -> None:
    """Quantise the float network in `float_path` and write it to `out_path`, whole or not at all.

    `calibration`: float32 (N, *shape of the network's input), normalised as the network expects it. The range of each
    activation is the smallest and largest value that they reach. BatchNormalization is folded first. `weight_bits`, 2
    to 8: weights reach from -(2**(weight_bits - 1) - 1) to the same above 0. The same arguments give the same file.
    Raises MixcimError if the network cannot be read, is quantised already or has an operator that mixcim lacks, or if
    `calibration` has the wrong shape or type, is empty, or is not finite.
    """
    model = read_onnx(float_path)
    if is_quantised(model):
        raise MixcimError(f"'{float_path}' is quantised already; compile it as it is")
    if not 2 <= weight_bits <= WEIGHT_BITS:
        raise MixcimError(f"weight bits must be from 2 to {WEIGHT_BITS}, not {weight_bits}")
    checked = check_inputs(calibration, input_shape(graph_inputs(model.graph)[0]), "calibration")
    target = Path(out_path)
    if not target.parent.is_dir():
        raise MixcimError(f"directory '{target.parent}' does not exist; create it first")
    # In the target's directory, so that the final rename stays within one file system.
    with tempfile.TemporaryDirectory(prefix=".quantise-", dir=target.parent) as directory:
        folded, quantised = Path(directory, "folded.onnx"), Path(directory, "quantised.onnx")
        fold_onnx(float_path, folded)
        _unify_pools(folded)
        _quantise(folded, checked, quantised)
        if weight_bits < WEIGHT_BITS:
            _narrow_weights(folded, quantised, (1 << weight_bits - 1) - 1)
        os.replace(quantised, target)


def fold_onnx(source: str | Path, target: Path) -> None:
    """Let onnxruntime fold constants and BatchNormalization and fuse MatMul + Add to Gemm, and write the result.

    Raises MixcimError if onnxruntime cannot run the network, or for an operator that mixcim lacks.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = _ERROR
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        reason = str(error).strip().splitlines()[0]
        raise MixcimError(f"onnxruntime cannot run '{source}' ({reason}); export it again") from error
    # The importer would refuse them, too, but only after minutes of calibration.
    for node in onnx.load(str(target)).graph.node:
        if node.op_type not in HANDLERS and node.op_type != "Constant":
            raise unsupported(node, HANDLERS)


def _unify_pools(path: Path) -> None:
    """Write averages over the whole image as GlobalAveragePool, in the file at `path`.

    onnxruntime leaves ReduceMean out of quantisation, and averages in an AveragePool in float32 where it sums integers
    in a GlobalAveragePool: only the latter can be matched integer for integer.
    """
    model = shape_inference.infer_shapes(onnx.load(str(path)))
    graph = model.graph
    values = [*graph.input, *graph.value_info]
    sizes = {value.name: declared_shape(value)[2:] for value in values if len(declared_shape(value)) == 4}
    constants = {constant.name: constant for constant in graph.initializer}
    nodes = []
    for node in graph.node:
        settings = attributes(node)
        if node.op_type == "ReduceMean" and node.input[0] in sizes:
            axes = settings.get("axes", ())
            if len(node.input) > 1 and node.input[1] in constants:
                axes = numpy_helper.to_array(constants[node.input[1]]).reshape(-1)
            if sorted(int(axis) % 4 for axis in axes) == [2, 3]:
                flat = not settings.get("keepdims", 1)
                pooled = f"{node.output[0]}_image" if flat else node.output[0]
                nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
                if flat:
                    nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}_flatten"))
                continue
        if (
            node.op_type == "AveragePool"
            and tuple(settings["kernel_shape"]) == sizes.get(node.input[0])
            and not any(settings.get("pads", ()))
        ):
            nodes.append(helper.make_node("GlobalAveragePool", node.input, node.output, name=node.name))
            continue
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))


def _quantise(source: Path, calibration: np.ndarray, target: Path) -> None:
    model = onnx.load(str(source))
    value = graph_inputs(model.graph)[0]
    # The host computes the softmax in float.
    excluded = [node.name for node in model.graph.node if node.op_type == "Softmax"]
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # onnxruntime.quantization writes its hints to the root logger
    onnxruntime.set_default_logger_severity(_ERROR)  # its sessions take this, and write to stderr
    try:
        quantize_static(
            str(source),
            str(target),
            CalibrationReader(value, calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=excluded,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
    finally:
        logger.setLevel(level)
        onnxruntime.set_default_logger_severity(_WARNING)


def _narrow_weights(source: Path, path: Path, largest: int) -> None:
    """Quantise the weights of the QDQ network in `path` anew, to magnitudes up to `largest`, from those of `source`."""
    real = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(source)).graph.initializer}
    model = onnx.load(str(path))
    constants = {item.name: item for item in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}

    def replace(name: str, value: np.ndarray) -> None:
        constants[name].CopyFrom(numpy_helper.from_array(value, name))

    for node in model.graph.node:
        parts = [producers.get(name) for name in node.input]
        if node.op_type not in ("Conv", "Gemm") or len(parts) < 2 or parts[0] is None or parts[1] is None:
            continue
        weight = parts[1].input
        old = numpy_helper.to_array(constants[weight[1]])
        axis = attributes(parts[1]).get("axis", 0)
        scale = (old * (QUANTISED_LARGEST / largest)).astype(np.float32)
        values = real[weight[0].removesuffix("_quantized")]
        sides = [-1 if side == axis and scale.size > 1 else 1 for side in range(values.ndim)]
        codes = np.clip(np.rint(values / scale.reshape(sides)), -largest, largest)
        replace(weight[0], codes.astype(np.int8))
        replace(weight[1], scale)
        if len(parts) > 2 and parts[2] is not None:
            bias = parts[2].input
            bias_scale = (numpy_helper.to_array(constants[parts[0].input[1]]) * scale).astype(np.float32)
            bias_codes = np.rint(real[bias[0].removesuffix("_quantized")] / bias_scale)
            replace(bias[0], bias_codes.astype(np.int32))
            replace(bias[1], bias_scale)
    onnx.save(model, str(path))


class CalibrationReader(CalibrationDataReader):
    """Hands calibration data for input `value` to onnxruntime in batches; the last one is filled up with the first."""

    def __init__(self, value: onnx.ValueInfoProto, data: np.ndarray) -> None:
        self._name = value.name
        batch = declared_shape(value)[0] or _BATCH
        self._batches: Iterator[np.ndarray] = (
            data[np.arange(start, start + batch) % len(data)] for start in range(0, len(data), batch)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: np.ascontiguousarray(batch)}
