"""Train the shipped digits network and write it, quantised: sim/mixcim/networks/digits_resnet.onnx.

    pip install -e '.[train]'
    python scripts/train_digits.py [--out FILE] [--epochs 60]

conv 3x3 1 -> 16, two residual blocks (16; 32 with stride 2 and a 1x1 shortcut), global average pool, 32 -> 10. One
thread and fixed seeds: on one machine with one version of torch, the same file comes out every time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from mixcim.compile.evaluate import evaluate
from mixcim.compile.load import load_network, quantise_input
from mixcim.compile.quantise import quantise_onnx
from mixcim.networks.digits import DIGITS_RESNET, digits_data

CALIBRATION_IMAGES = 256
BATCH = 64


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = None
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class DigitsResnet(nn.Module):
    """The float network: (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.block1 = Block(16, 16, 1)
        self.block2 = Block(16, 32, 2)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.block2(self.block1(torch.relu(self.norm(self.conv(x)))))
        return self.classifier(y.mean((2, 3)))


def train(model: DigitsResnet, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Train with SGD, a one-cycle rate, and shifts by up to one pixel."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x) // BATCH * BATCH, BATCH):
            index = order[start : start + BATCH]
            row, column = torch.randint(0, 3, (2,), generator=generator).tolist()
            shifted = nn.functional.pad(x[index], (1, 1, 1, 1))[:, :, row : row + 8, column : column + 8]
            loss = nn.functional.cross_entropy(model(shifted), y[index], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()


class Graph:
    """Nodes and constants of the float ONNX file."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, name: str, inputs: list[str], constants: list[torch.Tensor], **attributes: Any) -> str:
        """Add a node `name` whose output has the same name; `constants` become its further inputs."""
        names = [f"{name}.constant{index}" for index in range(len(constants))]
        for constant, tensor in zip(names, constants, strict=True):
            self.constants.append(numpy_helper.from_array(tensor.detach().numpy().copy(), constant))
        self.nodes.append(helper.make_node(kind, [*inputs, *names], [name], name=name, **attributes))
        return name

    def conv(self, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        """Convolution and BatchNormalization, which quantise_onnx folds."""
        padding = [conv.padding[0]] * 4
        window = {"strides": conv.stride, "pads": padding, "kernel_shape": conv.kernel_size}
        y = self.node("Conv", name, [x], [conv.weight], **window)
        statistics = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        return self.node("BatchNormalization", f"{name}.norm", [y], statistics, epsilon=norm.eps)

    def block(self, name: str, x: str, block: Block) -> str:
        """A residual block."""
        y = self.node("Relu", f"{name}.relu1", [self.conv(f"{name}.conv1", x, block.conv1, block.norm1)], [])
        y = self.conv(f"{name}.conv2", y, block.conv2, block.norm2)
        short = x if block.shortcut is None else self.conv(f"{name}.shortcut", x, block.shortcut[0], block.shortcut[1])
        return self.node("Relu", f"{name}.relu2", [self.node("Add", f"{name}.add", [y, short], [])], [])


def float_onnx(model: DigitsResnet) -> onnx.ModelProto:
    """The trained network as float ONNX, opset 13, input `image` (N, 1, 8, 8), output `logits` (N, 10)."""
    graph = Graph()
    x = graph.node("Relu", "relu", [graph.conv("conv", "image", model.conv, model.norm)], [])
    x = graph.block("block2", graph.block("block1", x, model.block1), model.block2)
    x = graph.node("Flatten", "flat", [graph.node("GlobalAveragePool", "pool", [x], [])], [])
    classifier = [model.classifier.weight, model.classifier.bias]
    graph.node("Gemm", "logits", [x], classifier, transB=1)
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 10])
    body = helper.make_graph(graph.nodes, "digits_resnet", [image], [logits], graph.constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="mixcim")


def main() -> None:
    """Train, quantise, write, and print the accuracy before and after quantisation."""
    parser = argparse.ArgumentParser(description="Train the shipped digits network and write it, quantised.")
    parser.add_argument("--out", type=Path, default=DIGITS_RESNET, help="ONNX file to write (default: the shipped one)")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the training images (default: 60)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_images, train_labels, test_images, test_labels = digits_data()
    model = DigitsResnet()
    train(model, train_images, train_labels, arguments.epochs)
    with torch.no_grad():
        correct = (model(torch.from_numpy(test_images)).argmax(1).numpy() == test_labels).mean()
    print(f"float accuracy     {100 * correct:.2f} % of {len(test_labels)} test images")
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "digits_resnet_float.onnx")
        onnx.save(float_onnx(model), str(source))
        quantise_onnx(source, train_images[:CALIBRATION_IMAGES], arguments.out)
    network = load_network(arguments.out)
    codes = evaluate(network, quantise_input(network, test_images))[network.output]
    correct = (codes.reshape(len(codes), -1).argmax(1) == test_labels).mean()
    print(f"quantised accuracy {100 * correct:.2f} %, {arguments.out.stat().st_size} bytes in {arguments.out}")


if __name__ == "__main__":
    main()
