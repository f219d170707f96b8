"""Register map and memory windows of the AXI4-Lite host port. Read by RTL, host driver and docs.

The top four address bits select a region. Memory windows are byte addresses into the memory, little endian; they take
whole 32-bit words (all strobes set) and only while the processor is idle. Everything else answers SLVERR.
"""

from __future__ import annotations

import enum

from .config import ChipConfig

IDENTIFICATION = 0x4D58434D  #: "MXCM"
CELLS_PER_WRITE = 4  #: conductance codes in one write of MEMRISTOR_DATA
CONTRACT_VERSION = 6  #: of commands, registers and program files together


class Region(enum.IntEnum):
    """Bits 31:28 of a host address."""

    REGISTERS = 0
    PROGRAM = 1  #: program store: command c, word w at (c * program_stride + w) * 4
    WEIGHTS = 2  #: weight store: word a, row r at a * rows + r
    ACTIVATIONS = 3  #: activation memory: word a, channel c at a * channels + c
    PARAMETERS = 4  #: parameter tile t, lane l: bias at (t * channels + l) * 8, scale (float32) 4 after it
    TILES = 5  #: parameter tile t: word_offset (15:0), lane_mask (31:16) at t * 8, exponent_offset (15:0) 4 after it
    CYCLES = 6  #: cycle log, read only: cycles from the start of the last run to the begin of command c at c * 4
    WRITTEN = 7  #: read only: cell r of the last line of MEMRISTOR_TARGET at r * 4, fields WRITTEN_FIELDS
    WEAR = 8  #: read only: programmings of line r of all banks (bank * lines of a bank + line) so far at r * 4
    EXPONENTS = 9  #: exponent memory (chips with floating point): entry a at a * 4, fields EXPONENT_FIELDS


class Register(enum.IntEnum):
    """Byte offset of each register in region 0."""

    IDENTIFICATION = 0x00  #: read only: "MXCM"
    VERSION = 0x04  #: read only: CONTRACT_VERSION
    FINGERPRINT = 0x08  #: read only: ChipConfig.fingerprint
    CONTROL = 0x0C  #: write 1: bit 0 start at command 0 (ignored while busy), bit 1 abort and clear; reads 0
    STATUS = 0x10  #: read only: bit 0 busy, bit 1 done, bit 2 fault
    FAULT = 0x14  #: read only: bits 7:0 code (commands.Fault), bits 31:8 index of the command
    FAULT_DETAIL = 0x18  #: read only
    INTERRUPT_ENABLE = 0x1C  #: bit 0 done, bit 1 fault
    INTERRUPT_STATUS = 0x20  #: bit 0 done, bit 1 fault; write 1 to clear
    WATCHDOG = 0x24  #: cycles without progress before Fault.WATCHDOG; 0: off
    RUN_CYCLES = 0x28  #: read only: cycles of the last (or present) run
    COMMAND = 0x2C  #: read only: index of the present command
    MEMRISTOR_BANK = 0x30  #: bank that the programming port writes
    MEMRISTOR_LINE = 0x34  #: bit line (bits 7:0) of word slot * digits + digit (31:8); counts up by itself
    MEMRISTOR_DATA = 0x38  #: write only: sets the codes of four cells, row 0 in bits 7:0; rows / 4 writes a line
    MEMRISTOR_REPAIR = 0x3C  #: write only: column (from 1 on; 0: none) that spare MEMRISTOR_SPARE of the word replaces
    ADC_SELECT = 0x40  #: ADC (7:0) of bank MEMRISTOR_BANK, parameter (15:8; formats.ADC_PARAMETERS); counts up
    ADC_VALUE = 0x44  #: write only: the parameter, two's complement; not reset: write all of them before the first run
    NOISE_INDEX = 0x48  #: entry of the noise table: number of word lines on; counts up
    NOISE_VALUE = 0x4C  #: write only: the entry, for all banks; not reset either
    NOISE_SEED = 0x50  #: write only: seeds the noise generators of all banks
    MEMRISTOR_LOCK = 0x54  #: of the 32 banks from MEMRISTOR_BANK // 32 * 32 on, the locked ones; writing 1 locks
    MEMRISTOR_UNLOCK = 0x58  #: write only: UNLOCK_KEY unlocks all banks. Locked: DATA, REPAIR, TARGET answer an error
    MEMRISTOR_SPARE = 0x5C  #: spare (7:0) of word (31:8) for MEMRISTOR_REPAIR; counts up by itself
    MEMRISTOR_TARGET = 0x60  #: write only: write-verifies four cells (commands.py); requests wait until it is done
    MEMRISTOR_HELD = 0x64  #: write only: held cells of 32 rows, row 0 first; rows / 32 (at least 1) writes fill a line
    WRITE_STATUS = 0x68  #: read only: last line: refused (bit 0), its wear (31:8): programmings so far
    WRITE_BAND = 0x6C  #: write-verify: largest accepted distance to the target
    WRITE_COARSE = 0x70  #: distance to the target below which pulses are fine
    WRITE_STEP_MEAN = 0x74  #: mean change by a coarse pulse, in 1/4096
    WRITE_STEP_SIGMA = 0x78  #: its deviation / 147.8, in 1/4096
    WRITE_FINE_SHIFT = 0x7C  #: a fine pulse changes 2**this times less
    WRITE_RETRY_LIMIT = 0x80  #: pulses before a cell is given up
    WRITE_ENDURANCE = 0x84  #: programmings that a line survives
    WRITE_SEED = 0x88  #: of the pulses' deviations


