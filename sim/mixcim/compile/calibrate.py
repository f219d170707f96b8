"""Ranges of a float network's tensors over calibration data, and the quantisation that they give."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper

from mixcim_hdl.floating import FP32

from .assemble import checked_quantisation
from .network import Quantisation
from .onnx_file import graph_inputs, input_shape
from .real_inputs import check_inputs

Range = tuple[float, float]


def tensor_ranges(model: onnx.ModelProto, names: Iterable[str], calibration: np.ndarray) -> dict[str, Range]:
    """Smallest and largest value of each of the model's values `names`, computed by onnxruntime.

    `calibration`: float32 (N, *shape of the network's input), normalised as the network expects it. Raises MixcimError
    if it does not fit.
    """
    source = graph_inputs(model.graph)[0]
    calibration = check_inputs(calibration, input_shape(source), "calibration")
    inside = [name for name in names if name != source.name]
    ranges = {source.name: (float(calibration.min()), float(calibration.max()))}
    if inside:
        import onnxruntime  # here: this module is imported where nothing is calibrated, too

        from .quantise import CalibrationReader

        observed = onnx.ModelProto()
        observed.CopyFrom(model)
        del observed.graph.output[:]
        observed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inside)
        session = onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
        reader = CalibrationReader(source, calibration)
        while (inputs := reader.get_next()) is not None:
            for name, values in zip(inside, session.run(inside, inputs), strict=True):
                low, high = ranges.get(name, (np.inf, -np.inf))
                tensor = np.asarray(values)
                ranges[name] = (min(low, float(tensor.min())), max(high, float(tensor.max())))
    return ranges


def range_quantisation(name: str, limits: Range, largest_code: int) -> Quantisation:
    """Unsigned codes 0..largest_code for a range; zero is in it and has its own code. `name` is for MixcimError."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = float(np.float32((high - low) / largest_code))
    # Next to nothing is nothing: a scale below the normal numbers has no reciprocal in float32.
    scale = scale if scale >= 2.0**FP32.smallest_exponent else 1.0
    return checked_quantisation(f"tensor '{name}'", scale, int(np.rint(-low / scale)), False)
