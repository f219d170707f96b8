"""Commands of the layer controller: their fields, where each lies in the command's words, and what it means.

A program is a list of commands of `command_words(chip)` 32-bit words each, executed in order from index 0 to END.
Fields are packed from bit 0 of word 0 upwards in the order given here; a field that would straddle two words starts
the next word; unused bits are 0. RTL, model, compiler and docs read these tables; nothing else knows the layout.

LOAD    copies `count` words of the weight store from `source` on into the memories of the compute units `unit` ..
        `unit + units - 1`, which are of one kind, from `destination` on, the same words into each. A word is `rows`
        weights (byte r = weight of row r, two's complement). SRAM-CIM: destination word = slot * channels + kernel.
        Tiny-digital: destination word = weight word. Memristor banks take no LOAD. With `overlap` the RUN before it may
        still be at work, which must then use none of the words that are written.
TABLE   sets how all memristor banks read: entry [input bit i][digit j] (index i * digits of the chip + j, for every
        i < input_planes of the chip) holds the rows read at a time, 1..rows (`rows_per_read`), and the ADC step as a
        power of two of a digit (`step_shift`);
        `digits`: how many digits are read, from the least significant one on (small weights have no others);
        `skip_zero_groups`: reads that no word line takes part in are left out.
RUN     runs one layer (or some of its kernels) over all output pixels; see below.
END     ends the program: status "done", interrupt.

Memristor read (one bank; conductance codes G[line][row] with line = word * physical_columns + bit line and
word = slot * digits + j; columns as formats.Encoding has them, the last one is the reference. Column c is bit line c,
unless a spare replaces it: the last s with repair[word][s] == c + 1 does, its bit line is memristor_columns + s)::

    for digit j < digits, for input bit i < input_bits, for each group of rows_per_read[i][j] = N rows below the
    vector's length:
        on = the group's rows whose input bit i is 1;   n = number of rows in `on`
        if n == 0 and skip_zero_groups and group_count == 1: continue
        current[c] = sum of G[c][r] over `on` + noise[c]
        noise[c] = (gauss(state[c]) * noise_table[n] + 2**11) >> 12     gauss(s) = sum of the four bytes of s - 510
        state[c] = xorshift32(state[c])                                 s ^= s << 13; s ^= s >> 17; s ^= s << 5, 32 bits
        shift = step_shift[i][j] + step_log2[j];   step = conductance_unit << shift
        v = ((current[c] - current[reference]) * gain[c] >> 8) + offset[c]
        v += inl[c][clip(v // (step * 2**(adc_bits - 3)), 0, 7)] << shift
        code[c] = clip((v + step // 2) // step, 0, 2**adc_bits - 1)
        top = -1 if i == input_bits - 1 and input_signed else 1                 two's complement: its top bit
        sum[k] += top * sum over the kernel's columns of sign * code[c] << (i + place[j] + step_shift[i][j])
        offset binary, with digit 0 only: sum[k] -= top * n << (i + WEIGHT_BITS - 1)

    gauss has mean 0 and sigma 147.8. A group is one read cycle; a vector's length counts its filled rows (a whole
    number of granules), so short vectors take fewer reads. Groups that are left out take no cycle (but a step takes one
    at least) and leave the noise as it is. registers.Event says what is counted. NOISE_SEED sets state[c] of every bank
    to noise_state(seed, bank, c).

Write-verify (one line, by registers.MEMRISTOR_TARGET; cell[row] starts as what is stored; all numbers are integers)::

    if wear[line] >= endurance: refuse: the line stays as it is
    x = (seed + (line of all banks + 1) * WRITE_STRIDE) mod 2**32, or WRITE_STRIDE if that is 0
    4 times: x = xorshift32(x)
    for row in 0 .. rows - 1:
        pulses = 0
        loop:
            error = target[row] - cell[row]                          # verify: a read of one cell
            if abs(error) <= band:          next row                 # accepted
            if pulses == retry_limit:       given up; next row
            x     = xorshift32(x)
            step  = max(step_mean + gauss(x) * step_sigma, 0)        # in 1/4096 conductance code
            if abs(error) < coarse:         step = step >> fine_shift
            step  = (step + 2048) >> 12
            if not held[row]: cell[row] = clip(cell[row] + (step if error > 0 else -step), 0, 2**conductance_bits - 1)
            pulses = pulses + 1
    wear[line] = wear[line] + (1 if there was any pulse)

    `held` are the cells that are stuck: the chip cannot know, it pulses them until it gives up. Line of all banks:
    bank * lines of a bank + line. Takes 2 + pulses cycles a row.

RUN, in the order in which the hardware does it. Every address is in activation words, modulo 2**24::

    for g in range(group_count):                   # depthwise: one activation word of channels after the other; else 1
        group = first_group + g
        for oy in range(output_height):
            for ox in range(output_width):
                p = oy * output_width + ox         # units with copy[u] == p % copies take this window
                for ky in range(kernel_height):
                    for kx in range(kernel_width):
                        for w in range(tap_words):
                            y = oy * stride_y - pad_top + ky;  x = ox * stride_x - pad_left + kx
                            inside = 0 <= y < input_height and 0 <= x < input_width
                            word = activation[window_start + oy * window_step_y + ox * window_step_x
                                              + ky * row_pitch + kx * pixel_pitch + group + w]
                            append the integers X of the first 2**granule_log2 channels of `word` to the vector

    The elements of the input are of `input_format`. Two bytes an element: low bytes are in `word`, at an even address,
    high bytes in the word after it; `group` and `w` above count twice, and bit 0 of an address counts as 0. An element
    becomes an integer X of `input_bits` bits, two's complement if `input_signed`, else unsigned; it must fit::

        INTEGER:    X = code - input_zero_point, in the padding pad_value - input_zero_point
        floating:   X = element aligned to exponent E in aligned_bits = input_bits (floating.py), by `rounding`;
                    in the padding 0, or -2**(input_bits - 1) if pad_value is not 0
        u = E - (input_bits - 2) for floating inputs, 0 for INTEGER: the exponent of X's unit

    E is that of a window's exponent entries, one E for all vectors of (pixel, group). The exponent memory has an entry
    (registers.EXPONENT_FIELDS) beside every activation word; the same loops, without `w`, take from every tap inside
    the entries exponent_memory[tap + (group if grouped_exponents else 0) + n], n < tap_exponents, where tap is the
    address of its word for group and w 0. field = the largest of their fields, 0 for none; E = max(field, 1) - bias;
    the window is special if one of them is. Addresses of entries are taken as they are, bit 0 too, and no element may
    have a larger exponent than the entries of its window.

    Vectors are `rows` long; the last one of a window is filled up with zeros. Each vector of window p goes to every
    unit whose `tiles` is not 0 and whose `copy` is p % copies: units with equal weights, in other copies, take other
    windows. With S = weight_slices and P(v) = packed_tiles of vector v (config.py, as window_steps), unit u uses for
    group g, vector v, tile t, slice s the slot
        slot[u] + ((g * window_steps + sum of ceil(tiles[u] / P) of the vectors before v + t // P(v)) * S + s) * stride
    (stride: slots 1; tiny-digital BROADCAST `channels`, DEPTHWISE 1, MAX 0, which has one slice; P is 1 but on
    SRAM-CIM: SramMode says what it is there, and which of a slot's weights are those of t)
    and adds its dot-product value, int32, times 2**(SLICE_BITS * s) to the sum of (group g, tile t), of the chip's
    accumulator_bits (wraps), kept in accumulator entry t, so tiles[u] <= accumulator_tiles; its parameters are those of
    parameter tile parameter[u] + g * tiles[u] + t.

    If `pooling`, no unit takes part. A window of floating-point elements becomes one float32 number for each channel
    c < channels of the chip instead; nothing is aligned, and no exponent entry is read::

        y = +0 for SUM, -infinity for MAXIMUM
        for every tap inside, in the order above:   x = element c of its word, exact
            SUM:      y = y + x, rounded once to nearest even
            MAXIMUM:  y = the larger of y and x, -0 below +0; NaN if one of them is
        after the window: y is the number of parameter tile pool_parameter + g

    Padding takes no part: a window all in it gives +0 or -infinity. Fields of what becomes integers (input_bits,
    input_signed, rounding, grouped_exponents, tap_exponents, pad_value) do not count, nor do granule_log2 and
    weight_slices, which must be legal all the same.

    After a window, for each parameter tile (fields word_offset, lane_mask, exponent_offset; per lane bias and scale),
    unless `floating`:
        code = clip(round_half_even(float32(int32(sum + bias)) * scale) + zero_point, clamp_low, clamp_high)
        if residual:  first, second = (old, code) if residual_first else (code, old), old = the residual tensor's code
            both minus 128 if residual_signed (onnxruntime adds int8 tensors as such, and float32 rounding sees that)
            t = fma(first, scale_first, fixed); u = fma(second, scale_second, t)        float32, each rounded once
            code = clip(round_half_even(u) + (128 if residual_signed), sum_low, sum_high)
        activation[output_base + pixel * output_pitch + word_offset], lanes of lane_mask, = code
    with the old code from activation[residual_base + pixel * output_pitch + word_offset].
    No low limit of a clip that is taken may be above its high one.

    If `floating`, every step in float32, rounded once to nearest even (floating.py has NaN, overflow and the formats)::

        t = exponent of scale (field - 127), m = scale * 2**-t, where scale is normal; else t = 0, m = scale
        y = float32(sum * 2**(u + t)) * m, NaN if the window is special;    y = y * scale if `pooling`
        y = y + bias                                a float32's pattern
        if residual: y = y + old                    old: the element of residual_format at word_offset, exact;
                                                    INTEGER: float32(code - residual_zero_point) * residual_scale
        y = float_high if y > float_high, else float_low if y < float_low, else y    -0 is below +0; a NaN gives NaN
        element = y in output_format, rounded once
        INTEGER: code = clip(round_half_even(y * output_scale) + zero_point, clamp_low, clamp_high); NaN counts as 0
        activation[output_base + pixel * output_pitch + bytes * word_offset], lanes of lane_mask, = element
        exponent_memory[output_base + pixel * output_pitch + exponent_offset] = largest exponent field of these lanes'
            elements, and whether an infinity or NaN is among them (not written for INTEGER; 0 if lane_mask is 0)

    Two bytes an element: low bytes at that address, bit 0 taken as 0, high bytes in the word after it; the residual's
    are at residual_base + pixel * output_pitch + bytes * word_offset likewise, `bytes` those of its own format.
    In a RUN that is not `floating` all formats are INTEGER, and `pooling` is NONE, as it is with INTEGER inputs. Where
    the input's elements become integers, a floating one is `input_signed`, and its input_bits are one of
    floating.ALIGNED_BITS, at most the chip's aligned_bits; other inputs have 1 to input_planes of the chip. On a chip
    without floating point weight_slices is 1, and floating, input_signed and input_zero_point are 0.

    The loops of reading run ahead of those of writing: a RUN must write no word and no exponent entry that its windows
    take. It may write the word of the residual that it has just read, if no other tile of the RUN has lanes of it.

    `copies` is 1 to 64, and every unit with tiles has a `copy` below it. `output_tiles` is the number of tiles that
    the RUN writes, groups * sum over units of tiles * windows of its copy, or pixels * groups if `pooling`: another
    number is an ILLEGAL_COMMAND once all are written, and so is a RUN with memristor tiles before the first TABLE.

Commands begin in order. The next one is fetched while a RUN is at work; a LOAD with `overlap` begins as soon as the
LOAD before it is done, every other command when all before it are done. A command that is at fault stops the program
when those before it are done.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import numpy as np

from .banks import ADDRESS_BITS
from .config import ChipConfig
from .formats import ACTIVATION_BITS

NOISE_STRIDE = 0x9E3779B9  #: between the seeds of neighbouring columns: 2**32 / golden ratio
WRITE_STRIDE = 0x9E3779B1  #: between the seeds of neighbouring lines in write-verify: the prime next to it


class Opcode(enum.IntEnum):
    """Operation of a command."""

    END = 1
    LOAD = 2
    TABLE = 3
    RUN = 4


class TinyMode(enum.IntEnum):
    """What a tiny-digital unit does with a vector (field `mode` of its RUN fields; 0 for the other kinds).

    BROADCAST: row r times weight [r][k] for every kernel k: weight word = `taps_per_vector` rows x `channels` kernels,
    byte (r % taps_per_vector) * channels + k of word r // taps_per_vector. DEPTHWISE: row a * channels + k of the
    vector times weight byte a * channels + k, summed over a for every channel k. MAX: maximum over a, weights unused.
    """

    BROADCAST = 0
    DEPTHWISE = 1
    MAX = 2


class SramMode(enum.IntEnum):
    """What an SRAM-CIM unit does with a vector (field `mode` of its RUN fields); at most log2(sram_segments) of a chip.

    A slot's rows fall into P segments of rows / P, and tile t has the weights of segment t % P.

    REPEATED: every segment gets the whole vector, from its first row on: P is the largest power of two, up to
    sram_segments, for which the vector's length is at most rows / P; 1 but for short vectors, the last of a window.
    The others: P = 2**mode, and every segment gets its own rows of the vector; tile t is a sum over these alone.
    """

    REPEATED = 0
    SPLIT_2 = 1
    SPLIT_4 = 2
    SPLIT_8 = 3


class Pooling(enum.IntEnum):
    """What becomes of a window whose channels are pooled in float32 (field `pooling` of RUN)."""

    NONE = 0  #: nothing: it goes to the compute units
    SUM = 1  #: a sum for each channel
    MAXIMUM = 2  #: the largest element for each channel


class Fault(enum.IntEnum):
    """Code in the FAULT register. The detail register holds the value in brackets."""

    NONE = 0
    ILLEGAL_COMMAND = 1  #: unknown opcode, or a field that the chip cannot do (command's first word)
    PROGRAM_END = 2  #: ran past the last command of the program store (command index)
    INPUT_ADDRESS = 3  #: RUN reads past the activation memory (address)
    OUTPUT_ADDRESS = 4  #: RUN writes, or reads the residual, past the activation memory (address)
    WEIGHT_ADDRESS = 5  #: LOAD reads past the weight store (address)
    UNIT_ADDRESS = 6  #: LOAD writes, or a unit reads, past the unit's memory (unit number)
    PARAMETER_ADDRESS = 7  #: parameter tile past the parameter memory (tile)
    WATCHDOG = 8  #: no progress for `watchdog` cycles (command's first word)


LOAD_FIELDS = {
    "opcode": 8,
    "unit": 8,
    "units": 8,  #: units that are written, at least 1
    "overlap": 1,  #: need not wait for the RUN before it
    "source": ADDRESS_BITS,
    "destination": ADDRESS_BITS,
    "count": ADDRESS_BITS,
}

RUN_FIELDS = {
    "opcode": 8,
    "input_bits": 5,  #: 1..input_planes word-line cycles: width of X
    "granule_log2": 3,  #: channels taken from each word, 1..channels as a power of two
    "residual": 1,
    "residual_first": 1,
    "residual_signed": 1,
    "floating": 1,
    "input_signed": 1,
    "rounding": 1,  #: a floating.Rounding
    "grouped_exponents": 1,
    "weight_slices": 2,  #: 1..LARGEST_SLICES
    "pooling": 2,  #: a Pooling
    "pad_value": ACTIVATION_BITS,
    "input_format": 3,  #: a floating.ElementFormat, as are the next two
    "output_format": 3,
    "residual_format": 3,
    "tap_exponents": 10,
    "window_start": ADDRESS_BITS,
    "kernel_height": 8,
    "input_height": 12,
    "input_width": 12,
    "kernel_width": 8,
    "output_height": 12,
    "output_width": 12,
    "tap_words": 8,
    "group_count": 12,
    "pixel_pitch": 12,
    "pad_top": 8,
    "row_pitch": ADDRESS_BITS,
    "pad_left": 8,
    "window_step_x": ADDRESS_BITS,
    "stride_y": 8,
    "window_step_y": ADDRESS_BITS,
    "stride_x": 8,
    "output_base": ADDRESS_BITS,
    "zero_point": 8,
    "residual_base": ADDRESS_BITS,
    "clamp_low": 8,
    "output_pitch": 12,
    "clamp_high": 8,
    "sum_low": 8,
    "output_tiles": 32,
    "sum_high": 8,
    "pool_parameter": 16,  #: parameter tile of group 0, if `pooling`
    "scale_first": 32,  #: float32 bit pattern, as are the next two
    "scale_second": 32,
    "fixed": 32,
    "residual_scale": 32,  #: float32, as are the next three
    "output_scale": 32,
    "float_low": 32,
    "float_high": 32,
    "input_zero_point": ACTIVATION_BITS,
    "residual_zero_point": ACTIVATION_BITS,
    "first_group": 12,
    "copies": 7,
}

UNIT_FIELDS = {
    "tiles": 8,
    "mode": 2,
    "copy": 6,
    "slot": 16,
    "parameter": 16,
}  #: one set per unit, from the word after RUN_FIELDS on

LARGEST_COPIES = 1 << UNIT_FIELDS["copy"]  #: of a RUN

TABLE_FIELDS = {"opcode": 8, "digits": 4, "skip_zero_groups": 1}
TABLE_ENTRY_FIELDS = {"rows_per_read": 8, "step_shift": 4}  #: one 16-bit half word per entry, from word 1 on


def noise_state(seed: int, bank: int, column: int) -> int:
    """State of the noise generator of a bank's column after `seed` was written: never 0, 32 bits."""
    return (seed + (bank * 256 + column + 1) * NOISE_STRIDE) & 0xFFFFFFFF or 1


