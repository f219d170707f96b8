"""Faults on the chip: named in the registers, interrupt raised, nothing hangs, and the next run is right again."""

from __future__ import annotations

import numpy as np
import pytest

from mixcim.rtl.processor import rtl_processor
from mixcim.rtl.simulator import BusError
from mixcim_hdl.commands import Fault, Opcode, Pooling, command_words, encode_command
from mixcim_hdl.floating import BF16, FP32, ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import WRITE_REGISTERS, Region, Register, program_stride, window_address, window_bytes

CHIP = PRESETS["tiny"]
SRAM, TINY = 1, 2  # unit numbers of this chip

#: A RUN that copies one word through the tiny-digital unit: 1 x 1 window, maximum, scale 1.
COPY = {
    "input_bits": 8, "granule_log2": 2, "kernel_height": 1, "kernel_width": 1, "input_height": 1, "input_width": 1,
    "output_height": 1, "output_width": 1, "tap_words": 1, "group_count": 1, "pixel_pitch": 1, "row_pitch": 1,
    "output_base": 1, "output_pitch": 1, "clamp_high": 255, "output_tiles": 1, "tiles[2]": 1, "mode[2]": 2,
    "weight_slices": 1,
    "copies": 1,
}  # fmt: skip
#: The same in floating point: 8 aligned bits hold every FP8 element of one exponent.
FLOATING = {
    "floating": 1, "input_signed": 1, "input_format": int(ElementFormat.FP8_E5M2), "tap_exponents": 1,
    "output_format": int(ElementFormat.FP8_E5M2), "float_low": FP32.infinity_pattern | 1 << 31,
    "float_high": FP32.infinity_pattern,
}  # fmt: skip
#: The same by the float pool: the sum of one element.
POOLED = FLOATING | {"pooling": int(Pooling.SUM), "tiles[2]": 0, "mode[2]": 0}
PLANE_ENTRIES = CHIP.input_planes * len(CHIP.mode.cells)


class Bare:
    """A processor driven by registers alone."""

    def __init__(self):
        self.bus = rtl_processor(CHIP).bus
        self.write(Region.TILES, [15 << 16, 0])
        one = int(np.float32(1).view(np.uint32))
        self.write(Region.PARAMETERS, [0, one] * CHIP.channels)
        self.write(Region.ACTIVATIONS, [0x04030201, 0])

    def write(self, region, words):
        self.bus.write(window_address(region), np.array(words, np.uint32))

    def register(self, register, value=None):
        address = window_address(Region.REGISTERS, register)
        if value is None:
            return int(self.bus.read(address, 1)[0])
        self.bus.write(address, np.array([value], np.uint32))
        return value

    def run(self, *commands):
        """Run commands; (fault code, command index, detail), with the interrupt seen and cleared."""
        padded = np.zeros((len(commands), program_stride(CHIP)), np.uint32)
        padded[:, : command_words(CHIP)] = commands
        self.write(Region.PROGRAM, padded.reshape(-1))
        self.register(Register.CONTROL, 1)
        self.bus.run_until_interrupt(5000)
        assert self.bus.interrupt, "no interrupt"
        status, pending = self.register(Register.STATUS), self.register(Register.INTERRUPT_STATUS)
        word = self.register(Register.FAULT)
        assert status == (0b100 if word & 0xFF else 0b010)
        assert pending == (0b10 if word & 0xFF else 0b01)
        self.register(Register.INTERRUPT_STATUS, 3)
        assert not self.bus.interrupt
        return Fault(word & 0xFF), word >> 8, self.register(Register.FAULT_DETAIL)

    def check_healthy(self):
        """A correct program works: the chip has come back from whatever was before."""
        self.write(Region.ACTIVATIONS, [0x04030201, 0])
        assert self.run(run(), END)[0] is Fault.NONE
        assert int(self.bus.read(window_address(Region.ACTIVATIONS, 4), 1)[0]) == 0x04030201


def run(**fields):
    return encode_command(Opcode.RUN, CHIP, **(COPY | fields))


