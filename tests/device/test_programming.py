"""Programming whole programs by write-verify: RTL = model, repair by spares, locks, endurance, the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.random_networks import random_network
from mixcim import cli
from mixcim.compile.compiler import compile_network
from mixcim.device import CellArray, DeviceModel, WriteVerify, program_cells
from mixcim.device.cells import FREE, stuck_cells
from mixcim.device.model import Drift, Programming, Spread, Wire
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.model import ProcessorModel
from mixcim.rtl.processor import rtl_processor
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program
from mixcim_hdl.registers import UNLOCK_KEY, Event, Region, Register, window_address

TINY = PRESETS["tiny"]
#: Many stuck cells, so that some columns have no good spare; retries few enough that free cells are given up, too.
DEVICE = dataclasses.replace(
    DeviceModel(), name="rough", hrs_uS=2.0, stuck_hrs=0.004, stuck_lrs=0.004, read_noise=0.02,
    spread=Spread((0.0,), (2.0,)), drift=Drift(sigma_uS=(1.0,)),
    programming=Programming(retry_limit=20, step_sigma=0.3),
)  # fmt: skip


def compiled(chip: ChipConfig = TINY) -> Program:
    return compile_network(random_network(3), chip, ["*=memristor"], "4")


@pytest.fixture(scope="module")
def processor() -> Processor:
    return rtl_processor(TINY)


def effective_cells(program: Program, chip: ChipConfig, bank: int = 0) -> np.ndarray:
    """Cells of the columns after repair, (words, columns, rows)."""
    lines = program.memristor[bank].reshape(-1, chip.physical_columns, chip.rows)
    result = lines[:, : chip.memristor_columns].copy()
    for word, columns in enumerate(program.repair[bank]):
        for spare, column in enumerate(columns):
            if column:
                result[word, column - 1] = lines[word, chip.memristor_columns + spare]
    return result


def test_rtl_and_model_program_the_same_and_then_run_the_same(processor: Processor) -> None:
    program = compiled()
    on_rtl = program_cells(processor, program, TINY, DEVICE, seed=5, time_s=100.0)
    on_model = program_cells(CellArray(TINY), program, TINY, DEVICE, seed=5, time_s=100.0)
    for name in ("memristor", "repair"):
        for got, want in zip(getattr(on_rtl.program, name), getattr(on_model.program, name), strict=True):
            np.testing.assert_array_equal(got, want, err_msg=name)
    for name in ("pulses", "given_up", "wear"):
        np.testing.assert_array_equal(getattr(on_rtl.report, name), getattr(on_model.report, name), err_msg=name)
    assert on_model.repaired and on_model.left and on_model.report.given_up.any()
    assert on_rtl.summary() == on_model.summary()
    # What the chip holds now is what the program says: run without loading the cells again.
    codes = np.random.default_rng(1).integers(0, 256, (1, *program.tensors[program.input].shape)).astype(np.uint8)
    model = ProcessorModel(TINY, on_model.program)
    want = model.run(codes)
    without_cells = dataclasses.replace(
        on_model.program, memristor=tuple(lines[:0] for lines in program.memristor), repair=tuple(program.repair)
    )
    processor.load(without_cells)
    got, counters = processor.infer(codes[0])
    np.testing.assert_array_equal(got, want[0])
    for event in Event:
        assert getattr(counters, event.name.lower()) == getattr(model, event.name.lower())[0], event


@pytest.mark.parametrize("spares", [0, 1, 4])
def test_spares_take_the_columns_with_most_given_up_cells(spares: int) -> None:
    chip = dataclasses.replace(TINY, spare_columns=spares)
    program = compiled(chip)
    result = program_cells(CellArray(chip), program, chip, DEVICE, seed=5)
    band = WriteVerify.of(DEVICE, chip).band
    wanted = program.memristor[0].reshape(-1, chip.physical_columns, chip.rows)[:, : chip.memristor_columns].astype(int)
    outside = np.abs(effective_cells(result.program, chip) - wanted) > band
    assert outside.sum() == result.left, "cells left in use, seen from the codes"
    lines = result.program.memristor[0].reshape(-1, chip.physical_columns, chip.rows)
    first = np.abs(lines[:, : chip.memristor_columns] - wanted) > band
    assert outside.sum() <= first.sum()
    # Nothing but the worst columns of a word is replaced, and never by something worse.
    for word, columns in enumerate(result.program.repair[0]):
        for column in {int(column) for column in columns if column}:
            assert outside[word, column - 1].sum() < first[word, column - 1].sum()
        kept = [c for c in range(chip.memristor_columns) if c + 1 not in columns]
        taken = [int(c) - 1 for c in columns if c]
        if taken and len(set(taken)) == spares:
            assert max(first[word, kept].sum(axis=1)) <= max(first[word, taken].sum(axis=1))
    assert result.repaired == sum(len({int(c) for c in row if c}) for row in result.program.repair[0])
    assert (result.repaired > 0) == (spares > 0)


def test_without_stuck_cells_every_cell_is_in_its_band() -> None:
    program = compiled()
    result = program_cells(CellArray(TINY), program, TINY, dataclasses.replace(DeviceModel(), hrs_uS=1.0), seed=1)
    assert result.left == 0 and result.repaired == 0 and result.report.yielded == 1.0
    used = program.memristor[0].reshape(-1, TINY.physical_columns, TINY.rows)[:, : TINY.memristor_columns]
    band = WriteVerify.of(DeviceModel(), TINY).band
    assert np.abs(effective_cells(result.program, TINY).astype(int) - used).max() <= band


def test_a_locked_bank_refuses_everything_and_loses_nothing(processor: Processor) -> None:
    program = compiled()
    processor.unlock()
    processor.load(program)
    codes = np.zeros((1, *program.tensors[program.input].shape), np.uint8)
    want = processor.run(codes)
    processor.lock()
    other = dataclasses.replace(program, memristor=tuple(np.zeros_like(lines) for lines in program.memristor))
    for attempt in (
        lambda: processor.load(other),
        lambda: program_cells(processor, program, TINY, DEVICE, seed=1),
        lambda: processor.set_repair(0, 0, np.ones((1, 1), np.uint8)),
    ):
        with pytest.raises(MixcimError, match="memristor bank 0 is locked against programming: unlock"):
            attempt()
    # The chip itself refuses, too, whatever the host thinks.
    for register in (Register.MEMRISTOR_DATA, Register.MEMRISTOR_TARGET, Register.MEMRISTOR_REPAIR):
        with pytest.raises(MixcimError):
            processor.bus.write(window_address(Region.REGISTERS, register), np.array([0], np.uint32))
    with pytest.raises(MixcimError):
        processor.bus.write(
            window_address(Region.REGISTERS, Register.MEMRISTOR_UNLOCK), np.array([UNLOCK_KEY + 1], np.uint32)
        )
    np.testing.assert_array_equal(processor.run(codes), want)
    processor.unlock()
    processor.load(other)


def test_used_up_endurance_keeps_the_line(processor: Processor) -> None:
    processor.unlock()
    registers = dataclasses.replace(WriteVerify.of(DEVICE, TINY), endurance=2)
    line, none = np.array([TINY.memristor_words * TINY.physical_columns - 1]), np.zeros((1, TINY.rows), bool)
    array = CellArray(TINY)
    for port in (processor, array):
        port.set_cells(0, int(line[0]), np.zeros((1, TINY.rows), np.uint8))
        for level in (40, 80):
            codes, report = port.program_lines(0, line, np.full((1, TINY.rows), level, np.uint8), none, registers, 1)
        assert report.wear.tolist() == [2] and report.endurance_used == 1.0
        with pytest.raises(MixcimError, match=r"line \d+ has been programmed 2 times, its endurance is 2: it keeps"):
            port.program_lines(0, line, np.full((1, TINY.rows), 120, np.uint8), none, registers, 1)
        # Programming what is there already takes no pulse: with more endurance, the line still holds its codes.
        more = dataclasses.replace(registers, endurance=3, band=0)
        again, report = port.program_lines(0, line, codes, none, more, 1)
        np.testing.assert_array_equal(again, codes)
        assert report.pulses.sum() == 0 and report.wear.tolist() == [2]


TWO_BANKS = dataclasses.replace(TINY, name="two_banks", memristor_banks=2)


@pytest.mark.parametrize("cause", ["endurance", "lock"])
def test_a_refusal_in_the_last_bank_leaves_all_banks_as_they_are(cause: str) -> None:
    chip = TWO_BANKS
    program = compiled(chip)
    assert all(len(lines) for lines in program.memristor)
    processor = rtl_processor(chip)
    processor.load(program)
    codes = np.random.default_rng(1).integers(0, 256, (1, *program.tensors[program.input].shape)).astype(np.uint8)
    want = processor.run(codes)
    device = DEVICE
    if cause == "lock":
        processor.lock([1])
    else:
        device = dataclasses.replace(DEVICE, programming=Programming(endurance_cycles=1))
        line = np.array([len(program.memristor[1]) - 1])
        registers, none = WriteVerify.of(device, chip), np.zeros((1, chip.rows), bool)
        processor.set_cells(1, int(line[0]), np.zeros((1, chip.rows), np.uint8))
        processor.program_lines(1, line, np.full((1, chip.rows), 90, np.uint8), none, registers, 1)
        processor.set_cells(1, int(line[0]), program.memristor[1][line])
    with pytest.raises(MixcimError, match="is locked" if cause == "lock" else "has been programmed 1 times"):
        program_cells(processor, program, chip, device, seed=3)
    np.testing.assert_array_equal(processor.run(codes), want)


def test_lines_are_programmed_all_or_none_of_them(processor: Processor) -> None:
    processor.unlock()
    registers = dataclasses.replace(WriteVerify.of(DEVICE, TINY), endurance=1)
    lines, none = np.array([3, 4]), np.zeros((2, TINY.rows), bool)
    for port in (rtl_processor(TINY), CellArray(TINY)):
        port.set_cells(0, 3, np.zeros((2, TINY.rows), np.uint8))
        port.program_lines(0, lines[1:], np.full((1, TINY.rows), 60, np.uint8), none[1:], registers, 1)
        with pytest.raises(MixcimError, match="line 4 has been programmed 1 times"):
            port.program_lines(0, lines, np.full((2, TINY.rows), 90, np.uint8), none, registers, 1)
        more = dataclasses.replace(registers, endurance=9, band=0, retry_limit=0)
        codes, _ = port.program_lines(0, lines, np.zeros((2, TINY.rows), np.uint8), none, more, 1)
        assert not codes[0].any() and (np.abs(codes[1].astype(int) - 60) <= registers.band).all()


def test_wrong_arguments_are_refused(processor: Processor) -> None:
    good: list[Any] = [np.arange(2), np.zeros((2, TINY.rows), np.uint8), np.zeros((2, TINY.rows), bool), 1]
    registers = WriteVerify.of(DEVICE, TINY)
    for place, wrong, message in (
        (0, np.arange(3), "both"),
        (0, np.array([0, TINY.memristor_words * TINY.physical_columns]), "lines must be from 0"),
        (1, np.zeros((2, TINY.rows)), "targets must be uint8"),
        (2, np.zeros((2, TINY.rows - 1), bool), "held bool"),
        (3, 1 << 32, "seed must be"),
    ):
        arguments = [*good[:place], wrong, *good[place + 1 :]]
        lines, targets, held, seed = arguments
        for port in (processor, CellArray(TINY)):
            with pytest.raises(MixcimError, match=message):
                port.program_lines(0, lines, targets, held, registers, seed)
    with pytest.raises(MixcimError, match="memristor bank must be from 0 to 0, not 5"):
        processor.lock([5])


def test_what_the_band_cannot_hold_of_the_spread_relaxes_later() -> None:
    device = dataclasses.replace(DeviceModel(), spread=Spread((0.0,), (4.0,)))
    program = compiled()
    used = program.memristor[0].reshape(-1, TINY.physical_columns, TINY.rows)[:, : TINY.memristor_columns].astype(int)
    deviations = []
    for time_s in (0.0, 1.0):
        result = program_cells(CellArray(TINY), program, TINY, device, seed=1, time_s=time_s)
        deviations.append(float(np.std(effective_cells(result.program, TINY)[used > 0] - used[used > 0])))
    band = WriteVerify.of(device, TINY).band
    assert deviations[0] <= band  # codes; 4 uS are 5.12 codes
    assert abs(deviations[1] - 5.12) < 0.2


def test_ir_drop_is_there_from_the_start() -> None:
    device = dataclasses.replace(DeviceModel(), wire=Wire(bit_line_ohm=100.0))
    results = [
        program_cells(CellArray(TINY), compiled(), TINY, d, seed=1).program.memristor[0]
        for d in (DeviceModel(), device)
    ]
    assert results[1].sum() < 0.99 * results[0].sum()


def test_programs_that_cannot_be_programmed_are_refused() -> None:
    program = compiled()
    done = program_cells(CellArray(TINY), program, TINY, DEVICE, seed=1).program
    with pytest.raises(MixcimError, match="has the cells of a device already"):
        program_cells(CellArray(TINY), done, TINY, DEVICE, seed=1)
    exact = compile_network(random_network(3), TINY, ["*=sram"])
    with pytest.raises(MixcimError, match="has no cells: place kernels on memristor"):
        program_cells(CellArray(TINY), exact, TINY, DEVICE, seed=1)
    with pytest.raises(MixcimError, match="time since programming"):
        program_cells(CellArray(TINY), program, TINY, DEVICE, seed=1, time_s=-1.0)


def test_the_command_compares_rtl_and_model_and_writes_the_cells(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, target = tmp_path / "a.mixcim", tmp_path / "b.mixcim"
    compiled().save(source)
    device = tmp_path / "rough.toml"
    device.write_text("name = 'rough'\nhrs_uS = 2.0\nstuck_hrs = 0.01\n")
    arguments = ["write-verify", str(source), "--device", str(device), "--device-seed", "3"]
    assert cli.run([*arguments, "--on", "both", "--json", "-o", str(target)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rtl_equals_model"] is True and document["given_up"] > 0 and document["repaired_columns"] > 0
    assert sum(document["cells_by_pulses"]) == document["cells"]
    written = Program.load(target)
    assert any((new != old).any() for new, old in zip(written.memristor, compiled().memristor, strict=True))
    assert cli.run(arguments) == 0
    shown = capsys.readouterr().out
    assert f"yield {document['yield']:.4%}" in shown
    target.unlink()
    for wrong, message in (
        (["--device", "none.toml"], "none.toml"),
        (["-o", str(tmp_path / "no" / "x.mixcim")], "does not exist"),
        (["--time", "-1", "-o", str(target)], "time since programming"),
        (["--chip", "demo"], "fingerprint"),
    ):
        assert cli.run([*arguments, *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    assert not target.exists()


def test_held_cells_are_those_that_the_seed_makes_stuck() -> None:
    program = compiled()
    result = program_cells(CellArray(TINY), program, TINY, DEVICE, seed=5)
    stuck = stuck_cells(DEVICE, program.memristor[0].shape, seed=5) != FREE
    assert set(np.unique(result.program.memristor[0][stuck])) <= {3, 128}  # 2 uS and 100 uS in codes
