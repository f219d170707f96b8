"""Load a network file of any kind that mixcim reads, and convert between its real values and the chip's codes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixcim_hdl.formats import WEIGHT_BITS

from ..errors import MixcimError
from .network import Network
from .onnx_file import read_onnx
from .onnx_import import import_onnx
from .onnx_operators import is_quantised
from .quantise import check_inputs, quantise_onnx
from .tflite_import import import_tflite


def load_network(path: str | Path, calibration: np.ndarray | None = None, weight_bits: int = WEIGHT_BITS) -> Network:
    """The network in file `path`: INT8 TFLite, quantised ONNX (QDQ or QOperator), or float ONNX with `calibration`.

    The content decides, not the file's name. `calibration`: float32 (N, *shape of the network's input), normalised as
    the network expects it; it is needed for a float network only and must be left out for another. `weight_bits`, 2 to
    8, likewise: what its weights are quantised to. Raises MixcimError for a file that is missing, damaged or
    unsupported, and for unfit calibration data.
    """
    path = Path(path)
    if not path.is_file():
        raise MixcimError(f"network file '{path}' does not exist or is no file; check the path")
    with path.open("rb") as file:
        mark = file.read(8)[4:]
    if mark == b"TFL3":
        _refuse(calibration, weight_bits, path)
        return import_tflite(path)
    if is_quantised(read_onnx(path)):
        _refuse(calibration, weight_bits, path)
        return import_onnx(path)
    if calibration is None:
        raise MixcimError(f"'{path}' is a float network; give calibration data to quantise it with")
    with tempfile.TemporaryDirectory() as directory:
        quantised = Path(directory, "quantised.onnx")
        quantise_onnx(path, calibration, quantised, weight_bits)
        return replace(import_onnx(quantised), name=path.stem)


def quantise_input(network: Network, values: np.ndarray) -> np.ndarray:
    """Codes of the network's input, int16 (N, height, width, channels), from `values` in the network file's layout.

    `values`: float32 (N, *network.file_shape), quantised as ONNX's QuantizeLinear does it (divide, round half even,
    add the zero point, saturate); or codes already, int8 or uint8 as the input tensor is. Raises MixcimError for
    another shape or type, NaN or infinity.
    """
    tensor = network.tensors[network.input]
    quantisation = tensor.quantisation
    values = np.asarray(values)
    code_type = np.dtype(np.int8 if quantisation.signed else np.uint8)
    if values.dtype == code_type and values.shape[1:] == network.file_shape:
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
    """Real output float32 (N, *network.output_shape) from its codes, integers (N, height, width, channels).

    What the network leaves to the host (`host_output`: softmax) is applied. Raises MixcimError for another shape or
    type.
    """
    tensor = network.tensors[network.output]
    codes = np.asarray(codes)
    if codes.shape[1:] != tensor.shape or not np.issubdtype(codes.dtype, np.integer):
        raise MixcimError(f"output codes are {codes.dtype} {codes.shape}; expected integers (N, {tensor.shape})")
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


def _refuse(calibration: np.ndarray | None, weight_bits: int, path: Path) -> None:
    if weight_bits != WEIGHT_BITS:
        raise MixcimError(f"'{path}' is quantised already; its weights cannot be given {weight_bits} bits now")
    if calibration is not None:
        raise MixcimError(f"'{path}' is quantised already; leave the calibration data out")
