"""The Verilog top through cocotb and Verilator, with a bus master that nobody here wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from mixcim.host.layout import tensor_words
from mixcim.model.processor import ProcessorModel
from mixcim.rtl.processor import TOP, processor_verilog
from mixcim.rtl.toolchain import environment
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import Event, program_stride
from model.random_program import random_program

CHIP = PRESETS["tiny"]
SEED = 3  # uses all three kinds of unit (checked below)


def write_files(path: Path) -> None:
    """What the bench writes and expects, as plain memory images."""
    program, codes = random_program(CHIP, SEED)
    model = ProcessorModel(CHIP, program)
    memory = model.run(codes[:1])[0]
    assert model.memristor_reads[0] > 0, "choose a seed whose program uses the memristor"
    place = program.tensors[program.input]
    activations = np.zeros((CHIP.activation_words, CHIP.channels), np.uint8)
    words = tensor_words(codes[0], place, CHIP.channels)
    activations[place.address : place.address + len(words)] = words
    commands = np.zeros((len(program.commands), program_stride(CHIP)), np.uint32)
    commands[:, : program.commands.shape[1]] = program.commands
    np.savez(
        path,
        PROGRAM=commands,
        WEIGHTS=program.weights,
        PARAMETERS=np.stack([program.bias.view(np.uint32), program.scale.view(np.uint32)], -1),
        TILES=np.stack(
            [
                program.word_offset.astype(np.uint32) | program.lane_mask.astype(np.uint32) << 16,
                program.exponent_offset.astype(np.uint32),
            ],
            -1,
        ),
        ACTIVATIONS=activations,
        memristor=np.ascontiguousarray(program.memristor[0]).reshape(-1).view(np.uint32),
        adc=program.adc[0].astype(np.int32).view(np.uint32).reshape(-1),
        noise_table=program.noise_table,
        noise_seed=program.noise_seed,
        memory=memory,
        repair=program.repair[0].reshape(-1),
        events=[getattr(model, event.name.lower())[0] for event in Event],
    )


def test_an_independent_master_runs_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MIXCIM_BENCH", str(tmp_path / "bench.npz"))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    write_files(tmp_path / "bench.npz")
    source = tmp_path / "chip.v"
    source.write_text(processor_verilog(CHIP))
    runner = get_runner("verilator")
    runner.build(
        sources=[source],
        hdl_toplevel=TOP,
        build_dir=tmp_path / "build",
        build_args=["-Wno-fatal", "-Wno-lint", "-Wno-PROCASSINIT", "--timing"],
        timescale=("1ns", "1ps"),
        log_file=tmp_path / "build.log",
    )
    results = runner.test(
        hdl_toplevel=TOP, test_module="processor_bench", build_dir=tmp_path / "build", log_file=tmp_path / "test.log"
    )
    tests, failed = get_results(results)
    assert (tests, failed) == (2, 0), (tmp_path / "test.log").read_text()[-3000:]
