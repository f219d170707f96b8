"""Memristor reads by the C++ of memristor.cpp, which is compiled once for this processor and kept in the cache."""

from __future__ import annotations

import ctypes
import functools
import warnings
from pathlib import Path

import numpy as np

from mixcim.errors import MixcimError
from mixcim.native import load_source
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.formats import ADC_PARAMETERS, ADC_SEGMENTS, WEIGHT_BITS, Encoding, conductance_unit

from .corrected import linear_part
from .read_plan import ReadPlan

_SOURCE = Path(__file__).with_name("memristor.cpp")
OPTIONS = ("-std=c++20", "-O3", "-fvisibility=hidden", "-Wno-psabi")
_HALF = 16  #: lanes of one column of every kernel
_MOST_DIGITS, _MOST_BITS, _MOST_ROWS = 8, 16, 128
_NAMES = list(ADC_PARAMETERS)


class _Plan(ctypes.Structure):
    """`struct Plan` of memristor.cpp."""

    _INTEGERS = (
        *("lanes", "rows", "channels", "digits", "input_bits", "vectors", "tiles", "length"),
        *(
            "adc_bits",
            "unit_log2",
            "code_offset",
            "noisy",
            "ideal_adc",
            "narrow",
            "has_inl",
            "excess",
            "skips",
            "most_groups",
        ),
        *("is_signed", "code_bytes", "wide"),
    )
    _TABLE = ctypes.c_int32 * _MOST_DIGITS * _MOST_BITS
    # The compiler aligns what follows the tables to 64 bytes.
    _BEFORE = 4 * (len(_INTEGERS) + 3 * _MOST_DIGITS + 2 * _MOST_DIGITS * _MOST_BITS)
    _fields_ = (
        *((name, ctypes.c_int32) for name in _INTEGERS),
        ("place", ctypes.c_int32 * _MOST_DIGITS),
        ("step_log2", ctypes.c_int32 * _MOST_DIGITS),
        ("negative", ctypes.c_int32 * _MOST_DIGITS),
        ("rows_per_read", _TABLE),
        ("step_shift", _TABLE),
        ("_gap", ctypes.c_uint8 * (-_BEFORE % 64)),
        ("gain", ctypes.c_int16 * 32),
        ("offset", ctypes.c_int16 * 32),
        ("inl", ctypes.c_int16 * 32 * ADC_SEGMENTS),
        ("noise", ctypes.c_int16 * (_MOST_ROWS + 1)),
        ("cells", ctypes.c_void_p),
        ("least", ctypes.c_void_p),
        ("may_clip", ctypes.c_void_p),
    )


@functools.cache
def kernel_library() -> ctypes.CDLL | None:
    """The compiled kernel; None, with a warning that says why, where it cannot be had: reads are then much slower."""
    try:
        return load_kernel(OPTIONS)
    except MixcimError as error:
        warnings.warn(f"memristor reads are worked out slowly, by numpy: {error}", RuntimeWarning, stacklevel=2)
        return None


def load_kernel(options: tuple[str, ...]) -> ctypes.CDLL:
    """The kernel compiled with these options. Raises MixcimError when it cannot be compiled or loaded."""
    library = load_source(_SOURCE, options)
    library.mixcim_memristor_read.restype = None
    library.mixcim_memristor_read.argtypes = [
        ctypes.POINTER(_Plan),
        *(ctypes.c_void_p,),
        *(ctypes.c_int64,) * 2,
        *(ctypes.c_void_p,) * 4,
    ]
    return library


def lanes_of(chip: ChipConfig) -> np.ndarray:
    """Lane of every ADC: int (adcs,). Columns of the same kind lie together, 16 lanes each."""
    kernel, column = np.divmod(np.arange(chip.adcs), chip.weight_encoding.columns)
    return column * _HALF + kernel


