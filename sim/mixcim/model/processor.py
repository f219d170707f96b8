"""The processor: executes programs over batches of independent inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from mixcim.errors import MixcimError
from mixcim_hdl.commands import Opcode
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Event

from .check import check_program, checked_seeds
from .execution import Execution
from .memristor import Method

#: Bytes of activation memory in a batch, and the fewest inputs in it: what a batch prepares should be worth it.
BATCH_BYTES, LEAST_BATCH = 1 << 25, 32

OnCommand = Callable[[int, Opcode, Mapping[str, int]], None]
Progress = Callable[[int, int], None]


class ProcessorModel:
    """A processor with its program loaded; every input runs from reset.

    After `run`: `captured` (tensor name -> its codes or patterns, TensorPlace.type (inputs, height, width, channels)),
    and for every registers.Event an attribute named like it in lower case: what happened for each input, int64
    (inputs,). `memristor_skips`, of the same form: reads that were left out because no word line took part.
    """

    memristor_reads: np.ndarray
    adc_conversions: np.ndarray
    adc_saturations: np.ndarray
    word_lines_on: np.ndarray
    memristor_skips: np.ndarray

    def __init__(self, chip: ChipConfig, program: Program) -> None:
        """Raises MixcimError if the program is for another chip, does not fit it, or has a scale that is not finite."""
        check_program(chip, program)
        self.chip, self.program = chip, program
        self.captured: dict[str, np.ndarray] = {}
        #: How memristor reads are worked out; the results are the same.
        self.method = Method.FASTEST

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
        """Codes or patterns (inputs, height, width, channels) of the output tensor for those of the input tensor.

        Both are of their TensorPlace.type. `noise_seeds`: where the read noise of each input starts, 32 bits each
        (default: the program's seed for all). `batch`: inputs at a time (default: by size of the activation memory).
        `capture`: names of tensors to keep in `captured`. `on_command(index, opcode, fields)` is called after each
        command of each batch, and so is `progress(done, total)`, in units of inputs x commands. Raises MixcimError for
        inputs of another shape or type, or an unknown tensor, or seeds that do not fit, FaultError where the processor
        would stop with a fault.
        """
        program = self.program
        place = program.tensors[program.input]
        if input_codes.dtype != place.type or input_codes.ndim != 4 or input_codes.shape[1:] != tuple(place.shape):
            raise MixcimError(
                f"input codes must be {place.type.__name__} (inputs, {', '.join(map(str, place.shape))}), not "
                f"{input_codes.dtype} {input_codes.shape}"
            )
        for name in capture:
            if name not in program.tensors:
                raise MixcimError(f"program '{program.network}' has no tensor '{name}' to capture")
        if batch is None:
            batch = max(LEAST_BATCH, min(256, BATCH_BYTES // (self.chip.activation_words * self.chip.channels)))
        if batch < 1:
            raise MixcimError(f"batch must be at least 1, not {batch}")
        given = [program.noise_seed] * len(input_codes) if noise_seeds is None else noise_seeds
        seeds = checked_seeds(given, len(input_codes))
        names = dict.fromkeys([*capture, program.output])
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        events: list[dict[Event, np.ndarray]] = []
        skips: list[np.ndarray] = []
        execution = None
        for first in range(0, max(len(input_codes), 1), batch):
            codes = input_codes[first : first + batch]
            execution = Execution(self.chip, program, seeds[first : first + batch], self.method, execution)
            execution.state.memory.write_tensor(place, codes)
            self._keep(execution, -1, parts)
            for index, (opcode, fields) in enumerate(execution.commands()):
                self._keep(execution, index, parts)
                if on_command is not None:
                    on_command(index, opcode, fields)
                if progress is not None:
                    done = first * len(program.commands) + len(codes) * (index + 1)
                    progress(done, len(input_codes) * len(program.commands))
            events.append(execution.state.events)
            skips.append(execution.state.skips)
        kept = {name: np.concatenate(tensors) for name, tensors in parts.items() if tensors}
        self.captured = {name: kept[name] for name in capture if name in kept}
        for event in Event:
            setattr(self, event.name.lower(), np.concatenate([part[event] for part in events]))
        self.memristor_skips = np.concatenate(skips)
        return kept[program.output]

    def run_layer(self, number: int, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """One layer by itself, on tensors from elsewhere: its output, as `run` gives it.

        `number`: index into the program's layers. `tensors`: name -> the same of what the layer reads.
        All of them must lie in memory whole. The tables and weights of the commands before it are in force; read noise
        starts from the program's seed.
        """
        seeds = [self.program.noise_seed] * len(next(iter(tensors.values())))
        execution = Execution(self.chip, self.program, seeds, self.method)
        for name, codes in tensors.items():
            execution.state.memory.write_tensor(self.program.tensors[name], codes)
        layer = self.program.layers[number]
        own = set(layer.commands)
        for index in range(layer.commands[-1] + 1):
            opcode = int(self.program.commands[index][0]) & 0xFF
            # Weights that a layer before it has loaded are not loaded again.
            if index in own or opcode in (Opcode.TABLE, Opcode.LOAD):
                execution.execute(index)
        return execution.state.memory.read_tensor(self.program.tensors[layer.output])

    def _keep(self, execution: Execution, command: int, parts: dict[str, list[np.ndarray]]) -> None:
        """Copy the parts of the wanted tensors that are complete after `command`."""
        for name, tensors in parts.items():
            place = self.program.tensors[name]
            for part in place.parts:
                if part.command != command:
                    continue
                values = execution.state.memory.read_tensor(place.of(part))
                if part == place.parts[0]:
                    tensors.append(np.zeros((len(values), *place.shape), values.dtype))
                tensors[-1][:, part.row : part.row + part.rows] = values
