"""`compile_network`: a quantised network and a chip in, a `Program` out.

```
 Network --place--> kind of unit per kernel --plan--> passes (RUNs) --emit--> commands, weights, parameters
        \\--allocate--> address per tensor ----------------------------^
```

Zero points: the hardware sums weight * code, where the definition sums weight * (code - zero point). The difference,
zero point * sum of weights, goes into the bias; a position in the padding carries the zero point as its code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import Opcode, TinyMode
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.program import LayerRecord, Program, TensorPlace, ideal_adc, no_noise, no_repair

from ..errors import MixcimError
from .allocate import HOST, allocate, lifetimes, tensor_pitch, tensor_words
from .network import Layer, LayerKind, Network, Quantisation, Tensor
from .passes import Pass, Share, UnitSpace, plan
from .placement import Placement, is_fully_connected, kernel_count, place
from .stores import CommandList, MemristorBanks, ParameterMemory, WeightStore
from .table import Tables, exact_table, read_table
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
    what there is) or an argument makes no sense.
    """
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
    """Weights and parameters of a layer by output word: `rows` (dense) or `taps`; bias, scale (words, channels)."""

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
        self.addresses = allocate(network, chip, keep_all)
        self.commands = CommandList(chip)
        self.weights = WeightStore(chip)
        self.memristor = MemristorBanks(chip)
        self.parameters = ParameterMemory(chip)
        self.space = UnitSpace(chip, [chip.memristor_slots] * chip.memristor_banks)
        self.present_table: dict[str, int] = {}

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
        units = self.placement[layer.name]
        weights = self.layer_weights(layer, window)
        passes = plan(layer.name, window, units, self.space)
        self.emit_table(layer, window, weights, passes)
        for step in passes:
            self.emit_pass(layer, window, weights, step)
        output = self.network.tensors[layer.output]
        signed = self.network.tensors[layer.input].quantisation.signed
        kind = "fully_connected" if is_fully_connected(self.network, layer) else layer.kind.value
        return LayerRecord(
            name=layer.name,
            kind=kind,
            output=layer.output,
            first_command=first_command,
            last_command=len(self.commands) - 1,
            kernels={unit.value: units.count(unit) for unit in UnitKind if unit in units},
            multiply_accumulates=layer.multiply_accumulates(output),
            format=("int8" if signed else "uint8") + ("/int8" if layer.weight is not None else ""),
        )

    def check_memristor(self) -> None:
        """Resident weights of all layers must fit the memristor banks together."""
        needed = 0
        for layer in self.network.layers:
            units = self.placement[layer.name]
            words = {index // self.chip.channels for index, unit in enumerate(units) if unit is UnitKind.MEMRISTOR}
            needed += len(words) * window_of(self.network, layer, self.chip).vectors
        available = self.chip.memristor_banks * self.chip.memristor_slots
        if needed > available:
            raise MixcimError(
                f"memristor banks of chip '{self.chip.name}' hold {available} slots, network '{self.network.name}' as "
                f"placed needs {needed}: place fewer kernels on memristor, or use a chip with more memristor_slots"
            )

    def layer_weights(self, layer: Layer, window: Window) -> _LayerWeights:
        chip, kernels = self.chip, kernel_count(self.network, layer)
        zero_point = code_of(self.network.tensors[layer.input].quantisation)
        if layer.kind is LayerKind.MAX_POOL:
            sums = np.ones(kernels, np.int64)  # the maximum enters the sum once, whatever the window
        elif layer.weight is None:
            sums = np.full(kernels, layer.kernel[0] * layer.kernel[1], np.int64)
        else:
            sums = layer.weight.reshape(kernels, -1).sum(axis=1, dtype=np.int64)
        words = -(-kernels // chip.channels)
        bias = np.zeros(words * chip.channels, np.int32)
        scale = np.zeros(words * chip.channels, np.float32)
        bias[:kernels] = (layer.bias.astype(np.int64) - zero_point * sums).astype(np.int32)  # wraps, as accumulators do
        scale[:kernels] = layer.scale
        if not np.isfinite(scale).all():
            raise MixcimError(
                f"layer '{layer.name}': input scale x weight scale / output scale overflows float32; quantise the "
                f"network again with sound scales"
            )
        rows = taps = None
        if window.separate:
            taps = channel_taps(layer, kernels, window, chip)
        else:
            rows = kernel_rows(layer, window, chip)
        return _LayerWeights(rows, taps, bias.reshape(words, -1), scale.reshape(words, -1))

    def emit_table(self, layer: Layer, window: Window, weights: _LayerWeights, passes: list[Pass]) -> None:
        """TABLE command, if the layer uses memristor and its table is not the present one."""
        shares = [share for step in passes for share in step.shares if self.kind(share) is UnitKind.MEMRISTOR]
        if not shares:
            return
        slots = np.concatenate([weights.slots(window, share, self.chip) for share in shares])
        table = self.tables.of(layer.name) or exact_table(slots, self.chip)
        digits, skip = digits_used(slots, self.chip), int(self.tables.skip_zero_groups)
        fields = {**table.fields(), "digits": digits, "skip_zero_groups": skip}
        if fields != self.present_table:
            self.commands.add(f"layer '{layer.name}'", Opcode.TABLE, **fields)
            self.present_table = fields

    def emit_pass(self, layer: Layer, window: Window, weights: _LayerWeights, step: Pass) -> None:
        """The LOADs of a pass and its RUN."""
        fields = self.layer_fields(layer, window)
        fields["window_start"] += step.first_group
        fields["group_count"] = step.group_count
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
            )
            unit = {"tiles": count, "mode": mode, "slot": slot, "parameter": parameter}
            fields.update({f"{name}[{share.unit}]": value for name, value in unit.items()})
        fields["output_tiles"] = fields["output_height"] * fields["output_width"] * step.group_count * tiles
        self.commands.add(f"layer '{layer.name}'", Opcode.RUN, **fields)

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

    def layer_fields(self, layer: Layer, window: Window) -> dict[str, int]:
        """RUN fields that are the same for every pass of a layer."""
        source, output = self.network.tensors[layer.input], self.network.tensors[layer.output]
        pitch = tensor_pitch(source, self.chip)
        row_pitch = source.shape[1] * pitch
        top, left = layer.padding[:2]
        own = layer.residual.quantisation if layer.residual else output.quantisation
        low, high = (code_of(own, value) for value in (layer.residual.clamp if layer.residual else layer.clamp))
        zero_point = code_of(source.quantisation)
        fields = {
            "input_bits": max(1, max(self.largest_code(source), zero_point).bit_length()),
            "granule_log2": window.granule.bit_length() - 1,
            "pad_value": 0 if layer.kind is LayerKind.MAX_POOL else zero_point,
            "window_start": self.addresses[source.name] - top * row_pitch - left * pitch,
            "kernel_height": layer.kernel[0],
            "kernel_width": layer.kernel[1],
            "input_height": source.shape[0],
            "input_width": source.shape[1],
            "output_height": output.shape[0],
            "output_width": output.shape[1],
            "tap_words": window.tap_words,
            "pixel_pitch": pitch,
            "row_pitch": row_pitch,
            "pad_top": top,
            "pad_left": left,
            "stride_y": layer.stride[0],
            "stride_x": layer.stride[1],
            "window_step_y": layer.stride[0] * row_pitch,
            "window_step_x": layer.stride[1] * pitch,
            "output_base": self.addresses[output.name],
            "output_pitch": tensor_pitch(output, self.chip),
            "zero_point": code_of(own),
            "clamp_low": low,
            "clamp_high": high,
        }
        if layer.residual is not None:
            fields.update(self.residual_fields(layer, output))
        return fields

    def residual_fields(self, layer: Layer, output: Tensor) -> dict[str, int]:
        assert layer.residual is not None
        other = self.network.tensors[layer.residual.tensor]
        kinds = (layer.residual.quantisation, other.quantisation, output.quantisation)
        if len({item.signed for item in kinds}) > 1:
            raise MixcimError(
                f"layer '{layer.name}' adds int8 and uint8 tensors: quantise the operands and the sum alike"
            )
        own_scale, other_scale, fixed = layer.residual.coefficients(other.quantisation, output.quantisation)
        if not np.isfinite([own_scale, other_scale, fixed]).all():
            raise MixcimError(
                f"layer '{layer.name}': the scales of its Add overflow float32; quantise the network again"
            )
        # The second operand of the file's Add is multiplied first: the residual, unless the file has it as the first.
        residual_first = not layer.residual.order_swapped
        first, second = (other_scale, own_scale) if residual_first else (own_scale, other_scale)
        return {
            "residual": 1,
            "residual_first": int(residual_first),
            "residual_signed": int(output.quantisation.signed),
            "residual_base": self.addresses[other.name],
            "scale_first": float_bits(first),
            "scale_second": float_bits(second),
            "fixed": float_bits(fixed),
            "sum_low": code_of(output.quantisation, layer.clamp[0]),
            "sum_high": code_of(output.quantisation, layer.clamp[1]),
        }

    def largest_code(self, tensor: Tensor) -> int:
        """Largest code that a tensor can hold: the clamp of the layer that writes it, or the type's largest."""
        writers = [layer for layer in self.network.layers if layer.output == tensor.name]
        return code_of(tensor.quantisation, writers[0].clamp[1] if writers else tensor.quantisation.limits[1])

    def kind(self, share: Share) -> UnitKind:
        return self.chip.units[share.unit]

    def tensor_places(self, layers: list[LayerRecord]) -> dict[str, TensorPlace]:
        places: dict[str, TensorPlace] = {}
        spans = {
            name: range(self.addresses[name], self.addresses[name] + tensor_words(tensor, self.chip))
            for name, tensor in self.network.tensors.items()
        }
        for name, (writer, _) in lifetimes(self.network).items():
            tensor = self.network.tensors[name]
            until = len(self.commands) - 1
            for record in layers[writer + 1 :]:
                later = spans[record.output]
                if later.start < spans[name].stop and spans[name].start < later.stop:
                    until = record.first_command - 1
                    break
            places[name] = TensorPlace(
                name=name,
                address=self.addresses[name],
                shape=tensor.shape,
                scale=tensor.quantisation.scale,
                zero_point=code_of(tensor.quantisation),
                signed=tensor.quantisation.signed,
                command=HOST if writer == HOST else layers[writer].last_command,
                until=until,
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


def code_of(quantisation: Quantisation, value: int | None = None) -> int:
    """Unsigned code of an integer of a tensor (default: its zero point): int8 tensors are stored as q + 128."""
    return (quantisation.zero_point if value is None else value) + (128 if quantisation.signed else 0)


def float_bits(value: np.float32) -> int:
    """Bit pattern of a float32."""
    return int(np.float32(value).view(np.uint32))
