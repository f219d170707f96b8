"""A whole chip behind its host link, driven over its serial pins by the real host driver and the command line."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fpga.boards import Board
from fpga.test_serial_bus import Damage
from mixcim import cli
from mixcim.compile.compiler import compile_network
from mixcim.compile.load import load_network
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.host.serial_bus import SerialBus
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim.networks.small import small_inputs, small_network
from mixcim.rtl.bridge import SerialBridge
from mixcim.rtl.device import device_library
from mixcim.rtl.serial import SerialSimulator
from mixcim_hdl.config import ChipConfig, load_chip
from mixcim_hdl.presets import PRESETS

CLOCK, BAUD, GAP_SECONDS = 8_000_000, 2_000_000, 0.001  #: four cycles a bit: the fewest there may be
#: All kinds of unit, and memories that are filled over the line in a moment.
CUT = """\
base = "tiny"
aligned_bits = 0
memristor_slots = 8
sram_slots = 8
activation_words = 128
weight_words = 128
program_commands = 8
parameter_tiles = 16
"""


@contextmanager
def board(chip: ChipConfig) -> Iterator[SerialBridge]:
    """A simulated board with that chip."""
    library = device_library(chip, CLOCK, BAUD, GAP_SECONDS)
    with SerialSimulator(library, CLOCK / BAUD) as simulator, SerialBridge(simulator) as bridge:
        yield bridge
        assert simulator.framing_errors == 0


@pytest.fixture
def cut_file(tmp_path: Path) -> Path:
    path = tmp_path / "cut.toml"
    path.write_text(CUT)
    return path


@pytest.mark.parametrize("unit", ["memristor", "sram", "tiny"])
def test_every_tensor_of_a_small_network_is_the_models(cut_file: Path, unit: str) -> None:
    chip = load_chip(str(cut_file))
    program = compile_network(small_network(), chip, [f"*={unit}"], "exact", keep_all=True)
    inputs = small_inputs(2)
    model = ProcessorModel(chip, program)
    expected = model.run(inputs, capture=list(program.tensors))
    with board(chip) as bridge, SerialBus(bridge.port, chip, BAUD) as bus:
        processor = Processor(bus, chip)
        processor.load(program)
        for number, code in enumerate(inputs):
            output, counters = processor.infer(code)
            assert np.array_equal(output, expected[number])
            assert counters.adc_conversions == int(model.adc_conversions[number])
            for name, place in program.tensors.items():
                assert np.array_equal(processor.read_tensor(place), model.captured[name][number]), name
        assert processor.command_cycles().sum() == counters.cycles
        assert bus.repeats == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_network_over_a_bad_line_is_right(cut_file: Path, seed: int) -> None:
    print(f"seed {seed}")
    chip = load_chip(str(cut_file))
    program = compile_network(small_network(seed), chip, ["*=sram", "convolution=memristor"], "exact")
    inputs = small_inputs(10, seed)
    with board(chip) as bridge, SerialBus(bridge.port, chip, BAUD, attempts=30) as bus:
        bridge.to_device, bridge.to_host = Damage(seed, 5e-4), Damage(seed + 50, 5e-4)
        processor = Processor(bus, chip)
        processor.load(program)
        assert np.array_equal(processor.run(inputs), ProcessorModel(chip, program).run(inputs))
        assert bus.repeats > 0


def test_another_chip_is_refused_by_name(cut_file: Path) -> None:
    chip = load_chip(str(cut_file))
    with board(chip) as bridge, pytest.raises(MixcimError, match="holds another chip .* not chip 'demo'"):
        SerialBus(bridge.port, PRESETS["demo"], BAUD)


def test_selftest_passes(cut_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with board(load_chip(str(cut_file))) as bridge:
        command = ["fpga", "selftest", "--chip", str(cut_file), "--port", bridge.port, "--baud", str(BAUD)]
        assert cli.run([*command, "--images", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True and document["repeats"] == 0
    assert {memory["region"] for memory in document["memories"]} >= {"PROGRAM", "WEIGHTS", "ACTIVATIONS", "TILES"}
    assert all(memory["words"] and not memory["wrong"] for memory in document["memories"])
    assert [network["unit"] for network in document["networks"]] == ["memristor", "sram", "tiny"]


def spoil_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of the weight store sticks."""
    read = SerialBus.read

    def spoiled(bus: SerialBus, address: int, count: int, step: int = 4) -> np.ndarray:
        words = read(bus, address, count, step)
        words[address >> 28 == 2 :][:1] ^= address >> 28 == 2
        return words

    monkeypatch.setattr(SerialBus, "read", spoiled)