#: The same word 16,380 times: it runs while the host does something else.
LONG = run(output_width=4095, output_height=4, output_pitch=0, output_tiles=4 * 4095)
END = encode_command(Opcode.END, CHIP)
GOOD_TABLE = {"digits": 4} | {f"rows_per_read[{n}]": 16 for n in range(PLANE_ENTRIES)}


@pytest.fixture(scope="module")
def chip():
    processor = Bare()
    processor.register(Register.INTERRUPT_ENABLE, 3)
    return processor


ILLEGAL = [
    np.full(command_words(CHIP), 0, np.uint32),
    np.full(command_words(CHIP), 0xFF, np.uint32),
    run(input_bits=0),
    run(input_bits=CHIP.input_planes + 1),
    run(weight_slices=2),  # with maximum
    run(**FLOATING | {"input_bits": 13}),
    run(**FLOATING | {"input_signed": 0}),
    run(**FLOATING | {"tap_exponents": 0}),
    run(**FLOATING | {"floating": 0}),
    run(**POOLED | {"pooling": 3}),
    run(**POOLED | {"tiles[2]": 1}),
    run(**POOLED | {"input_format": int(ElementFormat.INTEGER)}),
    run(granule_log2=3),
    run(kernel_height=0),
    run(tap_words=0),
    run(output_width=0),
    run(copies=0),
    run(copies=65),
    run(**{"copy[2]": 1}),
    run(**{"tiles[2]": 0}),
    run(**{"tiles[2]": CHIP.accumulator_tiles + 1}),
    run(**{"mode[2]": 3}),
    run(**{"tiles[0]": 1, "output_tiles": 2}),  # memristor before any TABLE
    run(**{"tiles[1]": 1, "mode[1]": 3, "output_tiles": 2}),
    encode_command(Opcode.LOAD, CHIP, unit=0, units=1, count=1),
    encode_command(Opcode.LOAD, CHIP, unit=3, units=1, count=1),
    encode_command(Opcode.LOAD, CHIP, unit=SRAM, units=0, count=1),
    encode_command(Opcode.LOAD, CHIP, unit=SRAM, units=2, count=1),
    encode_command(Opcode.TABLE, CHIP, **(GOOD_TABLE | {f"rows_per_read[{PLANE_ENTRIES - 1}]": 0})),
    encode_command(Opcode.TABLE, CHIP, **(GOOD_TABLE | {"rows_per_read[5]": 17})),
    encode_command(Opcode.TABLE, CHIP, **(GOOD_TABLE | {"digits": 0})),
    encode_command(Opcode.TABLE, CHIP, **(GOOD_TABLE | {"digits": 5})),
]


@pytest.mark.parametrize("command", ILLEGAL, ids=range(len(ILLEGAL)))
def test_illegal_commands(chip, command):
    copy = run()
    assert chip.run(copy, command, END) == (Fault.ILLEGAL_COMMAND, 1, int(command[0]))
    chip.check_healthy()


