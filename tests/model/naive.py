"""A deliberately naive interpreter of commands.py: the pseudo code there, loop by loop, one input at a time.

Shares nothing with the model but the contract. Float32 steps of integer RUNs, scaling, alignment and conversions are
done on `fractions.Fraction`; what is left of floating RUNs, one sum or product at a time, on numpy's float32 scalars.
It looks for no faults.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from mixcim_hdl.commands import Opcode, Pooling, TinyMode, decode_command, noise_state
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ElementFormat, FloatFormat, Rounding
from mixcim_hdl.formats import CELL_LEVELS, conductance_unit
from mixcim_hdl.program import Program
from mixcim_hdl.registers import Event

Real = Fraction | float  #: a float only where it is infinite


def bits_to_fraction(bits: int) -> Fraction:
    """Value of a finite float32 bit pattern, from its sign, exponent and fraction."""
    exponent, fraction = bits >> 23 & 255, bits & 0x7FFFFF
    assert exponent != 255
    magnitude = Fraction(fraction, 2**149) if exponent == 0 else (fraction | 1 << 23) * Fraction(2) ** (exponent - 150)
    return -magnitude if bits >> 31 else magnitude


def half_even(value: Fraction | int) -> int:
    """Nearest integer, ties to even."""
    low = value.numerator // value.denominator
    rest = value - low
    return low + 1 if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1) else low


def to_float32(value: Real) -> Real:
    """Nearest float32, ties to even; too large values become infinite."""
    if isinstance(value, float) or value == 0:
        return value
    magnitude = abs(value)
    exponent = -126
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    step = Fraction(2) ** (exponent - 23)
    rounded = step * half_even(Fraction(magnitude / step))
    if rounded >= Fraction(2) ** 128:
        return float("inf") if value > 0 else float("-inf")
    return rounded if value > 0 else -rounded


def fma(factor: int, scale: Real, addend: Real) -> Real:
    """factor * scale + addend, rounded once; scale is finite."""
    assert isinstance(scale, Fraction)
    return addend if isinstance(addend, float) else to_float32(factor * scale + addend)


def code_of(value: Real, offset: int, low: int, high: int) -> int:
    """clip(round_half_even(value) + offset, low, high)."""
    if isinstance(value, float):
        return high if value > 0 else low
    return min(max(half_even(value) + offset, low), high)


def int32(value: int) -> int:
    """Two's complement wrap-around to 32 bits."""
    return (value + 2**31) % 2**32 - 2**31


def wrap(value: int, bits: int) -> int:
    """Two's complement wrap-around."""
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def field_of(pattern: int, format: FloatFormat) -> int:
    """Exponent field of a pattern."""
    return pattern >> format.mantissa_bits & 2**format.exponent_bits - 1


def finite_value(pattern: int, format: FloatFormat) -> Fraction:
    """Value of a pattern by its fields, of infinities and NaN too."""
    field = field_of(pattern, format)
    significand = pattern % 2**format.mantissa_bits + (2**format.mantissa_bits if field else 0)
    value = significand * Fraction(2) ** (max(field, 1) - format.bias - format.mantissa_bits)
    return -value if pattern >> (format.bits - 1) else value


def is_nan(pattern: int, format: FloatFormat) -> bool:
    magnitude = pattern % 2 ** (format.bits - 1)
    return magnitude > format.infinity_pattern if format.infinity else magnitude == 2 ** (format.bits - 1) - 1


def is_infinity(pattern: int, format: FloatFormat) -> bool:
    return format.infinity and pattern % 2 ** (format.bits - 1) == format.infinity_pattern


def float32_of(pattern: int, format: FloatFormat) -> np.float32:
    """The float32 that an element is."""
    negative = pattern >> (format.bits - 1)
    if is_nan(pattern, format):
        return np.float32(np.nan)
    value = (
        np.float32(np.inf) if is_infinity(pattern, format) else np.float32(float(abs(finite_value(pattern, format))))
    )
    return -value if negative else value