def spoil_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output has one wrong integer."""
    infer = Processor.infer

    def spoiled(processor: Processor, elements: np.ndarray, noise_seed: int | None = None):
        output, counters = infer(processor, elements, noise_seed)
        output[0, 0, 0] ^= 1
        return output, counters

    monkeypatch.setattr(Processor, "infer", spoiled)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (spoil_read, "NO   weights           512 words, 1 wrong, the first at 0x20000004"),
        (spoil_output, "NO   small on sram: 1 inputs, board = model"),
    ],
)
def test_selftest_fails_if_a_bit_is_wrong(
    spoil: Callable, line: str, cut_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch)
    with board(load_chip(str(cut_file))) as bridge:
        command = ["fpga", "selftest", "--chip", str(cut_file), "--port", bridge.port, "--baud", str(BAUD)]
        assert cli.run([*command, "--images", "1"]) == 1
    assert line in capsys.readouterr().out


@pytest.mark.slow
def test_the_digits_run_on_a_board_as_on_the_rtl_and_on_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line, chip demo, layers on all three kinds of unit."""
    np.savez(tmp_path / "digits.npz", images=digits_data()[2][:3], labels=digits_data()[3][:3])
    arguments = ["run", str(DIGITS_RESNET), "--inputs", str(tmp_path / "digits.npz"), "--json"]
    arguments += ["--place", "block2.shortcut=memristor", "--table", "exact"]
    with board(PRESETS["demo"]) as bridge:
        assert cli.run([*arguments, "--on", "fpga", "--port", bridge.port, "--baud", str(BAUD)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cli.run([*arguments, "--on", "both"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert found["on"] == "fpga" and found["accuracy"] == 1.0
    same = set(expected) - {"on", "seconds", "inputs_per_second", "rtl_equals_model", "memristor_skips"}
    assert {name: found[name] for name in same} == {name: expected[name] for name in same}


@pytest.mark.slow
def test_every_tensor_of_the_digits_is_the_models() -> None:
    chip = PRESETS["demo"]
    program = compile_network(load_network(DIGITS_RESNET), chip, ["block2.shortcut=memristor"], "exact")
    code = input_codes(program, digits_data()[2][:1])
    model = ProcessorModel(chip, program)
    model.run(code, capture=list(program.tensors))
    seen: dict[str, np.ndarray] = {}
    with board(chip) as bridge, SerialBus(bridge.port, chip, BAUD, patience=5) as bus:
        processor = Processor(bus, chip)
        processor.load(program)
        processor.run_stepwise(code[0], seen.__setitem__)
    assert seen.keys() == program.tensors.keys()
    for name, tensor in seen.items():
        assert np.array_equal(tensor, model.captured[name][0]), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "fpga"], "a board needs --port; .*: plug the board in and name its port"),
        (["--on", "fpga", "--port", "/dev/ttyNone"], "serial port '/dev/ttyNone' does not exist"),
        (["--on", "rtl", "--port", "/dev/ttyUSB0"], "--port /dev/ttyUSB0 needs --on fpga"),
        (["--on", "fpga", "--port", "x", "--wave", "x.vcd"], "--wave x.vcd needs --on rtl or --on both: the board"),
        (["--on", "fpga", "--port", "x", "--tensors"], "--tensors needs --on both"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "digits.npz", images=digits_data()[2][:1])
    assert cli.run(["run", str(DIGITS_RESNET), "--inputs", str(tmp_path / "digits.npz"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error


def test_ctrl_c_ends_a_wait_for_an_answer(cut_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupting(Board):
        """Is silent, and so is the user's patience over when it is asked something, but once."""

        patient = False

        def exchange(self, data: bytes, cycles: int) -> bytes:
            if data and not self.patient:
                self.patient = True
                os.kill(os.getpid(), signal.SIGINT)
            return b""

    with SerialBridge(Interrupting()) as bridge:
        begin = time.monotonic()
        assert cli.run(["fpga", "selftest", "--chip", str(cut_file), "--port", bridge.port]) == cli.INTERRUPTED
        assert time.monotonic() - begin < 5
        with pytest.raises(MixcimError, match="nothing answers"):  # the port was given back
            SerialBus(bridge.port, patience=0.05)
    assert "interrupted" in capsys.readouterr().err