@pytest.mark.parametrize(
    ("command", "fault", "detail"),
    [
        (run(window_start=CHIP.activation_words), Fault.INPUT_ADDRESS, CHIP.activation_words),
        (run(window_start=-1), Fault.INPUT_ADDRESS, (1 << 24) - 1),
        (run(output_base=CHIP.activation_words), Fault.OUTPUT_ADDRESS, CHIP.activation_words),
        (run(residual=1, residual_base=CHIP.activation_words + 2), Fault.OUTPUT_ADDRESS, CHIP.activation_words + 2),
        (run(**FLOATING | {"output_base": CHIP.activation_words}), Fault.OUTPUT_ADDRESS, CHIP.activation_words),
        (run(**POOLED | {"window_start": CHIP.activation_words}), Fault.INPUT_ADDRESS, CHIP.activation_words),
        (
            run(**POOLED | {"window_start": -1, "input_format": int(ElementFormat.BF16)}),
            Fault.INPUT_ADDRESS,
            (1 << 24) - 2,
        ),
        (run(**POOLED | {"output_base": CHIP.activation_words}), Fault.OUTPUT_ADDRESS, CHIP.activation_words),
        (
            run(**POOLED | {"pool_parameter": CHIP.parameter_tiles}),
            Fault.PARAMETER_ADDRESS,
            CHIP.parameter_tiles,
        ),
        (run(**{"mode[2]": 0, "slot[2]": CHIP.tiny_words - 3}), Fault.UNIT_ADDRESS, TINY),
        (run(**{"tiles[1]": 1, "slot[1]": CHIP.sram_slots, "output_tiles": 2}), Fault.UNIT_ADDRESS, SRAM),
        (run(**{"parameter[2]": CHIP.parameter_tiles}), Fault.PARAMETER_ADDRESS, CHIP.parameter_tiles),
        (
            encode_command(Opcode.LOAD, CHIP, unit=SRAM, units=1, source=CHIP.weight_words - 1, count=2),
            Fault.WEIGHT_ADDRESS,
            CHIP.weight_words,
        ),
        (
            encode_command(Opcode.LOAD, CHIP, unit=SRAM, units=1, destination=CHIP.sram_slots * CHIP.channels, count=1),
            Fault.UNIT_ADDRESS,
            SRAM,
        ),
        (
            encode_command(Opcode.LOAD, CHIP, unit=TINY, units=1, destination=CHIP.tiny_words, count=1),
            Fault.UNIT_ADDRESS,
            TINY,
        ),
    ],
)
def test_addresses_out_of_range(chip, command, fault, detail):
    assert chip.run(run(), run(), command, END) == (fault, 2, detail)
    chip.check_healthy()


@pytest.mark.parametrize("fields", [{}, POOLED], ids=["units", "pool"])
def test_watchdog_stops_a_run_without_progress(chip, fields):
    """A limit shorter than the output pipeline: its latency is all it takes to look like a standstill."""
    chip.register(Register.WATCHDOG, 8)
    command = run(**fields)
    assert chip.run(command, END) == (Fault.WATCHDOG, 0, int(command[0]))
    chip.register(Register.WATCHDOG, CHIP.watchdog_cycles)
    chip.check_healthy()


def test_watchdog_lets_a_long_load_be_after_a_run_that_pooled(chip):
    """Also in later programs, before their first RUN: the command of the RUN before stays."""
    chip.register(Register.WATCHDOG, 64)
    load = encode_command(Opcode.LOAD, CHIP, unit=SRAM, units=1, count=200)
    assert chip.run(run(**POOLED), load, END)[0] is Fault.NONE
    assert chip.run(load, END)[0] is Fault.NONE
    chip.register(Register.WATCHDOG, CHIP.watchdog_cycles)
    chip.check_healthy()


@pytest.mark.parametrize("unit", [0, 2])
@pytest.mark.parametrize("stated", [0, 1, 2, 4, 1000])
def test_another_number_of_tiles_than_stated_is_a_fault(chip, unit, stated):
    """On a fast unit and on a slow one, whose steps are still inside when the feeder has finished."""
    table = encode_command(Opcode.TABLE, CHIP, digits=4, **{f"rows_per_read[{n}]": 1 for n in range(PLANE_ENTRIES)})
    mine = {"tiles[2]": 0} | {f"tiles[{unit}]": 1} if unit == 0 else {}
    mode = {"mode[2]": 0} if unit == 0 else {}
    command = run(output_width=3, input_width=3, window_step_x=0, output_tiles=stated, **(mine | mode))
    assert chip.run(table, command, run(), END) == (Fault.ILLEGAL_COMMAND, 1, int(command[0]))
    command = run(output_width=3, input_width=3, window_step_x=0, output_tiles=3, **(mine | mode))
    assert chip.run(table, command, run(), END)[0] is Fault.NONE
    chip.check_healthy()


