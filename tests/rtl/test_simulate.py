"""`mixcim run --on rtl`: several processes give what one gives; Ctrl-C ends all of them and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
    output = tmp_path / "out.npz"
    process = _running(program_file, program, jobs, "-o", str(output))
    users = _simulating(process, jobs)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and messages.strip() == "interrupted"
    assert time.monotonic() - begin < 30
    assert not output.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["inputs.npz", "network.mixcim"]
    assert not [user for user in users if Path(f"/proc/{user}").exists()]


def test_interrupted_at_a_terminal_while_processes_start(program_file: Path, program: Program) -> None:
    """Ctrl-C then reaches processes that are importing, and have not come to our code yet."""
    process = _running(program_file, program, 2)
    _wait(process, lambda: any("numpy" in _text(child, "maps") for child in _below(process.pid)))
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and messages.strip() == "interrupted"


def test_killed_it_leaves_no_simulation(program_file: Path, program: Program) -> None:
    process = _running(program_file, program, 2)
    users = _simulating(process, 2)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while running := [user for user in users if _text(user, "cmdline")]:
        if time.monotonic() > deadline:
            for user in running:
                os.kill(user, signal.SIGKILL)
            pytest.fail(f"{len(running)} simulations are left")
        time.sleep(0.1)


def _running(program_file: Path, program: Program, jobs: int, *options: str) -> subprocess.Popen[str]:
    """`mixcim run` on so many inputs that it goes on and on, in a process group of its own."""
    inputs = program_file.with_name("inputs.npz")
    np.savez(inputs, inputs=_file_values(program, 1).repeat(20_000, axis=0))
    main = "from mixcim.cli import main; main()"
    command = [sys.executable, "-c", main, "run", str(program_file), "--inputs", str(inputs)]
    command += ["--on", "rtl", "--jobs", str(jobs), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _simulating(process: subprocess.Popen[str], jobs: int) -> list[int]:
    """Waits until so many processes simulate; their numbers."""
    library = processor_library(TINY).name

    def users() -> list[int]:
        return [pid for pid in (process.pid, *_below(process.pid)) if library in _text(pid, "maps")]

    _wait(process, lambda: len(users()) >= jobs)
    return users()


def _wait(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.01)


def _file_values(program: Program, count: int) -> np.ndarray:
    """Inputs as the program's own integers, in the layout of its file."""
    codes = codes_of(program, count)
    values = (codes.astype(np.int16) - 128).astype(np.int8) if program.tensors[program.input].signed else codes
    return values.transpose(0, 3, 1, 2) if program.input_layout == "NCHW" else values


def _below(pid: int) -> list[int]:
    """Processes below `pid`."""
    children = [int(child) for child in _text(pid, f"task/{pid}/children").split()]
    return [*children, *(below for child in children for below in _below(child))]


def _text(pid: int, name: str) -> str:
    """A file of a process, empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""
