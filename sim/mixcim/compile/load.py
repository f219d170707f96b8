"""Load a network file of any kind that mixcim reads, and convert between its real values and the chip's codes.

onnxruntime and tflite, which take longer to import than ResNet-20 to compile, are imported for files that need them.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixcim_hdl.formats import WEIGHT_BITS

from ..errors import MixcimError
from ..model import floating
from .align import integer_values, with_formats
from .float_import import import_real
from .formats import Formats
from .network import Network
from .onnx_file import read_onnx
from .onnx_import import import_onnx
from .onnx_operators import is_quantised
from .real_inputs import check_inputs


def load_network(
    path: str | Path,
    calibration: np.ndarray | None = None,
    weight_bits: int = WEIGHT_BITS,
    formats: Formats | None = None,
) -> Network:
    """The network in file `path`: INT8 TFLite, quantised ONNX (QDQ or QOperator), or float ONNX.

    The content decides, not the file's name. For a float network only, to be left out for another: `calibration`,
    float32 (N, *shape of the network's input), normalised as the network expects it, needed if any tensor becomes
    integer; `formats` (None: int8 everywhere); `weight_bits`, 2 to 8, of integer weights if there are no `formats`.
    Raises MixcimError for a file that is missing, damaged or unsupported, for unfit calibration data, and for formats
    that do not fit the network.
    """
    path = Path(path)
    if not path.is_file():
        raise MixcimError(f"network file '{path}' does not exist or is no file; check the path")
    with path.open("rb") as file:
        mark = file.read(8)[4:]
    if mark == b"TFL3":
        from .tflite_import import import_tflite

        network = import_tflite(path)  # a float one has an error of its own
        _refuse(calibration, weight_bits, formats, path)
        return network
    if is_quantised(read_onnx(path)):
        _refuse(calibration, weight_bits, formats, path)
        return import_onnx(path)
    if formats is None:
        return _quantised(path, calibration, weight_bits)
    if weight_bits != WEIGHT_BITS:
        raise MixcimError(f"weights cannot have {weight_bits} bits beside formats; write int8/int4 or leave it out")
    if formats.integer_weight_bits is not None:
        network = _quantised(path, calibration, formats.integer_weight_bits)
        formats.of(network)  # rules about layers that are not there
        return network
    return _with_formats(path, calibration, formats)


def _quantised(path: Path, calibration: np.ndarray | None, weight_bits: int) -> Network:
    """Float network `path`, quantised to integers by onnxruntime."""
    from .quantise import quantise_onnx

    if calibration is None:
        raise MixcimError(
            f"'{path}' is a float network; give calibration data to quantise it with, or a floating-point format"
        )
    with tempfile.TemporaryDirectory() as directory:
        quantised = Path(directory, "quantised.onnx")
        quantise_onnx(path, calibration, quantised, weight_bits)
        return replace(import_onnx(quantised), name=path.stem)


def _with_formats(path: Path, calibration: np.ndarray | None, formats: Formats) -> Network:
    """Float network `path` in formats that are not integers everywhere."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    from .calibrate import tensor_ranges
    from .quantise import fold_onnx

    with tempfile.TemporaryDirectory() as directory:
        folded = Path(directory, "folded.onnx")
        fold_onnx(path, folded)
        sorted_model = ONNXModel(read_onnx(folded))
    # In the order that quantise_onnx leaves: an Add then goes into the same layer as in the quantised network.
    sorted_model.topological_sort()
    model = sorted_model.model
    real = import_real(model, path.stem)
    names = integer_values(real, formats)
    if names and calibration is None:
        raise MixcimError(f"tensor '{names[0]}' of '{path}' becomes integer; give calibration data to quantise it with")
    ranges = {} if calibration is None else tensor_ranges(model, names, calibration)
    return with_formats(real, formats, ranges)


def quantise_input(network: Network, values: np.ndarray) -> np.ndarray:
    """Codes of the network's input, int16 (N, height, width, channels), from `values` in the network file's layout.

    `values`: float32 (N, *network.file_shape), quantised as ONNX's QuantizeLinear does it (divide, round half even,
    add the zero point, saturate); or codes already, int8 or uint8 as the input tensor is. For a floating-point input
    they are rounded to its format, and the result is patterns, uint8 or uint16. Raises MixcimError for another shape or
    type, NaN or infinity.
    """
    tensor = network.tensors[network.input]
    quantisation, format = tensor.quantisation, tensor.format.floating
    values = np.asarray(values)
    code_type = np.dtype(np.int8 if quantisation.signed else np.uint8)
    if format is not None:
        codes = floating.encode(check_inputs(values, network.file_shape, "input"), format)
    elif values.dtype == code_type and values.shape[1:] == network.file_shape:
        codes = values.astype(np.int16)
    else:
        values = check_inputs(values, network.file_shape, "input")
        low, high = quantisation.limits
        rounded = np.rint(values / np.float32(quantisation.scale)) + np.float32(quantisation.zero_point)
        codes = np.clip(rounded, low, high).astype(np.int16)
    if network.input_layout == "NCHW":
        codes = codes.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(codes.reshape(-1, *tensor.shape))


def dequantise_output(network: Network, codes: np.ndarray) -> np.ndarray:
    """Real output float32 (N, *network.output_shape) from its codes or patterns, (N, height, width, channels).

    What the network leaves to the host (`host_output`: softmax) is applied. Raises MixcimError for another shape or
    type.
    """
    tensor = network.tensors[network.output]
    codes = np.asarray(codes)
    if codes.shape[1:] != tensor.shape or not np.issubdtype(codes.dtype, np.integer):
        raise MixcimError(f"output codes are {codes.dtype} {codes.shape}; expected integers (N, {tensor.shape})")
    if tensor.format.floating is not None:
        values = floating.decode(codes, tensor.format.floating)
    else:
        centred = codes.astype(np.int32) - tensor.quantisation.zero_point
        values = centred.astype(np.float32) * np.float32(tensor.quantisation.scale)
    for step in network.host_output:
        if step != "softmax":
            raise MixcimError(
                f"network '{network.name}' wants '{step}' of the host, which is unknown; compile it again"
            )
        exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
        values = exponentials / exponentials.sum(axis=-1, keepdims=True)
    if network.input_layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values.reshape(-1, *network.output_shape))


def _refuse(calibration: np.ndarray | None, weight_bits: int, formats: Formats | None, path: Path) -> None:
    if formats is not None:
        raise MixcimError(f"'{path}' is quantised already; its layers cannot be given formats, take the float network")
    if weight_bits != WEIGHT_BITS:
        raise MixcimError(f"'{path}' is quantised already; its weights cannot be given {weight_bits} bits now")
    if calibration is not None:
        raise MixcimError(f"'{path}' is quantised already; leave the calibration data out")
