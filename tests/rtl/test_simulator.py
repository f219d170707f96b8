"""The verilated simulator on the toy: bus, interrupt, reset, waveforms, cache and error messages."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.rtl import build, toolchain
from mixcim.rtl.build import build_library
from mixcim.rtl.simulator import BusError, Simulator
from rtl.toy import COUNTER, MEMORY_WORDS


@pytest.fixture
def simulator(toy_library: Path):
    with Simulator(toy_library) as made:
        yield made


def word(value: int) -> np.ndarray:
    return np.array([value], np.uint32)


def test_a_block_comes_back_at_one_word_per_cycle(simulator: Simulator) -> None:
    words = np.random.default_rng(1).integers(0, 1 << 32, MEMORY_WORDS, np.uint32)
    begin = simulator.cycle
    simulator.write(0, words)
    assert simulator.cycle - begin <= MEMORY_WORDS + 8
    begin = simulator.cycle
    assert np.array_equal(simulator.read(0, MEMORY_WORDS), words)
    assert simulator.cycle - begin <= MEMORY_WORDS + 8


def test_step_zero_stays_at_one_address_and_larger_steps_skip(simulator: Simulator) -> None:
    simulator.write(16, np.arange(5, dtype=np.uint32), step=0)
    assert simulator.read(16, 1)[0] == 4
    simulator.write(64, np.array([7, 8], np.uint32), step=32)
    assert list(simulator.read(64, 9)) == [7, 0, 0, 0, 0, 0, 0, 0, 8]
    simulator.write(0, np.zeros(0, np.uint32))
    assert simulator.read(0, 0).size == 0


def test_a_refused_access_names_its_address_and_the_bus_works_on(simulator: Simulator) -> None:
    end = 4 * MEMORY_WORDS
    with pytest.raises(BusError, match="write of address 0x00001000: .*SLVERR") as caught:
        simulator.write(end - 8, np.full(20, 9, np.uint32))
    assert caught.value.address == end
    with pytest.raises(BusError, match="read of address 0x00001000: .*SLVERR"):
        simulator.read(end - 8, 20)
    assert list(simulator.read(end - 8, 2)) == [9, 9]


def test_the_interrupt_stops_the_run(simulator: Simulator) -> None:
    simulator.write(COUNTER, word(50_000))
    assert not simulator.interrupt
    assert 49_990 <= simulator.run_until_interrupt(10_000_000) <= 50_000
    assert simulator.interrupt
    assert simulator.run_until_interrupt(100) == 0
    simulator.read(COUNTER, 1)
    assert not simulator.interrupt
    assert simulator.run_until_interrupt(100) == 100


def test_reset_stops_the_counter_and_keeps_the_memory(simulator: Simulator) -> None:
    simulator.write(0, word(77))
    simulator.write(COUNTER, word(1000))
    simulator.reset()
    assert simulator.read(COUNTER, 1)[0] == 0
    assert simulator.read(0, 1)[0] == 77


def test_two_simulators_are_independent(toy_library: Path) -> None:
    with Simulator(toy_library) as one, Simulator(toy_library) as other:
        one.write(0, word(1))
        assert other.read(0, 1)[0] == 0


def test_the_second_build_runs_no_tool(toy_library: Path, toy_verilog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a tool was started")

    monkeypatch.setattr(build, "_run", forbidden)
    assert build_library(toy_verilog, "toy") == toy_library
    with pytest.raises(AssertionError, match="a tool was started"):
        build_library(toy_verilog + "\n", "toy")


def test_waveforms_are_written_by_the_variant_that_has_them(
    toy_library: Path, toy_verilog: str, tmp_path: Path, simulator: Simulator
) -> None:
    steps: list[str] = []
    library = build_library(toy_verilog, "toy", trace="vcd", progress=lambda done, total, what: steps.append(what))
    assert library != toy_library
    assert not steps or steps[0] == "verilating"
    with Simulator(library) as traced:
        traced.trace(tmp_path / "toy.vcd")
        traced.write(0, word(5))
        traced.trace(None)
        traced.write(0, word(6))
    waveform = (tmp_path / "toy.vcd").read_text()
    assert "s_axi_awvalid" in waveform and "$enddefinitions" in waveform
    with pytest.raises(MixcimError, match="build it with trace='vcd'"):
        simulator.trace(tmp_path / "none.vcd")


def test_two_processes_do_not_build_the_same_library_twice(
    toy_verilog: str, toy_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for the other, and then takes what that one has built. Threads hold the file lock apart, too."""
    for runtime in toy_library.parent.glob("runtime-*"):
        shutil.copytree(runtime, tmp_path / runtime.name)
    monkeypatch.setenv("MIXCIM_CACHE", str(tmp_path))
    verilated = []
    run = build._run

    def counted(command: list[str], folder: Path) -> None:
        verilated.extend([command] if "--cc" in command else [])
        run(command, folder)

    monkeypatch.setattr(build, "_run", counted)
    with ThreadPoolExecutor(2) as pool:
        libraries = list(pool.map(lambda _: build_library(toy_verilog, "toy"), range(2)))
    assert libraries[0] == libraries[1] and libraries[0].exists()
    assert len(verilated) == 1


def test_errors_are_one_line_and_name_the_remedy(
    simulator: Simulator, toy_verilog: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MixcimError, match="must be uint32, not int64"):
        simulator.write(0, np.zeros(1, np.int64))
    with pytest.raises(MixcimError, match="leaves the 32-bit addresses"):
        simulator.read(0xFFFF_FFFC, 2)
    with pytest.raises(MixcimError, match="cannot be loaded"):
        Simulator(tmp_path / "missing.so")
    with pytest.raises(MixcimError, match="trace format must be vcd or fst, not 'lxt'"):
        build_library(toy_verilog, "toy", trace="lxt")
    monkeypatch.setenv("MIXCIM_CACHE", str(tmp_path))
    with pytest.raises(MixcimError, match="verilator_bin failed") as caught:
        build_library("module toy(; endmodule", "toy")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MixcimError, match="'no-such-compiler' is not installed; install g"):
        toolchain.compiler()
    simulator.close()
    with pytest.raises(MixcimError, match="closed"):
        simulator.run(1)


def test_simulations_end_in_any_order() -> None:
    """Of a chip in blocks: the end of one must not touch another that is gone. Freed memory is overwritten here."""
    script = (
        "from mixcim_hdl.presets import PRESETS\n"
        "from mixcim.rtl.processor import rtl_processor\n"
        "first, second = (rtl_processor(PRESETS['demo']).bus for _ in range(2))\n"
        "second.close()\n"
        "first.close()\n"
    )
    environment = {**os.environ, "MALLOC_PERTURB_": "165", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=600)
