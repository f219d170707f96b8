"""The host driver on the simulated RTL of chip tiny: runs, step by step, faults, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from compile.random_networks import depthwise_network, random_codes, random_network, random_rules
from mixcim import cli
from mixcim.compile.compiler import compile_network
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.model import ProcessorModel
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.commands import Opcode, command_layout, decode_command, encode_command
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program, ProgramError
from mixcim_hdl.registers import Event

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def processor() -> Processor:
    return rtl_processor(TINY)


def program_and_codes(seed: int, rules: list[str]) -> tuple[Program, np.ndarray]:
    program = compile_network(random_network(seed), TINY, rules, "exact")
    random = np.random.default_rng(seed)
    return program, random.integers(0, 256, (2, *program.tensors[program.input].shape)).astype(np.uint8)


@pytest.mark.parametrize("rules", [[], ["*=sram"], ["*=memristor"], ["*=tiny"]], ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_every_tensor_and_counter_equals_the_model(processor: Processor, seed: int, rules: list[str]) -> None:
    program, codes = program_and_codes(seed, rules)
    model = ProcessorModel(TINY, program)
    expected = model.run(codes, capture=list(program.tensors))
    processor.load(program)
    for number, code in enumerate(codes):
        seen: dict[str, np.ndarray] = {}
        processor.run_stepwise(code, seen.__setitem__)
        assert seen.keys() == program.tensors.keys()
        for name, tensor in seen.items():
            assert np.array_equal(tensor, model.captured[name][number]), name
        output, counters = processor.infer(code)  # the program store is as it was
        assert np.array_equal(output, expected[number])
        for name in (event.name.lower() for event in Event):
            assert getattr(counters, name) == getattr(model, name)[number], name
        cycles = processor.command_cycles()
        # A LOAD beside a RUN takes none of its own.
        beside = [fields.get("overlap", 0) == 1 for _, fields in (decode_command(c, TINY) for c in program.commands)]
        assert ((cycles == 0) == beside).all() and abs(int(cycles.sum()) - counters.cycles) <= 4 * len(cycles)
    assert np.array_equal(processor.run(codes), expected)


@pytest.mark.parametrize("seed", range(24))
def test_floating_networks_equal_the_model(processor: Processor, seed: int) -> None:
    """Layers of all formats on all units; the second input has an infinity or NaN somewhere, if it can."""
    network = random_network(seed, formats=list(ElementFormat))
    program = compile_network(network, TINY, random_rules(network, seed, TINY.channels), "exact")
    place, random = program.tensors[program.input], np.random.default_rng(seed)
    elements = random_codes(network, 2, seed)
    if place.element.floating is None:
        elements = (elements + (128 if place.signed else 0)).astype(np.uint8)
    else:
        elements[1].reshape(-1)[random.integers(elements[1].size)] = place.element.floating.nan_pattern
    model = ProcessorModel(TINY, program)
    expected = model.run(elements, capture=list(program.tensors))
    processor.load(program)
    for number, element in enumerate(elements):
        seen: dict[str, np.ndarray] = {}
        processor.run_stepwise(element, seen.__setitem__)
        for name, tensor in seen.items():
            captured = model.captured[name][number]
            assert tensor.dtype == captured.dtype and np.array_equal(tensor, captured), name
    assert np.array_equal(processor.run(elements), expected)


def test_more_groups_than_accumulator_tiles(processor: Processor) -> None:
    program = compile_network(depthwise_network(40), TINY)
    assert decode_command(program.commands[-2], TINY)[1]["group_count"] == 10 > TINY.accumulator_tiles
    codes = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 40)).astype(np.uint8)
    processor.load(program)
    assert np.array_equal(processor.run(codes), ProcessorModel(TINY, program).run(codes))


def changed(program: Program, opcode: Opcode, **fields: int) -> tuple[Program, int]:
    """The program with other fields in its first command of that kind, and that command's index."""
    commands = program.commands.copy()
    index = next(i for i, words in enumerate(commands) if decode_command(words, TINY)[0] is opcode)
    old = {name: value for name, value in decode_command(commands[index], TINY)[1].items() if name != "opcode"}
    assert set(fields) <= set(command_layout(opcode, TINY))
    commands[index] = encode_command(opcode, TINY, **{**old, **fields})
    return dataclasses.replace(program, commands=commands), index


