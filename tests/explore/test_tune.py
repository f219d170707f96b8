"""Word-line tables that `tune` finds: their error and their reads, measured by the model on inputs it has not seen."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixcim import cli
from mixcim.compile.compiler import compile_network
from mixcim.compile.evaluate import evaluate
from mixcim.compile.load import load_network, quantise_input
from mixcim.compile.network import FloatArithmetic, Layer, LayerKind, Network, Quantisation, Tensor
from mixcim.compile.placement import place
from mixcim.compile.table import Tables, WordLineTable, read_table
from mixcim.errors import MixcimError
from mixcim.explore.tune import UNIFORM_ROWS, LayerTuning, tune
from mixcim.model import ProcessorModel
from mixcim.networks.digits import DIGITS_RESNET, digits_data
from mixcim_hdl.floating import ElementFormat, Rounding
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

DEMO = PRESETS["demo"]
BUDGETS = (0.0, 0.02, 0.1, 0.5, 2.0)
ON_MEMRISTOR = ["*=memristor"]


@functools.cache
def dense() -> tuple[Network, np.ndarray, np.ndarray]:
    """Two convolutions whose sums often pass the ADC's largest code, calibration inputs and others, int16 (N, H, W, C).

    Weights of "mixed" have both signs; "positive" has none below 0: w+ saturates, and w- cannot make up for it.
    """
    rng = np.random.default_rng(7)
    shape, quantisation = (6, 6, 24), Quantisation(1.0, 0, False)
    tensors = {name: Tensor(name, shape, quantisation) for name in ("in", "middle", "out")}
    layers = []
    for name, low, source, output in (("mixed", -127, "in", "middle"), ("positive", 0, "middle", "out")):
        weight = rng.integers(low, 128, (24, 3, 3, 24)).astype(np.int8)
        bias, scale = np.zeros(24, np.int32), np.full(24, 1e-3 if low else 1e-4, np.float32)
        window = ((3, 3), (1, 1), (1, 1, 1, 1))
        layers.append(Layer(name, LayerKind.CONVOLUTION, source, output, *window, weight, bias, scale, (0, 255)))
    network = Network("dense", tensors, layers, "in", "out", "NHWC", shape, shape)
    codes = rng.integers(0, 256, (80, *shape)).astype(np.int16)
    return network, codes[:40], codes[40:]


@functools.cache
def tuned(budget: float) -> tuple[Tables, list[LayerTuning]]:
    network, calibration, _ = dense()
    return tune(network, DEMO, place(network, DEMO, ON_MEMRISTOR), calibration, budget=budget, windows=128)


def memristor_program(table: str | Tables) -> Program:
    return compile_network(dense()[0], DEMO, ON_MEMRISTOR, table)


def layer_errors(tables: Tables) -> dict[str, float]:
    """Mean magnitude of the error of each layer by itself, in codes, on inputs that tune has not seen, by the model.

    A code is the rounded sum, so the mean magnitude of its error is that of the sum's error before rounding (whose
    place between two codes is anywhere), and at most that one's root mean square.
    """
    network, _, inputs = dense()
    model = ProcessorModel(DEMO, memristor_program(tables))
    truth = {name: tensor.astype(np.uint8) for name, tensor in evaluate(network, inputs).items()}
    errors = {}
    for number, layer in enumerate(network.layers):
        output = model.run_layer(number, {layer.input: truth[layer.input]})
        errors[layer.name] = float(np.abs(output.astype(int) - truth[layer.output]).mean())
    return errors


def test_the_network_is_one_in_which_tables_matter() -> None:
    network, _, inputs = dense()
    for name, tensor in evaluate(network, inputs).items():
        assert np.unique(tensor).size > 100, name
    assert min(layer_errors(read_table("64", DEMO)).values()) > 0.1


def test_every_layer_on_memristor_gets_a_table() -> None:
    tables, found = tuned(0.1)
    assert [tuning.layer for tuning in found] == list(tables.layers) == ["mixed", "positive"]
    network, calibration, _ = dense()
    placement = place(network, DEMO, ["mixed=sram", "positive=memristor"])
    assert list(tune(network, DEMO, placement, calibration, budget=0.1, windows=8)[0].layers) == ["positive"]


def test_floating_layers_are_refused() -> None:
    network, calibration, _ = dense()
    arithmetic = FloatArithmetic(ElementFormat.INTEGER, 12, Rounding.NEAREST_EVEN, (0.0, np.inf))
    first, second = network.layers
    network = dataclasses.replace(network, layers=[first, dataclasses.replace(second, floating=arithmetic)])
    with pytest.raises(MixcimError, match="layer 'positive' has floating-point arithmetic, tune knows integer layers"):
        tune(network, DEMO, place(network, DEMO, ON_MEMRISTOR), calibration, budget=0.1)


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
    inputs = dense()[2][:2].astype(np.uint8)
    for table, expected in (
        (tables, sum(tuning.reads * tuning.windows for tuning in found)),
        (str(UNIFORM_ROWS), sum(tuning.uniform_reads * tuning.windows for tuning in found)),
    ):
        model = ProcessorModel(DEMO, memristor_program(table))
        model.run(inputs)
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
    network, calibration, _ = dense()
    placement = place(network, DEMO, ON_MEMRISTOR)
    errors = [
        tune(network, DEMO, placement, calibration, budget=0.2, windows=32, seed=seed)[1][0].error for seed in (0, 0, 1)
    ]
    assert errors[0] == errors[1] != errors[2]


# What cannot be tuned.


@pytest.mark.parametrize(
    ("fields", "rules", "options", "words"),
    [
        ({}, ON_MEMRISTOR, {"budget": -0.1}, "budget must be a number >= 0 and windows >= 1, not -0.1 and 256"),
        ({}, ON_MEMRISTOR, {"budget": math.nan}, "budget must be a number >= 0"),
        ({}, ON_MEMRISTOR, {"budget": math.inf}, "budget must be a number >= 0"),
        ({}, ON_MEMRISTOR, {"budget": 0.1, "windows": 0}, "windows >= 1, not 0.1 and 0"),
        ({"encoding": "offset"}, ON_MEMRISTOR, {"budget": 0.1}, "differential encoding, chip 'demo' has 'offset'"),
        ({}, ["*=sram"], {"budget": 0.1}, "no convolution has kernels on memristor"),
        ({"adc_bits": 3}, ON_MEMRISTOR, {"budget": 0.0}, "layer 'mixed': no table on chip 'demo' has an error below"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    fields: dict[str, Any], rules: list[str], options: dict[str, Any], words: str
) -> None:
    network, calibration, _ = dense()
    chip = dataclasses.replace(DEMO, **fields)
    with pytest.raises(MixcimError) as error:
        tune(network, chip, place(network, chip, rules), calibration, **options)
    assert words in str(error.value) and "\n" not in str(error.value)


# The command.


@pytest.fixture
def inputs(tmp_path: Path) -> str:
    path = tmp_path / "inputs.npz"
    np.savez(path, images=digits_data()[0][:64])
    return str(path)


def test_the_table_file_of_the_command_is_what_compile_takes(
    tmp_path: Path, inputs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, made = tmp_path / "tables.json", tmp_path / "made.mixcim"
    arguments = ["tune", str(DIGITS_RESNET), "--inputs", inputs, "-o", str(output), "--limit", "64", "--json"]
    assert cli.run([*arguments, "--windows", "128", "--budget", "0.1", "--seed", "0"]) == 0
    document = json.loads(capsys.readouterr().out)
    network = load_network(DIGITS_RESNET)
    codes = quantise_input(network, np.ascontiguousarray(digits_data()[0][:64]))
    placement = place(network, DEMO, [], "memristor")
    tables, found = tune(network, DEMO, placement, codes, budget=0.1, windows=128)
    assert document["reads"] == sum(tuning.reads * tuning.windows for tuning in found) < document["uniform_reads"]
    assert document["seed"] == 0 and [item["layer"] for item in document["layers"]] == [t.layer for t in found]
    compiling = ["compile", str(DIGITS_RESNET), "--hidden", "memristor", "--table", str(output), "-o", str(made)]
    assert cli.run(compiling) == 0
    expected = compile_network(network, DEMO, hidden="memristor", table=tables)
    assert Program.load(made).to_bytes() == expected.to_bytes()


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
