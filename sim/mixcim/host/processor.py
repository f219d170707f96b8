"""`Processor`: drives a chip over its host port, whatever is behind the port: simulated RTL, netlist, FPGA board."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mixcim_hdl.commands import Fault, Opcode, encode_command, pack_layout
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program, TensorPlace
from mixcim_hdl.registers import (
    CONTRACT_VERSION,
    EVENT_COUNTERS,
    IDENTIFICATION,
    UNLOCK_KEY,
    WRITE_REGISTERS,
    WRITTEN_FIELDS,
    Event,
    Region,
    Register,
    program_stride,
    window_address,
)

from ..device.write_verify import ProgrammingReport, WriteVerify, check_programming, worn_out
from ..errors import MixcimError
from .back_door import BackDoor, OpenBus
from .cycles import command_cycles
from .layout import exponent_entries, tensor_elements, tensor_words

_BUSY, _DONE, _FAULT = 1, 2, 4
_ABORT = 2
_LOCK_BANKS = 32  #: banks of one word of MEMRISTOR_LOCK
#: Cycles after which the host gives up on the interrupt; the chip's own watchdog fires long before.
DEFAULT_LIMIT = 10_000_000_000


class Bus(Protocol):
    """A host port. Words are uint32, addresses are in bytes; `step`: bytes from one word to the next (0: a FIFO)."""

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        """Write words to address, address + step, ..."""
        ...

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        """Read `count` words from address, address + step, ..."""
        ...

    def run_until_interrupt(self, max_cycles: int) -> int:
        """Wait for the interrupt line, at most that many clock cycles; cycles taken."""
        ...


@dataclass(frozen=True)
class Counters:
    """What the chip counted in its last run. `cycles` from start to interrupt; the others: registers.Event."""

    cycles: int
    memristor_reads: int
    adc_conversions: int
    adc_saturations: int
    word_lines_on: int


class Processor:
    """A chip of the sizes `chip` on a bus. Raises MixcimError if what answers there is something else."""

    def __init__(self, bus: Bus, chip: ChipConfig) -> None:
        self.bus = bus
        self.chip = chip
        self._back_door: BackDoor | None = None
        self.program: Program | None = None
        self.cycle_limit = DEFAULT_LIMIT  #: cycles after which `wait` gives up
        self._check_identity()
        self._write_register(Register.CONTROL, _ABORT)
        self._write_register(Register.INTERRUPT_STATUS, 3)
        self._write_register(Register.INTERRUPT_ENABLE, 3)

    def load(self, program: Program) -> None:
        """Write everything but the input: commands, weights, parameters, cells, ADCs, noise. The chip must be idle.

        Raises ProgramError if the program is for another chip, MixcimError if a memristor bank that it fills is locked,
        both before anything is written.
        """
        program.check_chip(self.chip)
        self._check_unlocked([bank for bank, lines in enumerate(program.memristor) if len(lines)])
        self._write_commands(0, program.commands)
        self._write_window(Region.WEIGHTS, _as_words(program.weights))
        parameters = np.stack([program.bias.view(np.uint32), program.scale.view(np.uint32)], axis=-1)
        self._write_window(Region.PARAMETERS, parameters)
        outputs = program.word_offset.astype(np.uint32) | program.lane_mask.astype(np.uint32) << 16
        self._write_window(Region.TILES, np.stack([outputs, program.exponent_offset.astype(np.uint32)], axis=-1))
        for bank, (lines, repair) in enumerate(zip(program.memristor, program.repair, strict=True)):
            if len(lines):
                self.set_cells(bank, 0, lines)
                self.set_repair(bank, 0, repair)
        if self.chip.memristor_banks:
            self._write_readout(program)
        self.program = program

    def open_back_door(self) -> bool:
        """From now on load programs and inputs through the simulator's back door; False if the bus has none.

        The chip then holds what it would hold after loading over the bus, and runs take the same cycles.
        """
        if isinstance(self.bus, OpenBus):
            self._back_door = BackDoor(self.bus, self.chip)
        return self._back_door is not None

    def write_input(self, elements: np.ndarray) -> None:
        """Write one input: codes or patterns (height, width, channels) of the input's type, and their exponent entries.

        Raises MixcimError for another shape or type.
        """
        place = self._loaded().tensors[self._loaded().input]
        if elements.shape != place.shape or elements.dtype != place.type:
            raise MixcimError(
                f"an input must be {place.type.__name__} of shape {place.shape}, "
                f"not {elements.dtype} of shape {elements.shape}"
            )
        words = tensor_words(elements, place, self.chip.channels)
        self._write_window(Region.ACTIVATIONS, _as_words(words), place.address * self.chip.channels)
        if place.exponents:
            entries = exponent_entries(elements, place, self.chip.channels)
            self._write_window(Region.EXPONENTS, entries, place.address * 4)

    def read_tensor(self, place: TensorPlace) -> np.ndarray:
        """Codes or patterns of a tensor where it lies now: (height, width, channels) of the tensor's type."""
        count = place.words * self.chip.channels // 4
        address = window_address(Region.ACTIVATIONS, place.address * self.chip.channels)
        words = np.ascontiguousarray(self.bus.read(address, count)).view(np.uint8)
        return tensor_elements(words.reshape(-1, self.chip.channels), place)

    def start(self) -> None:
        """Start the program at command 0; `wait` for its end."""
        self._write_register(Register.CONTROL, 1)

    def wait(self) -> Counters:
        """Wait for the end of the run. Raises MixcimError that names the fault, its command and its detail."""
        self.bus.run_until_interrupt(self.cycle_limit)
        status = self._read_register(Register.STATUS)
        if status & _BUSY:
            self._write_register(Register.CONTROL, _ABORT)
            raise MixcimError(f"the chip raised no interrupt in {self.cycle_limit} cycles: raise the limit")
        self._write_register(Register.INTERRUPT_STATUS, 3)
        if status & _FAULT:
            raise MixcimError(self._fault_text())
        if not status & _DONE:
            raise MixcimError(f"the chip stopped with status {status:#x}, neither done nor fault: was it started?")
        return self.counters()

    def position(self) -> tuple[str, int]:
        """(name of the layer at work, cycles of the run so far), during a run: asking takes nothing from it."""
        index = self._read_register(Register.COMMAND)
        layers = [layer.name for layer in self._loaded().layers if index in layer.commands]
        return next(iter(layers), f"command {index}"), self._read_register(Register.RUN_CYCLES)

    def counters(self) -> Counters:
        """What the chip counted since it was last started."""
        words = self.bus.read(window_address(Region.REGISTERS, EVENT_COUNTERS), 2 * len(Event))
        events = {event.name.lower(): int(words.view(np.uint64)[event]) for event in Event}
        return Counters(self._read_register(Register.RUN_CYCLES), **events)

    def set_cells(self, bank: int, first_line: int, codes: np.ndarray) -> None:
        """Set the codes of lines from `first_line` on, uint8 (lines, rows): what stands for the cells' own behaviour.

        Raises MixcimError for a locked bank.
        """
        self._check_unlocked([bank])
        if self._back_door is not None:
            self._back_door.set_cells(bank, first_line, codes)
            return
        self._select_line(bank, first_line)
        self.bus.write(window_address(Region.REGISTERS, Register.MEMRISTOR_DATA), _as_words(codes), step=0)

    def set_repair(self, bank: int, first_word: int, columns: np.ndarray) -> None:
        """Set what the spare columns of words from `first_word` on replace, uint8 (words, spares) as Program.repair.

        Raises MixcimError for a locked bank.
        """
        self._check_unlocked([bank])
        if columns.size and self._back_door is not None:
            self._back_door.set_repair(bank, first_word, columns)
        elif columns.size:
            self._write_register(Register.MEMRISTOR_BANK, bank)
            self._write_register(Register.MEMRISTOR_SPARE, first_word << 8)
            address = window_address(Region.REGISTERS, Register.MEMRISTOR_REPAIR)
            self.bus.write(address, columns.reshape(-1).astype(np.uint32), step=0)

    def lock(self, banks: Sequence[int] | None = None) -> None:
        """Lock memristor banks (default: all) against writing until `unlock`. Raises MixcimError for another number."""
        every = range(self.chip.memristor_banks)
        chosen = every if banks is None else banks
        for bank in chosen:
            if bank not in every:
                raise MixcimError(f"memristor bank must be from 0 to {len(every) - 1}, not {bank}")
        for block in _lock_blocks(chosen):
            self._write_register(Register.MEMRISTOR_BANK, block)
            bits = sum(1 << bank - block for bank in set(chosen) if block <= bank < block + _LOCK_BANKS)
            self._write_register(Register.MEMRISTOR_LOCK, bits)

    def unlock(self) -> None:
        """Unlock all memristor banks."""
        self._write_register(Register.MEMRISTOR_UNLOCK, UNLOCK_KEY)

    def check_programmable(self, bank: int, lines: np.ndarray, endurance: int) -> None:
        """Raise MixcimError if a bank is locked, or one of its lines has been programmed `endurance` times."""
        self._check_unlocked([bank])
        if len(lines):
            first = self._line_of_all(bank, int(lines.min()))
            count = int(lines.max() - lines.min()) + 1
            wear = self.bus.read(window_address(Region.WEAR, first * 4), count)[lines - lines.min()]
            for line in np.flatnonzero(wear >= endurance)[:1]:
                raise MixcimError(worn_out(self._line_of_all(bank, int(lines[line])), int(wear[line]), endurance))

    def program_lines(
        self, bank: int, lines: np.ndarray, targets: np.ndarray, held: np.ndarray, registers: WriteVerify, seed: int
    ) -> tuple[np.ndarray, ProgrammingReport]:
        """Write-verify the lines of these numbers in a bank: codes afterwards, uint8 (lines, rows), and the report.

        `targets`: uint8 (lines, rows). `held`: bool (lines, rows), cells that do not move. `seed`: 32 bits. Raises
        MixcimError, before anything is changed, for arguments of other shapes or types, a locked bank, and a line whose
        endurance is used up.
        """
        check_programming(lines, targets, held, seed, self.chip)
        self.check_programmable(bank, lines, registers.endurance)
        for register in WRITE_REGISTERS:
            name = register.name.removeprefix("WRITE_").lower()
            self._write_register(register, seed if name == "seed" else getattr(registers, name))
        target = window_address(Region.REGISTERS, Register.MEMRISTOR_TARGET)
        mask = window_address(Region.REGISTERS, Register.MEMRISTOR_HELD)
        rows = self.chip.rows
        masks = np.zeros((len(targets), max(rows, 32)), np.uint8)
        masks[:, :rows] = held
        masks = np.packbits(masks, axis=1, bitorder="little").view(np.uint32)
        results = np.zeros((len(targets), rows), np.uint32)
        wear = np.zeros(len(targets), np.int64)
        for number, line in enumerate(lines.tolist()):
            self._select_line(bank, line)
            self.bus.write(mask, masks[number], step=0)
            self.bus.write(target, _as_words(targets[number]), step=0)
            status = self._read_register(Register.WRITE_STATUS)
            wear[number] = status >> 8
            if status & 1:
                raise MixcimError(worn_out(self._line_of_all(bank, line), int(wear[number]), registers.endurance))
            results[number] = self.bus.read(window_address(Region.WRITTEN), rows)
        code, pulses, given_up = (
            results >> bit & (1 << width) - 1 for bit, width in pack_layout(WRITTEN_FIELDS)[0].values()
        )
        report = ProgrammingReport(pulses.astype(np.uint16), given_up.astype(bool), wear, registers.endurance)
        return code.astype(np.uint8), report

    def command_cycles(self) -> np.ndarray:
        """Cycles that each command took in the last run: int64 (commands,); together they are the run's cycles.

        From its begin (command 0: from the start) to the begin of the next command; a LOAD with `overlap` has none, its
        time is that of the command before it. The last one's go to the end of the run: that of END, or of the command
        at which a fault stopped the run; commands behind it have 0.
        """
        commands = self._loaded().commands
        if self._read_register(Register.STATUS) & _FAULT:
            last = min(self._read_register(Register.FAULT) >> 8, len(commands) - 1)
        else:
            last = int(np.argmax(commands[:, 0] & 0xFF == Opcode.END))
        begins = self.bus.read(window_address(Region.CYCLES), last + 1).astype(np.int64)
        cycles = np.zeros(len(commands), np.int64)
        cycles[: last + 1] = command_cycles(commands, begins, self._read_register(Register.RUN_CYCLES))
        return cycles

    def infer(self, elements: np.ndarray, noise_seed: int | None = None) -> tuple[np.ndarray, Counters]:
        """One input (height, width, channels) to an output of the same form, and what the chip counted.

        Both are codes or patterns of their TensorPlace.type. `noise_seed`: where the read noise starts, 32 bits
        (default: the program's).
        """
        program = self._loaded()
        self.write_input(elements)
        self._write_seed(noise_seed)
        self.start()
        counters = self.wait()
        return self.read_tensor(program.tensors[program.output]), counters

    def run(self, elements: np.ndarray, noise_seeds: Sequence[int] | None = None) -> np.ndarray:
        """Inputs to outputs, one after the other: both (N, height, width, channels) of their TensorPlace.type.

        `noise_seeds`: one seed per input (default: the program's for all).
        """
        place = self._loaded().tensors[self._loaded().output]
        seeds = [None] * len(elements) if noise_seeds is None else noise_seeds
        if len(seeds) != len(elements):
            raise MixcimError(f"there must be a noise seed for each of the {len(elements)} inputs, not {len(seeds)}")
        outputs = [self.infer(element, seed)[0] for element, seed in zip(elements, seeds, strict=True)]
        return np.array(outputs, place.type).reshape(-1, *place.shape)

    def run_stepwise(
        self, elements: np.ndarray, on_tensor: Callable[[str, np.ndarray], None], noise_seed: int | None = None
    ) -> None:
        """Run one input (height, width, channels) a command at a time; `on_tensor(name, elements)` for every tensor,
        put together of its strips where it lies nowhere whole.

        Each command is put at the head of the program store with an END behind it, so that every tensor can be read
        before its memory is used again. The program store is as it was afterwards. `noise_seed` as for `infer`: it is
        written once, the noise goes on from command to command.
        """
        program = self._loaded()
        self.write_input(elements)
        self._write_seed(noise_seed)
        tensors: dict[str, np.ndarray] = {}
        self._report(-1, tensors, on_tensor)
        end = encode_command(Opcode.END, self.chip)
        try:
            for index, command in enumerate(program.commands[:-1]):
                self._write_commands(0, np.stack([command, end]))
                self.start()
                self.wait()
                self._report(index, tensors, on_tensor)
        finally:
            self._write_commands(0, program.commands[:2])

    def _report(
        self, command: int, tensors: dict[str, np.ndarray], on_tensor: Callable[[str, np.ndarray], None]
    ) -> None:
        """Read the parts of tensors that are there after a command. `tensors`: those that are not complete yet."""
        for place in self._loaded().tensors.values():
            for part in place.parts:
                if part.command == command:
                    whole = tensors.setdefault(place.name, np.zeros(place.shape, place.type))
                    whole[part.row : part.row + part.rows] = self.read_tensor(place.of(part))
                    if part == place.parts[-1]:
                        on_tensor(place.name, tensors.pop(place.name))

    def _loaded(self) -> Program:
        if self.program is None:
            raise MixcimError("the chip has no program: load one first")
        return self.program

    def _check_identity(self) -> None:
        for register, expected, what in (
            (Register.IDENTIFICATION, IDENTIFICATION, "identification"),
            (Register.VERSION, CONTRACT_VERSION, "contract version"),
            (Register.FINGERPRINT, self.chip.fingerprint, f"fingerprint of chip '{self.chip.name}'"),
        ):
            value = self._read_register(register)
            if value != expected:
                raise MixcimError(
                    f"the chip answers {value:#010x} for its {what}, not {expected:#010x}: it is another or older chip"
                )

    def _check_unlocked(self, banks: Sequence[int]) -> None:
        """Raise MixcimError if one of these memristor banks is locked."""
        locked = 0
        for block in _lock_blocks(banks):
            self._write_register(Register.MEMRISTOR_BANK, block)
            locked |= self._read_register(Register.MEMRISTOR_LOCK) << block
        for bank in banks:
            if locked >> bank & 1:
                raise MixcimError(f"memristor bank {bank} is locked against programming: unlock the chip first")

    def _line_of_all(self, bank: int, line: int) -> int:
        """Number of a bank's line among those of all banks."""
        return bank * self.chip.memristor_words * self.chip.physical_columns + line

    def _select_line(self, bank: int, line: int) -> None:
        word, column = divmod(line, self.chip.physical_columns)
        self._write_register(Register.MEMRISTOR_BANK, bank)
        self._write_register(Register.MEMRISTOR_LINE, word << 8 | column)

    def _write_readout(self, program: Program) -> None:
        """Write every ADC's parameters (parameter after parameter, ADC after ADC) and the noise table."""
        value = window_address(Region.REGISTERS, Register.ADC_VALUE)
        for bank, parameters in enumerate(program.adc):
            self._write_register(Register.MEMRISTOR_BANK, bank)
            self._write_register(Register.ADC_SELECT, 0)
            self.bus.write(value, parameters.astype(np.int32).reshape(-1).view(np.uint32), step=0)
        self._write_register(Register.NOISE_INDEX, 0)
        value = window_address(Region.REGISTERS, Register.NOISE_VALUE)
        self.bus.write(value, program.noise_table.astype(np.uint32), step=0)

    def _write_seed(self, noise_seed: int | None) -> None:
        """Start the read noise from a seed (default: the program's)."""
        seed = self._loaded().noise_seed if noise_seed is None else noise_seed
        if not 0 <= seed < 1 << 32:
            raise MixcimError(f"a noise seed must be from 0 to {(1 << 32) - 1}, not {seed}")
        if self.chip.memristor_banks:  # nothing else has noise, nor the register
            self._write_register(Register.NOISE_SEED, seed)

    def _fault_text(self) -> str:
        word = self._read_register(Register.FAULT)
        code, index = word & 0xFF, word >> 8
        name = Fault(code).name if code in set(Fault) else f"number {code}"
        owner = ""
        if self.program is not None:
            for layer in self.program.layers:
                if index in layer.commands:
                    owner = f" (layer '{layer.name}')"
        detail = self._read_register(Register.FAULT_DETAIL)
        return (
            f"the chip stopped with fault {name} at command {index}{owner}, detail {detail:#x}: "
            f"see Fault in commands.py, and compile the network again"
        )

    def _write_commands(self, first: int, commands: np.ndarray) -> None:
        stride = program_stride(self.chip)
        padded = np.zeros((len(commands), stride), np.uint32)
        padded[:, : commands.shape[1]] = commands
        self._write_window(Region.PROGRAM, padded, first * stride * 4)

    def _write_window(self, region: Region, words: np.ndarray, byte: int = 0) -> None:
        if words.size and not (self._back_door and self._back_door.write(region, words, byte)):
            self.bus.write(window_address(region, byte), np.ascontiguousarray(words).reshape(-1))

    def _write_register(self, register: Register, value: int) -> None:
        self.bus.write(window_address(Region.REGISTERS, register), np.array([value], np.uint32))

    def _read_register(self, register: Register) -> int:
        return int(self.bus.read(window_address(Region.REGISTERS, register), 1)[0])


def _lock_blocks(banks: Iterable[int]) -> list[int]:
    """First banks of the words of MEMRISTOR_LOCK that have these banks."""
    return sorted({bank // _LOCK_BANKS * _LOCK_BANKS for bank in banks})


def _as_words(values: np.ndarray) -> np.ndarray:
    """Bytes as 32-bit words, little endian, in C order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint32)