def pack_layout(fields: Mapping[str, int]) -> tuple[dict[str, tuple[int, int]], int]:
    """Bit offset and width of each field, and the number of 32-bit words, by the packing rule of this file."""
    layout, bit = {}, 0
    for name, width in fields.items():
        if bit // 32 != (bit + width - 1) // 32:
            bit = (bit // 32 + 1) * 32
        layout[name] = (bit, width)
        bit += width
    return layout, (bit + 31) // 32


def run_layout(chip: ChipConfig) -> dict[str, tuple[int, int]]:
    """Bit offset and width of every RUN field; those of unit u are called `tiles[u]`, `mode[u]`, and so on."""
    layout, words = pack_layout(RUN_FIELDS)
    unit, unit_words = pack_layout(UNIT_FIELDS)
    for number in range(len(chip.units)):
        base = (words + number * unit_words) * 32
        layout.update({f"{name}[{number}]": (base + bit, width) for name, (bit, width) in unit.items()})
    return layout


def table_layout(chip: ChipConfig) -> dict[str, tuple[int, int]]:
    """Bit offset and width of every TABLE field: TABLE_FIELDS, and `rows_per_read[n]`, `step_shift[n]` for entry n."""
    layout, _ = pack_layout(TABLE_FIELDS)
    for entry in range(chip.input_planes * len(chip.mode.cells)):
        bit = 32 + 16 * entry
        for name, width in TABLE_ENTRY_FIELDS.items():
            layout[f"{name}[{entry}]"] = (bit, width)
            bit += width
    return layout


def load_layout(chip: ChipConfig) -> dict[str, tuple[int, int]]:
    """Bit offset and width of every LOAD field (the same on every chip)."""
    return pack_layout(LOAD_FIELDS)[0]


def command_layout(opcode: Opcode, chip: ChipConfig) -> dict[str, tuple[int, int]]:
    """Bit offset and width of every field of a command."""
    return {
        Opcode.END: lambda chip: {"opcode": (0, 8)},
        Opcode.LOAD: load_layout,
        Opcode.TABLE: table_layout,
        Opcode.RUN: run_layout,
    }[opcode](chip)


def opcode_words(opcode: Opcode, chip: ChipConfig) -> int:
    """32-bit words that a command of this opcode uses: as many are fetched."""
    return max((bit + width + 31) // 32 for bit, width in command_layout(opcode, chip).values())


def command_words(chip: ChipConfig) -> int:
    """32-bit words of every command of the chip (the longest of its commands)."""
    return max(opcode_words(opcode, chip) for opcode in Opcode)


def encode_command(opcode: Opcode, chip: ChipConfig, **fields: int) -> np.ndarray:
    """Words of a command: uint32 (command_words(chip),). Fields that are not given are 0.

    Field names of units and table entries contain brackets: pass them with `**{"tiles[0]": 4}`. Addresses are taken
    modulo 2**24 (a window may start in the padding, at a negative address). Raises ValueError for an unknown field or
    a value that does not fit.
    """
    layout = command_layout(opcode, chip)
    value = 0
    for name, number in {**fields, "opcode": int(opcode)}.items():
        if name not in layout:
            raise ValueError(f"{opcode.name} has no field '{name}'")
        bit, width = layout[name]
        if name == "window_start":
            number %= 1 << width
        if not 0 <= number < 1 << width:
            raise ValueError(f"{opcode.name} field '{name}' must be from 0 to {(1 << width) - 1}, not {number}")
        value |= int(number) << bit
    return np.array([value >> 32 * index & 0xFFFFFFFF for index in range(command_words(chip))], np.uint32)


def decode_command(words: np.ndarray, chip: ChipConfig) -> tuple[Opcode, dict[str, int]]:
    """Opcode and fields of a command. Raises ValueError for an unknown opcode."""
    value = sum(int(word) << 32 * index for index, word in enumerate(words))
    opcode = Opcode(value & 0xFF)
    return opcode, {
        name: value >> bit & ((1 << width) - 1) for name, (bit, width) in command_layout(opcode, chip).items()
    }
