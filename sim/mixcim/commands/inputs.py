"""Read inputs and labels from numpy files, and networks and programs from theirs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from mixcim_hdl.config import ChipConfig, load_chip
from mixcim_hdl.formats import WEIGHT_BITS
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import MAGIC, Program

from ..compile.compiler import compile_network
from ..compile.formats import Formats
from ..compile.load import load_network
from ..compile.network import Network
from ..compile.onnx_file import graph_inputs, input_shape, read_onnx
from ..compile.placement import read_placement_file
from ..errors import MixcimError
from .image_folder import read_image_folder
from .options import CompileChoice

_KEYS = ("inputs", "images", "features", "x", "data")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an .npz file, of an .npy file under the name "inputs", or of a folder of pictures (image_folder.py).

    Raises MixcimError if it is none of them.
    """
    if path.is_dir():
        return read_image_folder(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"inputs": loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except OSError as error:
        raise MixcimError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MixcimError(f"'{path}' is not a numpy file of plain arrays ({str(error).splitlines()[0]})") from None


def read_inputs(
    path: Path, file_shape: tuple[int, ...], layout: str, mean: str | None = None, std: str | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Inputs (N, *file_shape) in the network file's layout, and the file's arrays by name (labels may be among them).

    With `mean` or `std`, uint8 images become float32 (x / 255 - mean) / std. Images (N, height, width, channels) are
    transposed for a network that takes (N, channels, height, width). Raises MixcimError for another shape or type.
    """
    arrays = read_arrays(path)
    names = [key for key in _KEYS if key in arrays] or (list(arrays) if len(arrays) == 1 else [])
    if not names:
        raise MixcimError(f"'{path}' has arrays {', '.join(arrays)}: call the inputs one of {', '.join(_KEYS)}")
    values = arrays[names[0]]
    if mean is not None or std is not None:
        if values.dtype != np.uint8:
            raise MixcimError(
                f"'{path}': --mean and --std are for uint8 images, not for {values.dtype}: leave them out"
            )
        channels = values.shape[-1] if values.ndim else 0
        values = (values.astype(np.float32) / 255 - _numbers("--mean", mean or "0", channels)) / _numbers(
            "--std", std or "1", channels
        )
    if layout == "NCHW" and values.shape[1:] != file_shape and values.ndim == 4:
        values = values.transpose(0, 3, 1, 2)
    if values.ndim == 0 or values.shape[1:] != file_shape or len(values) == 0:
        raise MixcimError(
            f"'{path}': '{names[0]}' has shape {arrays[names[0]].shape}, the network takes "
            f"(N, {', '.join(map(str, file_shape))}) ({layout}): reshape or crop it"
        )
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    return np.ascontiguousarray(values), arrays


def _numbers(option: str, text: str, channels: int) -> np.ndarray:
    try:
        numbers = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError:
        raise MixcimError(f"{option} must be numbers separated by commas, not '{text}'") from None
    if len(numbers) not in (1, channels) or not np.isfinite(numbers).all() or (option == "--std" and not numbers.all()):
        raise MixcimError(f"{option} must be one number or {channels} (one for each channel), not '{text}'")
    return numbers


def open_network(
    path: Path,
    calibrate: Path | None,
    mean: str | None,
    std: str | None,
    weight_bits: int = WEIGHT_BITS,
    formats: Formats | None = None,
) -> Network:
    """The network of a file, quantised with the inputs of `calibrate` if they are given, or in `formats`."""
    calibration = None
    if calibrate is not None:
        shape = input_shape(graph_inputs(read_onnx(path).graph)[0])
        calibration, _ = read_inputs(calibrate, shape, "NCHW" if len(shape) == 3 else "NC", mean, std)
    return load_network(path, calibration, weight_bits, formats)


def compile_file(
    path: Path, chip: ChipConfig, choice: CompileChoice, mean: str | None, std: str | None
) -> tuple[Network, Program]:
    """The network of a file, and its program for a chip; arguments as on the command line."""
    network = open_network(path, choice.calibrate, mean, std, choice.weight_bits, choice.formats(chip))
    rules = [*(read_placement_file(choice.placement) if choice.placement else []), *choice.rules]
    return network, compile_network(
        network, chip, rules, choice.table, hidden=choice.hidden, skip_zero_groups=choice.skip_zero_groups
    )


def is_program(path: Path) -> bool:
    """True if the file begins like a program file (it may be damaged further on)."""
    if not path.is_file():
        raise MixcimError(f"'{path}' does not exist or is no file: give a program or a network (ONNX, TFLite)")
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC.encode()


def chip_of(program: Program, name: str | None) -> ChipConfig:
    """The chip that a program was compiled for: `name` if given, else the preset of the name that the program has."""
    if name is None and program.chip not in PRESETS:
        raise MixcimError(
            f"program '{program.network}' is for chip '{program.chip}', no preset: give its file with --chip"
        )
    chip = load_chip(name or program.chip)
    program.check_chip(chip)
    return chip


def open_program(
    path: Path, chip_name: str | None, choice: CompileChoice, mean: str | None, std: str | None
) -> tuple[Program, ChipConfig]:
    """The program of a file, or of a network's, compiled first (default: for chip demo), and its chip; arguments as on
    the command line."""
    if is_program(path):
        if choice != CompileChoice():
            raise MixcimError(f"'{path}' is compiled already: leave out the options of compile")
        program = Program.load(path)
        return program, chip_of(program, chip_name)
    chip = load_chip(chip_name or "demo")
    return compile_file(path, chip, choice, mean, std)[1], chip
