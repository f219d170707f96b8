"""Import a quantised ONNX network in QDQ form (QuantizeLinear, DequantizeLinear) or QOperator form (QLinearConv)."""

from __future__ import annotations

from pathlib import Path

from ..errors import MixcimError
from .network import Network
from .onnx_file import read_onnx
from .onnx_graph import GraphImporter
from .onnx_operators import HANDLERS, is_quantised


def import_onnx(path: str | Path) -> Network:
    """The quantised network in ONNX file `path` (QDQ or QOperator form). Tensors are named as in the file.

    Activations may be uint8 or int8, weights int8 (or uint8 around zero point 128) for each tensor or each kernel.
    Raises MixcimError if the file is missing, damaged, not quantised, or has an operator or setting that mixcim lacks;
    the message names the node.
    """
    model = read_onnx(path)
    if not is_quantised(model):
        raise MixcimError(f"'{path}' is a float network; quantise it first with calibration data (quantise_onnx)")
    return GraphImporter(model, Path(path).stem, HANDLERS).run()