class KernelReading:
    """Reads windows as DefinedReading does, with the same results, but for `matrix`.

    `matrix` None: nothing is left to a product; else as in CorrectedReading, and only what clips is read.
    """

    def __init__(self, plan: ReadPlan, correct: bool = False, library: ctypes.CDLL | None = None) -> None:
        """`correct`: leave to a product what is linear; the plan must be correctable (it is not done where 16 bits do
        not hold the currents). `library`: from load_kernel (default: kernel_library). Raises MixcimError when there is
        none."""
        self.plan = plan
        found = library or kernel_library()
        if found is None:
            raise MixcimError("the memristor kernel needs a C++ compiler: install g++ or set CXX")
        self._read = found.mixcim_memristor_read
        self._where = lanes_of(plan.chip)
        self._lanes = _HALF * plan.chip.weight_encoding.columns
        self._cells = self._lane_cells()
        narrow = self._is_narrow()
        self.matrix: np.ndarray | None = linear_part(plan) if correct and narrow else None
        self._least = np.zeros((1,) * 5, np.uint8) if self.matrix is None else self._least_lines()
        # A group that cannot clip has 255 there, more than there are lines.
        bits = 1 << np.arange(self._least.shape[3])
        self._may_clip = ((self._least < 255).any(axis=4) @ bits).astype(np.uint16)
        self._plan = self._filled_plan(narrow)

    def _lane_cells(self) -> np.ndarray:
        """Cells less the reference: int16 (vectors, tiles, digits, rows, lanes), on a 64-byte boundary."""
        cells = self.plan.cells.transpose(0, 1, 2, 4, 3).astype(np.int16)
        shape = (*cells.shape[:-1], self._lanes)
        size = int(np.prod(shape))
        memory = np.zeros(size + 32, np.int16)
        first = -memory.ctypes.data % 64 // 2
        result = memory[first : first + size].reshape(shape)
        result[..., self._where] = cells[..., :-1] - cells[..., -1:]
        return result

    def _filled_plan(self, narrow: bool) -> _Plan:
        plan, chip = self.plan, self.plan.chip
        encoding, digits = chip.weight_encoding, plan.table.digits
        adc = plan.adc.astype(np.int32)
        result = _Plan(
            lanes=self._lanes,
            rows=chip.rows,
            channels=chip.channels,
            digits=digits,
            input_bits=plan.input_bits,
            vectors=plan.vectors,
            tiles=plan.tiles,
            length=plan.length,
            adc_bits=chip.adc_bits,
            code_offset=1 << WEIGHT_BITS - 1 if encoding is Encoding.OFFSET else 0,
            noisy=plan.noisy,
            ideal_adc=plan.ideal_adc,
            narrow=narrow,
            excess=self.matrix is not None,
            skips=plan.skips,
            most_groups=self._least.shape[4],
            is_signed=plan.signed,
            code_bytes=plan.code_type().itemsize,
            wide=plan.wide,
            has_inl=bool(adc[:, _NAMES.index("inl0") :].any()),
            cells=self._cells.ctypes.data,
            least=self._least.ctypes.data,
            may_clip=self._may_clip.ctypes.data,
        )
        result.place[:digits] = chip.mode.places[:digits]
        result.unit_log2 = conductance_unit(chip.conductance_bits).bit_length() - 1
        result.step_log2[:digits] = chip.mode.step_log2[:digits]
        result.negative[:digits] = [int(sign < 0) for sign in plan.signs[:, 0]]
        for bit in range(plan.input_bits):
            result.rows_per_read[bit][:digits] = plan.table.rows_per_read[bit]
            result.step_shift[bit][:digits] = plan.table.step_shift[bit]
        for adc_number, lane in enumerate(self._where.tolist()):
            result.gain[lane] = int(adc[adc_number, _NAMES.index("gain")])
            result.offset[lane] = int(adc[adc_number, _NAMES.index("offset")])
            for segment in range(ADC_SEGMENTS):
                result.inl[segment][lane] = int(adc[adc_number, _NAMES.index(f"inl{segment}")])
        result.noise[: chip.rows + 1] = (plan.noise_table.astype(int) * 8).tolist()
        return result

    def _least_lines(self) -> np.ndarray:
        """Lines that must be on in a group before its strongest cells cause a current that is clipped: uint8.

        Axes: vector, tile, digit, input bit, group of rows.
        """
        plan = self.plan
        tables = plan.table.rows_per_read[: plan.input_bits], plan.table.step_shift[: plan.input_bits]
        groups = -(-plan.chip.rows // min(rows for row in tables[0] for rows in row))
        least = np.full((*self._cells.shape[:3], plan.input_bits, groups), 255, np.uint8)
        known: dict[tuple[int, int, int], np.ndarray] = {}
        for bit, digit in np.ndindex(plan.input_bits, len(plan.signs)):
            key = digit, tables[0][bit][digit], tables[1][bit][digit]
            if key not in known:
                known[key] = self._least_of(*key)
            least[:, :, digit, bit, : known[key].shape[2]] = known[key]
        return least

    def _least_of(self, digit: int, rows: int, shift: int) -> np.ndarray:
        """Part of _least_lines for one digit, rows per read and step: int64 (vectors, tiles, groups)."""
        limit = (2 * self.plan.largest_code + 1) * int(self.plan.steps[digit] << shift) // 2
        parts = []
        for first in range(0, self.plan.chip.rows, rows):
            cells = -np.sort(-self._cells[:, :, digit, first : first + rows], axis=2)
            strongest = np.cumsum(cells, axis=2, dtype=np.int32).max(axis=3)
            weak = np.count_nonzero(strongest < limit, axis=2)
            parts.append(np.where(weak == strongest.shape[2], 255, weak + 1))
        return np.stack(parts, axis=2)

    def _is_narrow(self) -> bool:
        """Whether 16 bits hold every current, converted, and every sum of codes of one input bit."""
        plan, chip = self.plan, self.plan.chip
        wide = self._cells.astype(np.int32)
        current = max(int(np.maximum(wide, 0).sum(axis=3).max()), int(np.maximum(-wide, 0).sum(axis=3).max()))
        # Two draws of noise, each at most 510 times the table's entry, and half a step to round.
        noise = 2 * ((510 * int(plan.noise_table.max()) >> 12) + 1)
        step = int((plan.steps << np.max(plan.table.step_shift[: plan.input_bits], axis=0)).max())
        fewest = min(rows for row in plan.table.rows_per_read[: plan.input_bits] for rows in row)
        codes = -(-chip.rows // fewest) * plan.largest_code
        value = current + noise
        if not plan.ideal_adc:  # Gains are below 2, offsets up to 512, INLs up to 32 of the codes of a step of shift 0.
            value = 2 * value + 512 + 32 * step // conductance_unit(chip.conductance_bits)
        return max(value + step // 2, codes, step) < (1 << 15) - 1

    def __call__(self, windows: np.ndarray, states: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums, clipped conversions, left out reads and new states: see DefinedReading."""
        plan = self.plan
        inputs, pixels, _ = windows.shape
        windows = np.ascontiguousarray(windows, plan.code_type)
        sums = np.zeros((inputs * pixels, plan.kernels), plan.sum_type)
        clipped, left_out = np.zeros(inputs, np.int64), np.zeros(inputs, np.int64)
        # The reference's state comes last, behind all lanes.
        ordered = np.zeros((inputs, self._lanes + 1), np.uint32)
        places = np.append(self._where, self._lanes)
        if plan.noisy:
            assert states is not None
            ordered[:, places] = states
        pointers = (array.ctypes.data for array in (sums, clipped, left_out, ordered))
        self._read(ctypes.byref(self._plan), windows.ctypes.data, inputs, pixels, *pointers)
        if plan.noisy:
            assert states is not None
            states[...] = ordered[:, places]
        return sums, clipped, left_out
