"""Import a float ONNX network as a *real network*: the layers that mixcim runs, before formats are chosen.

A value becomes a tensor where a layer reads it: bias, clamp and Add belong to the layer before it, as in a quantised
network. `align.py` makes a `Network` of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import onnx

from mixcim_hdl.floating import ElementFormat, Rounding

from .network import EXACT, FloatArithmetic, Network
from .onnx_graph import Activation, FloatInput, GraphImporter, Pending, Value, fail, image_shape
from .onnx_operators import HANDLERS


@dataclass(frozen=True, eq=False)
class RealNetwork:
    """A network of real numbers.

    `network`: its tensors have quantisation EXACT; its layers are floating, with weights, bias and scale float32 (scale
    1, AVERAGE_POOL 1 / positions), and of their arithmetic only `limits` counts. `summands`: name that the network file
    has for the result of each layer before its Add.
    """

    network: Network
    summands: dict[str, str]


def import_real(model: onnx.ModelProto, name: str) -> RealNetwork:
    """The real network of a float ONNX model whose BatchNormalization is folded. Tensors are named as in the model.

    Raises MixcimError if it has an operator or setting that mixcim lacks; the message names the node.
    """
    importer = _FloatImporter(model, name)
    network = importer.run()
    return RealNetwork(network, {layer.name: layer.output for layer in importer.builder.layers})


class _FloatImporter(GraphImporter):
    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        super().__init__(model, name, HANDLERS)
        self.readers = Counter(input for node in model.graph.node for input in node.input)
        self.readers.update(value.name for value in model.graph.output)
        self.node_position = {node.output[0]: position for position, node in enumerate(model.graph.node)}
        self.layer_position: dict[str, int | None] = {}

    def _node(self, node: onnx.NodeProto) -> None:
        super()._node(node)
        name = node.output[0]
        value = self.values[name]
        if isinstance(value, Pending) and value.position is None:
            self.values[name] = value = replace(value, position=self.node_position[name])
        # What several nodes read is one tensor; with one reader, that may still put a clamp into the layer.
        if isinstance(value, Pending) and self.readers[name] > 1:
            self.unquantised(node, name, value)

    def _finish(self, name: str) -> Network:
        value = self.values.get(name)
        if isinstance(value, Pending):
            self.unquantised(self.model.graph.node[-1], name, value)
        # Layers came when they were read; they run in the order of the graph.
        self.builder.layers.sort(key=lambda layer: self.layer_position[layer.output] or 0)
        return super()._finish(name)

    def unquantised(self, node: onnx.NodeProto, name: str, value: FloatInput | Pending) -> Activation:
        if isinstance(value, FloatInput):
            if self.input is None:
                self.builder.add_tensor(value.name, image_shape(value.shape), EXACT)
                self.input = value.name
            result = Activation(self.input, real=True, flat=len(value.shape) == 1)
        else:
            limits = (float(np.float32(value.low)), float(np.float32(value.high)))
            arithmetic = FloatArithmetic(ElementFormat.INTEGER, 0, Rounding.NEAREST_EVEN, limits)
            self.layer_position[name] = value.position
            self.append(value, name, EXACT, EXACT.limits, arithmetic)
            result = Activation(name, real=True, flat=value.flat)
        self.values[name] = result
        return result

    def weights(self, node: onnx.NodeProto, weight: Value, kernel_axis: int) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(weight, np.ndarray) or weight.dtype != np.float32:
            fail(node, "has weights that are not float32 constants; export the network in float32")
        return weight, np.ones(weight.shape[kernel_axis % weight.ndim], np.float32)

    def with_bias(self, node: onnx.NodeProto, pending: Pending, bias: Value) -> Pending:
        assert pending.weight is not None
        if not isinstance(bias, np.ndarray) or bias.dtype != np.float32:
            fail(node, "has a bias that is not a float32 constant; export the network in float32")
        if bias.size not in (1, len(pending.weight)):
            fail(node, f"has {bias.size} biases for {len(pending.weight)} kernels")
        return replace(pending, bias=np.broadcast_to(bias.reshape(-1), (len(pending.weight),)).copy())
