"""The command line: what it writes and prints, and one line and exit code 2 for every kind of mistake."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compile.random_networks import random_network
from mixcim import cli
from mixcim.commands.inputs import read_inputs
from mixcim.compile.compiler import compile_network
from mixcim.compile.fold import fold_input
from mixcim.compile.load import dequantise_output, load_network, quantise_input
from mixcim.errors import MixcimError
from mixcim.host.values import input_codes, integers, output_values
from mixcim.model import floating
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim_hdl.floating import FLOAT_FORMATS, ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program, TensorPlace
from mixcim_hdl.registers import CONTRACT_VERSION
from workloads import WORKLOADS, needs_workloads

DIGITS = str(DIGITS_RESNET)
Mistake = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty test images of the digits and their labels."""
    _, _, images, labels = digits_data()
    path = tmp_path_factory.mktemp("inputs") / "digits.npz"
    np.savez(path, images=images[:40], labels=labels[:40])
    return path


def compiled(folder: Path) -> Path:
    """Program file of the digits network for chip demo."""
    path = folder / "digits.mixcim"
    compile_network(load_network(DIGITS_RESNET), PRESETS["demo"]).save(path)
    return path


def test_compile_writes_a_program_and_says_where_everything_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "digits.mixcim"
    assert cli.run(["compile", DIGITS, "-o", str(output), "--hidden", "memristor", "--table", "exact"]) == 0
    text = capsys.readouterr().out
    for word in ("block2.conv1", "memristor 32", "tiny 16", "uint8/int8", "parameter memory", "memristor bank"):
        assert word in text
    assert "layer by layer" in text and "depth-first" not in text
    program = Program.load(output)
    assert program.network == "digits_resnet"
    assert list(tmp_path.iterdir()) == [output]


