"""Register map and memory windows of the AXI4-Lite host port. Read by RTL, host driver and docs.

The top four address bits select a region. Memory windows are byte addresses into the memory, little endian; they take
whole 32-bit words (all strobes set) and only while the processor is idle. Everything else answers SLVERR.
"""

from __future__ import annotations

import enum

from .config import ChipConfig

IDENTIFICATION = 0x4D58434D  #: "MXCM"
CELLS_PER_WRITE = 4  #: conductance codes in one write of MEMRISTOR_DATA
CONTRACT_VERSION = 2  #: of commands, registers and program files together


class Region(enum.IntEnum):
    """Bits 31:28 of a host address."""

    REGISTERS = 0
    PROGRAM = 1  #: program store: command c, word w at (c * program_stride + w) * 4
    WEIGHTS = 2  #: weight store: word a, row r at a * rows + r
    ACTIVATIONS = 3  #: activation memory: word a, channel c at a * channels + c
    PARAMETERS = 4  #: parameter tile t, lane l: bias at (t * channels + l) * 8, scale (float32) 4 after it
    TILES = 5  #: parameter tile t: word_offset (bits 15:0) and lane_mask (31:16) at t * 4
    CYCLES = 6  #: cycle log, read only: cycles that command c took in the last run at c * 4


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
    MEMRISTOR_LINE = 0x34  #: column (bits 7:0) of word slot * digits + digit (31:8); counts up by itself
    MEMRISTOR_DATA = 0x38  #: write only: codes of four cells, row 0 in bits 7:0; rows / 4 writes a line
    MEMRISTOR_READS = 0x3C  #: read only: word-line reads of all memristor banks since start
    ADC_SELECT = 0x44  #: ADC (7:0) of bank MEMRISTOR_BANK, parameter (15:8; formats.ADC_PARAMETERS); counts up
    ADC_VALUE = 0x48  #: write only: the parameter, two's complement; not reset: write all of them before the first run
    NOISE_INDEX = 0x4C  #: entry of the noise table: number of word lines on; counts up
    NOISE_VALUE = 0x50  #: write only: the entry, for all banks; not reset either
    NOISE_SEED = 0x54  #: write only: seeds the noise generators of all banks
    ADC_SATURATIONS = 0x40  #: read only: conversions clipped to the ADC's largest code since start


def window_address(region: Region, byte: int = 0) -> int:
    """Host address of a byte in a region."""
    return (int(region) << 28) | byte


def window_bytes(region: Region, chip: ChipConfig) -> int:
    """Size of a region's memory in bytes (registers: past the last register)."""

    return {
        Region.REGISTERS: max(Register) + 4,
        Region.PROGRAM: chip.program_commands * program_stride(chip) * 4,
        Region.WEIGHTS: chip.weight_words * chip.rows,
        Region.ACTIVATIONS: chip.activation_words * chip.channels,
        Region.PARAMETERS: chip.parameter_tiles * chip.channels * 8,
        Region.TILES: chip.parameter_tiles * 4,
        Region.CYCLES: chip.program_commands * 4,
    }[region]


def program_stride(chip: ChipConfig) -> int:
    """Words from one command to the next in the program store: command_words rounded up to a power of two."""
    from .commands import command_words

    return 1 << (command_words(chip) - 1).bit_length()
