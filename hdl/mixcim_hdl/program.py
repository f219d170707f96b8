"""`Program`: everything that a chip needs to run one network; the file that compiler, model, RTL and board exchange.

File: one line of ASCII (magic, version, SHA-256 of the rest), then a zip (numpy's npz) with every array and a JSON text
called `header`. It is written whole or not at all, and refused when it is damaged, truncated, foreign, from another
version, or made for a chip with other sizes: nothing loads half.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .config import ChipConfig
from .files import write_whole
from .floating import ElementFormat
from .formats import ADC_GAIN, ADC_PARAMETERS
from .registers import CONTRACT_VERSION

MAGIC = "mixcim-program"


class ProgramError(ValueError):
    """A program file that cannot be used. One line: the file, what is wrong, the remedy."""


def ideal_adc(chip: ChipConfig) -> np.ndarray:
    """Parameters of ADCs without offset, gain error and non-linearity: int16 (banks, adcs, parameters)."""
    ideal = [ADC_GAIN if name == "gain" else 0 for name in ADC_PARAMETERS]
    return np.tile(np.array(ideal, np.int16), (chip.memristor_banks, chip.adcs, 1))


def no_repair(lines: np.ndarray, chip: ChipConfig) -> np.ndarray:
    """Repair of a bank whose spare columns are not used: uint8 (words of `lines`, spare columns)."""
    return np.zeros((len(lines) // chip.physical_columns, chip.spare_columns), np.uint8)


def no_noise(chip: ChipConfig) -> np.ndarray:
    """Noise table of a chip whose reads have none: uint16 (rows + 1,)."""
    return np.zeros(chip.rows + 1, np.uint16)


@dataclass(frozen=True)
class Strip:
    """Rows [row, row + rows) of a tensor, which lie from its address on after command `command`."""

    command: int
    row: int
    rows: int


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in the activation memory, and what its codes mean.

    Pixel (y, x), channel c is lane c % channels of word `address + (y * width + x) * pitch + c // channels * bytes`,
    and with two bytes an element its high byte is the same lane of the word after it. `pitch`: words of a pixel.
    `format`: a floating.ElementFormat by name; the elements are its patterns, or codes. Of codes: real = scale * (code
    - zero_point); `signed`: the network file's own type is int8, q = code - 128 (else uint8, q = code); `zero_point` is
    that of the code. Of patterns: scale 1, zero_point 0, not signed. `exponents`: entries that a pixel has in the
    exponent memory from its own address on (0: none). Of the tensor that the host writes, entry w is of word w.
    `command`: index of the last command that writes it (-1: the host does). Memory is reused: valid until `until`.
    `strips`: of a tensor of layers that run depth-first, which lies nowhere as a whole: each of its strips is
    overwritten by the next one, `until` is that of the last one. Empty for a tensor that lies there whole.
    """

    name: str
    address: int
    shape: tuple[int, int, int]
    scale: float
    zero_point: int
    signed: bool
    command: int
    until: int
    pitch: int
    format: str = "INTEGER"
    exponents: int = 0
    strips: tuple[Strip, ...] = ()

    @property
    def parts(self) -> tuple[Strip, ...]:
        """What can be read of it, and when: its strips, or the whole of it."""
        return self.strips or (Strip(self.command, 0, self.shape[0]),)

    def of(self, part: Strip) -> TensorPlace:
        """Place of one of its parts, as if it were a tensor."""
        return dataclasses.replace(self, shape=(part.rows, *self.shape[1:]), strips=())

    @property
    def words(self) -> int:
        """Activation words that it takes."""
        rows = max(part.rows for part in self.parts)
        return rows * self.shape[1] * self.pitch

    @property
    def element(self) -> ElementFormat:
        """Format of its elements."""
        return ElementFormat[self.format]

    @property
    def type(self) -> type[np.unsignedinteger]:
        """numpy's type of its codes or patterns."""
        return np.uint8 if self.element.bytes == 1 else np.uint16