class Event(enum.IntEnum):
    """Event counters: 64 bits each, since start, low word at EVENT_COUNTERS + 8 * event, high word 4 after it."""

    MEMRISTOR_READS = 0  #: word-line groups that a memristor bank read
    ADC_CONVERSIONS = 1  #: conversions by the ADCs of all banks
    ADC_SATURATIONS = 2  #: conversions clipped to the ADC's largest code
    WORD_LINES_ON = 3  #: word lines that were on, summed over all reads


WEAR_BITS = 24  #: width of a line's count of programmings
EVENT_COUNTERS = 0x100  #: byte offset of the event counters in region REGISTERS
UNLOCK_KEY = 0x4B434F4C  #: "LOCK"
#: Width of each register of write-verify in bits; the rest of the word must be 0.
WRITE_REGISTERS = {
    Register.WRITE_BAND: 8,
    Register.WRITE_COARSE: 9,
    Register.WRITE_STEP_MEAN: 20,
    Register.WRITE_STEP_SIGMA: 12,
    Register.WRITE_FINE_SHIFT: 3,
    Register.WRITE_RETRY_LIMIT: 8,
    Register.WRITE_ENDURANCE: WEAR_BITS,
    Register.WRITE_SEED: 32,
}
WRITTEN_FIELDS = {"code": 8, "pulses": 8, "given_up": 1}  #: from bit 0 on
#: Of some elements: their largest exponent field, and whether an infinity or NaN is among them; from bit 0 on.
EXPONENT_FIELDS = {"field": 8, "special": 1}


def window_address(region: Region, byte: int = 0) -> int:
    """Host address of a byte in a region."""
    return (int(region) << 28) | byte


def window_bytes(region: Region, chip: ChipConfig) -> int:
    """Size of a region's memory in bytes (registers: past the last register)."""

    return {
        Region.REGISTERS: EVENT_COUNTERS + 8 * len(Event),
        Region.PROGRAM: chip.program_commands * program_stride(chip) * 4,
        Region.WEIGHTS: chip.weight_words * chip.rows,
        Region.ACTIVATIONS: chip.activation_words * chip.channels,
        Region.PARAMETERS: chip.parameter_tiles * chip.channels * 8,
        Region.TILES: chip.parameter_tiles * 8,
        Region.CYCLES: chip.program_commands * 4,
        Region.WEAR: chip.memristor_banks * chip.memristor_words * chip.physical_columns * 4,
        Region.WRITTEN: chip.rows * 4,
        Region.EXPONENTS: chip.activation_words * 4 if chip.floating_point else 0,
    }[region]


def program_stride(chip: ChipConfig) -> int:
    """Words from one command to the next in the program store: command_words rounded up to a power of two."""
    from .commands import command_words

    return 1 << (command_words(chip) - 1).bit_length()
