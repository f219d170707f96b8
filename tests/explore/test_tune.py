"""Word-line tables that `tune` finds: their error and their reads, measured by the model on images it has not seen."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mixcim import cli
from mixcim.compile.compiler import compile_network
from mixcim.compile.evaluate import evaluate
from mixcim.compile.load import load_network, quantise_input
from mixcim.compile.network import Network
from mixcim.compile.placement import place
from mixcim.compile.table import Tables, WordLineTable
from mixcim.errors import MixcimError
from mixcim.explore.tune import UNIFORM_ROWS, LayerTuning, tune
from mixcim.host.values import input_codes
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

DEMO = PRESETS["demo"]
BUDGETS = (0.0, 0.02, 0.1, 0.5, 2.0)


@functools.cache
def digits() -> tuple[Network, np.ndarray, np.ndarray]:
    """The digits network, images to calibrate with and other images, both as in its file."""
    calibration, _, images, _ = digits_data()
    return load_network(DIGITS_RESNET), np.ascontiguousarray(calibration[:64]), np.ascontiguousarray(images[:100])


@functools.cache
def tuned(budget: float) -> tuple[Tables, list[LayerTuning]]:
    network, calibration, _ = digits()
    placement = place(network, DEMO, [], "memristor")
    return tune(network, DEMO, placement, quantise_input(network, calibration), budget=budget, windows=128)


def memristor_program(table: str | Tables) -> Program:
    return compile_network(digits()[0], DEMO, hidden="memristor", table=table)


def layer_errors(tables: Tables) -> dict[str, float]:
    """Mean magnitude of the error of each tuned layer by itself, in codes, on images that tune has not seen.

    A code is the rounded sum, so the mean magnitude of its error is that of the sum's error before rounding (whose
    place between two codes is anywhere), and at most that one's root mean square.
    """
    network, _, images = digits()
    program = memristor_program(tables)
    model = ProcessorModel(DEMO, program)
    truth = {name: _codes(program, name, tensor) for name, tensor in exact_tensors().items()}
    errors = {}
    for number, layer in enumerate(network.layers):
        if layer.name in tables.layers:
            wanted = [layer.input, *([layer.residual.tensor] if layer.residual else [])]
            output = model.run_layer(number, {name: truth[name] for name in wanted})
            errors[layer.name] = float(np.abs(output.astype(int) - truth[layer.output]).mean())
    return errors


@functools.cache
def exact_tensors() -> dict[str, np.ndarray]:
    network, _, images = digits()
    return dict(evaluate(network, quantise_input(network, images)))


def _codes(program: Program, name: str, tensor: np.ndarray) -> np.ndarray:
    offset = 128 if program.tensors[name].signed else 0
    return (tensor.astype(np.int16) + offset).astype(np.uint8).reshape(len(tensor), *program.tensors[name].shape)


def test_every_hidden_convolution_gets_a_table() -> None:
    tables, found = tuned(0.1)
    on_memristor = {layer.name for layer in memristor_program("16").layers if "memristor" in layer.kernels}
    assert tables.layers.keys() == {tuning.layer for tuning in found} == on_memristor and len(found) >= 4


@pytest.mark.parametrize("budget", BUDGETS)
def test_error_of_every_layer_is_within_the_budget(budget: float) -> None:
    tables, found = tuned(budget)
    assert all(0 <= tuning.error <= budget for tuning in found)
    # A hundredth of a code: rows that no sampled window had, where nothing was left to spend.
    assert max(layer_errors(tables).values()) <= budget + 0.01


def test_a_large_budget_is_spent() -> None:
    """What layer_errors measures is not zero, whatever the tables are."""
    assert max(layer_errors(tuned(2.0)[0]).values()) > 0.2


def test_a_larger_budget_takes_fewer_reads() -> None:
    for number in range(len(tuned(0.1)[1])):
        reads = [tuned(budget)[1][number].reads for budget in BUDGETS]
        assert reads == sorted(reads, reverse=True) and reads[-1] < reads[0]


@pytest.mark.parametrize("budget", [0.02, 0.5])
def test_reads_are_those_that_the_model_counts(budget: float) -> None:
    tables, found = tuned(budget)
    images = digits()[2][:2]
    for table, expected in (
        (tables, sum(tuning.reads * tuning.windows for tuning in found)),
        (str(UNIFORM_ROWS), sum(tuning.uniform_reads * tuning.windows for tuning in found)),
    ):
        program = memristor_program(table)
        model = ProcessorModel(DEMO, program)
        model.run(input_codes(program, images))
        assert model.memristor_reads.tolist() == [expected] * 2


def test_coarse_steps_are_taken_where_they_are_better_than_saturation() -> None:
    tables, _ = tuned(2.0)
    fine = {
        name: WordLineTable(table.rows_per_read, tuple((0,) * len(row) for row in table.step_shift))
        for name, table in tables.layers.items()
    }
    coarse, saturating = layer_errors(tables), layer_errors(Tables(tables.default, fine))
    stepped = [name for name, table in tables.layers.items() if np.any(table.step_shift)]
    assert stepped
    for name in stepped:
        assert saturating[name] > coarse[name]


def test_another_seed_samples_other_windows_and_the_same_seed_the_same() -> None:
    network, calibration, _ = digits()
    placement, codes = place(network, DEMO, ["*=sram", "block1.conv1=memristor"], None), quantise_input(network, calibration)
    errors = [
        tune(network, DEMO, placement, codes, budget=0.2, windows=32, seed=seed)[1][0].error for seed in (0, 0, 1)
    ]
    assert errors[0] == errors[1] != errors[2]


# What cannot be tuned.


@pytest.mark.parametrize("budget", [-0.1, math.nan, math.inf])
def test_a_bad_budget_is_refused(budget: float) -> None:
    network, calibration, _ = digits()
    codes = quantise_input(network, calibration)
    with pytest.raises(MixcimError, match="budget must be a number >= 0"):
        tune(network, DEMO, place(network, DEMO, [], "memristor"), codes, budget=budget)


def test_no_windows_are_refused() -> None:
    network, calibration, _ = digits()
    codes = quantise_input(network, calibration)
    with pytest.raises(MixcimError, match="windows >= 1, not 0.1 and 0"):
        tune(network, DEMO, place(network, DEMO, [], "memristor"), codes, budget=0.1, windows=0)


def test_another_encoding_is_refused() -> None:
    network, calibration, _ = digits()
    chip = dataclasses.replace(DEMO, encoding="offset")
    with pytest.raises(MixcimError, match="differential encoding, chip 'demo' has 'offset'"):
        tune(network, chip, place(network, chip, [], "memristor"), quantise_input(network, calibration), budget=0.1)


def test_nothing_on_memristor_is_refused() -> None:
    network, calibration, _ = digits()
    with pytest.raises(MixcimError, match="no convolution has kernels on memristor"):
        tune(network, DEMO, place(network, DEMO, [], "sram"), quantise_input(network, calibration), budget=0.1)


def test_a_budget_that_no_table_keeps_is_refused() -> None:
    network, calibration, _ = digits()
    chip = dataclasses.replace(DEMO, name="coarse", adc_bits=3)
    with pytest.raises(MixcimError, match=r"layer '.*': no table on chip 'coarse' has an error below .* raise it"):
        tune(network, chip, place(network, chip, [], "memristor"), quantise_input(network, calibration), budget=0.0)


# The command.


@pytest.fixture
def inputs(tmp_path: Path) -> str:
    path = tmp_path / "inputs.npz"
    np.savez(path, images=digits()[1])
    return str(path)


def test_the_table_file_of_the_command_is_what_compile_takes(
    tmp_path: Path, inputs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, made = tmp_path / "tables.json", tmp_path / "made.mixcim"
    arguments = ["tune", str(DIGITS_RESNET), "--inputs", inputs, "-o", str(output), "--limit", "64", "--json"]
    assert cli.run([*arguments, "--windows", "128", "--budget", "0.1", "--seed", "0"]) == 0
    document = json.loads(capsys.readouterr().out)
    tables, found = tuned(0.1)
    assert document["reads"] == sum(tuning.reads * tuning.windows for tuning in found) < document["uniform_reads"]
    assert document["seed"] == 0 and [item["layer"] for item in document["layers"]] == [t.layer for t in found]
    compiling = ["compile", str(DIGITS_RESNET), "--hidden", "memristor", "--table", str(output), "-o", str(made)]
    assert cli.run(compiling) == 0
    assert Program.load(made).to_bytes() == memristor_program(tables).to_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "tune needs inputs to look at"),
        (["--inputs", "missing.npz"], "missing.npz"),
        (["--inputs", "INPUTS", "-o", "missing/tables.json"], "folder 'missing' of the output does not exist"),
        (["--inputs", "INPUTS", "--budget", "-1"], "budget must be a number >= 0"),
        (["--inputs", "INPUTS", "--budget", "nan"], "budget must be a number >= 0"),
        (["--inputs", "INPUTS", "--hidden", "sram"], "no convolution has kernels on memristor"),
        (["--inputs", "INPUTS", "--chip", "none"], "chip 'none'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    tmp_path: Path, inputs: str, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    output = tmp_path / "tables.json"
    options = [inputs if option == "INPUTS" else option for option in options]
    assert cli.run(["tune", str(DIGITS_RESNET), "-o", str(output), *options]) == 2
    text = capsys.readouterr().err
    assert words in text and text.count("\n") == 1 and not output.exists()