@pytest.mark.parametrize("format", [ElementFormat.FP8_E5M2, ElementFormat.BF16])
def test_a_floating_run_copies_elements_and_their_exponent(chip, format):
    """Elements of one exponent lose nothing by alignment; a NaN says so in its entry, and the output is all NaN."""
    own, size = format.floating, format.bytes
    elements = [(own.bias + 3) << own.mantissa_bits | lane for lane in range(3)] + [1 << own.bits - 1 | 8]
    field = (own.bias + 3) & 0xFF
    formats = {"input_format": int(format), "output_format": int(format), "output_base": 2}
    for special in (0, 1):
        planes = [sum((element >> 8 * byte & 0xFF) << 8 * lane for lane, element in enumerate(elements))
                  for byte in range(size)]  # fmt: skip
        chip.write(Region.ACTIVATIONS, [*planes, *[0] * (4 - size)])
        chip.write(Region.EXPONENTS, [field | special << 8, 0, 0, 0])
        assert chip.run(run(**FLOATING | formats | {"input_bits": 12}), END)[0] is Fault.NONE
        got = chip.bus.read(window_address(Region.ACTIVATIONS, 2 * CHIP.channels), 2)
        want = [own.nan_pattern] * 4 if special else [*elements[:3], 0]
        assert [
            sum((int(got[byte]) >> 8 * lane & 0xFF) << 8 * byte for byte in range(size)) for lane in range(4)
        ] == want
        entry = int(chip.bus.read(window_address(Region.EXPONENTS, 8), 1)[0])
        assert entry == ((1 << own.exponent_bits) - 1 | 1 << 8 if special else field)
    chip.check_healthy()


@pytest.mark.parametrize("pooling", [Pooling.SUM, Pooling.MAXIMUM], ids=lambda item: item.name)
def test_a_pooling_run_keeps_elements_far_below_the_largest(chip, pooling):
    """A window of two words in BF16: 2**100 and 1 stay what they are, and a NaN is one of its own channel only."""
    format = BF16
    one, far = (format.bias << format.mantissa_bits), (format.bias + 100) << format.mantissa_bits
    minus, small, nan = 1 << format.bits - 1, 3, format.nan_pattern | 1
    for first, second, want in (
        ([far, one, small, nan], [0, one | minus, 0, one], {Pooling.SUM: [far, 0, small, None],
                                                            Pooling.MAXIMUM: [far, one, small, None]}),
        ([0, far, small, minus], [one, far | minus, minus, minus], {Pooling.SUM: [one, 0, small, 0],
                                                                    Pooling.MAXIMUM: [one, far, small, minus]}),
    ):  # fmt: skip
        words = [
            sum((element >> 8 * byte & 0xFF) << 8 * lane for lane, element in enumerate(elements))
            for elements in (first, second)
            for byte in range(2)
        ]
        chip.write(Region.ACTIVATIONS, [*words, *[0] * 4])
        command = run(
            **POOLED | {"pooling": int(pooling), "input_format": 1, "output_format": 1, "output_base": 4},
            kernel_width=2, input_width=2, pixel_pitch=2,
        )  # fmt: skip
        assert chip.run(command, END)[0] is Fault.NONE
        got = chip.bus.read(window_address(Region.ACTIVATIONS, 4 * CHIP.channels), 2)
        elements = [
            sum((int(got[byte]) >> 8 * lane & 0xFF) << 8 * byte for byte in range(2)) for lane in range(CHIP.channels)
        ]
        # The bias of +0 makes +0 of -0.
        expected = [format.nan_pattern if item is None else 0 if item == minus else item for item in want[pooling]]
        assert elements == expected
    chip.check_healthy()


def test_abort_stops_a_pooling_run(chip):
    """And the host has its memory back at once."""
    fields = {"output_width": 4095, "output_height": 4, "output_pitch": 0, "output_tiles": 4 * 4095}
    command = run(**POOLED | fields)
    chip.write(Region.PROGRAM, [*command, *[0] * (program_stride(CHIP) - command_words(CHIP)), *END])
    chip.register(Register.CONTROL, 1)
    chip.bus.run(2000)
    assert chip.register(Register.STATUS) == 0b001
    chip.register(Register.CONTROL, 2)
    assert chip.register(Register.STATUS) == 0
    assert int(chip.bus.read(window_address(Region.ACTIVATIONS), 1)[0]) == 0x04030201
    chip.check_healthy()


def test_exponent_entries_read_back_what_was_written(chip):
    entries = np.random.default_rng(0).integers(0, 1 << 9, CHIP.activation_words, dtype=np.uint32)
    chip.bus.write(window_address(Region.EXPONENTS), entries | 1 << 9)  # bits that an entry has not are left out
    np.testing.assert_array_equal(chip.bus.read(window_address(Region.EXPONENTS), len(entries)), entries)


