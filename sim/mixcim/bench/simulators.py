"""Speed of the verilated RTL against Amaranth's own simulator and against Icarus, on the same program of chip tiny."""

from __future__ import annotations

import statistics
import time

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program

from ..compile.compiler import compile_network
from ..compile.network import Layer, LayerKind, Network, Quantisation, Tensor
from ..errors import MixcimError
from ..host.processor import Processor
from ..model import ProcessorModel
from ..rtl.icarus import Recorder, icarus_installed, replay
from ..rtl.interpreted import AmaranthBus
from ..rtl.processor import rtl_processor
from .record import Record, record

#: Seconds of verilated simulation in one measurement, and how many of them there are.
SECONDS, REPEATS = 0.5, 5


def small_network() -> Network:
    """A 3 x 3 convolution and a fully connected layer with random weights, for every kind of unit of chip tiny."""
    random = np.random.default_rng(0)
    codes = Quantisation(0.02, 0, False)
    tensors = {
        name: Tensor(name, shape, codes)
        for name, shape in {"image": (6, 6, 4), "features": (4, 4, 12), "classes": (1, 1, 8)}.items()
    }

    def layer(name: str, source: str, output: str, kernel: tuple[int, int]) -> Layer:
        kernels = tensors[output].shape[2]
        weight = random.integers(-7, 8, (kernels, *kernel, tensors[source].shape[2])).astype(np.int8)
        scale = np.full(kernels, 0.005, np.float32)
        bias = random.integers(-500, 500, kernels).astype(np.int32)
        window = (kernel, (1, 1), (0, 0, 0, 0))
        return Layer(name, LayerKind.CONVOLUTION, source, output, *window, weight, bias, scale, (0, 255))

    layers = [
        layer("convolution", "image", "features", (3, 3)),
        layer("fully connected", "features", "classes", (4, 4)),
    ]
    return Network("small", tensors, layers, "image", "classes", "NHWC", (6, 6, 4), (8,))


def small_program() -> tuple[ChipConfig, Program, np.ndarray, np.ndarray]:
    """Chip tiny, the small network's program on all three kinds of unit, an input, and the model's output of it."""
    chip = PRESETS["tiny"]
    rules = ["convolution:0-3=memristor,4-7=sram,8-11=tiny", "fully connected=sram"]
    program = compile_network(small_network(), chip, rules, "exact")
    code = np.random.default_rng(1).integers(0, 256, (6, 6, 4)).astype(np.uint8)
    return chip, program, code, ProcessorModel(chip, program).run(code[None])[0]


def simulator_records(quick: bool = False) -> tuple[list[Record], list[str]]:
    """Cycles/s and MAC/s of each simulator and the ratios; and remarks on what could not be measured.

    Only the time from start to interrupt counts. Raises MixcimError if a simulator gives another output than the model.
    """
    chip, program, code, expected = small_program()
    work = sum(layer.multiply_accumulates for layer in program.layers)
    speeds: dict[str, float] = {}
    records, remarks = [], []

    def add(name: str, cycles: int, seconds: float, output: np.ndarray | None) -> None:
        if output is not None and not np.array_equal(output, expected):
            raise MixcimError(f"{name} gives another output than the model; compare with `mixcim run --on both`")
        speeds[name] = cycles / seconds
        records.append(record(f"{name}, chip tiny", cycles / seconds, "cycles/s", "rtl"))
        records.append(record(f"{name}, chip tiny, useful work", work / seconds, "MAC/s", "rtl"))

    recorder = Recorder(rtl_processor(chip).bus)
    processor = Processor(recorder, chip)
    processor.load(program)
    output, counters = processor.infer(code)
    writes, reads = recorder.writes[: recorder.waits[0]], recorder.reads
    processor.bus = recorder.bus
    rounds, seconds = _repeat(processor, counters.cycles, 0.1 if quick else SECONDS, 3 if quick else REPEATS)
    add("verilated", counters.cycles, seconds / rounds, output)

    slow = Processor(AmaranthBus(chip), chip)
    slow.load(program)
    slow.write_input(code)
    begin = time.perf_counter()
    slow.start()
    counters = slow.wait()
    seconds = time.perf_counter() - begin
    add("Amaranth's simulator", counters.cycles, seconds, slow.read_tensor(program.tensors[program.output]))

    if icarus_installed():
        # The last reads are the output's; those before are of registers, which count cycles.
        place = program.tensors[program.output]
        count = place.shape[0] * place.shape[1] * -(-place.shape[2] // chip.channels) * chip.channels // 4
        cycles, seconds, equal = replay(chip, writes, reads[-count:])
        add("Icarus", cycles, seconds, expected if equal else np.zeros(0))
    else:
        remarks.append("Icarus (iverilog, vvp) is not installed: no comparison with it.")
    for name in list(speeds)[1:]:
        records.append(record(f"verilated / {name}", speeds["verilated"] / speeds[name], "times", "rtl"))
    return records, remarks


def _repeat(processor: Processor, cycles: int, least: float, repeats: int) -> tuple[int, float]:
    """Run the loaded program for some `least` seconds several times: (runs, their median seconds)."""
    begin = time.perf_counter()
    processor.start()
    processor.wait()
    rounds = max(1, int(least / (time.perf_counter() - begin)))
    spent = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(rounds):
            processor.start()
            if processor.wait().cycles != cycles:
                raise MixcimError("the same program took another number of cycles; compare with `mixcim run --on both`")
        spent.append(time.perf_counter() - begin)
    return rounds, statistics.median(spent)
