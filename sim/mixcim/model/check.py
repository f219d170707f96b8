"""Checks of a program before it runs: it is for this chip and fits its memories and registers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixcim.errors import MixcimError
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import ADC_PARAMETERS, NOISE_BITS
from mixcim_hdl.program import Program, ProgramError


def check_program(chip: ChipConfig, program: Program) -> None:
    """Raise MixcimError if a program is for another chip, does not fit it, or has a scale that is not finite."""
    try:
        program.check_chip(chip)
    except ProgramError as error:
        raise MixcimError(str(error)) from None
    _check_sizes(chip, program)
    if not np.isfinite(program.scale).all():
        tile = int(np.flatnonzero(~np.isfinite(program.scale).all(axis=1))[0])
        raise MixcimError(f"program '{program.network}': a scale of parameter tile {tile} is not finite")


def _check_sizes(chip: ChipConfig, program: Program) -> None:
    """Refuse arrays that are larger than the chip's memories, or codes that no cell can hold."""
    lines = chip.memristor_words * chip.physical_columns
    sizes = [
        ("commands", len(program.commands), chip.program_commands),
        ("weight words", len(program.weights), chip.weight_words),
        ("parameter tiles", len(program.bias), chip.parameter_tiles),
        ("memristor banks", len(program.memristor), chip.memristor_banks),
        *((f"lines in memristor bank {bank}", len(cells), lines) for bank, cells in enumerate(program.memristor)),
    ]
    for what, number, limit in sizes:
        if number > limit:
            raise MixcimError(f"program '{program.network}' has {number} {what}, chip '{chip.name}' only {limit}")
    for bank, cells in enumerate(program.memristor):
        if int(cells.max(initial=0)) >> chip.conductance_bits:
            raise MixcimError(
                f"program '{program.network}': conductance code {int(cells.max())} in memristor bank {bank} "
                f"has more than {chip.conductance_bits} bits"
            )
    _check_repair(chip, program)
    _check_readout(chip, program)
    for place in program.tensors.values():
        last_pixel = -(-place.shape[2] // chip.channels) * place.element.bytes
        end = place.address + place.words - place.pitch + last_pixel
        if end > chip.activation_words:
            raise MixcimError(
                f"program '{program.network}': tensor '{place.name}' ends at activation word {end}, past "
                f"the memory's {chip.activation_words} words"
            )
        if place.element.floating is not None and not chip.floating_point:
            raise MixcimError(
                f"program '{program.network}': tensor '{place.name}' is of format {place.format}, but chip "
                f"'{chip.name}' has no floating point"
            )


def _check_repair(chip: ChipConfig, program: Program) -> None:
    """Refuse lines that are not whole words, and a repair that does not fit them."""
    if len(program.repair) != len(program.memristor):
        raise MixcimError(
            f"program '{program.network}' has a repair for {len(program.repair)} memristor banks, but lines for "
            f"{len(program.memristor)}"
        )
    for bank, (lines, repair) in enumerate(zip(program.memristor, program.repair, strict=True)):
        words, rest = divmod(len(lines), chip.physical_columns)
        if rest:
            raise MixcimError(
                f"program '{program.network}': memristor bank {bank} has {len(lines)} lines, no whole number of "
                f"words of {chip.physical_columns} bit lines"
            )
        if repair.shape != (words, chip.spare_columns):
            raise MixcimError(
                f"program '{program.network}': repair of memristor bank {bank} must have the shape "
                f"{(words, chip.spare_columns)} on chip '{chip.name}', not {repair.shape}"
            )
        if int(repair.max(initial=0)) > chip.memristor_columns:
            raise MixcimError(
                f"program '{program.network}': a spare of memristor bank {bank} replaces column "
                f"{int(repair.max())}, past the last of {chip.memristor_columns}"
            )


def _check_readout(chip: ChipConfig, program: Program) -> None:
    """Refuse ADC parameters, a noise table or a seed that the chip's registers cannot hold."""
    for name, shape in (
        ("adc", (chip.memristor_banks, chip.adcs, len(ADC_PARAMETERS))),
        ("noise_table", (chip.rows + 1,)),
    ):
        if getattr(program, name).shape != shape:
            raise MixcimError(
                f"program '{program.network}': {name} must have the shape {shape} on chip '{chip.name}', not "
                f"{getattr(program, name).shape}"
            )
    for number, (name, (low, high)) in enumerate(ADC_PARAMETERS.items()):
        values = program.adc[:, :, number]
        if values.size and not low <= int(values.min()) <= int(values.max()) <= high:
            wrong = int(values.min()) if values.min() < low else int(values.max())
            raise MixcimError(
                f"program '{program.network}': {name} of an ADC must be from {low} to {high}, not {wrong}"
            )
    if int(program.noise_table.max()) >> NOISE_BITS:
        raise MixcimError(
            f"program '{program.network}': noise table entry {int(program.noise_table.max())} has more than "
            f"{NOISE_BITS} bits"
        )
    checked_seeds([program.noise_seed], 1)


def checked_seeds(seeds: Sequence[int] | np.ndarray, inputs: int) -> list[int]:
    """Noise seeds, one per input, 32 bits each. Raises MixcimError."""
    numbers = [int(seed) for seed in seeds]
    if len(numbers) != inputs:
        raise MixcimError(f"there must be a noise seed for each of the {inputs} inputs, not {len(numbers)}")
    for seed in numbers:
        if not 0 <= seed < 1 << 32:
            raise MixcimError(f"a noise seed must be from 0 to {(1 << 32) - 1}, not {seed}")
    return numbers
