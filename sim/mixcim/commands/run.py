"""`mixcim run`: a program (or a network, compiled first) on inputs: on model, simulated RTL, both, or a board."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.files import write_whole
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Event

from ..errors import MixcimError
from ..host.values import input_codes, integers, output_values
from ..model import ProcessorModel
from ..rtl.processor import rtl_processor
from .board import run_on_board
from .inputs import open_program, read_inputs
from .options import (
    FILE,
    CompileChoice,
    DeviceChoice,
    SerialChoice,
    compile_options,
    device_options,
    image_options,
    json_option,
    serial_options,
)
from .report import console, layer_records, layer_table, print_json, progress_bar
from .simulate import ChipRun, simulate

#: What --on chooses, in sentences; of `both`, the RTL's results are shown.
_NAMES = {"model": "the model", "rtl": "the RTL", "both": "the RTL", "fpga": "the board"}


@dataclass(frozen=True, eq=False)
class Result:
    """Output codes or patterns (N, height, width, channels), and seconds without build and load.

    `events`: summed over the inputs. `skips`: reads that were left out, model only. `cycles`: of one input, and
    `command_cycles`: of each command for the last input, not on the model.
    """

    codes: np.ndarray
    seconds: float
    events: dict[Event, int]
    skips: int | None = None
    cycles: int | None = None
    command_cycles: np.ndarray | None = None

    def equals(self, other: Result) -> bool:
        """Whether another run gave the same output codes and counted the same events."""
        return np.array_equal(self.codes, other.codes) and self.events == other.events


def run_on_model(program: Program, chip: ChipConfig, codes: np.ndarray, quiet: bool) -> Result:
    """Run all inputs, codes (N, height, width, channels), on the numpy model."""
    model = ProcessorModel(chip, program)
    with progress_bar(quiet) as advance:
        start = time.perf_counter()
        output = model.run(codes, progress=lambda done, total: advance(done, total, "model"))
        seconds = time.perf_counter() - start
    events = {event: int(getattr(model, event.name.lower()).sum()) for event in Event}
    return Result(output, seconds, events, int(model.memristor_skips.sum()))


def run_on_rtl(
    program: Program,
    chip: ChipConfig,
    codes: np.ndarray,
    quiet: bool,
    wave: Path | None = None,
    jobs: int | None = None,
) -> Result:
    """Run inputs, codes (N, height, width, channels), on the simulated RTL, in `jobs` processes (default: one per
    core)."""
    with progress_bar(quiet) as advance:
        return _of_chip(simulate(program, chip, codes, jobs, advance, wave))


def run_on_fpga(program: Program, chip: ChipConfig, codes: np.ndarray, quiet: bool, serial: SerialChoice) -> Result:
    """Run inputs, codes (N, height, width, channels), on a board. Raises MixcimError."""
    with progress_bar(quiet) as advance, serial.bus(chip) as bus:
        return _of_chip(run_on_board(bus, program, chip, codes, advance))


def _of_chip(result: ChipRun) -> Result:
    names = {event: event.name.lower() for event in Event}
    events = {event: sum(getattr(counters, name) for counters in result.counters) for event, name in names.items()}
    return Result(result.outputs, result.seconds, events, None, result.counters[-1].cycles, result.command_cycles)


def different_tensors(program: Program, chip: ChipConfig, code: np.ndarray, quiet: bool) -> list[str]:
    """Tensors of one input, codes (height, width, channels), that RTL and model do not have alike, in order."""
    model = ProcessorModel(chip, program)
    model.run(code[None], capture=list(program.tensors))
    seen: dict[str, np.ndarray] = {}
    with progress_bar(quiet) as advance:

        def compare(name: str, tensor: np.ndarray) -> None:
            seen[name] = tensor
            advance(len(seen), len(program.tensors), "tensors of the RTL")

        processor = rtl_processor(chip, None, advance)
        processor.load(program)
        processor.run_stepwise(code, compare)
    return [name for name, want in model.captured.items() if name not in seen or (seen[name] != want[0]).any()]


def accuracy(values: np.ndarray, labels: np.ndarray) -> float:
    """Share of inputs whose largest output is their label, without NaN. `values` (N, ...); `labels` integers (N,)."""
    right = values.reshape(len(values), -1).argmax(axis=1) == labels
    return float((right & ~_no_answer(values)).mean())


def _no_answer(values: np.ndarray) -> np.ndarray:
    """Which inputs have a NaN among their outputs (N, ...): bool (N,)."""
    return np.asarray(np.isnan(values.reshape(len(values), -1)).any(axis=1))


@click.command()
@click.argument("subject", metavar="PROGRAM|NETWORK", type=FILE)
@click.option(
    "--inputs",
    "inputs_file",
    type=FILE,
    required=True,
    help="Inputs: .npz (inputs or images), .npy, or a folder of pictures.",
)
@click.option("--on", "engine", type=click.Choice(["model", "rtl", "both", "fpga"]), default="model", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Take only the first inputs.")
@click.option("--tensors", is_flag=True, help="With --on both: compare every intermediate tensor of the first input.")
@click.option("--labels", default="labels", show_default=True, help="Array of the inputs file with the right answers.")
@click.option("--wave", type=FILE, help="Write a waveform (with --on rtl or both).")
@click.option(
    "--jobs", type=click.IntRange(1), help="Simulations at a time (with --on rtl or both); default: one per core."
)
@click.option("-o", "--output", type=FILE, help="Write codes and real outputs to this .npz file.")
@click.option("--chip", "chip_name", help="Chip; default: the program's own, or demo for a network.")
@compile_options
@image_options
@device_options
@serial_options
@json_option
def command(
    subject: Path,
    inputs_file: Path,
    engine: str,
    limit: int | None,
    tensors: bool,
    labels: str,
    wave: Path | None,
    jobs: int | None,
    output: Path | None,
    chip_name: str | None,
    compilation: CompileChoice,
    mean: str | None,
    std: str | None,
    device_choice: DeviceChoice,
    serial: SerialChoice,
    as_json: bool,
) -> int:
    """Run a program (from mixcim compile) or a network (compiled first, same options) on inputs.

    --on both compares output integers and event counters of RTL and model, and prints what the RTL gave; exit code 1 if
    they differ. --on fpga runs on the board at --port.

    Inputs: arrays in the network file's own layout, float32 or its own integers; or uint8 images with --mean and --std.
    Images (N, height, width, channels) are transposed where the network wants channels first. For an int8 network
    without --mean and --std, uint8 images are its integers plus 128.
    """
    if wave is not None and engine not in ("rtl", "both"):
        raise MixcimError(f"--wave {wave} needs --on rtl or --on both: {_NAMES[engine]} shows no signals")
    if serial.port is not None and engine != "fpga":
        raise MixcimError(f"--port {serial.port} needs --on fpga: there is no board in a run on {_NAMES[engine]}")
    if tensors and engine != "both":
        raise MixcimError(f"--tensors needs --on both: it compares the RTL with the model, not with --on {engine}")
    for path in (wave, output):
        if path is not None and not path.parent.is_dir():
            raise MixcimError(f"folder '{path.parent}' does not exist; create it first")
        for source in (subject, inputs_file):
            if path is not None and path.exists() and source.exists() and path.samefile(source):
                raise MixcimError(f"output '{path}' is what is read; give another name")
    program, chip = open_program(subject, chip_name, compilation, mean, std)
    program = device_choice.applied(program, chip)
    values, arrays = read_inputs(inputs_file, program.file_shape, program.input_layout, mean, std)
    codes = input_codes(program, values)[:limit]
    known = _labels(arrays, labels, len(values), inputs_file)
    on_model = run_on_model(program, chip, codes, as_json) if engine in ("model", "both") else None
    on_rtl = run_on_rtl(program, chip, codes, as_json, wave, jobs) if engine in ("rtl", "both") else None
    on_fpga = run_on_fpga(program, chip, codes, as_json, serial) if engine == "fpga" else None
    result = on_fpga or on_rtl or on_model
    assert result is not None
    equal = on_model.equals(on_rtl) if on_model and on_rtl else None
    different = different_tensors(program, chip, codes[0], as_json) if tensors else None
    reals = output_values(program, result.codes)
    if output is not None:
        place = program.tensors[program.output]
        buffer = io.BytesIO()
        np.savez(buffer, integers=integers(place, result.codes), outputs=reals)
        write_whole(output, buffer.getvalue())
    summary: dict[str, Any] = {
        "network": program.network,
        "chip": chip.name,
        "on": engine,
        "inputs": len(codes),
        "input_format": program.tensors[program.input].format,
        "output_format": program.tensors[program.output].format,
        "seconds": result.seconds,
        "inputs_per_second": len(codes) / result.seconds,
        "without_answer": int(_no_answer(reals).sum()),
        "accuracy": None if known is None else accuracy(reals, known[: len(codes)]),
        "cycles": result.cycles,
        **{event.name.lower(): count for event, count in result.events.items()},
        "memristor_skips": None if on_model is None else on_model.skips,
        "rtl_equals_model": equal,
        "tensors": len(program.tensors) if tensors else None,
        "different_tensors": different,
    }
    exit_code = 1 if equal is False or different else 0
    layers = [] if result.command_cycles is None else layer_records(program, chip, result.command_cycles)
    if as_json:
        classes = reals.reshape(len(reals), -1).argmax(axis=1)
        print_json({**summary, "classes": classes.tolist(), "outputs": _finite(reals), "layers": layers})
        return exit_code
    screen = console()
    if layers:
        screen.print(
            layer_table(layers, f"{program.network} on chip {chip.name}, {_NAMES[engine].removeprefix('the ')}")
        )
    for line in _lines(summary, reals):
        screen.print(line, soft_wrap=True)
    return exit_code


def _finite(reals: np.ndarray) -> list[Any]:
    """Nested lists of numbers, None for NaN and infinities, which JSON does not have."""
    numbers = reals.astype(object)
    numbers[~np.isfinite(reals)] = None
    return numbers.tolist()


def _labels(arrays: dict[str, np.ndarray], key: str, count: int, path: Path) -> np.ndarray | None:
    """Right answers, if the file has them; a key other than the default must be there."""
    if key not in arrays:
        if key != "labels":
            raise MixcimError(f"'{path}' has no array '{key}'; it has {', '.join(arrays)}")
        return None
    known = arrays[key]
    if known.shape != (count,) or known.dtype.kind not in "iu":
        raise MixcimError(f"'{path}': labels '{key}' are {known.dtype} of shape {known.shape}, not integers ({count},)")
    return known


def _lines(summary: dict[str, Any], reals: np.ndarray) -> list[str]:
    flat = reals.reshape(len(reals), -1)
    shown = [f"class {row.argmax()} ({row.max():.4g})" for row in flat[:8]]
    engine = _NAMES[summary["on"]]
    skipped = f" ({summary['memristor_skips']:,} left out)" if summary["memristor_skips"] else ""
    lines_on = summary["word_lines_on"] / max(summary["memristor_reads"], 1)
    lines = [
        f"{summary['inputs']} inputs in {summary['seconds']:.2f} s on {engine}, "
        f"{summary['inputs_per_second']:.1f} a second; input {summary['input_format']}, output "
        f"{summary['output_format']}",
        f"answers: {', '.join(shown)}{', ...' if len(flat) > len(shown) else ''}",
        f"memristor reads {summary['memristor_reads']:,} of {lines_on:.1f} word lines on{skipped}, "
        f"conversions {summary['adc_conversions']:,}, of them saturated {summary['adc_saturations']:,}",
    ]
    if summary["without_answer"]:
        lines.append(
            f"NaN in the outputs of {summary['without_answer']} inputs: a number went beyond its format, bf16 reaches "
            "furthest"
        )
    if summary["cycles"] is not None:
        lines.append(f"{summary['cycles']:,} cycles for one input")
    if summary["accuracy"] is not None:
        lines.append(f"accuracy {summary['accuracy']:.2%}")
    if summary["rtl_equals_model"] is not None:
        verdict = "yes " if summary["rtl_equals_model"] else "NO  "
        lines.append(f"{verdict} RTL = model, every output and the sums of all counters")
    if summary["different_tensors"] is not None:
        wrong = summary["different_tensors"]
        lines.append(
            f"NO   {len(wrong)} of {summary['tensors']} tensors differ, the first is '{wrong[0]}'"
            if wrong
            else f"yes  RTL = model, each of {summary['tensors']} tensors of the first input"
        )
    return lines
