"""`compile_network`: a quantised network and a chip in, a `Program` out.

```
 Network --fold--> place --> kind of unit per kernel --plan--> passes (RUNs) ----emit--> commands, weights, parameters
                     \\--depth-first, allocate--> strips, address per tensor ----^
```
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixcim_hdl.commands import Opcode, TinyMode
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat
from mixcim_hdl.program import LayerRecord, Program, Strip, TensorPlace, ideal_adc, no_noise, no_repair

from ..errors import MixcimError
from .allocate import HOST, allocate, lifetimes, pixel_pitches
from .codes import code_of, input_width
from .copies import Candidate, memristor_copies
from .cycles import RUN_OVERHEAD, Work, work_of
from .depth_first import place_tensors
from .exponents import tile_entries
from .fields import run_fields, strip_fields
from .fold import fold_input
from .layer_weights import LayerWeights, layer_weights
from .merge import View, merged_view, plain_view
from .network import Layer, LayerKind, Network, Tensor
from .passes import Pass, Share, UnitSpace, check_windows, plan, tile_lanes
from .placement import Placement, is_fully_connected, place
from .stores import CommandList, MemristorBanks, ParameterMemory, WeightStore
from .strips import Chain, strip_rows
from .table import Tables, exact_table, read_table, reads_of
from .unit_memory import Block, LoadedAt, UnitMemories
from .unused import unused_biases
from .weights import (
    Window,
    broadcast_words,
    depthwise_words,
    digits_used,
    masked_taps,
    packed_slots,
    sram_words,
    window_of,
)

#: Cycles that a command less is worth where the program store does not hold the fastest program.
_COMMAND_COST = 1 << 14


def compile_network(
    network: Network,
    chip: ChipConfig,
    placement_rules: Iterable[str] = (),
    table: str | Tables = "16",
    keep_all: bool = False,
    hidden: UnitKind | str | None = None,
    skip_zero_groups: bool = False,
) -> Program:
    """Compile a network for a chip. The same arguments give the same program, byte for byte.

    `placement_rules` and `hidden`: see placement.py. `table`: see table.py. `keep_all`: every tensor has memory of its
    own and can be read after the run; no layer runs depth-first then. `skip_zero_groups`: memristor reads whose input
    bits are all 0 are left out. Raises MixcimError in one line when the network, as placed, does not fit the chip
    (which memory, what is needed, what there is), has a layer that the chip cannot do, or an argument makes no sense.
    """
    _check_floating(network, chip)
    unfolded = network
    network, fold = fold_input(network, chip)
    placement = place(network, chip, placement_rules, hidden)
    tables = read_table(table, chip) if isinstance(table, str) else table
    names = [layer.name for layer in network.layers]
    for name in tables.layers:
        if name not in names:
            raise MixcimError(f"the table names layer '{name}', network '{network.name}' has {', '.join(names)}")
    if skip_zero_groups:
        tables = dataclasses.replace(tables, skip_zero_groups=True)
    # The fastest program, or one with fewer commands, or with pixels not merged: fewer parameters and weights.
    merging = (True, False) if chip.sram_segments > 1 else (False,)
    for merge, command_cost in itertools.product(merging, (0, _COMMAND_COST)):
        compilation = _Compilation(network, chip, placement, tables, keep_all, command_cost, merge)
        program = compilation.program()
        if (excess := compilation.excess()) is None:
            break
    else:
        raise MixcimError(excess)
    if fold == (1, 1):
        return program
    # What a layer has to do does not grow with the zeros of a folded kernel.
    work = [layer.multiply_accumulates(unfolded.tensors[layer.output]) for layer in unfolded.layers]
    layers = [
        dataclasses.replace(record, multiply_accumulates=number)
        for record, number in zip(program.layers, work, strict=True)
    ]
    return dataclasses.replace(program, layers=tuple(layers), fold=fold)


@dataclass(frozen=True)
class _UnitWork:
    """What a unit does in a RUN: its fields `tiles`, `mode`, `copy` and `parameter`; `slot` of resident weights.

    `block`: weights that are loaded, None for others; they take `words` of the unit's memory, `stride` words a step of
    RUN's field `slot`.
    """

    unit: int
    tiles: int
    mode: int
    copy: int
    parameter: int
    slot: int = 0
    block: Block | None = None
    stride: int = 1


@dataclass(frozen=True)
class _Run:
    """A RUN of a layer without rows: the pass, and what each unit does in it.

    `pool_parameter`: first parameter tile of the float pool, which works where no unit does.
    """

    step: Pass
    units: tuple[_UnitWork, ...]
    pool_parameter: int = 0


@dataclass
class _Plan:
    """A layer on its way into the program.

    `view`: as the units see it. `work`: what it asks of them. `table`: fields of TABLE, None without memristor. `runs`,
    `fields`: of all its RUNs, once its weights are stored. `ranges`: its commands so far, `strips`: parts of its
    output.
    """

    layer: Layer
    view: View
    work: Work
    weights: LayerWeights
    table: dict[str, int] | None
    passes: list[Pass]
    runs: list[_Run] = dataclasses.field(default_factory=list)
    fields: dict[str, int] = dataclasses.field(default_factory=dict)
    ranges: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    strips: list[Strip] = dataclasses.field(default_factory=list)
    chain: int = 0
    cycles: int = 0  #: estimate for the commands so far

    @property
    def window(self) -> Window:
        return self.work.window


class _Compilation:
    def __init__(
        self,
        network: Network,
        chip: ChipConfig,
        placement: Placement,
        tables: Tables,
        keep_all: bool,
        command_cost: int,
        merge: bool,
    ) -> None:
        """`command_cost`: as in cycles.Work. `merge`: pixels, where that is faster. Others as of compile_network."""
        self.command_cost, self.merge = command_cost, merge
        self.network, self.chip, self.placement, self.tables = network, chip, placement, tables
        self.check_memristor()
        self.commands = CommandList(chip)
        self.weights = WeightStore(chip)
        self.memristor = MemristorBanks(chip)
        self.parameters = ParameterMemory(chip)
        self.memories = UnitMemories(chip)
        self.present_table: dict[str, int] = {}
        self.unused_biases = unused_biases(network)
        self.writes: list[tuple[int, range]] = []  #: command, activation words
        self.last_cycles = 0  #: estimate for the last RUN
        self.pitches = pixel_pitches(network, chip, placement)
        self.plans = self.plan_layers()
        self.chains: list[Chain] = []
        if keep_all:
            self.layout = allocate(network, chip, placement, keep_all)
        else:
            cycles = [[step.estimate(item.work, chip) for step in item.passes] for item in self.plans]
            overhead = RUN_OVERHEAD + command_cost
            self.chains, self.layout = place_tensors(network, chip, placement, cycles, overhead)

    def program(self) -> Program:
        for item in self.plans:
            view = item.view
            item.fields = run_fields(view.network, view.layer, view.window, view.layout(self.layout), self.chip)
            item.runs = [self.store_pass(item, step) for step in item.passes]
        index = 0
        chains = {chain.first: chain for chain in self.chains}
        while index < len(self.plans):
            if index in chains:
                self.emit_chain(chains[index])
                index = chains[index].last + 1
            else:
                self.emit_rows(self.plans[index], None)
                index += 1
        self.commands.add(f"network '{self.network.name}'", Opcode.END)
        network = self.network
        lines = self.memristor.arrays()
        return Program(
            network=network.name,
            chip=self.chip.name,
            fingerprint=self.chip.fingerprint,
            commands=self.commands.array(),
            weights=self.weights.array(),
            memristor=lines,
            repair=tuple(no_repair(bank, self.chip) for bank in lines),
            adc=ideal_adc(self.chip),
            noise_table=no_noise(self.chip),
            noise_seed=0,
            device="",
            tensors=self.tensor_places(),
            layers=tuple(self.record(item) for item in self.plans),
            input=network.input,
            output=network.output,
            input_layout=network.input_layout,
            file_shape=network.file_shape,
            output_shape=network.output_shape,
            host_output=network.host_output,
            fold=(1, 1),
            **self.parameters.arrays(),
        )

    def plan_layers(self) -> list[_Plan]:
        """Weights, table and passes of every layer."""
        plans, candidates = [], []
        for layer in self.network.layers:
            candidate, view, table = self.candidate(layer)
            weights = layer_weights(view.network, view.layer, view.window, self.unused_biases, self.chip)
            candidates.append(candidate)
            plans.append(_Plan(layer, view, candidate.work, weights, table, []))
        copies = memristor_copies(candidates, self.chip)
        space = UnitSpace(self.chip, [self.chip.memristor_slots] * self.chip.memristor_banks)
        for item, layer in zip(plans, candidates, strict=True):
            if self.network.pools(item.layer):
                item.passes = [Pass(0, len(item.weights.bias), 1, ())]
            else:
                item.passes = plan(layer.name, layer.work, layer.lanes, space, copies.get(layer.name))
        return plans

    def candidate(self, layer: Layer) -> tuple[Candidate, View, dict[str, int] | None]:
        """A layer to be planned, as the units see it, and its fields of TABLE (None without memristor)."""
        units = self.placement[layer.name]
        lanes = tile_lanes(units, self.chip)
        view = plain_view(self.network, layer, self.chip)
        table = None
        if UnitKind.MEMRISTOR in lanes:
            weights = layer_weights(self.network, layer, view.window, self.unused_biases, self.chip)
            table = self.table_fields(layer, view.window, weights, lanes[UnitKind.MEMRISTOR])
        reads = reads_of(table, input_width(self.network, layer)[0], view.window, self.chip) if table else 0
        found = Candidate(layer.name, work_of(self.network, layer, view.window, reads, self.command_cost), lanes)
        check_windows(layer.name, found.work, lanes, self.chip)
        merged = merged_view(self.network, layer, units, self.pitches, self.chip) if self.merge else None
        if merged is not None:
            work = work_of(merged.network, merged.layer, merged.window, 0, self.command_cost)
            lanes = {UnitKind.SRAM: np.ones((len(merged.places), self.chip.channels), bool)}
            other = Candidate(layer.name, work, lanes)
            if other.cost(self.chip) < found.cost(self.chip):
                return other, merged, None
        return found, view, table

    def record(self, item: _Plan) -> LayerRecord:
        """What the reports say of a layer."""
        layer, units = item.layer, self.placement[item.layer.name]
        kind = "fully_connected" if is_fully_connected(self.network, layer) else layer.kind.value
        return LayerRecord(
            name=layer.name,
            kind=kind,
            output=layer.output,
            ranges=tuple(item.ranges),
            kernels={unit.value: units.count(unit) for unit in UnitKind if unit in units} or {"pool": len(units)},
            multiply_accumulates=layer.multiply_accumulates(self.network.tensors[layer.output]),
            format=_formats(layer, self.network.tensors[layer.input]),
            chain=item.chain,
            estimated_cycles=item.cycles,
        )

    def check_memristor(self) -> None:
        """Resident weights of all layers must fit the memristor banks together."""
        needed = 0
        for layer in self.network.layers:
            units = self.placement[layer.name]
            words = {index // self.chip.channels for index, unit in enumerate(units) if unit is UnitKind.MEMRISTOR}
            needed += len(words) * window_of(self.network, layer, self.chip).slots
        available = self.chip.memristor_banks * self.chip.memristor_slots
        if needed > available:
            raise MixcimError(
                f"memristor banks of chip '{self.chip.name}' hold {available} slots, network '{self.network.name}' as "
                f"placed needs {needed}: place fewer kernels on memristor, or use a chip with more memristor_slots"
            )

    def table_fields(self, layer: Layer, window: Window, weights: LayerWeights, lanes: np.ndarray) -> dict[str, int]:
        """Fields of TABLE for a layer. `lanes`: its kernels on memristor, bool (words, channels)."""
        words = np.flatnonzero(lanes.any(axis=1))
        if window.separate:  # slots are of consecutive words
            words = np.arange(len(lanes))
        slots = weights.slots(window, Share(0, 0, words, lanes[words]), self.chip)
        table = self.tables.of(layer.name) or exact_table(slots, self.chip)
        digits, skip = digits_used(slots, self.chip), int(self.tables.skip_zero_groups)
        return {**table.fields(self.chip), "digits": digits, "skip_zero_groups": skip}

    def emit_chain(self, chain: Chain) -> None:
        """The commands of layers that run depth-first, strip after strip."""
        number = 1 + self.chains.index(chain)
        for rows in strip_rows(self.network, chain):
            before = 0  # row of the layer's input that lies first
            for index, own in zip(chain.layers, rows, strict=True):
                item = self.plans[index]
                item.chain = number
                first = 0 if index == chain.last else own.start
                view = item.view
                fields = strip_fields(view.network, view.layer, view.layout(self.layout), own, before, first)
                self.emit_rows(item, own, fields)
                before = first

    def emit_rows(self, item: _Plan, rows: range | None, strip: dict[str, int] | None = None) -> None:
        """The commands of a layer, for some rows of its output (None: all) with the RUN fields `strip`."""
        first_command = len(self.commands)
        fields = {**item.fields, **(strip or {})}
        for run in item.runs:
            self.emit_run(item, run, fields)
        last_command = len(self.commands) - 1
        item.ranges.append((first_command, last_command))
        height = self.network.tensors[item.layer.output].shape[0]
        rows = rows or range(height)
        item.strips.append(Strip(last_command, rows.start, len(rows)))

    def emit_run(self, item: _Plan, run: _Run, layer_fields: dict[str, int]) -> None:
        """The LOADs of a pass that are needed, and its RUN."""
        owner, step = f"layer '{item.layer.name}'", run.step
        fields = dict(layer_fields, first_group=step.first_group, group_count=step.group_count, copies=step.copies)
        places, beside, alone = self.load_weights(owner, run)
        item.cycles += alone + max(0, beside - self.last_cycles)
        on_memristor = any(self.kind(work) is UnitKind.MEMRISTOR for work in run.units)
        if on_memristor and item.table is not None and item.table != self.present_table:
            self.commands.add(owner, Opcode.TABLE, **item.table)
            self.present_table = item.table
        windows = fields["output_height"] * fields["output_width"]
        used: dict[int, range] = {}
        tiles = 0
        if not run.units:
            fields["pool_parameter"], tiles = run.pool_parameter, windows
        for work in run.units:
            tiles += work.tiles * max(0, -(-(windows - work.copy) // step.copies))
            slot = work.slot
            if work.block is not None:
                slot = places[work.unit] // work.stride
                used[work.unit] = range(places[work.unit], places[work.unit] + work.block[1])
            unit = {
                "tiles": work.tiles,
                "mode": work.mode,
                "copy": work.copy,
                "slot": slot,
                "parameter": work.parameter,
            }
            fields.update({f"{name}[{work.unit}]": value for name, value in unit.items()})
        fields["output_tiles"] = step.group_count * tiles
        self.memories.run(used)
        self.last_cycles = step.estimate(dataclasses.replace(item.work, windows=windows), self.chip)
        item.cycles += self.last_cycles
        command = self.commands.add(owner, Opcode.RUN, **fields)
        words = windows * fields["output_pitch"]
        self.writes.append((command, range(fields["output_base"], fields["output_base"] + words)))

    def load_weights(self, owner: str, run: _Run) -> tuple[dict[int, int], int, int]:
        """The LOADs that a RUN needs, those beside the RUN before first: where its units' weights lie, by unit, and the
        words that are loaded beside the RUN before, and after it.

        Units that hold the same weights are neighbours, and filled by one LOAD.
        """
        places: dict[int, int] = {}
        loads: list[tuple[list[int], Block, LoadedAt]] = []
        for units, block in _neighbours(run.units):
            place = self.memories.find(units, block)
            places.update(zip(units, place.first, strict=True))
            if place.load:
                loads.append((units, block, place))
        for units, block, place in sorted(loads, key=lambda item: not item[2].overlap):
            self.commands.add(
                owner,
                Opcode.LOAD,
                unit=units[0],
                units=len(units),
                overlap=int(place.overlap),
                source=block[0],
                destination=place.first[0],
                count=block[1],
            )
            self.memories.loaded(units, block, place)
        beside = sum(block[1] for _, block, place in loads if place.overlap)
        return places, beside, sum(block[1] for _, block, _ in loads) - beside

    def store_pass(self, item: _Plan, step: Pass) -> _Run:
        """Put the weights and parameters of a pass into their memories."""
        if not step.shares:
            words = np.arange(step.first_group, step.first_group + step.group_count)
            lanes = np.ones((len(words), self.chip.channels), bool)
            return _Run(step, (), self.store_parameters(item, words, lanes, None))
        weights, units = item.weights, []
        stored: dict[bytes, dict[str, Any]] = {}  # of copies, which share both
        for share in step.shares:
            resident = self.kind(share) is UnitKind.MEMRISTOR
            key = self.kind(share).value.encode() + share.words.tobytes()
            if key not in stored or resident:
                stored[key] = self.store_weights(item.layer, item.window, weights, share)
            parameter = self.store_parameters(item, share.words, share.lanes, self.kind(share))
            count = len(share.words) // step.group_count
            units.append(_UnitWork(unit=share.unit, tiles=count, copy=share.copy, parameter=parameter, **stored[key]))
        return _Run(step, tuple(units))

    def store_parameters(self, item: _Plan, words: np.ndarray, lanes: np.ndarray, kind: UnitKind | None) -> int:
        """First parameter tile of output `words` (tiles,) on a kind of unit (None: the float pool), of which `lanes`
        (tiles, channels) are its own."""
        return self.parameters.add(
            np.where(lanes, item.weights.bias[words], 0),
            np.where(lanes, item.weights.scale[words], 0),
            item.view.word_offsets(words, self.layout),
            lanes,
            self.exponent_entries(item.layer, words, kind),
        )

    def exponent_entries(self, layer: Layer, words: np.ndarray, kind: UnitKind | None) -> np.ndarray:
        """Exponent entry that each tile of a kind of unit (None: the float pool) writes: int (tiles,), 0 where the
        output has none. `words` (tiles,): output words."""
        if self.network.tensors[layer.output].format is ElementFormat.INTEGER:
            return np.zeros_like(words)
        entries = tile_entries(self.placement[layer.name], self.chip)
        return np.array([entries[word, kind] for word in words.tolist()])

    def store_weights(self, layer: Layer, window: Window, weights: LayerWeights, share: Share) -> dict[str, Any]:
        """Put a share's weights where its unit finds them; mode, slot, block and stride of its _UnitWork."""
        kind = self.kind(share)
        if kind is UnitKind.MEMRISTOR:
            return {"mode": 0, "slot": self.memristor.add(share.unit, weights.slots(window, share, self.chip))}
        mode, stride = int(TinyMode.BROADCAST), 1
        if kind is UnitKind.SRAM:
            slots = weights.slots(window, share, self.chip)
            if not window.separate:
                slots = packed_slots(slots, window, len(share.words), self.chip)
            words, stride, mode = sram_words(slots), self.chip.channels, int(window.sram_mode)
        elif layer.kind is LayerKind.MAX_POOL:
            return {"mode": TinyMode.MAX}
        elif window.separate:
            mode = TinyMode.DEPTHWISE
            assert weights.taps is not None
            words = depthwise_words(masked_taps(weights.taps, int(share.words[0]), share.lanes), self.chip)
        else:
            words = broadcast_words(weights.slots(window, share, self.chip))
        return {"mode": mode, "block": (self.weights.add(words), len(words)), "stride": stride}

    def kind(self, share: Share | _UnitWork) -> UnitKind:
        return self.chip.units[share.unit]

    def tensor_places(self) -> dict[str, TensorPlace]:
        places: dict[str, TensorPlace] = {}
        inner = {self.network.layers[index].output for chain in self.chains for index in chain.layers[:-1]}
        for name, (writer, _) in lifetimes(self.network).items():
            tensor, place = self.network.tensors[name], self.layout[name]
            strips = [] if writer == HOST else self.plans[writer].strips
            command = strips[-1].command if strips else HOST
            until = len(self.commands) - 1
            for later, words in self.writes:
                if later > command and words.start < place.end and place.address < words.stop:
                    until = later - 1
                    break
            places[name] = TensorPlace(
                name=name,
                address=place.address,
                shape=tensor.shape,
                scale=tensor.quantisation.scale,
                zero_point=code_of(tensor.quantisation),
                signed=tensor.quantisation.signed,
                command=command,
                until=until,
                pitch=place.pitch,
                format=tensor.format.name,
                exponents=place.exponents,
                strips=tuple(strips) if name in inner else (),
            )
        return places

    def excess(self) -> str | None:
        """What the program needs more of than a memory holds; None for nothing."""
        for memory, field, used in (
            ("program store", "program_commands", len(self.commands)),
            ("weight store", "weight_words", self.weights.words),
            ("parameter memory", "parameter_tiles", self.parameters.tiles),
        ):
            available = getattr(self.chip, field)
            unit = {"program_commands": "commands", "weight_words": "words", "parameter_tiles": "kernel tiles"}[field]
            if used > available:
                return (
                    f"{memory} of chip '{self.chip.name}' holds {available} {unit}, network '{self.network.name}' as "
                    f"placed needs {used}: use a chip with more {field}"
                )
        return None


