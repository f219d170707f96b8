"""One RUN: group after group, and for each a chunk of windows after the other, on several threads."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from mixcim.errors import MixcimError
from mixcim.native.parallel import cores, for_each
from mixcim_hdl.commands import ADDRESS_BITS, Fault, Pooling
from mixcim_hdl.config import UnitKind
from mixcim_hdl.floating import ElementFormat

from .compute import GroupSums
from .copies import Share, shares, together, words_used
from .exact import Requantiser
from .feeder import Feeder, Windows
from .float_output import FloatOutput, scaled_numbers, scaled_sums
from .float_pool import FloatPool
from .legality import illegal
from .memristor import Method
from .output import float32_from_bits, write_tiles
from .state import State

#: Bytes of windows and of their sums that are worked on at a time: they should stay in the core's caches.
CHUNK_CODES = 1 << 20
#: The same for floating-point inputs, which take more bytes.
CHUNK_ELEMENTS = 1 << 17
#: The same, below which a thread of its own is not worth it.
SHARE_CODES = 1 << 15


def run_layer(state: State, fields: Mapping[str, int], method: Method) -> None:
    """Check a RUN and do it. Raises FaultError, and MixcimError for a RUN that no compiler means."""
    _check(state, fields)
    if fields["pooling"] != Pooling.NONE:
        _pool_layer(state, fields)
        state.busy = []
        return
    feeder = Feeder(state.memory, fields)
    pixels = len(feeder.pixels)
    chunk = CHUNK_CODES if fields["input_format"] == ElementFormat.INTEGER else CHUNK_ELEMENTS
    units = shares(fields, len(state.units), pixels)
    for group in range(fields["group_count"]):
        _check_reads(state, feeder.group(group))
        parts = [
            (
                share,
                GroupSums(state, fields, group, share, feeder.length, method),
                _Output(state, fields, _parameter_tiles(state, fields, group, share, pixels)),
            )
            for share in together(state, fields, group, feeder.length, units)
        ]
        size = feeder.length + 4 * max(output.kernels for _, _, output in parts)
        own_share = max(state.inputs * pixels * size // cores(), SHARE_CODES)
        at_a_time = max(1, min(chunk, own_share) // size)
        work = functools.partial(_run_inputs, state, feeder, parts, at_a_time)
        for_each(work, _cut(state.inputs, max(1, at_a_time // pixels)))
    taking = (unit for share in units for unit in share.units if state.chip.units[unit] is not UnitKind.MEMRISTOR)
    state.busy = [words_used(state, fields, unit, feeder.length) for unit in taking]


def _every(windows: Windows, first: int, step: int) -> Windows:
    """Every `step`-th of the windows from `first` on."""
    if step == 1:
        return windows
    integers = np.ascontiguousarray(windows.integers[:, first::step])
    if windows.unit is None or windows.special is None:
        return Windows(integers)
    return Windows(integers, windows.unit[:, first::step], windows.special[:, first::step])


def _pool_layer(state: State, fields: Mapping[str, int]) -> None:
    """Do a RUN with `pooling`."""
    pool = FloatPool(state.memory, fields)
    pixels = len(pool.pixels)
    for group in range(fields["group_count"]):
        _check_reads(state, pool.group(group))
        output = _Output(state, fields, _parameter_tiles(state, fields, group, Share(()), pixels))
        at_a_time = max(1, CHUNK_ELEMENTS // pool.length)
        for inputs in _cut(state.inputs, max(1, at_a_time // pixels)):
            here = slice(inputs.start, inputs.stop)
            for rows in _cut(pixels, at_a_time):
                output.write_pooled(here, rows, pool.numbers(here, rows))


def _run_inputs(
    state: State,
    feeder: Feeder,
    parts: list[tuple[Share, GroupSums, _Output]],
    at_a_time: int,
    inputs: range,
) -> None:
    """Do a group for some inputs, at most about that many windows at a time. Threads do it for other inputs."""
    here = slice(inputs.start, inputs.stop)
    for rows in _cut(len(feeder.pixels), at_a_time):
        try:
            windows = feeder.windows(here, rows)
        except ValueError as error:
            raise MixcimError(f"command {state.index}: {error}") from None
        for share, sums, output in parts:
            mine = share.of(rows)
            if mine:
                own = _every(windows, mine.start - rows.start, mine.step)
                output.write(here, mine, own, sums(own.integers, here))


class _Output:
    """The output pipeline for a share's parameter tiles of a group."""

    def __init__(self, state: State, fields: Mapping[str, int], tiles: np.ndarray) -> None:
        self.memory, self.fields, self.tiles = state.memory, fields, len(tiles)
        parameters = {name: values[tiles] for name, values in state.parameters.items()}
        self.bias, self.scale = parameters["bias"].ravel(), parameters["scale"].ravel()
        self.kernels = len(self.bias)
        self.requantise = Requantiser(self.bias, self.scale, fields)
        self.places = [parameters[name].tolist() for name in ("word_offset", "lane_mask", "exponent_offset")]
        self.floating = FloatOutput(state.memory, fields) if fields["floating"] else None

    def write(self, inputs: slice, rows: range, windows: Windows, sums: np.ndarray) -> None:
        """Write what becomes of the sums of windows."""
        shape = (*windows.integers.shape[:2], self.tiles, -1)
        if self.floating is None:
            codes = self.requantise(sums)
            offsets, masks, _ = self.places
            write_tiles(self.memory, inputs, rows, codes.reshape(shape), offsets, masks, self.fields)
            return
        unit, special = windows.unit, windows.special
        if unit is None or special is None:
            unit = special = np.zeros(len(sums), np.int64)
        numbers = scaled_sums(sums, unit.ravel(), special.ravel().astype(bool), self.bias, self.scale)
        self.floating.write(inputs, rows, numbers.reshape(shape), *self.places)

    def write_pooled(self, inputs: slice, rows: range, numbers: np.ndarray) -> None:
        """Write what becomes of the numbers float32 (inputs, windows, channels) of pooled windows."""
        assert self.floating is not None
        numbers = scaled_numbers(numbers, self.bias, self.scale)
        self.floating.write(inputs, rows, numbers[:, :, None], *self.places)


