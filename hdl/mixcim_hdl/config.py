"""`ChipConfig`: every size of a chip, frozen; the only place where sizes come from.

Terms: a *vector* is one row tile of an im2col window, `rows` unsigned codes long. An *activation word* holds
`channels` consecutive channels of one pixel. A compute unit (a *bank*) works on one *kernel tile* of `channels`
kernels at a time. A *slot* of a CIM bank holds the weights of one vector x one kernel tile (`rows` x `channels`);
on SRAM-CIM its row segments may hold those of several tiles, which are worked on together. An *engine* has an equal
share of the units of every kind, and an output pipeline of its own.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .floating import ALIGNED_BITS
from .formats import ACTIVATION_BITS, SUM_BITS, WEIGHT_BITS, WEIGHT_MODES, Encoding, WeightMode


class ConfigError(ValueError):
    """A chip configuration that contradicts itself. The message is one line: field, value, remedy."""


class UnitKind(enum.Enum):
    """Kinds of compute unit."""

    MEMRISTOR = "memristor"
    SRAM = "sram"
    TINY = "tiny"


@dataclass(frozen=True)
class ChipConfig:
    """Sizes of one chip. Defaults are those of the `demo` chip."""

    name: str = "demo"
    rows: int = 64  #: word lines of a bank = length of a vector; power of two, 16..128
    channels: int = 16  #: channels of an activation word = kernels of a bank; power of two, 4..16
    engines: int = 1  #: engines, each with its own output pipeline; power of two, 1..8
    memristor_banks: int = 1  #: memristor-CIM units of all engines together, as are the next two
    memristor_slots: int = 320  #: slots of each memristor bank
    spare_columns: int = 2  #: bit lines of a memristor bank that can replace others, word by word
    sram_banks: int = 1  #: SRAM-CIM units
    sram_slots: int = 64  #: slots of each SRAM-CIM bank
    sram_segments: int = 1  #: row segments of its slots, each of another kernel tile if need be; power of two, 1..8
    sram_planes: int = 1  #: bit planes of a vector that an SRAM-CIM bank takes in a cycle, at most 8
    tiny_banks: int = 1  #: tiny-digital units
    tiny_words: int = 1024  #: weight words (of `rows` weights) of each tiny-digital unit
    vector_queue: int = 2  #: vectors that wait in front of each unit, beside the one that it works on; 2..16
    accumulator_tiles: int = 64  #: kernel tiles that one unit can accumulate at a time
    activation_words: int = 16384  #: words of the activation memory (`channels` bytes each)
    activation_banks: int = 4  #: banks of the activation memory, interleaved (banks.bank_of); power of two
    feeder_words: int = 1  #: activation words that the feeder takes in a cycle; power of two, up to a vector's
    window_words: int = 32  #: words of the last window that the feeder keeps; 0, or a multiple of feeder_words
    weight_words: int = 16384  #: words of the weight store (`rows` weights each)
    load_cycles: int = 1  #: cycles of a weight word's way to a bank, a part in each; power of two, 1..rows / 4
    program_commands: int = 256  #: commands that the program store holds
    parameter_tiles: int = 512  #: kernel tiles in the output pipeline's parameter memory
    output_lanes: int = 4  #: channels that the output pipeline converts per cycle; divides `channels`
    deep_pipeline: int = 0  #: 1: registers halve long ways, for an FPGA's slow wires; costs latency (fpga_boards.md)
    aligned_bits: int = 12  #: largest width of aligned inputs, of floating.ALIGNED_BITS; 0: no floating point
    adc_bits: int = 5  #: resolution of the bit-line ADC
    conductance_bits: int = 8  #: width of a cell's conductance code
    encoding: str = "differential"  #: how a weight becomes digits, a value of formats.Encoding
    weight_mode: str = "MM-M"  #: how weights are cut into cells, a name from formats.WEIGHT_MODES
    watchdog_cycles: int = 65536  #: reset value of the watchdog register: cycles without progress before a fault

    def __post_init__(self) -> None:
        def power(field: str, low: int, high: int) -> None:
            value = getattr(self, field)
            if value & (value - 1) or not low <= value <= high:
                raise ConfigError(
                    f"chip '{self.name}': {field} must be a power of two from {low} to {high}, not {value}"
                )

        def span(field: str, low: int, high: int) -> None:
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"chip '{self.name}': {field} must be from {low} to {high}, not {value}")

        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if not isinstance(value, str if item.type == "str" else int) or isinstance(value, bool):
                raise ConfigError(f"chip '{self.name}': {item.name} must be a {item.type}, not {value!r}")
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise ConfigError(f"chip {self.name!r}: name must be made of letters, digits and . + - _ (files bear it)")
        power("rows", 16, 128)
        power("channels", 4, 16)
        if self.rows < self.channels:
            raise ConfigError(f"chip '{self.name}': rows must be at least channels ({self.channels}), not {self.rows}")
        power("engines", 1, 8)
        for field in ("memristor_banks", "sram_banks", "tiny_banks"):
            span(field, 1 if field == "tiny_banks" else 0, 64)
            if getattr(self, field) % self.engines:
                raise ConfigError(
                    f"chip '{self.name}': {field} must be a multiple of engines ({self.engines}), "
                    f"not {getattr(self, field)}"
                )
        power("sram_segments", 1, 8)
        span("vector_queue", 2, 16)
        span("spare_columns", 0, 8)
        for field in ("memristor_slots", "sram_slots"):
            span(field, 1, 1 << 15)
        span("tiny_words", self.channels, 1 << 15)
        span("accumulator_tiles", 1, 255)
        span("sram_planes", 1, 8)
        power("activation_banks", 2, 32)
        power("feeder_words", 1, min(self.taps_per_vector, self.activation_banks))
        span("window_words", 0, 1024)
        if self.window_words % self.feeder_words:
            raise ConfigError(
                f"chip '{self.name}': window_words must be a multiple of feeder_words ({self.feeder_words}), "
                f"not {self.window_words}"
            )
        span("activation_words", 16, 1 << 20)
        if self.activation_words % self.activation_banks:
            raise ConfigError(
                f"chip '{self.name}': activation_words must be a multiple of activation_banks "
                f"({self.activation_banks}), not {self.activation_words}"
            )
        span("weight_words", 1, 1 << 20)
        power("load_cycles", 1, self.rows // 4)
        span("program_commands", 2, 4096)
        span("parameter_tiles", 1, 1 << 15)
        power("output_lanes", 1, self.channels)
        if self.aligned_bits not in (0, *ALIGNED_BITS):
            raise ConfigError(
                f"chip '{self.name}': aligned_bits must be one of {', '.join(map(str, (0, *ALIGNED_BITS)))} (0: no "
                f"floating point), not {self.aligned_bits}"
            )
        span("deep_pipeline", 0, 1)
        if self.deep_pipeline and self.floating_point:
            raise ConfigError(
                f"chip '{self.name}': deep_pipeline is not there for floating point: set aligned_bits to 0, or "
                "deep_pipeline to 0"
            )
        span("adc_bits", 3, 10)
        span("conductance_bits", 4, 8)
        span("watchdog_cycles", 1024, (1 << 32) - 1)
        if self.weight_mode not in WEIGHT_MODES:
            raise ConfigError(
                f"chip '{self.name}': weight_mode must be one of {', '.join(WEIGHT_MODES)}, not {self.weight_mode!r}"
            )

        if self.encoding not in {encoding.value for encoding in Encoding}:
            known = ", ".join(encoding.value for encoding in Encoding)
            raise ConfigError(f"chip '{self.name}': encoding must be one of {known}, not {self.encoding!r}")
        if self.weight_encoding is Encoding.TWOS_COMPLEMENT and self.mode.cells[-1] != 1:
            raise ConfigError(
                f"chip '{self.name}': encoding twos_complement needs a weight mode whose most significant cell holds "
                f"one bit, not '{self.weight_mode}'"
            )

    @property
    def weight_encoding(self) -> Encoding:
        """How a weight becomes digits."""
        return Encoding(self.encoding)

    @property
    def adcs(self) -> int:
        """ADCs of a memristor bank: one per column but the reference."""
        return self.channels * self.weight_encoding.columns

    @property
    def mode(self) -> WeightMode:
        """The weight mode's table of cells."""
        return WEIGHT_MODES[self.weight_mode]

    @property
    def units(self) -> tuple[UnitKind, ...]:
        """Kind of every compute unit; its position is the unit's number in programs: memristor, SRAM, tiny-digital."""
        return (
            (UnitKind.MEMRISTOR,) * self.memristor_banks
            + (UnitKind.SRAM,) * self.sram_banks
            + (UnitKind.TINY,) * self.tiny_banks
        )

    def engine_of(self, unit: int) -> int:
        """Engine of a unit: those of a kind are dealt out in blocks, the first ones to engine 0."""
        kind = self.units[unit]
        return (unit - self.units.index(kind)) * self.engines // self.units.count(kind)

    @property
    def floating_point(self) -> bool:
        """Whether the chip has pre-alignment and a floating-point output pipeline."""
        return self.aligned_bits > 0

    @property
    def input_planes(self) -> int:
        """Bit planes of a vector: 8 of a code; with floating point two's complement that holds code - zero point."""
        return max(ACTIVATION_BITS + 1, self.aligned_bits) if self.floating_point else ACTIVATION_BITS

    def sram_cycles(self, input_bits: Any) -> Any:
        """Cycles that an SRAM-CIM bank takes for a vector of integers of so many bits; int or array of them."""
        return -(-input_bits // self.sram_planes)

    @property
    def load_bits(self) -> int:
        """Width of the way from the weight store to the banks: `rows` weights in `load_cycles` parts."""
        return self.rows * WEIGHT_BITS // self.load_cycles

    @property
    def load_part_bits(self) -> int:
        """Lowest bits of a load address: which part of a weight word it is."""
        return (self.load_cycles - 1).bit_length()

    @property
    def accumulator_bits(self) -> int:
        """Width of a window's sum: 16 x 16 bits and 2**16 rows with floating point."""
        return 48 if self.floating_point else SUM_BITS

    @property
    def taps_per_vector(self) -> int:
        """Whole activation words in a vector."""
        return self.rows // self.channels

    @property
    def memristor_columns(self) -> int:
        """Columns of a memristor bank that are read together: those of every kernel, and the reference column."""
        return self.adcs + 1

    @property
    def physical_columns(self) -> int:
        """Bit lines of a memristor bank: its columns and, behind them, the spare columns."""
        return self.memristor_columns + self.spare_columns

    @property
    def memristor_words(self) -> int:
        """Words of a memristor bank: a word is one cell of every bit line and row; a slot has one for each digit."""
        return self.memristor_slots * len(self.mode.cells)

    @property
    def fingerprint(self) -> int:
        """CRC-32 over every size (not the name): program files and the chip's register must agree on it."""
        sizes = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("name", "watchdog_cycles")}
        return zlib.crc32(json.dumps(sizes, sort_keys=True).encode())

    def packed_tiles(self, kind: UnitKind, mode: int, length: int) -> int:
        """Kernel tiles that a unit works on in one step with a vector of `length` rows: a power of two.

        `mode`: the unit's field of RUN (commands.SramMode): what the row segments of an SRAM-CIM slot are used for.
        """
        if kind is not UnitKind.SRAM:
            return 1
        tiles = self.sram_segments
        while tiles > 1 and length > self.rows // tiles:
            tiles //= 2
        return 1 << mode if mode else tiles

    def window_steps(self, kind: UnitKind, mode: int, length: int, tiles: int) -> int:
        """Steps of a unit for so many kernel tiles of a window of `length` rows, slices apart."""
        full, last = divmod(length - 1, self.rows)
        lengths = {self.rows: full, last + 1: 1 + (full if last + 1 == self.rows else 0)}
        return sum(count * -(-tiles // self.packed_tiles(kind, mode, rows)) for rows, count in lengths.items())

    def unit_capacity(self, kind: UnitKind) -> int:
        """Slots (memristor, SRAM-CIM) or weight words (tiny-digital) of one unit of that kind."""
        return {
            UnitKind.MEMRISTOR: self.memristor_slots,
            UnitKind.SRAM: self.sram_slots,
            UnitKind.TINY: self.tiny_words,
        }[kind]


def load_chip(name_or_path: str) -> ChipConfig:
    """Preset of that name, or the chip described by a TOML file (`base = "demo"` and the fields that differ).

    Raises ConfigError in one line: unknown preset, unreadable file, unknown field, inconsistent sizes.
    """
    from .presets import PRESETS

    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"chip '{name_or_path}' is neither a preset ({', '.join(PRESETS)}) nor a file")
    try:
        fields = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"chip file '{path}' is not TOML: {error}") from None
    base = fields.pop("base", "demo")
    if not isinstance(base, str) or base not in PRESETS:
        raise ConfigError(f"chip file '{path}': base must be one of {', '.join(PRESETS)}, not {base!r}")
    known = {item.name for item in dataclasses.fields(ChipConfig)}
    for field in fields:
        if field not in known:
            raise ConfigError(f"chip file '{path}': unknown field {field!r}; known: {', '.join(sorted(known))}")
    return dataclasses.replace(PRESETS[base], **{"name": path.stem, **fields})
