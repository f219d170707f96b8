"""The processor: executes the command words of a program over batches of independent inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixcim.errors import MixcimError
from mixcim_hdl.commands import ADDRESS_BITS, Fault, Opcode, TinyMode, decode_command, noise_state
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.formats import ACTIVATION_BITS, ADC_PARAMETERS, NOISE_BITS
from mixcim_hdl.program import Program, ProgramError, no_repair
from mixcim_hdl.registers import Event

from .accumulator import ExactProduct
from .activation import ActivationMemory
from .fault import FaultError
from .feeder import group_addresses, tap_addresses, windows
from .memristor import MemristorBank, Method, Reading
from .noise import advanced
from .output import float32_from_bits, requantised, write_tiles
from .read_plan import ReadTable
from .sram import SramBank
from .tiny import TinyBank

#: Bytes of activation memory in a batch.
BATCH_BYTES = 1 << 27
#: Codes of windows that are worked on at a time: what follows from them should stay in the processor's caches.
CHUNK_CODES = 1 << 19

OnCommand = Callable[[int, Opcode, Mapping[str, int]], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Work:
    """What one unit does with the windows of a group: a share of the exact product, memristor reads, the sum of both,
    or (neither) a maximum. `states` uint32 (inputs, columns): the bank's noise generators at the next window."""

    unit: int
    tiles: int
    matrix: np.ndarray | None
    reading: Reading | None = None
    states: np.ndarray | None = None