def _neighbours(units: Sequence[_UnitWork]) -> list[tuple[list[int], Block]]:
    """Runs of consecutive units with the same block of weights."""
    runs: list[tuple[list[int], Block]] = []
    for work in units:
        if work.block is None:
            continue
        if runs and runs[-1] == ([*range(work.unit - len(runs[-1][0]), work.unit)], work.block):
            runs[-1][0].append(work.unit)
        else:
            runs.append(([work.unit], work.block))
    return runs


def _check_floating(network: Network, chip: ChipConfig) -> None:
    """Raise MixcimError for a layer whose arithmetic the chip does not have."""
    for layer in network.layers:
        if layer.floating is None:
            continue
        source, bits = network.tensors[layer.input], layer.floating.input_bits
        if not chip.floating_point:
            raise MixcimError(
                f"layer '{layer.name}' is {_formats(layer, source)}, chip '{chip.name}' has no floating point "
                f"(aligned_bits 0): use a chip with aligned_bits, or formats int8/int8"
            )
        aligned = source.format is not ElementFormat.INTEGER and not network.pools(layer)
        if aligned and (bits > chip.aligned_bits or bits not in ALIGNED_BITS):
            known = ", ".join(str(known) for known in ALIGNED_BITS if known <= chip.aligned_bits)
            raise MixcimError(
                f"layer '{layer.name}' has inputs aligned to {bits} bits, chip '{chip.name}' aligns to {known}: "
                f"align to one of these, or use a chip with more aligned_bits"
            )


def _formats(layer: Layer, source: Tensor) -> str:
    """Formats of inputs and weights, such as int8/int8 or BF16/FP16; of the inputs alone where there are no weights."""
    inputs = source.format.name if source.format.floating else ("int8" if source.quantisation.signed else "uint8")
    if layer.weight is None:
        return inputs
    weights = layer.floating.weight_format if layer.floating else ElementFormat.INTEGER
    return f"{inputs}/{weights.name if weights.floating else 'int8'}"
