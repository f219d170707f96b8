"""How fast the model reads memristors: one layer, and a whole network given by the caller.

Speeds are work per second of processor time (all threads of the process together), the best of several runs: what one
thread does on a machine that is doing something else beside it. The records' names say "a thread" of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program, ideal_adc, no_noise, no_repair

from ..compile.weights import memristor_lines
from ..model import ProcessorModel
from ..model.memristor import MemristorBank, Method
from ..model.read_plan import ReadTable
from .record import Record, record

LAYER_VECTORS, LAYER_ROWS, LAYER_KERNELS = 512, 256, 64
READ_ROWS = 16  #: word lines in one read of the layer
#: Conductance codes: sigma of the cells' spread and of one read's noise per square root of a word line that is on.
CELL_SIGMA, NOISE_SIGMA = 2.0, 0.7
#: Sigma of the generator's sum of four bytes, and the table's fixed point.
_GAUSS_SIGMA, _NOISE_ONE = 147.8, 1 << 12


def noise_table(chip: ChipConfig) -> np.ndarray:
    """Noise that grows with the root of the word lines that are on, and is never 0: uint16 (rows + 1,)."""
    sigma = NOISE_SIGMA * np.sqrt(np.maximum(np.arange(chip.rows + 1), 1))
    return np.rint(sigma * _NOISE_ONE / _GAUSS_SIGMA).astype(np.uint16)


def spread_cells(lines: np.ndarray, chip: ChipConfig, random: np.random.Generator) -> np.ndarray:
    """Conductance codes uint8 with programming spread, of the shape of `lines`."""
    disturbed = lines + np.rint(random.normal(0, CELL_SIGMA, lines.shape))
    return disturbed.clip(0, (1 << chip.conductance_bits) - 1).astype(np.uint8)


def layer_records(seconds: float = 1.0) -> list[Record]:
    """Vectors per second through one layer of 256 rows and 64 kernels, 8-bit inputs and weights, 1-bit cells.

    `seconds`: time spent on each record, about.
    """
    base = dataclasses.replace(PRESETS["demo"], weight_mode="MM-S")
    return [
        _layer_record("exact", base, seconds, goal=40_000),
        _layer_record("exact, every read worked out", base, seconds, method=Method.KERNEL, goal=40_000),
        _layer_record("read noise", base, seconds, noise=True, goal=20_000),
        _layer_record("read noise, 2-bit cells", PRESETS["demo"], seconds, noise=True),
    ]


def _layer_record(
    what: str,
    chip: ChipConfig,
    seconds: float,
    noise: bool = False,
    method: Method = Method.FASTEST,
    goal: float | None = None,
) -> Record:
    random = np.random.default_rng(0)
    vectors, tiles = LAYER_ROWS // chip.rows, LAYER_KERNELS // chip.channels
    chip = dataclasses.replace(chip, memristor_slots=vectors * tiles)
    weights = random.integers(-127, 128, (vectors * tiles, chip.rows, chip.channels)).astype(np.int8)
    table = noise_table(chip) if noise else no_noise(chip)
    lines = memristor_lines(weights, chip)
    bank = MemristorBank(chip, lines, no_repair(lines, chip), ideal_adc(chip)[0], table)
    digits = len(chip.mode.cells)
    every = ReadTable(((READ_ROWS,) * digits,) * 8, ((0,) * digits,) * 8)
    reading = bank.reading(every, 0, vectors, tiles, LAYER_ROWS, 8, method=method)
    codes = random.integers(0, 256, (1, LAYER_VECTORS, LAYER_ROWS)).astype(np.uint8)
    states = random.integers(1, 1 << 32, (1, chip.memristor_columns)).astype(np.uint32)
    matrix = None if reading.matrix is None else reading.matrix.astype(np.float32)

    def run() -> None:
        sums, *_ = reading(codes, states)
        if matrix is not None:
            sums += (codes[0].astype(np.float32) @ matrix).astype(np.int32)

    name = f"layer {LAYER_VECTORS} x {LAYER_ROWS} -> {LAYER_KERNELS}, {chip.adc_bits}-bit ADC, {what}, model, a thread"
    return record(name, LAYER_VECTORS / _best_time(run, seconds), "vectors/s", "model", at_least=goal)


def network_records(
    title: str, program: Program, codes: np.ndarray, chip: ChipConfig, seconds: float = 4.0
) -> list[Record]:
    """Images per second of a program: as it is, with spread in the cells and noise in every read, and ADC errors too.

    `title`: of the program. `codes`: uint8 (inputs, height, width, channels). The goals are those of ResNet-20.
    `seconds`: as in layer_records.
    """
    random = np.random.default_rng(0)
    spread = tuple(spread_cells(lines, chip, random) for lines in program.memristor)
    noisy = dataclasses.replace(program, memristor=spread, noise_table=noise_table(chip))
    adc = program.adc + random.integers(-3, 4, program.adc.shape).astype(np.int16)
    cases = (
        (f"{chip.adc_bits}-bit ADC", program, 40),
        (f"{chip.adc_bits}-bit ADC, noise and spread", noisy, 20),
        (f"{chip.adc_bits}-bit ADC with errors, noise and spread", dataclasses.replace(noisy, adc=adc), None),
    )
    records = []
    for what, case, goal in cases:
        model = ProcessorModel(chip, case)
        speed = len(codes) / _best_time(lambda model=model: model.run(codes), seconds)
        records.append(record(f"{title}, {what}, model, a thread", speed, "images/s", "model", at_least=goal))
    return records


def _best_time(run: Callable[[], object], seconds: float) -> float:
    """Least processor time of a run, in seconds, of as many as fit into `seconds` (three at least)."""
    run()  # compiles, fills caches
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)
