"""State of the processor while it runs one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import Fault, noise_state
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.program import Program, no_repair
from mixcim_hdl.registers import Event

from .activation import ActivationMemory
from .fault import FaultError
from .memristor import MemristorBank, Reading
from .read_plan import ReadTable
from .sram import SramBank
from .tiny import TinyBank


@dataclass(frozen=True)
class Busy:
    """Words first .. end - 1 of a unit's memory, which a RUN uses."""

    unit: int
    first: int
    end: int


class State:
    """Memories, tables and counters of a processor with a program loaded, for `inputs` independent runs.

    `parameters`: name -> array over all parameter tiles, as in Program. `weights` int8 (weight_words, rows). `units`:
    the banks. `readings`: of memristor banks, by what they depend on. `states`: of the noise generators of each
    memristor bank, uint32 (inputs, columns). `events`: counters, `skips`: reads that were left out, int64 (inputs,)
    each. `index`: of the present command. `busy`: what the RUN that may still be at work beside the next command uses.
    """

    def __init__(self, chip: ChipConfig, program: Program, seeds: Sequence[int], previous: State | None = None) -> None:
        """`seeds`: where the read noise of each input starts. `previous`: of another batch of the program, not smaller,
        that has ended: its activation memory, memristor banks and readings are taken over."""
        self.chip, self.program, self.inputs = chip, program, len(seeds)
        if previous is None:
            self.memory = ActivationMemory(self.inputs, chip)
            self.readings: dict[tuple, Reading] = {}
        else:
            self.memory, self.readings = previous.memory, previous.readings
            self.memory.reset(self.inputs)
        lanes = (chip.parameter_tiles, chip.channels)
        self.parameters = {
            "bias": np.zeros(lanes, np.int32),
            "scale": np.zeros(lanes, np.float32),
            **{name: np.zeros(lanes[0], np.int64) for name in ("word_offset", "lane_mask", "exponent_offset")},
        }
        for name, array in self.parameters.items():
            array[: len(getattr(program, name))] = getattr(program, name)
        self.weights = np.zeros((chip.weight_words, chip.rows), np.int8)
        self.weights[: len(program.weights)] = program.weights
        self.units: list[MemristorBank | SramBank | TinyBank] = []
        self.states: list[np.ndarray] = []
        columns = range(chip.memristor_columns)
        for unit, kind in enumerate(chip.units):
            if kind is UnitKind.MEMRISTOR:
                self.units.append(self._memristor_bank(unit) if previous is None else previous.units[unit])
                states = [[noise_state(seed, unit, column) for column in columns] for seed in seeds]
                self.states.append(np.array(states, np.uint32).reshape(self.inputs, len(columns)))
            else:
                self.units.append(SramBank(chip) if kind is UnitKind.SRAM else TinyBank(chip))
        self.table: ReadTable | None = None
        self.events = {event: np.zeros(self.inputs, np.int64) for event in Event}
        self.skips = np.zeros(self.inputs, np.int64)
        self.index = 0
        self.busy: list[Busy] = []

    def _memristor_bank(self, unit: int) -> MemristorBank:
        chip, program = self.chip, self.program
        lines = np.zeros((0, chip.rows), np.uint8)
        repair = no_repair(lines, chip)
        if unit < len(program.memristor):
            lines, repair = program.memristor[unit], program.repair[unit]
        return MemristorBank(chip, lines, repair, program.adc[unit], program.noise_table)

    def fail(self, fault: Fault, reason: str) -> FaultError:
        """The error of the present command, to be raised."""
        return FaultError(self.index, fault, reason)
