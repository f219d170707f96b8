"""`mixcim bench`: form of its records, and that the simulators it compares run one program to one result."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mixcim import cli
from mixcim.bench import networks, simulators
from mixcim.bench.compiling import command_seconds
from mixcim.bench.record import Record, as_documents, record, records_table, write_records
from mixcim.bench.simulators import simulator_records, small_program
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.networks.digits import DIGITS_RESNET
from mixcim.rtl.icarus import Recorder
from mixcim.rtl.interpreted import AmaranthBus
from mixcim.rtl.processor import rtl_processor
from mixcim.rtl.simulator import BusError
from workloads import WORKLOADS, needs_workloads

FIELDS = ["name", "value", "unit", "paper", "goal", "met", "how"]


def assert_well_formed(documents: list[dict]) -> None:
    for item in documents:
        assert list(item) == FIELDS
        assert isinstance(item["name"], str) and isinstance(item["unit"], str)
        assert isinstance(item["value"], float) and math.isfinite(item["value"])
        assert item["paper"] is None or isinstance(item["paper"], int | float)
        assert (item["met"] is None) == (item["goal"] is None)
        assert item["how"] in ("rtl", "model", "estimate")
    names = [item["name"] + item["unit"] for item in documents]
    assert len(names) == len(set(names))


def test_goals_are_bounds() -> None:
    assert record("a", 2, "s", "rtl") == Record("a", 2.0, "s", None, None, None, "rtl")
    assert record("a", 2, "s", "rtl", at_least=2, paper=3) == Record("a", 2.0, "s", 3, 2, True, "rtl")
    assert record("a", 1.9, "s", "rtl", at_least=2).met is False
    assert record("a", 2, "s", "model", at_most=2).met is True
    assert record("a", 2.1, "s", "estimate", at_most=2).met is False
    with pytest.raises(ValueError, match="how must be one of rtl, model, estimate, not 'guess'"):
        record("a", 1, "s", "guess")
    with pytest.raises(ValueError, match="has two goals, 1 and 2"):
        record("a", 1, "s", "rtl", at_least=1, at_most=2)


def test_records_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    records = [record("a", np.float64(1.5), "s", "rtl", at_most=2), record("b", 3, "%", "model")]
    write_records(path, records)
    assert json.loads(path.read_text()) == as_documents(records)
    assert_well_formed(json.loads(path.read_text()))
    broken = Record("c", object(), "s", None, None, None, "rtl")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_records(path, [*records, broken])
    assert json.loads(path.read_text()) == as_documents(records)
    assert [item.name for item in path.parent.iterdir()] == ["bench.json"]


def test_table_shows_goals_only_if_there_are_some() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(records_table([record("a", 1234567.8, "cycles/s", "rtl"), record("b", 0.0123, "s", "model")], "t"))
    text = console.export_text()
    assert "1,234,568" in text and "0.0123" in text and "goal" not in text
    console.print(records_table([record("a", 1, "s", "rtl", at_most=0.5)], "t"))
    text = console.export_text()
    assert "goal" in text and "NO" in text


def test_small_program_uses_every_kind_of_unit_and_many_codes() -> None:
    _, program, _, output = small_program()
    assert {unit for layer in program.layers for unit in layer.kernels} == {"memristor", "sram", "tiny"}
    assert len(np.unique(output)) > 4


def test_a_simulator_that_differs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    chip, program, code, output = small_program()
    output[0, 0, 0] ^= 1
    monkeypatch.setattr(simulators, "small_program", lambda: (chip, program, code, output))
    with pytest.raises(MixcimError, match="verilated gives another output than the model"):
        simulator_records(quick=True)


def test_amaranth_bus_reports_refused_accesses_and_counters() -> None:
    chip, program, code, output = small_program()
    bus = AmaranthBus(chip)
    with pytest.raises(BusError, match="write of address 0x00000000"):
        bus.write(0, np.zeros(1, np.uint32))
    with pytest.raises(BusError, match="read of address 0xa0000000"):
        bus.read(0xA000_0000, 1)
    slow, fast = Processor(bus, chip), rtl_processor(chip)
    for processor in (slow, fast):
        processor.load(program)
    results = [processor.infer(code) for processor in (slow, fast)]
    np.testing.assert_array_equal(results[0][0], output)
    np.testing.assert_array_equal(results[1][0], output)
    assert results[0][1] == results[1][1]  # cycles, reads, saturations


def test_recorder_keeps_what_the_host_did() -> None:
    chip, program, code, _ = small_program()
    recorder = Recorder(rtl_processor(chip).bus)
    processor = Processor(recorder, chip)
    processor.load(program)
    processor.infer(code)
    assert len(recorder.waits) == 1 and recorder.writes[recorder.waits[0] - 1] == (0x0C, 1)  # start
    assert len(recorder.writes) == recorder.waits[0] + 1  # the interrupt is cleared
    assert recorder.reads[0] == (0, 0x4D58434D)


def test_bench_writes_and_prints_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    arguments = ["bench", "--quick", "--workloads", str(tmp_path / "none"), "-o", str(path)]
    assert cli.run([*arguments, "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert documents == json.loads(path.read_text())
    assert_well_formed(documents)
    values = {item["name"]: item["value"] for item in documents}
    ratio = values["verilated, chip tiny"] / values["Amaranth's simulator, chip tiny"]
    assert values["verilated / Amaranth's simulator"] == pytest.approx(ratio) and ratio > 10
    assert 0.1 < values["verilated, chip tiny, useful work"] / values["verilated, chip tiny"] < 100  # MACs a cycle
    assert values["digits, accuracy over 360 images"] > 98
    layers = [value for name, value in values.items() if name.startswith("digits, layer") and "util" not in name]
    assert len(layers) == 8 and 0 < values["digits, RTL"] - sum(layers) < 64
    assert 1 < values["digits, layer 2 (block1.conv1), utilisation"] < 100


def test_speed_has_a_goal_and_outputs_before_the_first_class_do_not_count() -> None:
    chip, program, code, output = small_program()
    codes, classes = np.repeat(code[None], 3, axis=0), output.reshape(-1)
    first = int(classes.argmax()) + 1  # the largest output is not a class
    right = int(classes[first:].argmax())
    labels = np.array([right, right + 1, right])
    records = networks.model_records("small", program, codes, labels, goal=1e-9, chip=chip, first_class=first)
    assert [(item.name, item.unit, item.goal, item.met) for item in records] == [
        ("small, model", "images/s", 1e-9, True),
        ("small, accuracy over 3 images", "%", None, None),
    ]
    assert records[1].value == pytest.approx(200 / 3)


def test_compile_command_is_timed_from_start_to_end(tmp_path: Path) -> None:
    assert 0.05 < command_seconds(DIGITS_RESNET, 1) < 60
    with pytest.raises(MixcimError, match="^network file .* does not exist"):
        command_seconds(tmp_path / "none.onnx", 1)


@needs_workloads
def test_real_networks_are_found_in_the_pack() -> None:
    for workload in (networks.RESNET20, *networks.TFLITE, networks.MOBILENET):
        assert (WORKLOADS / workload.network).is_file() and (WORKLOADS / workload.inputs).exists()
    assert (WORKLOADS / str(networks.RESNET20.calibration)).is_file()