@dataclass(frozen=True)
class LayerRecord:
    """What the reports say of a layer: its commands and its work.

    `ranges`: first and last index of each run of commands that belong to it; a layer that runs depth-first has one for
    each strip. `chain`: number of the chain of layers that run depth-first together, 0 for a layer by itself.
    `estimated_cycles`: what the compiler expects its commands to take.
    `kernels`: number of kernels on each kind of unit, e.g. {"sram": 16}. `multiply_accumulates`: useful ones per input.
    `format`: number format of inputs and weights, e.g. "int8/int8".
    """

    name: str
    kind: str
    output: str
    ranges: tuple[tuple[int, int], ...]
    kernels: dict[str, int]
    multiply_accumulates: int
    format: str
    chain: int = 0
    estimated_cycles: int = 0

    @property
    def commands(self) -> list[int]:
        """Indices of its commands, in order."""
        return [index for first, last in self.ranges for index in range(first, last + 1)]


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled network.

    `commands` uint32 (commands, words); `weights` int8 (words, rows): weight store from word 0; `memristor`: one uint8
    (lines, rows) of conductance codes per bank, whole words from line 0 on; `repair`: one uint8 (words, spare columns)
    per bank, the column (from 1 on; 0: none) that each spare replaces; per parameter tile `bias` int32 (a float32's
    pattern in floating RUNs) and `scale` float32 (tiles, channels), `word_offset`, `lane_mask` and `exponent_offset`
    uint16 (tiles,).
    `adc` int16 (banks, adcs, parameters): formats.ADC_PARAMETERS of every ADC (see ideal_adc); `noise_table` uint16
    (rows + 1,): read noise over the number of word lines on, 0 for none; `noise_seed`: uint32.
    `device`: whose cells they are; empty for ideal ones.
    `file_shape`, `input_layout`, `output_shape`, `host_output`: as in compile.network.Network, for the host. `fold`: so
    many pixels (vertically, horizontally) of the network's input are one pixel of the input tensor (host.values).
    """

    network: str
    chip: str
    fingerprint: int
    commands: np.ndarray
    weights: np.ndarray
    memristor: tuple[np.ndarray, ...]
    repair: tuple[np.ndarray, ...]
    bias: np.ndarray
    scale: np.ndarray
    word_offset: np.ndarray
    lane_mask: np.ndarray
    exponent_offset: np.ndarray
    adc: np.ndarray
    noise_table: np.ndarray
    noise_seed: int
    tensors: dict[str, TensorPlace]
    layers: tuple[LayerRecord, ...]
    input: str
    output: str
    input_layout: str
    file_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    host_output: tuple[str, ...]
    device: str = ""
    fold: tuple[int, int] = (1, 1)

    _ARRAYS = (
        "commands", "weights", "bias", "scale", "word_offset", "lane_mask", "exponent_offset", "adc", "noise_table"
    )  # fmt: skip

    def to_bytes(self) -> bytes:
        """The program file's bytes (the same for the same program)."""
        header = {
            "network": self.network,
            "chip": self.chip,
            "fingerprint": self.fingerprint,
            "banks": len(self.memristor),
            "noise_seed": self.noise_seed,
            "device": self.device,
            "tensors": [dataclasses.asdict(place) for place in self.tensors.values()],
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "input": self.input,
            "output": self.output,
            "input_layout": self.input_layout,
            "file_shape": self.file_shape,
            "output_shape": self.output_shape,
            "host_output": self.host_output,
            "fold": self.fold,
        }
        arrays = {name: getattr(self, name) for name in self._ARRAYS}
        arrays.update({f"memristor{bank}": lines for bank, lines in enumerate(self.memristor)})
        arrays.update({f"repair{bank}": columns for bank, columns in enumerate(self.repair)})
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
                # A fixed date: two compilations of the same network give the same bytes.
                archive.writestr(
                    zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue(), zipfile.ZIP_DEFLATED
                )
        data = body.getvalue()
        return f"{MAGIC} {CONTRACT_VERSION} {hashlib.sha256(data).hexdigest()}\n".encode() + data

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Program:
        """Program from a file's bytes; `name` is used in errors. Raises ProgramError."""
        line, _, body = data[:128].partition(b"\n")
        words = line.decode("ascii", "replace").split()
        if len(words) != 3 or words[0] != MAGIC:
            raise ProgramError(f"'{name}' is not a mixcim program: write one with 'mixcim compile'")
        if words[1] != str(CONTRACT_VERSION):
            raise ProgramError(
                f"program '{name}' has version {words[1]}, not {CONTRACT_VERSION}: compile it again with this mixcim"
            )
        body = data[len(line) + 1 :]
        if hashlib.sha256(body).hexdigest() != words[2]:
            raise ProgramError(f"program '{name}' is damaged or truncated (checksum differs): compile it again")
        try:
            return cls._from_body(body)
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ProgramError(
                f"program '{name}' has a right checksum but not a program's contents ({reason}): compile it again"
            ) from None

    @classmethod
    def _from_body(cls, body: bytes) -> Program:
        """Program from the zip of a file whose checksum is right; raises what reading raises."""
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        header = json.loads(arrays["header"].tobytes())
        tensors = [
            TensorPlace(
                **{
                    **place,
                    "shape": tuple(place["shape"]),
                    "strips": tuple(Strip(**strip) for strip in place["strips"]),
                }
            )
            for place in header["tensors"]
        ]
        layers = [
            LayerRecord(**{**layer, "ranges": tuple(tuple(pair) for pair in layer["ranges"])})
            for layer in header["layers"]
        ]
        return cls(
            network=header["network"],
            chip=header["chip"],
            noise_seed=header["noise_seed"],
            device=header["device"],
            fingerprint=header["fingerprint"],
            memristor=tuple(arrays[f"memristor{bank}"] for bank in range(header["banks"])),
            repair=tuple(arrays[f"repair{bank}"] for bank in range(header["banks"])),
            tensors={place.name: place for place in tensors},
            layers=tuple(layers),
            input=header["input"],
            output=header["output"],
            input_layout=header["input_layout"],
            file_shape=tuple(header["file_shape"]),
            output_shape=tuple(header["output_shape"]),
            host_output=tuple(header["host_output"]),
            fold=tuple(header["fold"]),
            **{key: arrays[key] for key in cls._ARRAYS},
        )

    def save(self, path: Path | str) -> None:
        """Write the file whole or not at all. Raises OSError that names the file."""
        write_whole(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path | str) -> Program:
        """Read a program file. Raises ProgramError when it is missing, damaged, foreign or from another version."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ProgramError(f"program '{path}' cannot be read: {error.strerror}") from None
        return cls.from_bytes(data, str(path))

    def check_chip(self, chip: ChipConfig) -> None:
        """Raise ProgramError unless the program was compiled for a chip of exactly these sizes."""
        if self.fingerprint != chip.fingerprint:
            raise ProgramError(
                f"program '{self.network}' was compiled for a chip '{self.chip}' with fingerprint "
                f"{self.fingerprint:#010x}, this chip '{chip.name}' has {chip.fingerprint:#010x}: "
                f"give the chip it was compiled for with --chip, or compile it again for this one"
            )
