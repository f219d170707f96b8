"""The layer controller: executes the commands of a program one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mixcim.errors import MixcimError
from mixcim_hdl.commands import Fault, Opcode, decode_command
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program

from .memristor import MemristorBank, Method
from .read_plan import ReadTable
from .run import run_layer
from .state import State


class Execution:
    """One batch on its way through the program; `state` is what the processor holds."""

    def __init__(
        self,
        chip: ChipConfig,
        program: Program,
        seeds: Sequence[int],
        method: Method,
        previous: Execution | None = None,
    ) -> None:
        """`seeds`: where the read noise of each input starts. `method`: of memristor reads. `previous`: of a batch that
        was not smaller and has ended: its memory and what it prepared are used again."""
        self.chip, self.program, self.method = chip, program, method
        self.state = State(chip, program, seeds, None if previous is None else previous.state)

    def commands(self) -> Iterator[tuple[Opcode, dict[str, int]]]:
        """Execute command after command up to END, yielding each after it is done."""
        for index in range(self.chip.program_commands):
            opcode, fields = self.execute(index)
            yield opcode, fields
            if opcode == Opcode.END:
                return
        reason = f"no END within the store's {self.chip.program_commands} commands"
        raise self.state.fail(Fault.PROGRAM_END, reason)

    def execute(self, index: int) -> tuple[Opcode, dict[str, int]]:
        """Execute the command at an index of the program store; its opcode and fields."""
        program = self.program
        self.state.index = index
        # Words of the program store that nobody wrote are 0.
        words = program.commands[index] if index < len(program.commands) else np.zeros(1, np.uint32)
        if int(words[0]) & 0xFF not in Opcode.__members__.values():
            raise self.state.fail(Fault.ILLEGAL_COMMAND, f"unknown opcode {int(words[0]) & 0xFF}")
        opcode, fields = decode_command(words, self.chip)
        if opcode == Opcode.LOAD:
            self._load(fields)
        elif opcode == Opcode.TABLE:
            self._set_table(fields)
            self.state.busy = []
        elif opcode == Opcode.RUN:
            run_layer(self.state, fields, self.method)
        return opcode, fields

    def _load(self, fields: Mapping[str, int]) -> None:
        """LOAD: weight store to the memories of units."""
        state, chip = self.state, self.chip
        unit, source, destination, count = (fields[name] for name in ("unit", "source", "destination", "count"))
        if not fields["units"]:
            raise state.fail(Fault.ILLEGAL_COMMAND, "LOAD field 'units' must not be 0")
        last = unit + fields["units"] - 1
        banks = [] if last >= len(state.units) else state.units[unit : last + 1]
        first = banks[0] if banks else None
        if first is None or isinstance(first, MemristorBank):
            raise state.fail(Fault.ILLEGAL_COMMAND, f"LOAD into unit {unit if banks else last}, which takes no LOAD")
        if chip.units[last] is not chip.units[unit]:  # units of a kind lie together
            kinds = f"{chip.units[unit].value} and {chip.units[last].value}"
            raise state.fail(Fault.ILLEGAL_COMMAND, f"LOAD into units {unit} to {last} of two kinds, {kinds}")
        if source + count > chip.weight_words:
            reason = f"LOAD reads up to weight word {source + count}, past the store's {chip.weight_words} words"
            raise state.fail(Fault.WEIGHT_ADDRESS, reason)
        end = destination + count
        if end > len(first.words):
            reason = f"LOAD writes unit {unit} up to word {end}, past its {len(first.words)} words"
            raise state.fail(Fault.UNIT_ADDRESS, reason)
        if not fields["overlap"]:
            state.busy = []
        for busy in state.busy:
            if unit <= busy.unit <= last and max(busy.first, destination) < min(busy.end, end):
                raise MixcimError(
                    f"command {state.index}: LOAD with overlap into words {destination} to {end - 1} of unit "
                    f"{busy.unit}, of which the RUN before it uses {busy.first} to {busy.end - 1}"
                )
        for bank in banks:
            assert not isinstance(bank, MemristorBank)
            bank.words[destination:end] = state.weights[source : source + count]

    def _set_table(self, fields: Mapping[str, int]) -> None:
        """TABLE: how the memristor banks read."""
        state, digits, read = self.state, len(self.chip.mode.cells), fields["digits"]
        if not 1 <= read <= digits:
            raise state.fail(Fault.ILLEGAL_COMMAND, f"TABLE reads {read} digits, not 1 to {digits}")
        entries = range(self.chip.input_planes * digits)
        rows = [fields[f"rows_per_read[{entry}]"] for entry in entries]
        shift = [fields[f"step_shift[{entry}]"] for entry in entries]
        for entry, value in enumerate(rows):
            if not 1 <= value <= self.chip.rows:
                reason = f"TABLE entry {entry} reads {value} rows at a time, not 1 to {self.chip.rows}"
                raise state.fail(Fault.ILLEGAL_COMMAND, reason)
        bits = [slice(first, first + read) for first in entries[::digits]]
        state.table = ReadTable(
            tuple(tuple(rows[cut]) for cut in bits),
            tuple(tuple(shift[cut]) for cut in bits),
            bool(fields["skip_zero_groups"]),
        )