def test_program_without_end(chip):
    fault, index, detail = chip.run(*[run()] * CHIP.program_commands)
    assert (fault, index, detail) == (Fault.PROGRAM_END, CHIP.program_commands, CHIP.program_commands)
    chip.check_healthy()


def test_abort_stops_a_run_and_the_next_one_works(chip):
    chip.write(Region.PROGRAM, [*LONG, *[0] * (program_stride(CHIP) - command_words(CHIP)), *END])
    chip.register(Register.CONTROL, 1)
    chip.bus.run(2000)
    assert chip.register(Register.STATUS) == 0b001
    chip.register(Register.CONTROL, 2)
    assert chip.register(Register.STATUS) == 0
    chip.check_healthy()


def test_bus_answers_illegal_accesses_with_an_error(chip):
    bus = chip.bus
    word = np.array([1], np.uint32)
    for region in Region:
        with pytest.raises(BusError):
            bus.read(window_address(region, window_bytes(region, CHIP)), 1)
        with pytest.raises(BusError):
            bus.write(window_address(region, window_bytes(region, CHIP)), word)
    for address in (0xA000_0000, 0xF000_0000):
        with pytest.raises(BusError):
            bus.read(address, 1)
    for register in (Register.IDENTIFICATION, Register.STATUS, Register.RUN_CYCLES):
        with pytest.raises(BusError):
            bus.write(window_address(Region.REGISTERS, register), word)
    for window in (Region.CYCLES, Region.WRITTEN, Region.WEAR):
        with pytest.raises(BusError):
            bus.write(window_address(window), word)
    with pytest.raises(BusError):
        bus.read(window_address(Region.REGISTERS, Register.MEMRISTOR_DATA), 1)
    for register, value in (
        (Register.MEMRISTOR_BANK, CHIP.memristor_banks),
        (Register.MEMRISTOR_LINE, CHIP.physical_columns),
        (Register.MEMRISTOR_SPARE, CHIP.spare_columns),
        (Register.MEMRISTOR_REPAIR, CHIP.memristor_columns + 1),
        (Register.MEMRISTOR_LOCK, 1 << CHIP.memristor_banks),
        (Register.MEMRISTOR_UNLOCK, 0),
        (Register.WRITE_BAND, 1 << WRITE_REGISTERS[Register.WRITE_BAND]),
    ):
        with pytest.raises(BusError):
            bus.write(window_address(Region.REGISTERS, register), np.array([value], np.uint32))
    past = CHIP.memristor_slots * len(CHIP.mode.cells) << 8
    chip.register(Register.MEMRISTOR_LINE, past)
    with pytest.raises(BusError):
        bus.write(window_address(Region.REGISTERS, Register.MEMRISTOR_DATA), word)
    chip.register(Register.MEMRISTOR_LINE, 0)
    chip.check_healthy()


def test_memories_are_closed_while_the_chip_runs(chip):
    chip.write(Region.PROGRAM, LONG)
    chip.register(Register.CONTROL, 1)
    with pytest.raises(BusError):
        chip.bus.read(window_address(Region.ACTIVATIONS), 1)
    with pytest.raises(BusError):
        chip.write(Region.WEIGHTS, [1])
    chip.register(Register.CONTROL, 2)
    chip.check_healthy()


@pytest.mark.parametrize(
    "region", [Region.PROGRAM, Region.WEIGHTS, Region.ACTIVATIONS, Region.PARAMETERS, Region.TILES]
)
def test_memory_windows_read_back_what_was_written(chip, region):
    words = np.random.default_rng(region.value).integers(0, 1 << 32, window_bytes(region, CHIP) // 4, dtype=np.uint32)
    chip.bus.write(window_address(region), words)
    np.testing.assert_array_equal(chip.bus.read(window_address(region), len(words)), words)
    chip.write(Region.TILES, [15 << 16, 0])
    chip.write(Region.PARAMETERS, [0, int(np.float32(1).view(np.uint32))] * CHIP.channels)
    chip.check_healthy()
