"""What a device's readout makes of its currents: read noise, and the errors of the ADCs on a chip."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import ADC_GAIN, ADC_PARAMETERS, NOISE_BITS, conductance_unit
from mixcim_hdl.program import Program

from ..errors import MixcimError
from .model import DeviceModel

NOISE_FRACTION = 12  #: fraction bits of a noise table's entries, commands.py
GAUSS_DEVIATION = math.sqrt(4 * (256**2 - 1) / 12)  #: of the sum of four uniform bytes
_ADC_DRAWS = 0xADC  #: keeps the ADCs' draws apart from the cells'


def noise_table(device: DeviceModel, chip: ChipConfig) -> np.ndarray:
    """Program.noise_table of a device's read noise, uint16 (rows + 1,): noise of n cells is sqrt(n) times that of one.

    Raises MixcimError if the chip's generator cannot make so much noise.
    """
    sigma = device.read_noise * conductance_unit(chip.conductance_bits) * np.sqrt(np.arange(chip.rows + 1))
    table = np.floor(sigma * (1 << NOISE_FRACTION) / GAUSS_DEVIATION + 0.5).astype(np.int64)
    if table[-1] >> NOISE_BITS:
        raise MixcimError(
            f"device '{device.name}': read_noise {device.read_noise:g} over {chip.rows} word lines is more than the "
            f"chip's noise table holds ({(1 << NOISE_BITS) - 1}, not {table[-1]}): use less"
        )
    return table.astype(np.uint16)


def adc_parameters(device: DeviceModel, chip: ChipConfig, seed: int) -> np.ndarray:
    """Program.adc of a chip whose ADCs have the device's errors: int16 (banks, adcs, parameters), Gaussian.

    Every ADC's draws depend on the seed only. Values beyond what the registers hold are clipped to it.
    """
    errors, unit = device.adc, conductance_unit(chip.conductance_bits)
    sigma = {"gain": errors.gain * ADC_GAIN, "offset": errors.offset * unit}
    deviations = np.array([sigma.get(name, errors.inl * unit) for name in ADC_PARAMETERS])
    middle = np.array([ADC_GAIN if name == "gain" else 0 for name in ADC_PARAMETERS])
    generator = np.random.default_rng(np.random.SeedSequence((seed, _ADC_DRAWS)))
    draws = generator.standard_normal((chip.memristor_banks, chip.adcs, len(ADC_PARAMETERS)))
    low, high = np.array(list(ADC_PARAMETERS.values())).T
    return np.clip(np.rint(middle + draws * deviations), low, high).astype(np.int16)


def with_readout(program: Program, chip: ChipConfig, device: DeviceModel, seed: int) -> Program:
    """The program with the device's read noise, seeded with `seed` (32 bits), and its ADCs' errors."""
    return dataclasses.replace(
        program,
        adc=adc_parameters(device, chip, seed),
        noise_table=noise_table(device, chip),
        noise_seed=seed,
    )