def test_compile_json_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "digits.mixcim"
    rules = ["--place", "*=tiny", "--place", "layer2:0-7=sram,8-15=memristor"]
    assert cli.run(["compile", DIGITS, "-o", str(output), *rules, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["layers"][1]["kernels"] == {"memristor": 8, "sram": 8}
    program = Program.load(output)
    used = {record["memory"]: record["used"] for record in document["memories"]}
    assert used["program store"] == len(program.commands)
    assert used["weight store"] == len(program.weights)
    assert used["memristor bank"] == 3  # 144 rows in vectors of 64
    assert used["SRAM-CIM bank"] == 3
    assert all(record["used"] <= record["available"] for record in document["memories"])
    assert sum(record["commands"] for record in document["layers"]) == len(program.commands) - 1


@pytest.mark.parametrize("subject", ["program", "network"])
def test_run_classifies(subject: str, tmp_path: Path, digits_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(compiled(tmp_path)) if subject == "program" else DIGITS
    results = tmp_path / "results.npz"
    arguments = ["run", path, "--inputs", str(digits_file), "--limit", "30", "--json", "-o", str(results)]
    assert cli.run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    images, labels = (np.load(digits_file)[key][:30] for key in ("images", "labels"))
    assert document["inputs"] == len(document["classes"]) == 30
    assert document["accuracy"] == np.mean(np.array(document["classes"]) == labels) > 0.9
    with np.load(results) as saved:
        assert saved["integers"].shape == (30, 1, 1, 10)
        assert np.array_equal(saved["outputs"], np.array(document["outputs"], np.float32))
    assert images.shape == (30, 1, 8, 8)


def test_run_prints_accuracy(digits_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["run", DIGITS, "--inputs", str(digits_file), "--limit", "10"]) == 0
    text = capsys.readouterr().out
    assert "10 inputs" in text and "accuracy 100.00%" in text and "answers: class " in text


def test_images_become_network_inputs(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images, other=images)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    values, _ = read_inputs(tmp_path / "images.npz", (3, 4, 5), "NCHW", "0.1,0.2,0.3", "0.4,0.5,0.6")
    assert values.dtype == np.float32
    assert np.allclose(values, ((images / 255 - mean) / std).transpose(0, 3, 1, 2), atol=1e-5)


def test_channels_first_inputs_become_codes_channels_last() -> None:
    networks = (network for network in map(random_network, range(40)) if network.tensors["in"].shape[2] > 2)
    network = next(network for network in networks if fold_input(network, PRESETS["demo"])[1] == (1, 1))
    place = network.tensors["in"]
    height, width, channels = place.shape
    network = dataclasses.replace(network, input_layout="NCHW", file_shape=(channels, height, width))
    program = compile_network(network, PRESETS["demo"])
    values = np.random.default_rng(0).normal(0, 5, (3, channels, height, width)).astype(np.float32)
    expected = np.rint(values / np.float32(place.quantisation.scale)) + place.quantisation.zero_point
    low, high = place.quantisation.limits
    assert np.array_equal(input_codes(program, values), (np.clip(expected, low, high) - low).transpose(0, 2, 3, 1))
    assert np.array_equal(input_codes(program, values), quantise_input(network, values) - low)


def test_images_are_normalised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, images, _ = digits_data()
    pixels = np.rint(images[:5] * 255).astype(np.uint8)
    np.savez(tmp_path / "pixels.npz", images=pixels.transpose(0, 2, 3, 1))
    np.save(tmp_path / "reals.npy", (pixels.astype(np.float32) / 255 - np.float32(0.25)) / np.float32(0.5))
    outputs = []
    for arguments in (["pixels.npz", "--mean", "0.25", "--std", "0.5"], ["reals.npy"]):
        path = str(tmp_path / arguments[0])
        assert cli.run(["run", DIGITS, "--inputs", path, *arguments[1:], "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out)["outputs"])
    assert outputs[0] == outputs[1]


def test_values_are_converted_as_the_importer_does() -> None:
    network = load_network(DIGITS_RESNET)
    program = compile_network(network, PRESETS["demo"])
    _, _, images, _ = digits_data()
    codes = input_codes(program, images[:20])
    assert np.array_equal(codes, quantise_input(network, images[:20]))
    place = program.tensors[program.output]
    output = np.random.default_rng(0).integers(0, 256, (7, *place.shape)).astype(np.uint8)
    signed = output.astype(np.int16) - (128 if place.signed else 0)
    assert np.array_equal(output_values(program, output), dequantise_output(network, signed))


def place_of(name: str, format: str) -> TensorPlace:
    """A tensor of 2 x 3 pixels and 4 channels."""
    return TensorPlace(name, 0, (2, 3, 4), 1.0, 0, False, -1, 0, ElementFormat[format].bytes, format, 1)


@pytest.mark.parametrize("format", ["BF16", "FP16", "FP8_E4M3", "FP8_E5M2"])
def test_floating_values_become_patterns(format: str) -> None:
    element = FLOAT_FORMATS[format]
    program = dataclasses.replace(
        empty_program(), tensors={"x": place_of("x", format)}, input="x", output="x", input_layout="NCHW",
        file_shape=(4, 2, 3), output_shape=(4, 2, 3),
    )  # fmt: skip
    values = np.random.default_rng(0).normal(0, 1, (5, 4, 2, 3)).astype(np.float32)
    codes = input_codes(program, values)
    assert codes.dtype == (np.uint8 if element.bits == 8 else np.uint16) and codes.shape == (5, 2, 3, 4)
    assert np.array_equal(codes, floating.encode(values.transpose(0, 2, 3, 1), element))
    back = output_values(program, codes)
    assert np.array_equal(back, floating.decode(floating.encode(values, element), element))
    assert np.abs(back - values).max() <= np.abs(values).max() * 2.0 ** -(element.mantissa_bits + 1)
    assert np.array_equal(integers(place_of("x", format), codes), codes)
    with pytest.raises(MixcimError, match=f"inputs are uint8, network 'empty' takes floats \\(its input is {format}"):
        input_codes(program, np.zeros((1, 4, 2, 3), np.uint8))


def empty_program() -> Program:
    """A program without anything in it."""
    arrays = dict.fromkeys(Program._ARRAYS, np.zeros(0))
    return Program(
        network="empty", chip="demo", fingerprint=0, memristor=(), repair=(), noise_seed=0, tensors={}, layers=(),
        input="", output="", input_layout="NHWC", file_shape=(), output_shape=(), host_output=(), **arrays,
    )  # fmt: skip


def test_float_network_in_formats_compiles_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weight = np.random.default_rng(0).normal(0, 1, (4, 1, 3, 3)).astype(np.float32)
    network = float_network(tmp_path / "n.onnx", weight)
    images = digits_data()[2][:3]
    np.save(tmp_path / "inputs.npy", images)
    program = str(tmp_path / "n.mixcim")
    options = ["--format", "bf16/int8", "--output-format", "fp16", "--aligned-bits", "11", "--rounding", "truncate"]
    assert cli.run(["compile", network, "-o", program, *options]) == 0
    assert "BF16/int8" in capsys.readouterr().out
    for subject in ([program], [network, *options]):
        assert cli.run(["run", *subject, "--inputs", str(tmp_path / "inputs.npy"), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["input_format"], document["output_format"]) == ("BF16", "FP16")
        expected = onnxruntime.InferenceSession(network).run(None, {"x": images})[0]
        assert np.abs(np.array(document["outputs"]) - expected).max() < 0.02 * np.ptp(np.asarray(expected))


def test_outputs_that_are_no_numbers_are_said_and_never_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = float_network(tmp_path / "n.onnx", WEIGHT)
    images = digits_data()[2][:3].copy()
    images[1] = 1e6  # infinity in FP16
    path = tmp_path / "inputs.npz"
    np.savez(path, inputs=images, labels=np.zeros(3, np.int64))
    assert cli.run(["run", network, "--inputs", str(path), "--format", "fp16"]) == 0
    assert "NaN in the outputs of 1 inputs" in capsys.readouterr().out
    assert cli.run(["run", network, "--inputs", str(path), "--format", "fp16", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["without_answer"] == 1
    assert document["accuracy"] == pytest.approx(sum(document["classes"][n] == 0 for n in (0, 2)) / 3)
    assert cli.run(["run", network, "--inputs", str(path), "--format", "bf16"]) == 0
    assert "NaN" not in capsys.readouterr().out


@pytest.mark.parametrize("chip", sorted(PRESETS))
def test_info_of_every_chip(chip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", "--chip", chip]) == 0
    assert "MEMRISTOR_READS" in capsys.readouterr().out
    assert cli.run(["info", "--chip", chip, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    config = PRESETS[chip]
    assert document["sizes"]["rows"] == config.rows
    elements = [item.name for item in ElementFormat] if config.floating_point else ["INTEGER"]
    assert document["formats"]["elements"] == elements
    assert max(document["formats"]["aligned_bits"], default=0) == config.aligned_bits
    exponents = config.activation_words * 9 if config.floating_point else None
    assert document["memory_bits"].get("exponent memory") == exponents
    assert document["memory_bits"]["SRAM-CIM weights"] == (
        config.sram_banks * config.sram_slots * config.channels * config.rows * 8
    )


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in text
        assert cli.run([name, "--help"]) == 0


def float_network(path: Path, weight: np.ndarray, last: str = "Relu") -> str:
    """Float ONNX of a 3 x 3 convolution and one more operator on (N, 1, 8, 8) images."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], name="convolution"),
        helper.make_node(last, ["z"], ["y"], name="last"),
    ]
    shapes = {"x": [None, 1, 8, 8], "y": [None, len(weight), 6, 6]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def one_node(path: Path, kind: str) -> str:
    """Float ONNX of one operator on (N, 1, 8, 8) images."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1, 8, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"], name="alone")], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def calibration(folder: Path) -> str:
    np.save(folder / "calibration.npy", digits_data()[0][:20])
    return str(folder / "calibration.npy")


def with_bytes(folder: Path, change: Callable[[bytes], bytes]) -> list[str]:
    """Run a program file that has been tampered with."""
    path = compiled(folder)
    path.write_bytes(change(path.read_bytes()))
    np.save(folder / "inputs.npy", digits_data()[2][:2])
    return ["run", str(path), "--inputs", str(folder / "inputs.npy")]


def copy_of(folder: Path) -> str:
    path = folder / "network.onnx"
    path.write_bytes(Path(DIGITS).read_bytes())
    return str(path)


def text_file(folder: Path, text: str) -> str:
    path = folder / "file.toml"
    path.write_text(text)
    return str(path)


def with_inputs(folder: Path, values: np.ndarray, *options: str) -> list[str]:
    np.save(folder / "inputs.npy", values)
    return ["run", DIGITS, "--inputs", str(folder / "inputs.npy"), *options]


def compiling(*arguments: str) -> Mistake:
    return lambda folder: ["compile", DIGITS, "-o", str(folder / "out"), *arguments]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


IMAGES = np.zeros((2, 1, 8, 8), np.float32)
WEIGHT = np.ones((4, 1, 3, 3), np.float32)
NOT_A_NUMBER = WEIGHT * np.float32(np.nan)

MISTAKES: dict[str, tuple[Mistake, str]] = {
    "unsupported operator": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", WEIGHT, "Erf"), "-o", str(folder / "out")),
            *("--calibrate", calibration(folder)),
        ],
        "node 'last' is a Erf, which mixcim does not support",
    ),
    "only an unsupported operator": (
        lambda folder: [
            *("compile", one_node(folder / "n.onnx", "Erf"), "-o", str(folder / "out")),
            *("--calibrate", calibration(folder)),
        ],
        "node 'alone' is a Erf, which mixcim does not support",
    ),
    "NaN weights": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", NOT_A_NUMBER), "-o", str(folder / "out")),
            *("--calibrate", calibration(folder)),
        ],
        "NaN",
    ),
    "float network without calibration": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", WEIGHT)),
            *("-o", str(folder / "out")),
        ],
        "calibration data",
    ),
    "format of a quantised network": (
        compiling("--format", "bf16"),
        "is quantised already; its layers cannot be given",
    ),
    "bad format": (compiling("--format", "fp32"), "format 'fp32': number format must be one of int8, int4, bf16"),
    "bad output format": (compiling("--output-format", "x"), "--output-format: number format must be one of"),
    "too many aligned bits": (compiling("--format", "bf16", "--aligned-bits", "16"), "aligns to 12 bits at most"),
    "aligned bits of integers": (compiling("--aligned-bits", "12"), "--aligned-bits 12 is for floating-point layers"),
    "rounding of integer formats": (
        compiling("--format", "int8/int4", "--rounding", "truncate"),
        "--rounding truncate is for floating-point layers",
    ),
    "rounding of integers": (compiling("--rounding", "truncate"), "--rounding truncate is for floating-point layers"),
    "floating point on a chip without": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", WEIGHT), "-o", str(folder / "out"), "--format", "bf16"),
            *("--chip", text_file(folder, "aligned_bits = 0")),
        ],
        "the chip has no floating point (aligned_bits = 0)",
    ),
    "format of no layer": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", WEIGHT), "-o", str(folder / "out")),
            *("--format", "bf16", "--format", "conv=fp16"),
        ],
        "format 'conv=fp16/fp16': network 'n' has no layer 'conv'; it has layer1 to layer1, names like it: convolution",
    ),
    "integers without calibration": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", WEIGHT), "-o", str(folder / "out")),
            *("--format", "bf16", "--format", "layer1=int8/bf16"),
        ],
        "becomes integer; give calibration data",
    ),
    "weight bits beside formats": (
        lambda folder: [
            *("compile", float_network(folder / "n.onnx", WEIGHT), "-o", str(folder / "out")),
            *("--format", "bf16", "--weight-bits", "4"),
        ],
        "weights cannot have 4 bits beside formats; write int8/int4 or leave it out",
    ),
    "missing network": (lambda folder: ["compile", "none.onnx", "-o", str(folder / "out")], "none.onnx"),
    "not a network": (
        lambda folder: ["compile", text_file(folder, "no network"), "-o", str(folder / "out")],
        "file.toml",
    ),
    "missing output folder": (
        lambda folder: ["compile", DIGITS, "-o", str(folder / "none" / "out")],
        "does not exist",
    ),
    "bad layer": (compiling("--place", "block2.conv9=sram"), "names like it: block2.conv"),
    "bad kernel": (compiling("--place", "block2.conv1:0-99=sram"), "there is no kernel 99"),
    "bad unit": (compiling("--place", "logits=cpu"), "not 'cpu'"),
    "bad hidden": (compiling("--hidden", "cpu"), "--hidden: unit must be one of"),
    "bad placement file": (compiling("--placement", "none.txt"), "'none.txt' cannot be read"),
    "bad table": (compiling("--table", "99"), "rows_per_read must be from 1 to 64"),
    "program too big": (compiling("--chip", "tiny", "--place", "*=memristor"), "memristor banks of chip 'tiny'"),
    "unknown chip": (compiling("--chip", "huge"), "chip 'huge' is neither a preset"),
    "inconsistent chip": (
        lambda folder: ["compile", DIGITS, "-o", str(folder / "out"), "--chip", text_file(folder, "rows = 48")],
        "rows must be a power of two from 16 to 128, not 48",
    ),
    "chip file with unknown field": (
        lambda folder: ["info", "--chip", text_file(folder, "lines = 48")],
        "unknown field 'lines'",
    ),
    "damaged program": (lambda folder: with_bytes(folder, flip), "damaged or truncated"),
    "truncated program": (lambda folder: with_bytes(folder, lambda data: data[:-9]), "damaged or truncated"),
    "program of another version": (
        lambda folder: with_bytes(folder, lambda data: data.replace(f" {CONTRACT_VERSION} ".encode(), b" 99 ", 1)),
        "has version 99",
    ),
    "foreign program": (lambda folder: with_bytes(folder, lambda data: b"PK" + data), "digits.mixcim"),
    "program for another chip": (
        lambda folder: [*with_bytes(folder, bytes), "--chip", "tiny"],
        "was compiled for a chip 'demo'",
    ),
    "compile options for a program": (
        lambda folder: [*with_bytes(folder, bytes), "--hidden", "memristor"],
        "is compiled already",
    ),
    "wrong shape": (lambda folder: with_inputs(folder, np.zeros((2, 1, 9, 8), np.float32)), "(2, 1, 9, 8)"),
    "no inputs": (lambda folder: with_inputs(folder, IMAGES[:0]), "(0, 1, 8, 8)"),
    "a scalar": (lambda folder: with_inputs(folder, np.array(3, np.float32)), "has shape ()"),
    "wrong type": (lambda folder: with_inputs(folder, IMAGES.astype(np.int32)), "inputs are int32"),
    "NaN inputs": (lambda folder: with_inputs(folder, IMAGES * np.nan), "NaN or infinite"),
    "normalisation of floats": (lambda folder: with_inputs(folder, IMAGES, "--mean", "0"), "are for uint8 images"),
    "bad mean": (
        lambda folder: with_inputs(folder, IMAGES.astype(np.uint8).transpose(0, 2, 3, 1), "--mean", "a"),
        "--mean must be numbers",
    ),
    "no such labels": (lambda folder: with_inputs(folder, IMAGES, "--labels", "truth"), "has no array 'truth'"),
    "waveform of the model": (lambda folder: with_inputs(folder, IMAGES, "--wave", "w.vcd"), "needs --on rtl"),
    "inputs that are no numpy file": (
        lambda folder: ["run", DIGITS, "--inputs", text_file(folder, "1 2 3")],
        "is not a numpy file",
    ),
    "missing inputs": (lambda folder: ["run", DIGITS, "--inputs", "none.npz"], "'none.npz' cannot be read"),
    "missing program": (lambda folder: ["run", "none.mixcim", "--inputs", "none.npz"], "'none.mixcim' does not exist"),
    "missing verilog folder": (lambda folder: ["verilog", "-o", str(folder / "none" / "x.v")], "does not exist"),
    "output is the network": (
        lambda folder: ["compile", copied := copy_of(folder), "-o", copied],
        "is the network itself",
    ),
    "output is the program": (
        lambda folder: [*with_bytes(folder, bytes), "-o", str(folder / "digits.mixcim")],
        "is what is read",
    ),
    "output is the inputs": (
        lambda folder: [*(command := with_inputs(folder, IMAGES)), "-o", command[3]],
        "is what is read",
    ),
    "output is a device": (lambda folder: ["compile", DIGITS, "-o", "/dev/null"], "'/dev/null': is no regular file"),
    "network is a folder": (lambda folder: ["compile", str(folder), "-o", str(folder / "p")], "is no file"),
    "lines in a chip file's words": (
        lambda folder: ["info", "--chip", text_file(folder, 'encoding = """x\ny"""')],
        r"not 'x\ny'",
    ),
    "lines in a chip file's field": (
        lambda folder: ["info", "--chip", text_file(folder, '"li\\nes" = 1')],
        r"unknown field 'li\nes'",
    ),
    "base of a chip file is no name": (
        lambda folder: ["info", "--chip", text_file(folder, 'base = ["demo"]')],
        "base must be one of",
    ),
    "name of a chip is a path": (
        lambda folder: ["info", "--chip", text_file(folder, 'name = "../x"')],
        "name must be made of letters",
    ),
    "unknown command": (lambda folder: ["simulate"], "No such command 'simulate'"),
    "unknown option": (lambda folder: ["info", "--colour"], "No such option"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_exit_code_2(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    command = arguments(tmp_path)
    before = set(tmp_path.iterdir())
    assert cli.run(command) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert "Traceback" not in printed.err
    if not mistake.startswith("unknown "):
        assert printed.err.count("\n") == 1 and printed.err.startswith("mixcim: ")
    assert set(tmp_path.iterdir()) == before  # nothing half-written


def test_interrupt_is_exit_code_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mixcim.commands.compile.compile_file", interrupted)
    assert cli.run(["compile", DIGITS, "-o", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.strip().endswith("interrupted")
    assert list(tmp_path.iterdir()) == []


@needs_workloads
def test_compile_says_what_runs_depth_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "mobilenetv2_1.0_224_imagenet"
    network = str(WORKLOADS / "models" / name / f"{name}_int8ptq.tflite")
    assert cli.run(["compile", network, "-o", str(tmp_path / "mobilenet.mixcim"), "--chip", "paper"]) == 0
    text = capsys.readouterr().out
    assert "depth-first: conv_2d_1, depthwise_conv_2d_2, conv_2d_3 in 7 strips" in text
    assert "layer by layer" not in text
