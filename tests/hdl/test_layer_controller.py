"""Which RUN and TABLE commands a chip takes: the last paragraph on RUN, on chips with and without floating point."""

from __future__ import annotations

import dataclasses

import pytest

from hdl.chips import TINY
from hdl.streams import simulate
from mixcim_hdl.commands import Fault, Opcode, Pooling, TinyMode, encode_command
from mixcim_hdl.control.layer_controller import LayerController
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.registers import program_stride

CHIPS = {bits: dataclasses.replace(TINY, name=f"aligned{bits}", aligned_bits=bits) for bits in (0, 8, 12, 16)}
BF16, FP8, INTEGER = ElementFormat.BF16, ElementFormat.FP8_E5M2, ElementFormat.INTEGER

#: A RUN that every chip takes, on the tiny-digital unit; and one with floating-point input, of chips that have it.
PLAIN = {
    "input_bits": 8, "granule_log2": 2, "kernel_height": 1, "kernel_width": 1, "output_height": 1, "output_width": 1,
    "tap_words": 1, "group_count": 1, "weight_slices": 1, "copies": 1, "tiles[2]": 1,
}  # fmt: skip
FLOATING = PLAIN | {"floating": 1, "input_signed": 1, "input_format": int(BF16), "tap_exponents": 1}


def faults_of(chip, *commands) -> list[int]:
    """Fault after each command, given to a controller as a program of its own; 0: it was begun."""
    controller, stride, faults = LayerController(chip), program_stride(chip), []

    async def store(ctx):
        while True:
            *_, enable, address = await ctx.tick().sample(controller.program_enable, controller.program_address)
            if enable:
                number, word = divmod(address, stride)
                ctx.set(controller.program_data, int(current[0][word]) if number == 0 else int(end[0]) * (word == 0))

    async def drive(ctx):
        for command in commands:
            current[0] = command
            ctx.set(controller.start, 1)
            await ctx.tick()
            ctx.set(controller.start, 0)
            begun = 0
            for _ in range(4 * stride):
                *_, busy, start, fault = await ctx.tick().sample(
                    controller.busy, controller.run_start, controller.fault
                )
                begun += start
                if not busy:
                    break
            # output_tiles is 0, as many as this bench writes
            assert bool(begun) == (fault == 0) or command[0] & 0xFF != Opcode.RUN
            faults.append(fault)

    end = encode_command(Opcode.END, chip)
    current = [end]
    simulate(controller, drive, background=[store])
    return faults


def run(chip, fields):
    return encode_command(Opcode.RUN, chip, **fields)


def check(chip, legal: list[dict], illegal: list[dict]) -> None:
    """Each RUN is begun, or is an ILLEGAL_COMMAND."""
    got = faults_of(chip, *(run(chip, fields) for fields in [*legal, *illegal]))
    assert got[: len(legal)] == [0] * len(legal)
    assert got[len(legal) :] == [Fault.ILLEGAL_COMMAND] * len(illegal)


def test_chip_without_floating_point():
    legal = [PLAIN | {"input_bits": bits} for bits in range(1, 9)] + [PLAIN | {"rounding": 1, "tap_exponents": 3}]
    illegal = [
        *(PLAIN | {"input_bits": bits} for bits in (0, 9, 31)),
        *(PLAIN | {"weight_slices": slices} for slices in (0, 2, 3)),
        *(PLAIN | {name: 1} for name in ("floating", "input_signed", "input_zero_point")),
        *(PLAIN | {f"{name}_format": 1} for name in ("input", "output", "residual")),
        FLOATING, FLOATING | {"floating": 0, "input_signed": 0},
    ]  # fmt: skip
    check(CHIPS[0], legal, illegal)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_integer_inputs_have_as_many_bits_as_the_chip_has_planes(bits):
    planes = max(9, bits)
    for base in (PLAIN, PLAIN | {"input_signed": 1, "input_zero_point": 77}, PLAIN | {"floating": 1}):
        check(
            CHIPS[bits],
            [base | {"input_bits": width} for width in (1, 7, 9, planes)],
            [base | {"input_bits": width} for width in (0, planes + 1, 31)],
        )


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_floating_inputs_have_aligned_bits_a_sign_and_exponents(bits):
    widths = [width for width in (8, 9, 10, 11, 12, 16) if width <= bits]
    check(
        CHIPS[bits],
        [FLOATING | {"input_bits": width} for width in widths]
        + [FLOATING | {"input_format": item, "tap_exponents": 1023} for item in (1, 2, 3, 4)],
        [FLOATING | {"input_bits": width} for width in range(32) if width not in widths]
        + [FLOATING | {"input_signed": 0}, FLOATING | {"tap_exponents": 0}, FLOATING | {"floating": 0}],
    )


def test_formats_slices_and_modes():
    chip, maximum = CHIPS[12], {"mode[2]": int(TinyMode.MAX)}
    elsewhere = {"tiles[2]": 0, "tiles[1]": 1}
    check(
        chip,
        [PLAIN | {"floating": 1, f"{name}_format": item} for name in ("output", "residual") for item in range(5)]
        + [base | {"weight_slices": slices} for base in (PLAIN, FLOATING) for slices in (1, 2, 3)]
        + [FLOATING | maximum, PLAIN | maximum, PLAIN | maximum | elsewhere | {"weight_slices": 2}],
        [FLOATING | {f"{name}_format": item} for name in ("input", "output", "residual") for item in (5, 6, 7)]
        + [PLAIN | {f"{name}_format": item} for name in ("input", "output", "residual") for item in (1, 4)]
        + [PLAIN | {"weight_slices": 0}, FLOATING | {"weight_slices": 0}]
        + [base | maximum | {"weight_slices": slices} for base in (PLAIN, FLOATING) for slices in (2, 3)],
    )


def test_pooling_takes_floating_inputs_and_no_unit():
    pooled = FLOATING | {"tiles[2]": 0, "pooling": int(Pooling.SUM)}
    unused = {"input_bits": 0, "input_signed": 0, "tap_exponents": 0, "pad_value": 9}
    check(
        CHIPS[12],
        [pooled | {"input_format": item, "pooling": int(pooling)} for item in (1, 2, 3, 4) for pooling in (1, 2)]
        + [pooled | unused, pooled | {"input_bits": 31}],
        [pooled | {"pooling": 0}, pooled | {"pooling": 3}, pooled | {"floating": 0}, pooled | {"input_format": 5}]
        + [pooled | {"input_format": int(INTEGER)}, PLAIN | {"tiles[2]": 0, "floating": 1, "pooling": 1}]
        + [pooled | {f"tiles[{unit}]": 1} for unit in (1, 2)]
        + [pooled | {"weight_slices": 0}, pooled | {"granule_log2": 3}],
    )
    check(CHIPS[0], [], [pooled, PLAIN | {"pooling": 1}, PLAIN | {"tiles[2]": 0, "pooling": 1}])


@pytest.mark.parametrize("bits", [0, 12])
def test_a_table_has_entries_for_all_input_planes(bits):
    chip = CHIPS[bits]
    entries = chip.input_planes * len(chip.mode.cells)
    good = {"digits": 4} | {f"rows_per_read[{entry}]": 1 + entry % 16 for entry in range(entries)}
    tables = [encode_command(Opcode.TABLE, chip, **good)]
    tables += [
        encode_command(Opcode.TABLE, chip, **(good | {f"rows_per_read[{entries - 1}]": rows})) for rows in (0, 17)
    ]
    assert faults_of(chip, *tables) == [0, Fault.ILLEGAL_COMMAND, Fault.ILLEGAL_COMMAND]
