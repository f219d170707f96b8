"""Random programs that use every field of every command, small enough for a simulated chip.

`random_program(chip, seed)` gives the same program and inputs for the same seed. Every RUN is legal: addresses stay
inside, codes fit the input bits, scales are finite, exponent entries cover what a floating RUN reads, no two tiles of a
RUN write the same entry of a pixel, no RUN writes what it reads except where output and residual are the same region,
and no LOAD with `overlap` writes what the RUN before it uses. Its tensor "memory" is the whole activation memory after
the last command.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixcim_hdl.commands import LARGEST_COPIES, Opcode, Pooling, SramMode, TinyMode, encode_command
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat, FloatFormat
from mixcim_hdl.formats import (
    ADC_PARAMETERS,
    LARGEST_SLICES,
    NOISE_BITS,
    ideal_conductance,
)
from mixcim_hdl.program import Program, TensorPlace, ideal_adc, no_noise, no_repair

#: Limits on one RUN that keep a simulation short.
LARGEST_WINDOW_VECTORS = 4
LARGEST_OUTPUT_PIXELS = 12


@dataclass
class _Region:
    """A feature map in the activation memory. `words`: of channels; `pitch`: activation words of a pixel.

    `limit`: no code in it is larger. `exponents`: entries of a pixel that cover its elements, 0 where none do;
    `in_order`: entry w covers word w.
    """

    name: str
    address: int
    height: int
    width: int
    words: int
    limit: int
    format: ElementFormat
    pitch: int
    exponents: int = 0
    in_order: bool = True

    @property
    def size(self) -> int:
        """Activation words; two-byte elements at an odd address begin one word before it and end one early."""
        return self.height * self.width * self.pitch


def digit_of(weight: int, column: int, digit: int, chip: ChipConfig) -> int:
    """Digit of a weight in a column of its kernel (0, or 0 for w+ and 1 for w-), of weights that the chip can hold."""
    bits, place = chip.mode.cells[digit], chip.mode.places[digit]
    number = {
        "differential": max(weight, 0) if column == 0 else max(-weight, 0),
        "offset": weight + 128,
        "twos_complement": weight % 256,
    }[chip.encoding]
    return number // 2**place % 2**bits


def ideal_lines(weights: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Bit lines uint8 (slots * digits * physical columns, rows) that hold weights int (slots, rows, channels) without
    any error; spare columns are 0. Magnitudes are limited to what the weight mode holds.
    """
    columns, reference = chip.adcs // chip.channels, chip.adcs
    lines = np.zeros((len(weights), len(chip.mode.cells), chip.physical_columns, chip.rows), np.uint8)
    for digit, bits in enumerate(chip.mode.cells):
        for column in range(columns):
            values = [digit_of(weight, column, digit, chip) for weight in range(-128, 128)]
            codes = np.array([ideal_conductance(value, bits, chip.conductance_bits) for value in values])
            lines[:, digit, column:reference:columns] = codes[weights + 128].transpose(0, 2, 1)
        lines[:, digit, reference] = ideal_conductance(0, bits, chip.conductance_bits)
    return lines.reshape(-1, chip.rows)


