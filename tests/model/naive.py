"""A deliberately naive interpreter of commands.py: the pseudo code there, loop by loop, one input at a time.

Shares nothing with the model but the contract. Float32 steps are done on `fractions.Fraction`. It looks for no faults.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from mixcim_hdl.commands import Opcode, TinyMode, decode_command, noise_state
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.formats import ACTIVATION_BITS, CELL_LEVELS, conductance_unit
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


class NaiveProcessor:
    """`run` executes the program for one input. `events`: the counters, by name."""

    def __init__(self, chip: ChipConfig, program: Program, noise_seed: int | None = None) -> None:
        self.chip, self.program = chip, program
        self.activation = [[0] * chip.channels for _ in range(chip.activation_words)]
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
        pitch = -(-channels // self.chip.channels)
        for y in range(height):
            for x in range(width):
                for word in range(pitch):
                    self.activation[place.address + (y * width + x) * pitch + word] = [
                        int(codes[y, x, c]) if c < channels else 0
                        for c in range(word * self.chip.channels, (word + 1) * self.chip.channels)
                    ]
        for words in self.program.commands:
            opcode, fields = decode_command(words, self.chip)
            if opcode == Opcode.END:
                break
            if opcode == Opcode.LOAD:
                for number in range(fields["count"]):
                    source = fields["source"] + number
                    stored = self.program.weights[source].tolist() if source < len(self.program.weights) else None
                    self.unit_words[fields["unit"]][fields["destination"] + number] = stored or [0] * self.chip.rows
            elif opcode == Opcode.TABLE:
                self.digits, self.skip_zero_groups = fields["digits"], fields["skip_zero_groups"]
                digits = len(self.chip.mode.cells)
                for i in range(ACTIVATION_BITS):
                    for j in range(digits):
                        self.rows_per_read[i, j] = fields[f"rows_per_read[{i * digits + j}]"]
                        self.step_shift[i, j] = fields[f"step_shift[{i * digits + j}]"]
            else:
                self.run_layer(fields)
        return np.array(self.activation, np.uint8)

    def window(self, f: dict[str, int], oy: int, ox: int, group: int) -> list[int]:
        """Codes of one window, as the pseudo code collects them."""
        result = []
        for ky in range(f["kernel_height"]):
            for kx in range(f["kernel_width"]):
                for w in range(f["tap_words"]):
                    y = oy * f["stride_y"] - f["pad_top"] + ky
                    x = ox * f["stride_x"] - f["pad_left"] + kx
                    address = f["window_start"] + oy * f["window_step_y"] + ox * f["window_step_x"]
                    address += ky * f["row_pitch"] + kx * f["pixel_pitch"] + group + w
                    inside = 0 <= y < f["input_height"] and 0 <= x < f["input_width"]
                    for channel in range(2 ** f["granule_log2"]):
                        result.append(self.activation[address % 2**24][channel] if inside else f["pad_value"])
        return result

    def run_layer(self, f: dict[str, int]) -> None:
        """RUN: all windows are read before anything is written, which no legal RUN can tell from any other order."""
        rows, writes, tiles_written = self.chip.rows, [], 0
        for oy in range(f["output_height"]):
            for ox in range(f["output_width"]):
                pixel = oy * f["output_width"] + ox
                for group in range(f["group_count"]):
                    window = self.window(f, oy, ox, group)
                    vectors = [window[first : first + rows] for first in range(0, len(window), rows)]
                    for unit in range(len(self.chip.units)):
                        tiles = f[f"tiles[{unit}]"]
                        sums = [[0] * self.chip.channels for _ in range(tiles)]
                        for v, vector in enumerate(vectors):
                            for t in range(tiles):
                                index = (group * len(vectors) + v) * tiles + t
                                sums[t] = self.accumulate(unit, f, index, vector, sums[t])
                        for t in range(tiles):
                            tile = f[f"parameter[{unit}]"] + group * tiles + t
                            writes.append((pixel, tile, sums[t]))
                            tiles_written += 1
        assert tiles_written == f["output_tiles"]
        for pixel, tile, sums in writes:
            self.write(f, pixel, tile, sums)

    def accumulate(self, unit: int, f: dict[str, int], index: int, vector: list[int], sums: list[int]) -> list[int]:
        """New sums of a tile after one vector."""
        chip, kind, slot = self.chip, self.chip.units[unit], f[f"slot[{unit}]"]
        filled = vector + [0] * (chip.rows - len(vector))
        zero = [0] * chip.rows
        memory = self.unit_words[unit]
        sums = list(sums)
        if kind is UnitKind.MEMRISTOR:
            return self.read_memristor(unit, slot + index, f, vector, sums)
        if kind is UnitKind.SRAM:
            for k in range(chip.channels):
                word = memory.get((slot + index) * chip.channels + k, zero)
                for r in range(chip.rows):
                    sums[k] += filled[r] * word[r]
            return sums
        taps = chip.taps_per_vector
        mode = TinyMode(f[f"mode[{unit}]"])
        if mode == TinyMode.BROADCAST:
            for r in range(chip.rows):
                word = memory.get(slot + index * chip.channels + r // taps, zero)
                for k in range(chip.channels):
                    sums[k] += filled[r] * word[(r % taps) * chip.channels + k]
            return sums
        for a in range(taps):
            for k in range(chip.channels):
                code = filled[a * chip.channels + k]
                if mode == TinyMode.MAX:
                    sums[k] = max(sums[k], code)
                else:
                    sums[k] += code * memory.get(slot + index, zero)[a * chip.channels + k]
        return sums

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
                        place = 2 ** (i + chip.mode.places[j] + shift)
                        if encoding == "differential":
                            sums[k] += (code[2 * k] - code[2 * k + 1]) * place
                        elif encoding == "twos_complement" and j == digits - 1:
                            sums[k] -= code[k] * place
                        else:
                            sums[k] += code[k] * place
                        if encoding == "offset" and j == 0:
                            sums[k] -= 128 * len(on) * 2**i
        return sums

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