class ProcessorModel:
    """A processor with its program loaded; every input runs from reset.

    After `run`: `captured` (tensor name -> uint8 (inputs, height, width, channels)), and for every registers.Event an
    attribute named like it in lower case: what happened for each input, int64 (inputs,). `memristor_skips`, of the same
    form: reads that were left out because no word line took part.
    """

    memristor_reads: np.ndarray
    adc_conversions: np.ndarray
    adc_saturations: np.ndarray
    word_lines_on: np.ndarray
    memristor_skips: np.ndarray

    def __init__(self, chip: ChipConfig, program: Program) -> None:
        """Raises MixcimError if the program is for another chip, does not fit it, or has a scale that is not finite."""
        self.chip, self.program = chip, program
        try:
            program.check_chip(chip)
        except ProgramError as error:
            raise MixcimError(str(error)) from None
        self._check_sizes()
        self.bias = np.zeros((chip.parameter_tiles, chip.channels), np.int32)
        self.scale = np.zeros((chip.parameter_tiles, chip.channels), np.float32)
        self.word_offset = np.zeros(chip.parameter_tiles, np.int64)
        self.lane_mask = np.zeros(chip.parameter_tiles, np.int64)
        for name in ("bias", "scale", "word_offset", "lane_mask"):
            getattr(self, name)[: len(getattr(program, name))] = getattr(program, name)
        if not np.isfinite(self.scale).all():
            tile = int(np.flatnonzero(~np.isfinite(self.scale).all(axis=1))[0])
            raise MixcimError(f"program '{program.network}': a scale of parameter tile {tile} is not finite")
        self.weights = np.zeros((chip.weight_words, chip.rows), np.int8)
        self.weights[: len(program.weights)] = program.weights
        self.captured: dict[str, np.ndarray] = {}
        #: How memristor reads are worked out; the results are the same.
        self.method = Method.FASTEST

    def _check_sizes(self) -> None:
        """Refuse arrays that are larger than the chip's memories, or codes that no cell can hold."""
        chip, program = self.chip, self.program
        lines = chip.memristor_words * chip.physical_columns
        sizes = [
            ("commands", len(program.commands), chip.program_commands),
            ("weight words", len(program.weights), chip.weight_words),
            ("parameter tiles", len(program.bias), chip.parameter_tiles),
            ("memristor banks", len(program.memristor), chip.memristor_banks),
            *((f"lines in memristor bank {bank}", len(cells), lines) for bank, cells in enumerate(program.memristor)),
        ]
        for what, number, limit in sizes:
            if number > limit:
                raise MixcimError(f"program '{program.network}' has {number} {what}, chip '{chip.name}' only {limit}")
        for bank, cells in enumerate(program.memristor):
            if int(cells.max(initial=0)) >> chip.conductance_bits:
                raise MixcimError(
                    f"program '{program.network}': conductance code {int(cells.max())} in memristor bank {bank} "
                    f"has more than {chip.conductance_bits} bits"
                )
        self._check_repair()
        self._check_readout()
        for place in program.tensors.values():
            height, width, channels = place.shape
            end = place.address + height * width * -(-channels // chip.channels)
            if end > chip.activation_words:
                raise MixcimError(
                    f"program '{program.network}': tensor '{place.name}' ends at activation word {end}, past "
                    f"the memory's {chip.activation_words} words"
                )

    def _check_repair(self) -> None:
        """Refuse lines that are not whole words, and a repair that does not fit them."""
        chip, program = self.chip, self.program
        if len(program.repair) != len(program.memristor):
            raise MixcimError(
                f"program '{program.network}' has a repair for {len(program.repair)} memristor banks, but lines for "
                f"{len(program.memristor)}"
            )
        for bank, (lines, repair) in enumerate(zip(program.memristor, program.repair, strict=True)):
            words, rest = divmod(len(lines), chip.physical_columns)
            if rest:
                raise MixcimError(
                    f"program '{program.network}': memristor bank {bank} has {len(lines)} lines, no whole number of "
                    f"words of {chip.physical_columns} bit lines"
                )
            if repair.shape != (words, chip.spare_columns):
                raise MixcimError(
                    f"program '{program.network}': repair of memristor bank {bank} must have the shape "
                    f"{(words, chip.spare_columns)} on chip '{chip.name}', not {repair.shape}"
                )
            if int(repair.max(initial=0)) > chip.memristor_columns:
                raise MixcimError(
                    f"program '{program.network}': a spare of memristor bank {bank} replaces column "
                    f"{int(repair.max())}, past the last of {chip.memristor_columns}"
                )

    def _check_readout(self) -> None:
        """Refuse ADC parameters, a noise table or a seed that the chip's registers cannot hold."""
        chip, program = self.chip, self.program
        for name, shape in (
            ("adc", (chip.memristor_banks, chip.adcs, len(ADC_PARAMETERS))),
            ("noise_table", (chip.rows + 1,)),
        ):
            if getattr(program, name).shape != shape:
                raise MixcimError(
                    f"program '{program.network}': {name} must have the shape {shape} on chip '{chip.name}', not "
                    f"{getattr(program, name).shape}"
                )
        for number, (name, (low, high)) in enumerate(ADC_PARAMETERS.items()):
            values = program.adc[:, :, number]
            if values.size and not low <= int(values.min()) <= int(values.max()) <= high:
                wrong = int(values.min()) if values.min() < low else int(values.max())
                raise MixcimError(
                    f"program '{program.network}': {name} of an ADC must be from {low} to {high}, not {wrong}"
                )
        if int(program.noise_table.max()) >> NOISE_BITS:
            raise MixcimError(
                f"program '{program.network}': noise table entry {int(program.noise_table.max())} has more than "
                f"{NOISE_BITS} bits"
            )
        checked_seeds([program.noise_seed], 1)

    def run(
        self,
        input_codes: np.ndarray,
        *,
        noise_seeds: Sequence[int] | np.ndarray | None = None,
        batch: int | None = None,
        capture: Collection[str] = (),
        on_command: OnCommand | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Codes uint8 (inputs, height, width, channels) of the output tensor for those of the input tensor.

        `noise_seeds`: where the read noise of each input starts, 32 bits each (default: the program's seed for all).
        `batch`: inputs at a time (default: by size of the activation memory). `capture`: names of tensors to keep in
        `captured`. `on_command(index, opcode, fields)` is called after each command of each batch, and so is
        `progress(done, total)`, in units of inputs x commands. Raises MixcimError for codes of another shape or type,
        or an unknown tensor, or seeds that do not fit, FaultError where the processor would stop with a fault.
        """
        program = self.program
        shape = program.tensors[program.input].shape
        if input_codes.dtype != np.uint8 or input_codes.ndim != 4 or input_codes.shape[1:] != tuple(shape):
            raise MixcimError(
                f"input codes must be uint8 (inputs, {', '.join(map(str, shape))}), not {input_codes.dtype} "
                f"{input_codes.shape}"
            )
        for name in capture:
            if name not in program.tensors:
                raise MixcimError(f"program '{program.network}' has no tensor '{name}' to capture")
        if batch is None:
            batch = max(1, min(256, BATCH_BYTES // (self.chip.activation_words * self.chip.channels)))
        if batch < 1:
            raise MixcimError(f"batch must be at least 1, not {batch}")
        given = [program.noise_seed] * len(input_codes) if noise_seeds is None else noise_seeds
        seeds = checked_seeds(given, len(input_codes))
        names = dict.fromkeys([*capture, program.output])
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        events: list[dict[Event, np.ndarray]] = []
        skips: list[np.ndarray] = []
        for first in range(0, max(len(input_codes), 1), batch):
            codes = input_codes[first : first + batch]
            execution = _Execution(self, seeds[first : first + batch])
            execution.memory.write_tensor(program.tensors[program.input], codes)
            self._keep(execution, -1, parts)
            for index, (opcode, fields) in enumerate(execution.commands()):
                self._keep(execution, index, parts)
                if on_command is not None:
                    on_command(index, opcode, fields)
                if progress is not None:
                    done = first * len(program.commands) + len(codes) * (index + 1)
                    progress(done, len(input_codes) * len(program.commands))
            events.append(execution.events)
            skips.append(execution.skips)
        kept = {name: np.concatenate(tensors) for name, tensors in parts.items() if tensors}
        self.captured = {name: kept[name] for name in capture if name in kept}
        for event in Event:
            setattr(self, event.name.lower(), np.concatenate([part[event] for part in events]))
        self.memristor_skips = np.concatenate(skips)
        return kept[program.output]

    def run_layer(self, number: int, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """One layer by itself, on tensors from elsewhere: codes uint8 (inputs, height, width, channels) of its output.

        `number`: index into the program's layers. `tensors`: name -> codes of the same form, of what the layer reads.
        The tables that the commands before it set are in force; read noise starts from the program's seed.
        """
        execution = _Execution(self, [self.program.noise_seed] * len(next(iter(tensors.values()))))
        for name, codes in tensors.items():
            execution.memory.write_tensor(self.program.tensors[name], codes)
        layer = self.program.layers[number]
        for index in range(layer.last_command + 1):
            opcode = int(self.program.commands[index][0]) & 0xFF
            if index >= layer.first_command or opcode == Opcode.TABLE:
                execution.execute(index)
        return execution.memory.read_tensor(self.program.tensors[layer.output])

    def _keep(self, execution: _Execution, command: int, parts: dict[str, list[np.ndarray]]) -> None:
        """Copy the wanted tensors that are complete after `command`."""
        for name, tensors in parts.items():
            if self.program.tensors[name].command == command:
                tensors.append(execution.memory.read_tensor(self.program.tensors[name]))


class _Execution:
    """State of the processor while it runs one batch."""

    def __init__(self, model: ProcessorModel, seeds: Sequence[int]) -> None:
        """`seeds`: where the read noise of each input starts."""
        self.model, self.chip, self.inputs = model, model.chip, len(seeds)
        inputs, program = self.inputs, model.program
        self.memory = ActivationMemory(inputs, self.chip)
        self.units: list[MemristorBank | SramBank | TinyBank] = []
        #: State of the noise generators of each memristor bank: uint32 (inputs, columns).
        self.states: list[np.ndarray] = []
        columns = range(self.chip.memristor_columns)
        for unit, kind in enumerate(self.chip.units):
            if kind is UnitKind.MEMRISTOR:
                lines = np.zeros((0, self.chip.rows), np.uint8)
                repair = no_repair(lines, self.chip)
                if unit < len(program.memristor):
                    lines, repair = program.memristor[unit], program.repair[unit]
                self.units.append(MemristorBank(self.chip, lines, repair, program.adc[unit], program.noise_table))
                states = [[noise_state(seed, unit, column) for column in columns] for seed in seeds]
                self.states.append(np.array(states, np.uint32).reshape(inputs, len(columns)))
            else:
                self.units.append(SramBank(self.chip) if kind is UnitKind.SRAM else TinyBank(self.chip))
        self.table: ReadTable | None = None
        self.events = {event: np.zeros(inputs, np.int64) for event in Event}
        self.skips = np.zeros(inputs, np.int64)
        self.index = 0

    def fail(self, fault: Fault, reason: str) -> FaultError:
        """The error of the present command, to be raised."""
        return FaultError(self.index, fault, reason)

    def commands(self) -> Iterator[tuple[Opcode, dict[str, int]]]:
        """Execute command after command up to END, yielding each after it is done."""
        for index in range(self.chip.program_commands):
            opcode, fields = self.execute(index)
            yield opcode, fields
            if opcode == Opcode.END:
                return
        raise self.fail(Fault.PROGRAM_END, f"no END within the store's {self.chip.program_commands} commands")

    def execute(self, index: int) -> tuple[Opcode, dict[str, int]]:
        """Execute the command at an index of the program store; its opcode and fields."""
        program = self.model.program
        self.index = index
        # Words of the program store that nobody wrote are 0.
        words = program.commands[index] if index < len(program.commands) else np.zeros(1, np.uint32)
        if int(words[0]) & 0xFF not in Opcode.__members__.values():
            raise self.fail(Fault.ILLEGAL_COMMAND, f"unknown opcode {int(words[0]) & 0xFF}")
        opcode, fields = decode_command(words, self.chip)
        if opcode == Opcode.LOAD:
            self.load(fields)
        elif opcode == Opcode.TABLE:
            self.set_table(fields)
        elif opcode == Opcode.RUN:
            self.run_layer(fields)
        return opcode, fields

    def load(self, fields: Mapping[str, int]) -> None:
        """LOAD: weight store to unit memory."""
        unit, source, destination, count = (fields[name] for name in ("unit", "source", "destination", "count"))
        bank = self.units[unit] if unit < len(self.units) else None
        if bank is None or isinstance(bank, MemristorBank):
            raise self.fail(Fault.ILLEGAL_COMMAND, f"LOAD into unit {unit}, which takes no LOAD")
        if source + count > self.chip.weight_words:
            reason = f"LOAD reads up to weight word {source + count}, past the store's {self.chip.weight_words} words"
            raise self.fail(Fault.WEIGHT_ADDRESS, reason)
        if destination + count > len(bank.words):
            reason = f"LOAD writes unit {unit} up to word {destination + count}, past its {len(bank.words)} words"
            raise self.fail(Fault.UNIT_ADDRESS, reason)
        bank.words[destination : destination + count] = self.model.weights[source : source + count]

    def set_table(self, fields: Mapping[str, int]) -> None:
        """TABLE: how the memristor banks read."""
        digits, read = len(self.chip.mode.cells), fields["digits"]
        if not 1 <= read <= digits:
            raise self.fail(Fault.ILLEGAL_COMMAND, f"TABLE reads {read} digits, not 1 to {digits}")
        rows = [fields[f"rows_per_read[{entry}]"] for entry in range(ACTIVATION_BITS * digits)]
        shift = [fields[f"step_shift[{entry}]"] for entry in range(ACTIVATION_BITS * digits)]
        for entry, value in enumerate(rows):
            if not 1 <= value <= self.chip.rows:
                reason = f"TABLE entry {entry} reads {value} rows at a time, not 1 to {self.chip.rows}"
                raise self.fail(Fault.ILLEGAL_COMMAND, reason)
        bits = [slice(bit * digits, bit * digits + read) for bit in range(ACTIVATION_BITS)]
        self.table = ReadTable(
            tuple(tuple(rows[cut]) for cut in bits),
            tuple(tuple(shift[cut]) for cut in bits),
            bool(fields["skip_zero_groups"]),
        )

    def run_layer(self, fields: Mapping[str, int]) -> None:
        """RUN: check it, then group after group, and for each a chunk of windows after the other."""
        self._check_run(fields)
        addresses = tap_addresses(fields)
        granule = 1 << fields["granule_log2"]
        self.memory.words[:, self.memory.padding_word] = fields["pad_value"]
        pixels, length = len(addresses), addresses.shape[1] * granule
        chunk = max(1, CHUNK_CODES // length)
        final: list[_Work] = []
        for group in range(fields["group_count"]):
            here = group_addresses(addresses, group)
            if int(here.max(initial=-1)) >= self.chip.activation_words:
                limit = self.chip.activation_words
                reason = f"RUN reads activation word {int(here.max())}, past the memory's {limit} words"
                raise self.fail(Fault.INPUT_ADDRESS, reason)
            works = self._works(fields, group, length)
            tiles = self._parameter_tiles(fields, group, pixels)
            matrices = [work.matrix for work in works if work.matrix is not None]
            largest = (1 << fields["input_bits"]) - 1
            product = ExactProduct(np.concatenate(matrices, axis=1), largest) if matrices else None
            for inputs, rows in _chunks(self.inputs, pixels, chunk):
                codes = windows(self.memory, inputs, here[rows.start : rows.stop], granule)
                if fields["input_bits"] < ACTIVATION_BITS and int(codes.max()) > largest:
                    raise MixcimError(
                        f"command {self.index}: RUN reads the code {int(codes.max())}, which has more than "
                        f"input_bits = {fields['input_bits']} bits"
                    )
                sums = self._sums(works, product, codes, inputs)
                self._count_word_lines(works, codes, inputs)
                bias, scale = self.model.bias[tiles].ravel(), self.model.scale[tiles].ravel()
                result = requantised(sums, bias, scale, fields)
                result = result.reshape(*codes.shape[:2], len(tiles), self.chip.channels)
                offsets, masks = self.model.word_offset[tiles].tolist(), self.model.lane_mask[tiles].tolist()
                write_tiles(self.memory, inputs, rows, result, offsets, masks, fields)
            final = final or works
        # Behind its last window the first group is past the other groups' reads, too.
        for work in final:
            if work.states is not None:
                self.states[work.unit] = work.states

    def _sums(self, works: list[_Work], product: ExactProduct | None, codes: np.ndarray, inputs: slice) -> np.ndarray:
        """Sums int32 (windows, kernels of all units) of windows uint8 (inputs, pixels, length)."""
        flat = codes.reshape(-1, codes.shape[2])
        exact = product(flat) if product is not None else None
        parts, first = [], 0
        for work in works:
            bank, part = self.units[work.unit], None
            if work.matrix is not None:
                assert exact is not None
                part = exact[:, first : first + work.matrix.shape[1]]
                first += work.matrix.shape[1]
            if work.reading is not None:
                rest, clipped, left_out = work.reading(codes, None if work.states is None else work.states[inputs])
                part = rest if part is None else part + rest
                reads = work.reading.plan.reads * codes.shape[1] - left_out
                self.skips[inputs] += left_out
                self.events[Event.MEMRISTOR_READS][inputs] += reads
                self.events[Event.ADC_CONVERSIONS][inputs] += reads * self.chip.adcs
                self.events[Event.ADC_SATURATIONS][inputs] += clipped
            if part is None:
                assert isinstance(bank, TinyBank)
                part = bank.maximum(flat, work.tiles)
            parts.append(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _count_word_lines(self, works: list[_Work], codes: np.ndarray, inputs: slice) -> None:
        """Count the word lines that are on: every tile and digit reads each of them once."""
        plans = [work.reading.plan for work in works if work.reading is not None]
        if plans:
            lines = np.bitwise_count(codes).sum(axis=(1, 2), dtype=np.int64)
            self.events[Event.WORD_LINES_ON][inputs] += lines * sum(plan.tiles * plan.table.digits for plan in plans)

    def _check_run(self, fields: Mapping[str, int]) -> None:
        """Refuse fields that the chip cannot do."""
        chip = self.chip
        for name in ("kernel_height", "kernel_width", "tap_words", "output_height", "output_width", "group_count"):
            if not fields[name]:
                raise self.fail(Fault.ILLEGAL_COMMAND, f"RUN field '{name}' must not be 0")
        if not 1 <= fields["input_bits"] <= ACTIVATION_BITS:
            raise self.fail(Fault.ILLEGAL_COMMAND, f"RUN input_bits must be from 1 to 8, not {fields['input_bits']}")
        if 1 << fields["granule_log2"] > chip.channels:
            reason = f"RUN takes {1 << fields['granule_log2']} channels of a word that has {chip.channels}"
            raise self.fail(Fault.ILLEGAL_COMMAND, reason)
        total = 0
        for unit, kind in enumerate(chip.units):
            tiles, mode = fields[f"tiles[{unit}]"], fields[f"mode[{unit}]"]
            total += tiles
            if tiles > chip.accumulator_tiles:
                reason = f"RUN accumulates {tiles} tiles in unit {unit}, which has {chip.accumulator_tiles}"
                raise self.fail(Fault.ILLEGAL_COMMAND, reason)
            if mode > (max(TinyMode) if kind is UnitKind.TINY else 0):
                raise self.fail(Fault.ILLEGAL_COMMAND, f"RUN unit {unit} ({kind.value}) has no mode {mode}")
            if tiles and kind is UnitKind.MEMRISTOR and self.table is None:
                raise MixcimError(f"command {self.index}: RUN on memristor unit {unit} before any TABLE")
        written = fields["output_height"] * fields["output_width"] * fields["group_count"] * total
        if not total or fields["output_tiles"] != written:
            stated = fields["output_tiles"]
            raise MixcimError(f"command {self.index}: RUN output_tiles is {stated}, but {written} are written")
        for name in ("scale_first", "scale_second", "fixed") if fields["residual"] else ():
            if not np.isfinite(float32_from_bits(fields[name])):
                raise MixcimError(f"command {self.index}: RUN {name} is not finite")

    def _works(self, fields: Mapping[str, int], group: int, length: int) -> list[_Work]:
        """The units' shares of a group of windows of `length` rows."""
        vectors = -(-length // self.chip.rows)
        works = []
        for unit, (kind, bank) in enumerate(zip(self.chip.units, self.units, strict=True)):
            tiles, mode = fields[f"tiles[{unit}]"], TinyMode(fields[f"mode[{unit}]"])
            if not tiles:
                continue
            if mode == TinyMode.MAX:
                works.append(_Work(unit, tiles, None))
                continue
            stride = self.chip.channels if kind is UnitKind.TINY and mode == TinyMode.BROADCAST else 1
            slot = fields[f"slot[{unit}]"] + group * vectors * tiles * stride
            end, capacity = slot + vectors * tiles * stride, self.chip.unit_capacity(kind)
            if end > capacity:
                reason = f"RUN reads unit {unit} ({kind.value}) up to {end}, past its capacity of {capacity}"
                raise self.fail(Fault.UNIT_ADDRESS, reason)
            if isinstance(bank, MemristorBank):
                works.append(self._memristor_work(bank, unit, slot, vectors, fields, group, length))
                continue
            if isinstance(bank, SramBank):
                matrix = bank.matrix(slot, vectors, tiles)
            else:
                matrix = bank.matrix(mode, slot, vectors, tiles)
            works.append(_Work(unit, tiles, matrix[:length]))
        return works

    def _memristor_work(
        self,
        bank: MemristorBank,
        unit: int,
        slot: int,
        vectors: int,
        fields: Mapping[str, int],
        group: int,
        length: int,
    ) -> _Work:
        """A memristor bank's share of a group, its noise generators as they are at the group's first window."""
        assert self.table is not None
        tiles, groups = fields[f"tiles[{unit}]"], fields["group_count"]
        method = self.model.method
        reading = bank.reading(self.table, slot, vectors, tiles, length, fields["input_bits"], groups, method)
        states = advanced(self.states[unit], group * reading.plan.reads) if reading.plan.noisy else None
        return _Work(unit, tiles, reading.matrix, reading, states)

    def _parameter_tiles(self, fields: Mapping[str, int], group: int, pixels: int) -> np.ndarray:
        """Parameter tiles of a group, unit by unit, after a check of every address that they lead to."""
        tiles: list[int] = []
        for unit in range(len(self.units)):
            count = fields[f"tiles[{unit}]"]
            first = fields[f"parameter[{unit}]"] + group * count
            tiles.extend(range(first, first + count))
        if max(tiles) >= self.chip.parameter_tiles:
            reason = f"RUN uses parameter tile {max(tiles)}, past the memory's {self.chip.parameter_tiles} tiles"
            raise self.fail(Fault.PARAMETER_ADDRESS, reason)
        for base in ("output_base", "residual_base") if fields["residual"] else ("output_base",):
            first = (fields[base] + self.model.word_offset[tiles]) % (1 << ADDRESS_BITS)
            last = int(first.max()) + (pixels - 1) * fields["output_pitch"]
            if last >= self.chip.activation_words:
                limit = self.chip.activation_words
                reason = f"RUN reaches activation word {last} ({base}), past the memory's {limit} words"
                raise self.fail(Fault.OUTPUT_ADDRESS, reason)
        return np.array(tiles)


def checked_seeds(seeds: Sequence[int] | np.ndarray, inputs: int) -> list[int]:
    """Noise seeds, one per input, 32 bits each. Raises MixcimError."""
    numbers = [int(seed) for seed in seeds]
    if len(numbers) != inputs:
        raise MixcimError(f"there must be a noise seed for each of the {inputs} inputs, not {len(numbers)}")
    for seed in numbers:
        if not 0 <= seed < 1 << 32:
            raise MixcimError(f"a noise seed must be from 0 to {(1 << 32) - 1}, not {seed}")
    return numbers


def _chunks(inputs: int, pixels: int, windows_at_a_time: int) -> Iterator[tuple[slice, range]]:
    """Cut inputs x pixels windows into parts of about that many: whole inputs, or else parts of one input."""
    if pixels <= windows_at_a_time:
        step = windows_at_a_time // pixels
        for first in range(0, inputs, step):
            yield slice(first, min(first + step, inputs)), range(pixels)
        return
    for number in range(inputs):
        for first in range(0, pixels, windows_at_a_time):
            yield slice(number, number + 1), range(first, min(first + windows_at_a_time, pixels))
