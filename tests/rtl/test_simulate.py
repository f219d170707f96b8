"""`mixcim run --on rtl`: several processes give what one gives; Ctrl-C ends all of them and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from compile.random_networks import random_network
from mixcim import cli
from mixcim.commands.simulate import simulate
from mixcim.compile.compiler import compile_network
from mixcim.errors import MixcimError
from mixcim.rtl.processor import processor_library
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def program() -> Program:
    processor_library(TINY)
    return compile_network(random_network(5), TINY, [], "exact")


@pytest.fixture
def program_file(program: Program, tmp_path: Path) -> Path:
    path = tmp_path / "network.mixcim"
    program.save(path)
    return path


def codes_of(program: Program, count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *program.tensors[program.input].shape)).astype(np.uint8)


def test_results_are_in_order_and_those_of_one_process(program: Program) -> None:
    codes = codes_of(program, 7)
    seen: list[tuple[int, int, str]] = []
    one = simulate(program, TINY, codes, 1, lambda *_: None)
    three = simulate(program, TINY, codes, 3, lambda *step: seen.append(step))
    assert len(np.unique(one.outputs.reshape(7, -1), axis=0)) > 1
    assert np.array_equal(one.outputs, three.outputs) and one.counters == three.counters
    assert np.array_equal(one.command_cycles, three.command_cycles)
    assert seen[-1][:2] == (7, 7) and "images/s" in seen[-1][2]


def test_a_failure_in_a_process_is_its_message(program: Program) -> None:
    with pytest.raises(MixcimError, match="an input must be uint8"):
        simulate(program, TINY, codes_of(program, 4).astype(np.int16), 2, lambda *_: None)


def test_the_command_takes_jobs(program_file: Path, program: Program, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "inputs.npz", inputs=_file_values(program, 5))
    documents = []
    for jobs in ("1", "2"):
        assert cli.run(["run", str(program_file), "--inputs", str(tmp_path / "inputs.npz"), "--on", "rtl", "--json",
                        "--jobs", jobs]) == 0  # fmt: skip
        documents.append(json.loads(capsys.readouterr().out))
    for name in ("outputs", "cycles", "adc_conversions", "memristor_reads", "layers"):
        assert documents[0][name] == documents[1][name], name


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_it_says_so_and_leaves_nothing(
    program_file: Path, program: Program, tmp_path: Path, jobs: int
) -> None:
    np.savez(tmp_path / "inputs.npz", inputs=_file_values(program, 1).repeat(20_000, axis=0))
    output = tmp_path / "out.npz"
    main = "from mixcim.cli import main; main()"
    command = [sys.executable, "-c", main, "run", str(program_file), "--inputs", str(tmp_path / "inputs.npz")]
    command += ["--on", "rtl", "--jobs", str(jobs), "-o", str(output)]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)
    library = processor_library(TINY).name
    deadline = time.monotonic() + 120
    while len(users := _with_library(process.pid, library)) < jobs:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and messages.strip() == "interrupted"
    assert time.monotonic() - begin < 30
    assert not output.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["inputs.npz", "network.mixcim"]
    assert not [user for user in users if Path(f"/proc/{user}").exists()]


def _file_values(program: Program, count: int) -> np.ndarray:
    """Inputs as the program's own integers, in the layout of its file."""
    codes = codes_of(program, count)
    values = (codes.astype(np.int16) - 128).astype(np.int8) if program.tensors[program.input].signed else codes
    return values.transpose(0, 3, 1, 2) if program.input_layout == "NCHW" else values


def _with_library(pid: int, library: str) -> list[int]:
    """Processes below `pid`, or itself, that have loaded a library."""
    found, todo = [], [pid]
    while todo:
        process = todo.pop()
        try:
            todo += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
            if library in Path(f"/proc/{process}/maps").read_text():
                found.append(process)
        except OSError:
            continue
    return found