class _Builder:
    """The growing program."""

    def __init__(self, chip: ChipConfig, seed: int) -> None:
        self.chip = chip
        self.random = np.random.default_rng([seed, chip.fingerprint])
        self.commands: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.bias: list[np.ndarray] = []
        self.scale: list[np.ndarray] = []
        self.word_offset: list[int] = []
        self.lane_mask: list[int] = []
        self.exponent_offset: list[int] = []
        self.tensors: dict[str, TensorPlace] = {}
        self.regions: list[_Region] = []
        self.next_address = int(self.random.integers(0, 5))
        self.memristor = tuple(self._bank() for _ in range(chip.memristor_banks))
        self.repair = tuple(self._repair(lines) for lines in self.memristor)
        self.adc, self.noise_table = self._adc(), self._noise_table()
        if self.chance(0.5) and self.memristor:  # banks that are all alike
            self.memristor, self.repair = ((banks[0],) * len(banks) for banks in (self.memristor, self.repair))
            if self.chance(0.6):
                self.adc[:] = self.adc[0]
        self.busy: list[tuple[int, int, int]] = []  # unit, first and last + 1 word that a RUN before a LOAD uses
        self.noise_seed = self.below(1 << 32)

    def below(self, limit: int) -> int:
        """Random integer from 0 to limit - 1."""
        return int(self.random.integers(0, limit))

    def between(self, low: int, high: int) -> int:
        """Random integer from low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def _bank(self) -> np.ndarray:
        """Conductance codes of a bank: ideal weights, disturbed ones, or anything at all; a few slots of each.

        Spare columns hold other slots' cells. The last slots are never programmed and stay 0.
        """
        chip = self.chip
        slots = min(chip.memristor_slots, 24)
        largest = 1 << int(self.random.integers(1, 9))
        weights = self.random.integers(-largest, largest, (slots, chip.rows, chip.channels)).clip(-128, 127)
        lines = ideal_lines(weights, chip).astype(int)
        words = lines.reshape(-1, chip.physical_columns, chip.rows)
        for spare in range(chip.memristor_columns, chip.physical_columns):
            words[:, spare] = np.roll(words[:, self.below(chip.memristor_columns)], len(chip.mode.cells), axis=0)
        kind = self.below(3)
        if kind == 1:
            lines += np.rint(self.random.normal(0, 3, lines.shape)).astype(int)
        if kind == 2:
            lines = self.random.integers(0, 1 << chip.conductance_bits, lines.shape)
        return lines.clip(0, (1 << chip.conductance_bits) - 1).astype(np.uint8)

    def _repair(self, lines: np.ndarray) -> np.ndarray:
        """Repair of a bank: none, a few words, or every spare of every word, often two of the same column."""
        repair, kind = no_repair(lines, self.chip), self.below(3)
        if kind:
            some = self.random.random(repair.shape) < (0.2, 1.0)[kind - 1]
            limit = self.chip.memristor_columns if self.chance(0.5) else 2
            repair[some] = self.random.integers(0, limit + 1, np.count_nonzero(some))
        return repair

    def _adc(self) -> np.ndarray:
        """ADC parameters: none, small errors of every kind, or anything that the registers hold."""
        adc = ideal_adc(self.chip)
        kind = self.below(3)
        for number, (name, (low, high)) in enumerate(ADC_PARAMETERS.items()):
            if kind == 1:
                spread = {"gain": 12.0, "offset": 8.0}.get(name, 6.0)
                adc[:, :, number] += np.rint(self.random.normal(0, spread, adc.shape[:2])).astype(np.int16)
                adc[:, :, number] = adc[:, :, number].clip(low, high)
            elif kind == 2:
                adc[:, :, number] = self.random.integers(low, high + 1, adc.shape[:2])
        return adc

    def _noise_table(self) -> np.ndarray:
        """Noise table: none, growing as the root of the word lines that are on, or anything."""
        table, kind = no_noise(self.chip), self.below(3)
        if kind == 1:
            table += np.rint(self.between(1, 300) * np.arange(len(table)) ** 0.5).astype(np.uint16)
        elif kind == 2:
            table[:] = self.random.integers(0, 1 << NOISE_BITS, len(table))
        return table

    def add_tensor(self, region: _Region, channels: int, signed: bool = False) -> None:
        """The region as a tensor; one of two-byte elements that is not even somewhere, as the bytes that it is."""
        format, odd = region.format, region.address % 2 or region.pitch % 2
        if format.bytes == 2 and odd:
            format, channels = ElementFormat.INTEGER, region.pitch * self.chip.channels
        self.tensors[region.name] = TensorPlace(
            region.name,
            region.address,
            (region.height, region.width, channels),
            1.0,
            0,
            signed,
            len(self.commands) - 1,
            1 << 30,
            region.pitch,
            format.name,
            region.exponents,
        )

    def new_region(
        self,
        name: str,
        height: int,
        width: int,
        words: int,
        limit: int,
        format: ElementFormat = ElementFormat.INTEGER,
        pitch: int = 0,
    ) -> _Region | None:
        """Fresh memory, or None when there is not enough. `pitch`: the least there must be."""
        pitch = max(pitch, words * format.bytes) + (self.below(3) if self.chance(0.3) else 0)
        address = self.next_address
        if format.bytes == 2 and (not name or pitch % 2):
            address += 1  # nothing before it may be in its first word
        if format.bytes == 2 and name:
            address, pitch = address // 2 * 2, (pitch + 1) // 2 * 2
        region = _Region(name, address, height, width, words, 255 if format.floating else limit, format, pitch)
        if region.address + region.size > self.chip.activation_words:
            return None
        self.next_address = region.address + region.size + self.below(3)
        return region

    def format(self) -> ElementFormat:
        """Format of a tensor: INTEGER for about half of them, wide ones more often than narrow ones."""
        if not self.chip.floating_point or self.chance(0.5):
            return ElementFormat.INTEGER
        formats = [item for item in ElementFormat for _ in range(item.bytes) if item.floating]
        return formats[self.below(len(formats))]

    def add_table(self) -> None:
        """TABLE with rows per read that differ, powers of two and others; finer steps and all digits mostly."""
        digits = len(self.chip.mode.cells)
        fields = {"digits": digits if self.chance(0.6) else self.between(1, digits), "skip_zero_groups": self.below(2)}
        highest_shift = int(self.random.choice([0, 0, 1, 3]))
        choices = [self.chip.rows, self.chip.rows // 2, 8, 16, 1 + self.below(self.chip.rows)]
        for entry in range(self.chip.input_planes * digits):
            fields[f"rows_per_read[{entry}]"] = min(int(self.random.choice(choices)), self.chip.rows)
            fields[f"step_shift[{entry}]"] = self.between(0, highest_shift)
        self.commands.append(encode_command(Opcode.TABLE, self.chip, **fields))
        self.busy = []

    def add_load(self, unit: int, units: int, destination: int, count: int) -> None:
        """LOAD of random weights, new ones as long as the weight store has room; beside the RUN before it if it can."""
        room = self.chip.weight_words - len(self.weights)
        source = len(self.weights)
        if count > room:
            source = self.below(max(len(self.weights) - count, 0) + 1)
        else:
            largest = 1 << self.between(1, 7)
            words = self.random.integers(-largest, largest, (count, self.chip.rows))
            self.weights.extend(words.astype(np.int8))
        touched = any(
            unit <= number < unit + units and destination < end and first < destination + count
            for number, first, end in self.busy
        )
        overlap = not touched and self.chance(0.7)
        if not overlap:
            self.busy = []
        fields = {"unit": unit, "units": units, "source": source, "destination": destination, "count": count}
        fields["overlap"] = int(overlap)
        self.commands.append(encode_command(Opcode.LOAD, self.chip, **fields))

    def _window(self, source: _Region) -> dict[str, int]:
        """Fields of kernel, stride, padding and output size for a random window over `source`, of its elements or of
        the bytes that they are.
        """
        chip = self.chip
        floating = source.exponents > 0 and self.chance(0.8)
        format = source.format if floating else ElementFormat.INTEGER
        words, size = (source.words, format.bytes) if floating else (source.words * source.format.bytes, 1)
        depthwise = self.chance(0.6 if floating and source.in_order and words > 1 else 0.35)
        while True:
            granule = chip.channels.bit_length() - 1 if depthwise or self.chance(0.6) else self.below(3)
            taps = 1 if depthwise else self.between(1, words)
            height, width = self.between(1, 3), self.between(1, 3)
            length = height * width * taps << granule
            if length <= LARGEST_WINDOW_VECTORS * chip.rows:
                break
        groups = self.between(1, words) if depthwise else 1
        first_word = self.between(0, words - (groups if depthwise else taps))
        # Windows begin at a word by their address or by their group, those whose entries lie elsewhere by the group.
        first_group = self.between(0, first_word)
        exponents: dict[str, int] = {}
        if floating:
            grouped = int(source.in_order and self.chance(0.7))
            if size == 2 or not grouped:
                first_group = first_word
            number = taps if grouped else source.exponents
            exponents = {"grouped_exponents": grouped, "tap_exponents": number + (self.chance(0.2) and self.below(3))}
        stride_y, stride_x = self.between(1, 3), self.between(1, 3)
        pad_top, pad_left = self.below(3), self.below(3)
        pitch = source.pitch
        row_pitch = source.width * pitch
        return {
            **exponents,
            "input_format": int(format),
            "granule_log2": granule,
            "kernel_height": height,
            "kernel_width": width,
            "tap_words": taps,
            "first_group": first_group,
            "group_count": groups,
            "input_height": source.height,
            "input_width": source.width,
            "stride_y": stride_y,
            "stride_x": stride_x,
            "pad_top": pad_top,
            "pad_left": pad_left,
            "row_pitch": row_pitch,
            "pixel_pitch": pitch,
            "window_start": source.address + size * (first_word - first_group) - pad_top * row_pitch - pad_left * pitch,
            "window_step_y": stride_y * row_pitch,
            "window_step_x": stride_x * pitch,
            "output_height": self.between(1, 4),
            "output_width": self.between(1, LARGEST_OUTPUT_PIXELS // 4),
        }

    def _input(self, fields: dict[str, int], limit: int) -> dict[str, int]:
        """Fields of the integers that the input's elements become; `limit`: largest code of an INTEGER one."""
        chip = self.chip
        if fields["input_format"]:
            bits = int(self.random.choice([width for width in ALIGNED_BITS if width <= chip.aligned_bits]))
            pad = int(self.random.choice([0, 1, 200]))
            return {"input_bits": bits, "input_signed": 1, "rounding": self.below(2), "pad_value": pad}
        if not chip.floating_point or self.chance(0.6):
            bits = self.between(limit.bit_length(), chip.input_planes if self.chance(0.3) else 8)
            return {"input_bits": bits, "pad_value": self.below(min(1 << bits, 256))}
        zero_point = self.below(256) if self.chance(0.7) else 0
        pad = self.below(256) if self.chance(0.5) else zero_point
        widest = max(zero_point, max(limit, pad) - zero_point + 1)
        bits = self.between(max((widest - 1).bit_length() + 1, 1), chip.input_planes)
        return {"input_bits": bits, "input_signed": 1, "input_zero_point": zero_point, "pad_value": pad}

    def _unused_input(self) -> dict[str, int]:
        """The same fields, any at all, where no input becomes an integer."""
        return {
            **{"input_bits": self.below(32), "input_signed": self.below(2), "rounding": self.below(2)},
            **{"pad_value": self.below(256), "tap_exponents": self.below(4), "grouped_exponents": self.below(2)},
        }

    def _pool(self) -> dict[str, int]:
        """Fields of a RUN that pools."""
        return {
            "pooling": int(self.random.choice([Pooling.SUM, Pooling.MAXIMUM])),
            "copies": self.between(1, LARGEST_COPIES),
        }

    def _copies(self) -> tuple[int, int]:
        """Copies of a RUN, and how many of them have units alike, by tiles, slots and weights; 0: none."""
        largest = max(self.chip.units.count(kind) for kind in UnitKind)
        if self.chance(0.3) and largest > 1:
            alike = self.between(2, largest)
            return alike + self.chance(0.2), alike
        if self.chance(0.4):
            return 1, 0
        return self.between(2, 4) if self.chance(0.8) else self.between(2, LARGEST_COPIES), 0

    def _units(self, length: int, groups: int, pixels: int, full_granule: bool, slices: int) -> dict[str, int] | None:
        """`copies` and unit fields of a RUN, with the LOADs that it needs, or None when this draw does nothing."""
        copies, alike = self._copies()
        fields: dict[str, int] = {}
        written, units = 0, self.chip.units
        for unit, kind in enumerate(units):
            first, after = units.index(kind), units.index(kind) + units.count(kind)
            if alike and unit > first:
                if f"tiles[{first}]" in fields and unit - first < alike:
                    fields |= {f"{name}[{unit}]": fields[f"{name}[{first}]"] for name in ("tiles", "mode", "slot")}
                    fields[f"copy[{unit}]"] = unit - first
                continue
            # Few have a copy that gets no window; without tiles, the copy does not matter.
            copy = 0 if alike else self.below(min(copies, pixels + 1))
            tiles = 0 if alike and after - first < alike else self.below(3)
            if kind is UnitKind.SRAM and tiles and self.chance(0.4):
                tiles = self.between(1, min(self.chip.accumulator_tiles, 2 * self.chip.sram_segments))
            mode = self._mode(kind, full_granule, slices)
            broadcast = kind is UnitKind.TINY and mode == TinyMode.BROADCAST
            needed = groups * self.chip.window_steps(kind, mode, length, tiles) * slices
            needed *= self.chip.channels if broadcast else 1
            capacity = self.chip.unit_capacity(kind)
            if not tiles or needed > capacity:
                fields[f"copy[{unit}]"] = self.below(64)
                continue
            slot = self.between(0, min(capacity - needed, 20))
            number = alike if alike else self.between(1, after - unit) if self.chance(0.3) else 1
            if kind is UnitKind.SRAM:
                self.add_load(unit, number, slot * self.chip.channels, needed * self.chip.channels)
            elif kind is UnitKind.TINY and mode != TinyMode.MAX:
                self.add_load(unit, number, slot, needed)
            fields |= {f"tiles[{unit}]": tiles, f"mode[{unit}]": mode, f"slot[{unit}]": slot}
            fields[f"copy[{unit}]"] = copy
            written += copy < pixels
        return fields | {"copies": copies} if written else None

    def _mode(self, kind: UnitKind, full_granule: bool, slices: int) -> int:
        """Mode of a unit."""
        if kind is UnitKind.SRAM:
            return self.below(self.chip.sram_segments.bit_length()) if self.chance(0.5) else SramMode.REPEATED
        modes = [TinyMode.BROADCAST]
        if kind is UnitKind.TINY and full_granule:
            modes += [TinyMode.DEPTHWISE, *([TinyMode.MAX] * 2 if slices == 1 else [])]
        return int(self.random.choice(modes))

    def _parameter_places(self, units: dict[str, int], numbers: list[int], groups: int) -> int:
        """Give the units their `parameter`: each copy tiles of its own, or those that others have too; how many."""
        end = 0
        for copy in sorted({units[f"copy[{unit}]"] for unit in numbers}):
            place = 0 if self.chance(0.8) else end
            for unit in numbers:
                if units[f"copy[{unit}]"] == copy:
                    units[f"parameter[{unit}]"] = len(self.bias) + place
                    place += groups * units[f"tiles[{unit}]"]
            end = max(end, place)
        return end

    def _used(self, unit: int, units: dict[str, int], length: int, parts: int) -> tuple[int, int, int]:
        """Unit, first and last + 1 word that it uses; `length`: of a window, `parts`: groups x slices."""
        kind, mode = self.chip.units[unit], units[f"mode[{unit}]"]
        first, number = units[f"slot[{unit}]"], units[f"tiles[{unit}]"]
        number = parts * self.chip.window_steps(kind, mode, length, number)
        if kind is UnitKind.TINY and mode == TinyMode.MAX:
            return unit, 0, 0
        if kind is UnitKind.SRAM:
            return unit, first * self.chip.channels, (first + number) * self.chip.channels
        return unit, first, first + number * (self.chip.channels if mode == TinyMode.BROADCAST else 1)

    def _places(self, tiles: int, words: int) -> list[tuple[int, int]]:
        """(word, lanes) of new tiles in the first `words` words, no lane twice; no lanes where none are left."""
        full = (1 << self.chip.channels) - 1
        places: list[tuple[int, int]] = []
        for word in self.random.permutation(words):
            if len(places) == tiles:
                break
            split = self.below(full + 1) if self.chance(0.5) else full
            places.append((int(word), split))
            if split != full and len(places) < tiles:
                places.append((int(word), full & ~split))
        return places + [(0, 0)] * (tiles - len(places))

    def _parameters(
        self, places: list[tuple[int, int]], window: int, floating: bool, slices: int, pooled: bool
    ) -> None:
        """Parameters of new tiles; bias and scale such that most results are of use."""
        for word, mask in places:
            spread = 60.0 * 40.0 * window**0.5
            bias = self.random.normal(0, spread, self.chip.channels)
            scale = 80 / spread * np.exp(self.random.normal(0, 1, self.chip.channels))
            if floating:
                spread *= 2.0 ** (8 * (slices - 1) + self.between(-4, 4))
                scale = self.random.choice([1.0, 1.0, -1.0], self.chip.channels) * scale * 80 / spread
                bias = self.random.normal(0, 1, self.chip.channels)
                if pooled:
                    scale = self.random.choice([1.0, 1.0, -1.0, 1 / window, 0.3], self.chip.channels)
                    bias = bias * self.below(2)
                if self.chance(0.3):  # small results, down to subnormal ones
                    small = 2.0 ** -self.random.integers(3, 20, self.chip.channels)
                    scale, bias = scale * small, bias * small
                if self.chance(0.15):
                    scale = self.random.choice([0.0, 1e-40, -2e-39, 2.0**-126, 1.5 * 2.0**127, 1e30], len(scale))
                if self.chance(0.15):
                    bias = self.random.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-44, -3e38], len(bias))
                bias = bias.astype(np.float32).view(np.int32)
            elif self.chance(0.1):
                bias = self.random.choice([-(2**31), 2**31 - 1, 2**31 - 5, 2**24 + 1, -(2**24) - 3], self.chip.channels)
                scale = self.random.choice([0.0, 2.0**-25, 1e-7, 1e30, 2.0**-31], self.chip.channels)
            elif self.chance(0.2):
                scale = np.full(self.chip.channels, 2.0 ** -self.between(4, 12))  # products with many ties
            self.bias.append(np.rint(bias).astype(np.int64).astype(np.int32))
            self.scale.append(np.asarray(scale, np.float32))
            self.word_offset.append(word)
            self.lane_mask.append(mask)

    def _entries(self, places: list[tuple[int, int]], target: _Region) -> None:
        """Exponent entries of the tiles, one each. Entries that were there stay: they cover the lanes of old."""
        words = [word for word, mask in places if mask]
        if target.exponents == 0 and len(set(words)) == len(words) and self.chance(0.6):
            behind = iter(range(target.words, target.words + len(places)))
            offsets = [word if mask else next(behind) for word, mask in places]
            target.in_order, target.exponents = True, target.words
        else:
            offsets = (target.exponents + self.random.permutation(len(places))).tolist()
            target.in_order, target.exponents = False, target.exponents + len(places)
        self.exponent_offset.extend(offsets)

    def _clamp(self) -> tuple[int, int]:
        low, high = (0, 255) if self.chance(0.6) else sorted((self.below(256), self.below(256)))
        return low, min(high, 15) if self.chance(0.15) and low < 15 else high

    def add_run(self) -> None:
        """LOADs and one RUN over a random earlier region; nothing when the chip has no room for this draw."""
        source = self.regions[-1] if self.chance(0.6) else self.regions[self.below(len(self.regions))]
        fields = self._window(source)
        length = fields["kernel_height"] * fields["kernel_width"] * fields["tap_words"] << fields["granule_log2"]
        if len(self.commands) + len(self.chip.units) + 2 > self.chip.program_commands:
            return
        full_granule = 1 << fields["granule_log2"] == self.chip.channels
        slices = self.between(1, LARGEST_SLICES) if self.chip.floating_point and self.chance(0.4) else 1
        pixels = range(fields["output_height"] * fields["output_width"])
        pooled = fields["input_format"] > 0 and self.chance(0.35)
        units = self._pool() if pooled else None
        if not pooled:
            units = self._units(length, fields["group_count"], len(pixels), full_granule, slices)
        if units is None:
            return
        numbers = [unit for unit in range(len(self.chip.units)) if f"tiles[{unit}]" in units]
        if pooled:
            units["pool_parameter"], tiles = len(self.bias), fields["group_count"]
        else:
            tiles = self._parameter_places(units, numbers, fields["group_count"])
        if len(self.bias) + tiles > self.chip.parameter_tiles:
            return
        floating = bool(fields["input_format"]) or (self.chip.floating_point and self.chance(0.4))
        fields["clamp_low"], fields["clamp_high"] = self._clamp()
        fields["sum_low"], fields["sum_high"] = self._clamp()
        format = self.format() if floating else ElementFormat.INTEGER
        target, residual = self._target(source, fields, tiles, format, floating)
        if target is None:
            return
        if residual is not None:
            fields |= self._residual(residual, floating)
        places = self._places(tiles, target.words)
        self._parameters(places, length, floating, slices, pooled)
        if format.floating is not None:
            self._entries(places, target)
        else:
            self.exponent_offset.extend([0] * tiles)
        if floating:
            fields |= self._floating_output(format)
        limit = max(source.limit, 1)
        windows = {unit: len(pixels[units[f"copy[{unit}]"] :: units["copies"]]) for unit in numbers}
        written = len(pixels) if pooled else sum(units[f"tiles[{unit}]"] * windows[unit] for unit in numbers)
        fields |= (self._unused_input() if pooled else self._input(fields, limit)) | {
            "weight_slices": slices,
            "zero_point": self.below(256) if self.chance(0.7) else 0,
            "output_base": target.address,
            "output_pitch": target.pitch,
            "output_tiles": fields["group_count"] * written,
        }
        self.commands.append(encode_command(Opcode.RUN, self.chip, **fields, **units))
        self.busy = [self._used(unit, units, length, fields["group_count"] * slices) for unit in numbers]
        target.name = f"tensor{len(self.commands) - 1}"
        self.add_tensor(target, target.words * self.chip.channels, bool(fields.get("residual_signed", 0)))

    def _target(
        self, source: _Region, fields: dict[str, int], tiles: int, format: ElementFormat, floating: bool
    ) -> tuple[_Region | None, _Region | None]:
        """Where a RUN writes, and the residual: none, another region, or the written region itself."""
        height, width = fields["output_height"], fields["output_width"]
        fitting = [old for old in self.regions[1:] if old is not source and old.height * old.width >= height * width]
        residual = fitting[self.below(len(fitting))] if fitting and self.chance(0.75) else None
        high = 255 if floating else fields["sum_high"] if residual is not None else fields["clamp_high"]
        entries = tiles + self.between(0, 4) if format.floating else 0
        if residual is not None and residual.format == format and self.chance(0.6):
            residual.limit = max(residual.limit, high)
            if not entries or residual.exponents + tiles <= residual.pitch:
                return residual, residual
        words = residual.words if residual is not None else self.between((tiles + 1) // 2, tiles)
        region = self.new_region("", height, width, words, high, format, max(entries, words + tiles if entries else 0))
        if region is None:
            return None, None
        self.regions.append(region)
        if residual is not None:  # read with the new region's pitch, maybe past the old one's end
            end = residual.address + (height * width - 1) * region.pitch + 2 * words
            if end >= region.address // 2 * 2 and residual.address < region.address + region.size + 1:
                residual = None
        return region, residual

    def _pattern(self, value: float) -> int:
        """Pattern of a float32."""
        return int(np.float32(value).view(np.uint32))

    def _residual(self, residual: _Region, floating: bool) -> dict[str, int]:
        """Residual fields. Scales around 1, ties among them; now and then far from it."""
        common = {"residual": 1, "residual_base": residual.address}
        if floating:
            formats = [item for item in ElementFormat if item.bytes == residual.format.bytes]
            format = residual.format if self.chance(0.5) else formats[self.below(len(formats))]
            return common | {
                "residual_format": int(format),
                "residual_scale": self._pattern(np.exp(self.random.normal(-4, 1))),
                "residual_zero_point": self.below(256),
            }
        first, second = np.exp(self.random.normal(-0.5, 0.7, 2))
        if self.chance(0.3):
            first, second = 2.0 ** -self.between(0, 3), 2.0 ** -self.between(0, 3)
        if self.chance(0.15):
            first, second = first * 2.0 ** self.between(-40, 40), second
        return common | {
            "residual_first": self.below(2),
            "residual_signed": self.below(2),
            "scale_first": self._pattern(first),
            "scale_second": self._pattern(second),
            "fixed": self._pattern(self.random.normal(0, 40)) if self.chance(0.8) else 0,
        }

    def _floating_output(self, format: ElementFormat) -> dict[str, int]:
        """Fields of a floating RUN's output."""
        limits = [(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 0.5), (-0.0, np.inf), (-np.inf, 0.0), (2.0, 1.0)]
        low, high = limits[self.below(len(limits)) if self.chance(0.6) else 0]
        return {
            "floating": 1,
            "output_format": int(format),
            "float_low": self._pattern(low),
            "float_high": self._pattern(high),
            "output_scale": self._pattern(np.exp(self.random.normal(4, 1))),
        }

    def elements(self, format: FloatFormat, shape: tuple[int, ...]) -> np.ndarray:
        """Patterns: around 1, any finite ones, or any at all; zeros and subnormal numbers among them."""
        bits, mantissa = format.bits, format.mantissa_bits
        patterns = self.random.integers(0, 1 << bits, shape)
        kind = self.below(4)
        if kind:
            largest = format.largest_pattern >> mantissa
            middle = format.bias + np.rint(self.random.normal(0, 2, shape)).astype(int)
            field = middle if kind > 1 else self.random.integers(0, largest + 1, shape)
            field = np.where(self.random.random(shape) < 0.1, 0, field).clip(0, largest)
            patterns &= 1 << bits - 1 | (1 << mantissa) - 1
            magnitude = np.minimum(patterns & (1 << mantissa) - 1 | field << mantissa, format.largest_pattern)
            patterns = patterns & 1 << bits - 1 | magnitude
        patterns[self.random.random(shape) < 0.1] &= 1 << bits - 1
        return patterns.astype(np.uint8 if bits <= 8 else np.uint16)

    def program(self, seed: int) -> Program:
        """END, and everything as a `Program`."""
        chip = self.chip
        self.commands.append(encode_command(Opcode.END, chip))
        whole = _Region("memory", 0, chip.activation_words, 1, 1, 255, ElementFormat.INTEGER, 1)
        self.add_tensor(whole, chip.channels)
        channels = (0, chip.channels)
        return Program(
            network=f"random {seed}",
            chip=chip.name,
            fingerprint=chip.fingerprint,
            commands=np.array(self.commands),
            weights=np.array(self.weights, np.int8).reshape(-1, chip.rows),
            memristor=self.memristor,
            repair=self.repair,
            adc=self.adc,
            noise_table=self.noise_table,
            noise_seed=self.noise_seed,
            bias=np.array(self.bias, np.int32).reshape(-1, *channels[1:]),
            scale=np.array(self.scale, np.float32).reshape(-1, *channels[1:]),
            word_offset=np.array(self.word_offset, np.uint16),
            lane_mask=np.array(self.lane_mask, np.uint16),
            exponent_offset=np.array(self.exponent_offset, np.uint16),
            tensors=self.tensors,
            layers=(),
            input="input",
            output="memory",
            input_layout="NHWC",
            file_shape=self.tensors["input"].shape,
            output_shape=(chip.activation_words, 1, chip.channels),
            host_output=(),
        )


def random_program(chip: ChipConfig, seed: int, inputs: int = 2, runs: int = 4) -> tuple[Program, np.ndarray]:
    """A program of at most `runs` RUN commands, and input codes or patterns (inputs, height, width,
    channels) for it."""
    builder = _Builder(chip, seed)
    channels = builder.between(1, 3 * chip.channels)
    words = -(-channels // chip.channels)
    limit = (1 << int(builder.random.choice([8, 8, 8, 5, 2]))) - 1
    format = builder.format()
    region = builder.new_region("input", builder.between(1, 6), builder.between(1, 6), words, limit, format)
    assert region is not None
    region.exponents = words if format.floating else 0
    builder.regions.append(region)
    builder.add_tensor(region, channels)
    shape = (inputs, region.height, region.width, channels)
    if format.floating is None:
        codes = builder.random.integers(0, limit + 1, shape).astype(np.uint8)
    else:
        codes = builder.elements(format.floating, shape)
    if chip.memristor_banks:
        builder.add_table()
    for _ in range(runs):
        builder.add_run()
        if chip.memristor_banks and builder.chance(0.3) and len(builder.commands) + 2 < chip.program_commands:
            builder.add_table()
    return builder.program(seed), codes
