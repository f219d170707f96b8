"""`compile_network`: a quantised network and a chip in, a `Program` out.

```
 Network --place--> kind of unit per kernel --plan--> passes (RUNs) --emit--> commands, weights, parameters
                    (or the float pool) ---------------> one RUN ---'
        \\--allocate--> address per tensor ----------------------------^
```

Zero points of integer layers: the hardware sums weight * code, where the definition sums weight * (code - zero point).
The difference, zero point * sum of weights, goes into the bias; a position in the padding carries the zero point as its
code. Floating layers: see fields.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import Opcode, TinyMode
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat
from mixcim_hdl.program import LayerRecord, Program, TensorPlace, ideal_adc, no_noise, no_repair

from ..errors import MixcimError
from .allocate import HOST, allocate, lifetimes
from .exponents import tile_entries
from .fields import code_of, run_fields
from .network import Layer, LayerKind, Network, Tensor
from .passes import Pass, Share, UnitSpace, plan
from .placement import Placement, is_fully_connected, kernel_count, place
from .stores import CommandList, MemristorBanks, ParameterMemory, WeightStore
from .table import Tables, exact_table, read_table
from .unused import unused_biases
from .weights import (
    Window,
    broadcast_words,
    channel_taps,
    dense_slots,
    depthwise_words,
    diagonal_slots,
    digits_used,
    kernel_rows,
    masked_taps,
    sram_words,
    window_of,
)


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
    own and can be read after the run. `skip_zero_groups`: memristor reads whose input bits are all 0 are left out.
    Raises MixcimError in one line when the network, as placed, does not fit the chip (which memory, what is needed,
    what there is), has a layer that the chip cannot do, or an argument makes no sense.
    """
    _check_floating(network, chip)
    placement = place(network, chip, placement_rules, hidden)
    tables = read_table(table, chip) if isinstance(table, str) else table
    names = [layer.name for layer in network.layers]
    for name in tables.layers:
        if name not in names:
            raise MixcimError(f"the table names layer '{name}', network '{network.name}' has {', '.join(names)}")
    if skip_zero_groups:
        tables = dataclasses.replace(tables, skip_zero_groups=True)
    return _Compilation(network, chip, placement, tables, keep_all).program()


@dataclass(frozen=True, eq=False)
class _LayerWeights:
    """Weights and parameters of a layer by output word: `rows` (dense) or `taps`; bias, scale (words, channels).

    `bias`: int32, a float32's pattern in a floating layer.
    """

    rows: np.ndarray | None
    taps: np.ndarray | None
    bias: np.ndarray
    scale: np.ndarray

    def slots(self, window: Window, share: Share, chip: ChipConfig) -> np.ndarray:
        """Slots of a CIM unit's share: int8 (slots, rows, channels)."""
        if window.separate:
            assert self.taps is not None
            return diagonal_slots(masked_taps(self.taps, int(share.words[0]), share.lanes), chip)
        assert self.rows is not None
        return dense_slots(self.rows, share.words, share.lanes, chip)