def pattern_of(value: np.float32, format: FloatFormat) -> int:
    """The element that a float32 becomes."""
    if np.isnan(value):
        return format.nan_pattern
    sign = int(np.signbit(value)) << (format.bits - 1)
    if np.isinf(value):
        return sign | format.overflow_pattern
    exact = abs(Fraction(float(value)))
    # The unit of a pattern: 2**-mantissa_bits of its binade, no smaller than that of subnormal numbers.
    exponent = format.smallest_exponent
    while exact >= Fraction(2) ** (exponent + 1):
        exponent += 1
    code = half_even(exact / Fraction(2) ** (exponent - format.mantissa_bits))
    pattern = (exponent - format.smallest_exponent) * 2**format.mantissa_bits + code
    return sign | (format.overflow_pattern if pattern > format.largest_pattern else pattern)


def float32_from(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


def float32_fraction(value: Fraction) -> np.float32:
    """Nearest float32; 0 is +0, a number that is too small keeps its sign."""
    rounded = np.float32(float(to_float32(value)))
    return np.float32(-0.0) if rounded == 0 and value < 0 else rounded


def split(scale: np.float32) -> tuple[int, np.float32]:
    """(t, m) of a scale: m * 2**t, 1 <= |m| < 2; of one that is not normal (0, scale)."""
    field = int(scale.view(np.uint32)) >> 23 & 255
    return (field - 127, np.float32(float(scale) / 2.0 ** (field - 127))) if 0 < field < 255 else (0, scale)


def limit(value: np.float32, low: np.float32, high: np.float32) -> np.float32:
    """The clamp of floating RUNs; -0 is below +0."""

    def order(number: np.float32) -> tuple[np.float32, bool]:
        return number, not np.signbit(number)

    if np.isnan(value):
        return value
    return high if order(value) > order(high) else low if order(value) < order(low) else value


class NaiveProcessor:
    """`run` executes the program for one input. `events`: the counters, by name. `exponents`: (field, special)."""

    def __init__(self, chip: ChipConfig, program: Program, noise_seed: int | None = None) -> None:
        self.chip, self.program = chip, program
        self.activation = [[0] * chip.channels for _ in range(chip.activation_words)]
        self.exponents = [(0, False)] * chip.activation_words
        self.unit_words: list[dict[int, list[int]]] = [{} for _ in chip.units]
        self.rows_per_read: dict[tuple[int, int], int] = {}
        self.step_shift: dict[tuple[int, int], int] = {}
        self.digits, self.skip_zero_groups = 0, 0
        self.skips = 0  # groups left out
        self.events = {event.name: 0 for event in Event}
        seed = program.noise_seed if noise_seed is None else noise_seed
        self.state = {
            (bank, column): noise_state(seed, bank, column)
            for bank in range(chip.memristor_banks)
            for column in range(chip.memristor_columns)
        }

    def run(self, codes: np.ndarray) -> np.ndarray:
        """Codes uint8 (height, width, channels) in; the whole activation memory uint8 (words, channels) out."""
        place = self.program.tensors[self.program.input]
        height, width, channels = place.shape
        for y in range(height):
            for x in range(width):
                pixel = place.address + (y * width + x) * place.pitch
                for word in range(-(-channels // self.chip.channels)):
                    elements = [
                        int(codes[y, x, c]) if c < channels else 0
                        for c in range(word * self.chip.channels, (word + 1) * self.chip.channels)
                    ]
                    self.store(pixel + word * place.element.bytes, range(self.chip.channels), elements, place.element)
                    if place.element.floating is not None:
                        self.exponents[pixel + word] = self.entry(elements, place.element.floating)
        for words in self.program.commands:
            opcode, fields = decode_command(words, self.chip)
            if opcode == Opcode.END:
                break
            if opcode == Opcode.LOAD:
                for number in range(fields["count"]):
                    source = fields["source"] + number
                    stored = self.program.weights[source].tolist() if source < len(self.program.weights) else None
                    for unit in range(fields["unit"], fields["unit"] + fields["units"]):
                        self.unit_words[unit][fields["destination"] + number] = stored or [0] * self.chip.rows
            elif opcode == Opcode.TABLE:
                self.digits, self.skip_zero_groups = fields["digits"], fields["skip_zero_groups"]
                digits = len(self.chip.mode.cells)
                for i in range(self.chip.input_planes):
                    for j in range(digits):
                        self.rows_per_read[i, j] = fields[f"rows_per_read[{i * digits + j}]"]
                        self.step_shift[i, j] = fields[f"step_shift[{i * digits + j}]"]
            else:
                self.run_layer(fields)
        return np.array(self.activation, np.uint8)

    def load(self, address: int, lane: int, format: ElementFormat) -> int:
        """Code or pattern of an element; its low byte is at `address`."""
        if format.bytes == 1:
            return self.activation[address % 2**24][lane]
        low = address % 2**24 // 2 * 2
        return self.activation[low][lane] + 256 * self.activation[low + 1][lane]

    def store(self, address: int, lanes: Iterable[int], elements: list[int], format: ElementFormat) -> None:
        """Write the elements of these lanes."""
        low = address % 2**24 // format.bytes * format.bytes
        for lane in lanes:
            for byte in range(format.bytes):
                self.activation[low + byte][lane] = elements[lane] >> 8 * byte & 255

    def entry(self, elements: list[int], format: FloatFormat) -> tuple[int, bool]:
        """Exponent entry of some elements."""
        special = any(is_nan(element, format) or is_infinity(element, format) for element in elements)
        return max([field_of(element, format) for element in elements], default=0), special

    def window(self, f: dict[str, int], oy: int, ox: int, group: int) -> tuple[list[int], int, bool]:
        """Integers X of one window, as the pseudo code collects them; exponent u of their unit; special."""
        format = ElementFormat(f["input_format"])
        taps, entries = [], []  # elements, None in the padding
        for ky in range(f["kernel_height"]):
            for kx in range(f["kernel_width"]):
                y = oy * f["stride_y"] - f["pad_top"] + ky
                x = ox * f["stride_x"] - f["pad_left"] + kx
                tap = f["window_start"] + oy * f["window_step_y"] + ox * f["window_step_x"]
                tap += ky * f["row_pitch"] + kx * f["pixel_pitch"]
                inside = 0 <= y < f["input_height"] and 0 <= x < f["input_width"]
                for w in range(f["tap_words"]):
                    address = tap + format.bytes * (group + w)
                    for channel in range(2 ** f["granule_log2"]):
                        taps.append(self.load(address, channel, format) if inside else None)
                for n in range(f["tap_exponents"]):
                    if inside and format.floating is not None:
                        first = tap + (group if f["grouped_exponents"] else 0)
                        entries.append(self.exponents[(first + n) % 2**24])
        if format.floating is None:
            return [(f["pad_value"] if tap is None else tap) - f["input_zero_point"] for tap in taps], 0, False
        exponent = max([1, *(field for field, _ in entries)]) - format.floating.bias
        unit = exponent - (f["input_bits"] - 2)
        padding = -(2 ** (f["input_bits"] - 1)) if f["pad_value"] else 0
        integers = [padding if tap is None else self.aligned(tap, format.floating, unit, f) for tap in taps]
        return integers, unit, any(special for _, special in entries)

    def aligned(self, pattern: int, format: FloatFormat, unit: int, f: dict[str, int]) -> int:
        """An element in units of 2**unit."""
        value = finite_value(pattern, format)
        exact = abs(value) / Fraction(2) ** unit
        magnitude = int(exact) if f["rounding"] == Rounding.TRUNCATE else half_even(exact)
        assert magnitude <= 2 ** (f["input_bits"] - 1)
        magnitude = min(magnitude, 2 ** (f["input_bits"] - 1) - 1)
        return -magnitude if value < 0 else magnitude

    @np.errstate(all="ignore")
    def pooled(self, f: dict[str, int], oy: int, ox: int, group: int) -> list[np.float32]:
        """Numbers of one window, channel by channel."""
        element = ElementFormat(f["input_format"])
        assert element.floating is not None
        numbers = [np.float32(0 if f["pooling"] == Pooling.SUM else -np.inf)] * self.chip.channels
        for ky in range(f["kernel_height"]):
            for kx in range(f["kernel_width"]):
                y, x = oy * f["stride_y"] - f["pad_top"] + ky, ox * f["stride_x"] - f["pad_left"] + kx
                if not (0 <= y < f["input_height"] and 0 <= x < f["input_width"]):
                    continue
                tap = f["window_start"] + oy * f["window_step_y"] + ox * f["window_step_x"]
                tap += ky * f["row_pitch"] + kx * f["pixel_pitch"]
                for w in range(f["tap_words"]):
                    for c in range(self.chip.channels):
                        pattern = self.load(tap + element.bytes * (group + w), c, element)
                        number = float32_of(pattern, element.floating)
                        if f["pooling"] == Pooling.SUM:
                            numbers[c] = numbers[c] + number
                        elif np.isnan(number) or np.isnan(numbers[c]):
                            numbers[c] = np.float32(np.nan)
                        else:
                            numbers[c] = limit(numbers[c], number, np.float32(np.inf))
        return numbers

    def pool_layer(self, f: dict[str, int]) -> None:
        """RUN with pooling: all windows are read before anything is written."""
        pixels = [(oy, ox) for oy in range(f["output_height"]) for ox in range(f["output_width"])]
        windows = [
            [self.pooled(f, oy, ox, f["first_group"] + group) for group in range(f["group_count"])] for oy, ox in pixels
        ]
        assert f["output_tiles"] == len(pixels) * f["group_count"]
        for pixel, groups in enumerate(windows):
            for group, numbers in enumerate(groups):
                self.write_floating(f, pixel, f["pool_parameter"] + group, numbers)

    def run_layer(self, f: dict[str, int]) -> None:
        """RUN: all windows are read before anything is written, which no legal RUN can tell from any other order."""
        if f["pooling"] != Pooling.NONE:
            self.pool_layer(f)
            return
        rows, tiles_written = self.chip.rows, 0
        writes: list[tuple[int, int, list[int], int, bool]] = []
        slices = f["weight_slices"]
        for group, oy, ox in itertools.product(
            range(f["group_count"]), range(f["output_height"]), range(f["output_width"])
        ):
            pixel = oy * f["output_width"] + ox
            window, unit_exponent, special = self.window(f, oy, ox, f["first_group"] + group)
            low, high = (-(2 ** (f["input_bits"] - 1)), 2 ** (f["input_bits"] - 1)) if f["input_signed"] else (
                0, 2 ** f["input_bits"]
            )  # fmt: skip
            assert all(low <= integer < high for integer in window)
            vectors = [window[first : first + rows] for first in range(0, len(window), rows)]
            for unit in range(len(self.chip.units)):
                tiles = f[f"tiles[{unit}]"]
                assert not tiles or f[f"copy[{unit}]"] < f["copies"]
                if f[f"copy[{unit}]"] != pixel % f["copies"]:
                    continue
                sums: list[list[int]] = [[] for _ in range(tiles)]
                for v, vector in enumerate(vectors):
                    for t in range(tiles):
                        for s in range(slices):
                            index, segment = self.place(unit, f, group, vectors, v, t)
                            value = self.dot_product_value(unit, f, index * slices + s, vector, segment)
                            sums[t] = self.accumulate(unit, f, sums[t], value, s)
                for t in range(tiles):
                    tile = f[f"parameter[{unit}]"] + group * tiles + t
                    writes.append((pixel, tile, sums[t], unit_exponent, special))
                    tiles_written += 1
        assert tiles_written == f["output_tiles"]
        for pixel, tile, tile_sums, unit_exponent, special in writes:
            if f["floating"]:
                self.write_floating(f, pixel, tile, self.scaled(tile, tile_sums, unit_exponent, special))
            else:
                self.write(f, pixel, tile, tile_sums)

    def accumulate(
        self, unit: int, f: dict[str, int], sums: list[int], value: list[int], weight_slice: int
    ) -> list[int]:
        """New sums of a tile, none at first, after a dot-product value."""
        if not sums:
            return [wrap(part * 256**weight_slice, self.chip.accumulator_bits) for part in value]
        if self.chip.units[unit] is UnitKind.TINY and f[f"mode[{unit}]"] == TinyMode.MAX:
            return [max(pair) for pair in zip(sums, value, strict=True)]
        return [
            wrap(total + part * 256**weight_slice, self.chip.accumulator_bits)
            for total, part in zip(sums, value, strict=True)
        ]

    def segments(self, unit: int, f: dict[str, int], vector: list[int]) -> int:
        """Row segments of a slot that have tiles of their own."""
        chip, mode = self.chip, f[f"mode[{unit}]"]
        if chip.units[unit] is not UnitKind.SRAM:
            return 1
        return max(n for n in (1, 2, 4, 8) if n == 2**mode or (mode == 0 and n <= chip.sram_segments and
                                                              len(vector) * n <= chip.rows))  # fmt: skip

    def place(
        self, unit: int, f: dict[str, int], group: int, vectors: list[list[int]], v: int, t: int
    ) -> tuple[int, range]:
        """Step of tile t with vector v, counted from the RUN's first one, and the slot's rows that are the tile's."""
        steps = [-(-f[f"tiles[{unit}]"] // self.segments(unit, f, vector)) for vector in vectors]
        n = self.segments(unit, f, vectors[v])
        height = self.chip.rows // n
        rows = range(t % n * height, (t % n + 1) * height)
        return group * sum(steps) + sum(steps[:v]) + t // n, rows

    def dot_product_value(
        self, unit: int, f: dict[str, int], index: int, vector: list[int], segment: range
    ) -> list[int]:
        """What a unit makes of a vector with the weights of slot `index`, int32; in SRAM-CIM those of `segment`."""
        chip, kind, slot = self.chip, self.chip.units[unit], f[f"slot[{unit}]"]
        sums = [0] * chip.channels
        zero = [0] * chip.rows
        memory = self.unit_words[unit]
        taps = chip.taps_per_vector
        mode = f[f"mode[{unit}]"]
        if kind is UnitKind.MEMRISTOR:
            sums = self.read_memristor(unit, slot + index, f, vector, sums)
        elif kind is UnitKind.SRAM:
            for k in range(chip.channels):
                word = memory.get((slot + index) * chip.channels + k, zero)
                own = vector[segment.start : segment.stop] if mode else vector
                weights = word[segment.start : segment.stop]
                sums[k] = sum(integer * weight for integer, weight in zip(own, weights, strict=False))
        elif mode == TinyMode.BROADCAST:
            for r, integer in enumerate(vector):
                word = memory.get(slot + index * chip.channels + r // taps, zero)
                for k in range(chip.channels):
                    sums[k] += integer * word[(r % taps) * chip.channels + k]
        else:
            for k in range(chip.channels):
                lane = vector[k :: chip.channels]
                if mode == TinyMode.MAX:
                    whole = -(-len(vector) // chip.channels)  # words that the window fills, the last one up with 0
                    sums[k] = max(lane + [0] * (whole - len(lane)))
                else:
                    weights = memory.get(slot + index, zero)[k :: chip.channels]
                    sums[k] = sum(integer * weight for integer, weight in zip(lane, weights, strict=False))
        return [int32(total) for total in sums]

    def noise(self, bank: int, column: int, lines_on: int) -> int:
        """Noise of a column in a read, and the generator's step."""
        s = self.state[bank, column]
        gauss = (s & 255) + (s >> 8 & 255) + (s >> 16 & 255) + (s >> 24) - 510
        s = (s ^ s << 13) % 2**32
        s = s ^ s >> 17
        s = (s ^ s << 5) % 2**32
        self.state[bank, column] = s
        return (gauss * int(self.program.noise_table[lines_on]) + 2**11) // 2**12

    def convert(self, bank: int, column: int, digit: int, current: int, step_shift: int) -> int:
        """ADC code before it is limited, of a current less the reference's."""
        gain, offset, *inl = (int(value) for value in self.program.adc[bank, column])
        hrs, lrs, *_ = CELL_LEVELS[self.chip.mode.cells[digit]]  # neighbours lie 1 or 4 level steps apart
        shift = step_shift + {1: 0, 4: 2}[lrs - hrs]
        step = conductance_unit(self.chip.conductance_bits) * 2**shift
        v = current * gain // 256 + offset
        v += inl[min(max(v // (step * 2 ** (self.chip.adc_bits - 3)), 0), 7)] * 2**shift
        return (v + step // 2) // step

    def conductance(self, unit: int, word: int, column: int) -> list[int]:
        """Codes of a column of a word, the spare's that replaces it if there is one; 0 where nothing was written."""
        chip, bit_line = self.chip, column
        lines, repair = self.program.memristor[unit], self.program.repair[unit]
        for s in range(chip.spare_columns):
            if word < len(repair) and repair[word][s] == column + 1:
                bit_line = chip.memristor_columns + s
        line = word * chip.physical_columns + bit_line
        return lines[line].tolist() if line < len(lines) else [0] * chip.rows

    def read_memristor(self, unit: int, slot: int, f: dict[str, int], vector: list[int], sums: list[int]) -> list[int]:
        """The memristor read of commands.py."""
        chip, encoding = self.chip, self.chip.encoding
        digits, columns = len(chip.mode.cells), chip.memristor_columns
        largest = 2**chip.adc_bits - 1
        for j in range(self.digits):
            conductance = [self.conductance(unit, slot * digits + j, column) for column in range(columns)]
            for i in range(f["input_bits"]):
                n, shift = self.rows_per_read[i, j], self.step_shift[i, j]
                top = -1 if f["input_signed"] and i == f["input_bits"] - 1 else 1
                for first in range(0, len(vector), n):
                    on = [r for r in range(first, min(first + n, len(vector))) if vector[r] >> i & 1]
                    if not on and self.skip_zero_groups and f["group_count"] == 1:
                        self.skips += 1
                        continue
                    self.events["MEMRISTOR_READS"] += 1
                    self.events["WORD_LINES_ON"] += len(on)
                    current = [
                        sum(conductance[c][r] for r in on) + self.noise(unit, c, len(on)) for c in range(columns)
                    ]
                    code = []
                    for column in range(columns - 1):
                        converted = self.convert(unit, column, j, current[column] - current[-1], shift)
                        self.events["ADC_CONVERSIONS"] += 1
                        self.events["ADC_SATURATIONS"] += converted > largest
                        code.append(min(max(converted, 0), largest))
                    for k in range(chip.channels):
                        place = top * 2 ** (i + chip.mode.places[j] + shift)
                        if encoding == "differential":
                            sums[k] += (code[2 * k] - code[2 * k + 1]) * place
                        elif encoding == "twos_complement" and j == digits - 1:
                            sums[k] -= code[k] * place
                        else:
                            sums[k] += code[k] * place
                        if encoding == "offset" and j == 0:
                            sums[k] -= top * 128 * len(on) * 2**i
        return sums

    @np.errstate(all="ignore")
    def scaled(self, tile: int, sums: list[int], unit: int, special: bool) -> list[np.float32]:
        """Sums in units of 2**unit as float32, times the 2**t of their scale: what is to be multiplied by m."""
        if special:
            return [np.float32(np.nan)] * len(sums)
        return [
            float32_fraction(total * Fraction(2) ** (unit + split(self.program.scale[tile, lane])[0]))
            for lane, total in enumerate(sums)
        ]

    def write(self, f: dict[str, int], pixel: int, tile: int, sums: list[int]) -> None:
        """Bias, scale, residual, clamp, masked write of one parameter tile."""
        program = self.program
        offset = pixel * f["output_pitch"] + int(program.word_offset[tile])
        target = self.activation[(f["output_base"] + offset) % 2**24]
        for lane in range(self.chip.channels):
            if not int(program.lane_mask[tile]) >> lane & 1:
                continue
            total = to_float32(Fraction(int32(sums[lane] + int(program.bias[tile, lane]))))
            scale = bits_to_fraction(int(program.scale[tile, lane].view(np.uint32)))
            code = code_of(to_float32(total * scale), f["zero_point"], f["clamp_low"], f["clamp_high"])
            if f["residual"]:
                old = self.activation[(f["residual_base"] + offset) % 2**24][lane]
                first, second = (old, code) if f["residual_first"] else (code, old)
                zero = 128 if f["residual_signed"] else 0
                partial = fma(first - zero, bits_to_fraction(f["scale_first"]), bits_to_fraction(f["fixed"]))
                result = fma(second - zero, bits_to_fraction(f["scale_second"]), partial)
                code = code_of(result, zero, f["sum_low"], f["sum_high"])
            target[lane] = code

    @np.errstate(all="ignore")
    def write_floating(self, f: dict[str, int], pixel: int, tile: int, numbers: list[np.float32]) -> None:
        """The floating steps, conversion, masked write of one parameter tile, and its exponent entry."""
        program = self.program
        output, residual = ElementFormat(f["output_format"]), ElementFormat(f["residual_format"])
        place = pixel * f["output_pitch"]
        lanes = [lane for lane in range(self.chip.channels) if int(program.lane_mask[tile]) >> lane & 1]
        elements = [0] * self.chip.channels
        for lane in lanes:
            old = np.float32(0)
            if f["residual"]:
                address = f["residual_base"] + place + residual.bytes * int(program.word_offset[tile])
                element = self.load(address, lane, residual)
                if residual.floating is None:
                    old = np.float32(element - f["residual_zero_point"]) * float32_from(f["residual_scale"])
                else:
                    old = float32_of(element, residual.floating)
            elements[lane] = self.element(f, tile, lane, numbers[lane], old)
        word = f["output_base"] + place + output.bytes * int(program.word_offset[tile])
        self.store(word, lanes, elements, output)
        if output.floating is not None:
            address = (f["output_base"] + place + int(program.exponent_offset[tile])) % 2**24
            self.exponents[address] = self.entry([elements[lane] for lane in lanes], output.floating)

    def element(self, f: dict[str, int], tile: int, lane: int, number: np.float32, old: np.float32) -> int:
        """Element of the output for a number; `old`: residual's value."""
        scale = self.program.scale[tile, lane]
        y = number * (split(scale)[1] if f["pooling"] == Pooling.NONE else scale)
        y = y + self.program.bias[tile, lane].view(np.float32)
        if f["residual"]:
            y = y + old
        y = limit(y, float32_from(f["float_low"]), float32_from(f["float_high"]))
        output = ElementFormat(f["output_format"])
        if output.floating is not None:
            return pattern_of(y, output.floating)
        product = y * float32_from(f["output_scale"])
        if np.isnan(product):
            product = np.float32(0)
        real = float(product) if np.isinf(product) else Fraction(float(product))
        return code_of(real, f["zero_point"], f["clamp_low"], f["clamp_high"])