@pytest.mark.parametrize(
    ("opcode", "fields", "fault"),
    [
        (Opcode.LOAD, {"source": TINY.weight_words}, "WEIGHT_ADDRESS"),
        (Opcode.LOAD, {"destination": 1 << 20}, "UNIT_ADDRESS"),
        (Opcode.RUN, {"output_base": TINY.activation_words}, "OUTPUT_ADDRESS"),
        (Opcode.RUN, {"input_bits": 0}, "ILLEGAL_COMMAND"),
    ],
)
def test_faults_name_command_and_layer_and_the_chip_goes_on(
    processor: Processor, opcode: Opcode, fields: dict[str, int], fault: str
) -> None:
    program, codes = program_and_codes(4, ["*=sram"])
    broken, index = changed(program, opcode, **fields)
    layer = next(item for item in program.layers if index in item.commands)
    processor.load(broken)
    with pytest.raises(MixcimError) as error:
        processor.run(codes)
    assert f"fault {fault} at command {index} (layer '{layer.name}')" in str(error.value)
    processor.load(program)
    assert np.array_equal(processor.run(codes), ProcessorModel(TINY, program).run(codes))


def test_wrong_chip_program_and_input_are_refused(processor: Processor) -> None:
    with pytest.raises(MixcimError, match="fingerprint of chip 'demo'"):
        Processor(processor.bus, PRESETS["demo"])
    with pytest.raises(ProgramError, match="was compiled for a chip 'demo'"):
        processor.load(compile_network(random_network(0), PRESETS["demo"]))
    with pytest.raises(MixcimError, match="has no program"):
        Processor(processor.bus, TINY).run(np.zeros((1, 1, 1, 1), np.uint8))
    program, codes = program_and_codes(0, [])
    processor.load(program)
    with pytest.raises(MixcimError, match="an input must be uint8 of shape"):
        processor.infer(codes[0][:-1])
    with pytest.raises(MixcimError, match="an input must be uint8 of shape"):
        processor.infer(codes[0].astype(np.int16))


def test_a_run_that_takes_too_long_is_aborted(processor: Processor) -> None:
    program, codes = program_and_codes(1, [])
    processor.load(program)
    processor.cycle_limit = 50
    try:
        with pytest.raises(MixcimError, match="no interrupt in 50 cycles"):
            processor.run(codes)
    finally:
        processor.cycle_limit = 10_000_000
    assert np.array_equal(processor.run(codes), ProcessorModel(TINY, program).run(codes))


@pytest.mark.slow  # builds a simulator with waveforms
def test_command_line_runs_on_rtl_with_waveform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, codes = program_and_codes(2, [])
    program.save(tmp_path / "program")
    values = codes if not program.tensors[program.input].signed else (codes.astype(np.int16) - 128).astype(np.int8)
    np.save(tmp_path / "inputs.npy", values)
    arguments = ["run", str(tmp_path / "program"), "--inputs", str(tmp_path / "inputs.npy"), "--json"]
    assert cli.run(arguments) == 0
    on_model = json.loads(capsys.readouterr().out)
    wave = tmp_path / "wave"
    assert cli.run([*arguments, "--on", "rtl", "--wave", str(wave)]) == 0
    on_rtl = json.loads(capsys.readouterr().out)
    assert on_rtl["outputs"] == on_model["outputs"]
    assert sum(layer["cycles"] for layer in on_rtl["layers"]) <= on_rtl["cycles"]
    assert wave.stat().st_size > 1000