def _check(state: State, fields: Mapping[str, int]) -> None:
    """Refuse fields that the chip cannot do."""
    reason = illegal(fields, state.chip)
    if reason is not None:
        raise state.fail(Fault.ILLEGAL_COMMAND, reason)
    written, pixels = 0, range(fields["output_height"] * fields["output_width"])
    if fields["pooling"] != Pooling.NONE:
        written = len(pixels) * fields["group_count"]
    for unit, kind in enumerate(state.chip.units):
        tiles = fields[f"tiles[{unit}]"]
        written += tiles * fields["group_count"] * len(pixels[fields[f"copy[{unit}]"] :: fields["copies"]])
        if tiles and kind is UnitKind.MEMRISTOR and state.table is None:
            raise MixcimError(f"command {state.index}: RUN on memristor unit {unit} before any TABLE")
    if not written or fields["output_tiles"] != written:
        stated = fields["output_tiles"]
        raise MixcimError(f"command {state.index}: RUN output_tiles is {stated}, but {written} are written")
    limits = ["clamp"] if fields["output_format"] == ElementFormat.INTEGER else []
    for name in [*limits, "sum"] if fields["residual"] and not fields["floating"] else limits:
        low, high = fields[f"{name}_low"], fields[f"{name}_high"]
        if low > high:
            raise MixcimError(f"command {state.index}: RUN {name}_low is {low}, above {name}_high, {high}")
    for name in ("scale_first", "scale_second", "fixed") if fields["residual"] and not fields["floating"] else ():
        if not np.isfinite(float32_from_bits(fields[name])):
            raise MixcimError(f"command {state.index}: RUN {name} is not finite")


def _check_reads(state: State, highest: int) -> None:
    """Refuse windows that read past the activation memory."""
    limit = state.chip.activation_words
    if highest >= limit:
        reason = f"RUN reads activation word {highest}, past the memory's {limit} words"
        raise state.fail(Fault.INPUT_ADDRESS, reason)


def _parameter_tiles(state: State, fields: Mapping[str, int], group: int, share: Share, pixels: int) -> np.ndarray:
    """A share's parameter tiles of a group, unit by unit, after a check of every address that they lead to."""
    tiles: list[int] = [] if fields["pooling"] == Pooling.NONE else [fields["pool_parameter"] + group]
    for unit in share.units:
        count = fields[f"tiles[{unit}]"]
        first = fields[f"parameter[{unit}]"] + group * count
        tiles.extend(range(first, first + count))
    if max(tiles) >= state.chip.parameter_tiles:
        reason = f"RUN uses parameter tile {max(tiles)}, past the memory's {state.chip.parameter_tiles} tiles"
        raise state.fail(Fault.PARAMETER_ADDRESS, reason)
    output = ElementFormat(fields["output_format"])
    offsets = state.parameters["word_offset"][tiles]
    reached = [("output_base", output.bytes * offsets)]
    if output.floating is not None:
        reached.append(("output_base", state.parameters["exponent_offset"][tiles]))
    if fields["residual"]:
        reached.append(("residual_base", ElementFormat(fields["residual_format"]).bytes * offsets))
    for base, offset in reached:
        first = (fields[base] + offset) % (1 << ADDRESS_BITS)
        last = int(first.max()) + share.of(range(pixels))[-1] * fields["output_pitch"]
        limit = state.chip.activation_words
        if last >= limit:
            reason = f"RUN reaches activation word {last} ({base}), past the memory's {limit} words"
            raise state.fail(Fault.OUTPUT_ADDRESS, reason)
    return np.array(tiles)


def _cut(number: int, most: int) -> list[range]:
    """Range(number) cut into parts of `most`, the last one smaller."""
    return [range(first, min(first + most, number)) for first in range(0, number, most)]
