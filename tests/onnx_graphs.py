"""Build small quantised ONNX files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

_MICROSOFT = {"QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax"}


class OnnxGraph:
    """A graph under construction with one input `input`. Methods return the name of the value that they add."""

    def __init__(self, shape: tuple[int, ...], dtype: type = np.float32, batch: int | str = "N") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs = [helper.make_tensor_value_info("input", element, [batch, *shape])]

    def constant(self, values: Any) -> str:
        """A constant; its type is that of the numpy array."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node called kind and a number, its output called like it."""
        name = f"{kind}{len(self.nodes)}"
        domain = "com.microsoft" if kind in _MICROSOFT else ""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def parameters(self, scale: float, zero_point: int, dtype: type = np.uint8) -> tuple[str, str]:
        """Scale and zero point of a tensor."""
        return self.constant(np.float32(scale)), self.constant(dtype(zero_point))

    def quantise(self, x: str, scale: float, zero_point: int, dtype: type = np.uint8) -> str:
        """QuantizeLinear."""
        return self.node("QuantizeLinear", x, *self.parameters(scale, zero_point, dtype))

    def fake(self, x: str, scale: float, zero_point: int, dtype: type = np.uint8) -> str:
        """QuantizeLinear and DequantizeLinear."""
        scale_name, zero_name = self.parameters(scale, zero_point, dtype)
        return self.node(
            "DequantizeLinear", self.node("QuantizeLinear", x, scale_name, zero_name), scale_name, zero_name
        )

    def weight(self, values: np.ndarray, scale: Any, axis: int = 0, zero_point: int = 0) -> str:
        """A dequantised constant, for example of weights or biases."""
        scale = np.asarray(scale, np.float32)
        zero = np.full(scale.shape, zero_point, values.dtype)
        inputs = (self.constant(values), self.constant(scale), self.constant(zero))
        return self.node("DequantizeLinear", *inputs, **({"axis": axis} if scale.size > 1 else {}))

    def save(self, path: Path, output: str, element: int = onnx.TensorProto.FLOAT, rank: int = 2) -> Path:
        """Write the file with `output` as the graph's output; `rank` serves where ONNX cannot infer it."""
        outputs = [helper.make_tensor_value_info(output, element, None)]
        graph = helper.make_graph(self.nodes, "test", self.inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
        model = shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
        if not model.graph.output[0].type.tensor_type.HasField("shape"):
            sides = [f"side{index}" for index in range(rank)]
            model.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, element, sides))
        del model.graph.value_info[:]
        onnx.save(model, str(path))
        return path