class _Compilation:
    def __init__(
        self, network: Network, chip: ChipConfig, placement: Placement, tables: Tables, keep_all: bool
    ) -> None:
        self.network, self.chip, self.placement, self.tables = network, chip, placement, tables
        self.check_memristor()
        self.layout = allocate(network, chip, placement, keep_all)
        self.commands = CommandList(chip)
        self.weights = WeightStore(chip)
        self.memristor = MemristorBanks(chip)
        self.parameters = ParameterMemory(chip)
        self.space = UnitSpace(chip, [chip.memristor_slots] * chip.memristor_banks)
        self.present_table: dict[str, int] = {}
        self.unused_biases = unused_biases(network)

    def program(self) -> Program:
        layers = [self.emit_layer(layer) for layer in self.network.layers]
        self.commands.add(f"network '{self.network.name}'", Opcode.END)
        self.check_memories()
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
            tensors=self.tensor_places(layers),
            layers=tuple(layers),
            input=network.input,
            output=network.output,
            input_layout=network.input_layout,
            file_shape=network.file_shape,
            output_shape=network.output_shape,
            host_output=network.host_output,
            **self.parameters.arrays(),
        )

    def emit_layer(self, layer: Layer) -> LayerRecord:
        first_command = len(self.commands)
        window = window_of(self.network, layer, self.chip)
        weights = self.layer_weights(layer, window)
        fields = run_fields(self.network, layer, window, self.layout, self.chip)
        units = [unit for unit in self.placement[layer.name] if unit is not None]
        if units:
            passes = plan(layer.name, window, tuple(units), self.space)
            self.emit_table(layer, window, weights, passes)
            for step in passes:
                self.emit_pass(layer, window, weights, step, fields)
        else:
            self.emit_pool(layer, weights, fields)
        output = self.network.tensors[layer.output]
        kind = "fully_connected" if is_fully_connected(self.network, layer) else layer.kind.value
        return LayerRecord(
            name=layer.name,
            kind=kind,
            output=layer.output,
            first_command=first_command,
            last_command=len(self.commands) - 1,
            kernels={unit.value: units.count(unit) for unit in UnitKind if unit in units}
            or {"pool": kernel_count(self.network, layer)},
            multiply_accumulates=layer.multiply_accumulates(output),
            format=_formats(layer, self.network.tensors[layer.input]),
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

    def layer_weights(self, layer: Layer, window: Window) -> _LayerWeights:
        chip, kernels = self.chip, kernel_count(self.network, layer)
        words = -(-kernels // chip.channels)
        bias = np.zeros(words * chip.channels, np.int32)
        scale = np.zeros(words * chip.channels, np.float32)
        bias[:kernels] = self.bias(layer, kernels)
        if layer.floating is not None:
            bias[kernels:] = self.unused_biases[layer.name].view(np.int32)
        scale[:kernels] = layer.scale
        if not np.isfinite(scale).all() or not np.isfinite(layer.bias).all():
            what = "bias or scale" if layer.floating else "input scale x weight scale / output scale"
            raise MixcimError(
                f"layer '{layer.name}': {what} overflows float32; quantise the network again with sound scales"
            )
        rows = taps = None
        if self.network.pools(layer):
            pass  # it weighs nothing
        elif window.separate:
            taps = channel_taps(layer, kernels, window, chip)
        else:
            rows = kernel_rows(layer, window, chip)
        return _LayerWeights(rows, taps, bias.reshape(words, -1), scale.reshape(words, -1))

    def bias(self, layer: Layer, kernels: int) -> np.ndarray:
        """Bias of each kernel as the parameter memory holds it: int32 (kernels,)."""
        if layer.floating is not None:
            return np.ascontiguousarray(layer.bias, np.float32).view(np.int32)
        zero_point = code_of(self.network.tensors[layer.input].quantisation)
        if layer.kind is LayerKind.MAX_POOL:
            sums = np.ones(kernels, np.int64)  # the maximum enters the sum once, whatever the window
        elif layer.weight is None:
            sums = np.full(kernels, layer.kernel[0] * layer.kernel[1], np.int64)
        else:
            sums = layer.weight.reshape(kernels, -1).sum(axis=1, dtype=np.int64)
        return (layer.bias.astype(np.int64) - zero_point * sums).astype(np.int32)  # wraps, as accumulators do

    def emit_table(self, layer: Layer, window: Window, weights: _LayerWeights, passes: list[Pass]) -> None:
        """TABLE command, if the layer uses memristor and its table is not the present one."""
        shares = [share for step in passes for share in step.shares if self.kind(share) is UnitKind.MEMRISTOR]
        if not shares:
            return
        slots = np.concatenate([weights.slots(window, share, self.chip) for share in shares])
        table = self.tables.of(layer.name) or exact_table(slots, self.chip)
        digits, skip = digits_used(slots, self.chip), int(self.tables.skip_zero_groups)
        fields = {**table.fields(self.chip), "digits": digits, "skip_zero_groups": skip}
        if fields != self.present_table:
            self.commands.add(f"layer '{layer.name}'", Opcode.TABLE, **fields)
            self.present_table = fields

    def emit_pass(
        self, layer: Layer, window: Window, weights: _LayerWeights, step: Pass, layer_fields: dict[str, int]
    ) -> None:
        """The LOADs of a pass and its RUN."""
        fields = dict(layer_fields, first_group=step.first_group, group_count=step.group_count)
        tiles = 0
        for share in step.shares:
            count = len(share.words) // step.group_count
            tiles += count
            mode, slot = self.store_weights(layer, window, weights, share)
            lanes = share.lanes
            parameter = self.parameters.add(
                np.where(lanes, weights.bias[share.words], 0),
                np.where(lanes, weights.scale[share.words], 0),
                share.words,
                lanes,
                self.exponent_entries(layer, share.words, self.kind(share)),
            )
            unit = {"tiles": count, "mode": mode, "slot": slot, "parameter": parameter}
            fields.update({f"{name}[{share.unit}]": value for name, value in unit.items()})
        fields["output_tiles"] = fields["output_height"] * fields["output_width"] * step.group_count * tiles
        self.commands.add(f"layer '{layer.name}'", Opcode.RUN, **fields)

    def emit_pool(self, layer: Layer, weights: _LayerWeights, layer_fields: dict[str, int]) -> None:
        """The RUN of a layer that the float pool does: every word of channels is a tile of its own."""
        words = np.arange(len(weights.bias))
        lanes, entries = np.ones(weights.bias.shape, bool), self.exponent_entries(layer, words, None)
        parameter = self.parameters.add(weights.bias, weights.scale, words, lanes, entries)
        fields = dict(layer_fields, group_count=len(words), pool_parameter=parameter)
        fields["output_tiles"] = fields["output_height"] * fields["output_width"] * len(words)
        self.commands.add(f"layer '{layer.name}'", Opcode.RUN, **fields)

    def exponent_entries(self, layer: Layer, words: np.ndarray, kind: UnitKind | None) -> np.ndarray:
        """Exponent entry that each tile of a kind of unit (None: the float pool) writes: int (tiles,), 0 where the
        output has none. `words` (tiles,): output words."""
        if self.network.tensors[layer.output].format is ElementFormat.INTEGER:
            return np.zeros_like(words)
        entries = tile_entries(self.placement[layer.name], self.chip)
        return np.array([entries[word, kind] for word in words.tolist()])

    def store_weights(self, layer: Layer, window: Window, weights: _LayerWeights, share: Share) -> tuple[int, int]:
        """Put a share's weights where its unit finds them; mode and slot of the unit's RUN fields."""
        kind = self.kind(share)
        if kind is UnitKind.MEMRISTOR:
            return 0, self.memristor.add(share.unit, weights.slots(window, share, self.chip))
        mode = TinyMode.BROADCAST
        if kind is UnitKind.SRAM:
            words = sram_words(weights.slots(window, share, self.chip))
        elif layer.kind is LayerKind.MAX_POOL:
            return TinyMode.MAX, 0
        elif window.separate:
            mode = TinyMode.DEPTHWISE
            assert weights.taps is not None
            words = depthwise_words(masked_taps(weights.taps, int(share.words[0]), share.lanes), self.chip)
        else:
            words = broadcast_words(weights.slots(window, share, self.chip))
        source = self.weights.add(words)
        self.commands.add(
            f"layer '{layer.name}'", Opcode.LOAD, unit=share.unit, source=source, destination=0, count=len(words)
        )
        return mode, 0

    def kind(self, share: Share) -> UnitKind:
        return self.chip.units[share.unit]

    def tensor_places(self, layers: list[LayerRecord]) -> dict[str, TensorPlace]:
        places: dict[str, TensorPlace] = {}
        for name, (writer, _) in lifetimes(self.network).items():
            tensor, place = self.network.tensors[name], self.layout[name]
            until = len(self.commands) - 1
            for record in layers[writer + 1 :]:
                later = self.layout[record.output]
                if later.address < place.end and place.address < later.end:
                    until = record.first_command - 1
                    break
            places[name] = TensorPlace(
                name=name,
                address=place.address,
                shape=tensor.shape,
                scale=tensor.quantisation.scale,
                zero_point=code_of(tensor.quantisation),
                signed=tensor.quantisation.signed,
                command=HOST if writer == HOST else layers[writer].last_command,
                until=until,
                pitch=place.pitch,
                format=tensor.format.name,
                exponents=place.exponents,
            )
        return places

    def check_memories(self) -> None:
        for memory, field, used in (
            ("program store", "program_commands", len(self.commands)),
            ("weight store", "weight_words", self.weights.words),
            ("parameter memory", "parameter_tiles", self.parameters.tiles),
        ):
            available = getattr(self.chip, field)
            unit = {"program_commands": "commands", "weight_words": "words", "parameter_tiles": "kernel tiles"}[field]
            if used > available:
                raise MixcimError(
                    f"{memory} of chip '{self.chip.name}' holds {available} {unit}, network '{self.network.name}' as "
                    f"placed needs {used}: use a chip with more {field}"
                )


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
