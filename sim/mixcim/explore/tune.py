"""2D-PVA-DA: how many word lines a memristor read turns on, by the places of input bit and weight digit, per layer.

```
 calibration inputs --> windows of each layer --> error of every choice (rows, step) for every (input bit, digit)
                                                      '--> fewest reads with the layer's error inside the budget
```

A read of more rows costs fewer cycles, but its sum may pass the ADC's largest code (saturation) or be read in coarser
steps. The error of a choice is found from the layer's own weights and inputs, by the ADC's definition with ideal
cells; it weighs 2**(input bit + place of the digit), so low places can take many rows. Among all tables whose error
(root mean square over sampled outputs, in output codes) is at most the budget, a Lagrange multiplier per layer finds
one with few reads; the error that counts is that of the whole table, not the sum of its parts.

Source: "place-value-aware dynamic accumulation" of both operands, Khwa et al., Nature 639, 617-623 (2025); how the
table is found is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.formats import ACTIVATION_BITS, Encoding

from ..compile.codes import code_of
from ..compile.evaluate import evaluate
from ..compile.network import Layer, LayerKind, Network
from ..compile.placement import Placement
from ..compile.table import Tables, WordLineTable
from ..compile.weights import Window, dense_slots, kernel_rows, weight_digits, window_of
from ..errors import MixcimError

#: Rows that are tried, as far as the chip has them, and ADC steps (powers of two of a digit).
ROWS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)
STEP_SHIFTS = (0, 1)
UNIFORM_ROWS = 16  #: what reads are compared with: the same number of rows everywhere

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class LayerTuning:
    """What tuning found for a layer.

    `reads`, `uniform_reads`: word-line reads of one window and kernel tile with the table, and with UNIFORM_ROWS
    everywhere; `windows`: windows x kernel tiles per input. `error`: root mean square of the output's error, in codes.
    """

    layer: str
    table: WordLineTable
    reads: int
    uniform_reads: int
    windows: int
    error: float


def tune(
    network: Network,
    chip: ChipConfig,
    placement: Placement,
    codes: np.ndarray,
    *,
    budget: float,
    windows: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Tables, list[LayerTuning]]:
    """Word-line tables for all layers with kernels on memristor, and what each saves.

    `codes`: calibration inputs, integers (N, height, width, channels) as compile.evaluate takes them. `budget`: largest
    error of a layer's outputs, root mean square in output codes. `windows`: windows sampled per layer, with `seed`.
    Raises MixcimError when the chip's encoding is not differential, nothing or a floating layer is placed on memristor,
    or no table keeps a layer inside the budget.
    """
    if chip.weight_encoding is not Encoding.DIFFERENTIAL:
        raise MixcimError(f"tune knows the differential encoding, chip '{chip.name}' has '{chip.encoding}'")
    layers = [layer for layer in network.layers if UnitKind.MEMRISTOR in placement[layer.name]]
    layers = [layer for layer in layers if layer.kind is LayerKind.CONVOLUTION]
    if not layers:
        raise MixcimError("no convolution has kernels on memristor: place some, for example with --hidden memristor")
    for layer in layers:
        if layer.floating is not None:
            raise MixcimError(
                f"layer '{layer.name}' has floating-point arithmetic, tune knows integer layers: place it on sram, or "
                f"compile with --table exact"
            )
    if not 0 <= budget < math.inf or windows < 1:
        raise MixcimError(f"budget must be a number >= 0 and windows >= 1, not {budget} and {windows}")
    tensors = evaluate(network, codes)
    rng = np.random.default_rng(seed)
    found = []
    for number, layer in enumerate(layers):
        if progress is not None:
            progress(number, len(layers), layer.name)
        found.append(_tune_layer(network, layer, chip, tensors[layer.input], budget, windows, rng))
    first = found[0].table
    return Tables(first, {tuning.layer: tuning.table for tuning in found}), found


def sampled_vectors(
    network: Network,
    layer: Layer,
    window: Window,
    chip: ChipConfig,
    tensor: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Vectors of randomly drawn windows: uint8 codes (count, vectors, rows). `tensor`: integers (N, H, W, C)."""
    place = network.tensors[layer.input]
    height, width, channels = place.shape
    output_height, output_width, _ = network.tensors[layer.output].shape
    top, left, bottom, right = layer.padding
    pad = code_of(place.quantisation)
    padded = np.full(
        (len(tensor), height + top + bottom, width + left + right, window.tap_words * window.granule), 0, np.uint8
    )
    padded[..., :channels] = pad
    chip_codes = tensor.astype(np.int16) + (128 if place.quantisation.signed else 0)
    padded[:, top : top + height, left : left + width, :channels] = chip_codes
    image = rng.integers(len(tensor), size=count)
    y = rng.integers(output_height, size=count) * layer.stride[0]
    x = rng.integers(output_width, size=count) * layer.stride[1]
    taps = [padded[image, y + ky, x + kx] for ky in range(layer.kernel[0]) for kx in range(layer.kernel[1])]
    rows = np.zeros((count, window.vectors * chip.rows), np.uint8)
    rows[:, : window.rows] = np.concatenate(taps, axis=1)
    return rows.reshape(count, window.vectors, chip.rows)


def layer_digits(layer: Layer, window: Window, chip: ChipConfig) -> np.ndarray:
    """Digits of all kernels: float32 (digits, vectors, rows, columns), columns as in the bank without the reference."""
    rows = kernel_rows(layer, window, chip)
    words = np.arange(rows.shape[1] // chip.channels)
    slots = dense_slots(rows, words, np.ones((len(words), chip.channels), bool), chip)
    digits = weight_digits(slots, chip)[:, :, :-1]
    digits = digits.reshape(window.vectors, len(words), *digits.shape[1:])  # vector, tile, digit, column, row
    return (
        np.ascontiguousarray(digits.transpose(2, 0, 4, 1, 3))
        .astype(np.float32)
        .reshape(len(chip.mode.cells), window.vectors, chip.rows, -1)
    )


def _read_error(
    plane: np.ndarray, digits: np.ndarray, rows: int, shifts: tuple[int, ...], largest: int
) -> list[np.ndarray]:
    """Error of the sums (windows, kernels) for each step, in digits of this place: what the ADC gives less truth."""
    errors = [np.zeros((len(plane), digits.shape[-1] // 2), np.float32) for _ in shifts]
    for vector in range(plane.shape[1]):
        for row in range(0, plane.shape[2], rows):
            part = digits[vector, row : row + rows]
            if not part.any():
                continue
            current = plane[:, vector, row : row + rows] @ part
            for error, shift in zip(errors, shifts, strict=True):
                step = 1 << shift
                if not shift and current.max() <= largest:
                    continue
                wrong = np.minimum(np.floor((current + step // 2) / step), largest) * step - current
                error += wrong[:, 0::2] - wrong[:, 1::2]
    return errors


def _tune_layer(
    network: Network,
    layer: Layer,
    chip: ChipConfig,
    tensor: np.ndarray,
    budget: float,
    count: int,
    rng: np.random.Generator,
) -> LayerTuning:
    window = window_of(network, layer, chip)
    vectors = sampled_vectors(network, layer, window, chip, tensor, count, rng)
    digits = layer_digits(layer, window, chip)
    kernels = len(layer.bias)
    scale = layer.scale.astype(np.float32)
    largest = (1 << chip.adc_bits) - 1
    lengths = [min(chip.rows, window.rows - start) for start in range(0, window.rows, chip.rows)]
    choices = [(rows, shift) for rows in ROWS if rows <= chip.rows for shift in STEP_SHIFTS]
    reads = np.array([sum(-(-length // rows) for length in lengths) for rows, _ in choices])
    bits = max(int(vectors.max()).bit_length(), 1)
    used = 1 + max(np.flatnonzero(digits.any(axis=(1, 2, 3))), default=0)  # digits that the compiler has read
    pairs = [(bit, digit) for bit in range(bits) for digit in range(used)]
    errors = np.zeros((len(pairs), len(choices), count, kernels), np.float32)
    for index, (bit, digit) in enumerate(pairs):
        plane = (vectors >> bit & 1).astype(np.float32)
        weight = scale * 2.0 ** (bit + chip.mode.places[digit])
        for number, rows in enumerate(rows for rows in ROWS if rows <= chip.rows):
            for shift, error in zip(
                STEP_SHIFTS, _read_error(plane, digits[digit], rows, STEP_SHIFTS, largest), strict=True
            ):
                errors[index, number * len(STEP_SHIFTS) + shift] = error[:, :kernels] * weight
    power = np.square(errors).mean(axis=(2, 3))

    def chosen(multiplier: float) -> np.ndarray:
        # Ties in cost go to the smaller error.
        return np.lexsort((np.broadcast_to(power.sum(0), power.shape), reads + multiplier * power), axis=1)[:, 0]

    def error_of(choice: np.ndarray) -> float:
        return float(np.sqrt(np.square(sum(errors[pair, index] for pair, index in enumerate(choice))).mean()))

    low, high = -12.0, 12.0  # powers of ten of the multiplier
    best = chosen(10.0**high)
    for _ in range(24):
        middle = (low + high) / 2
        candidate = chosen(10.0**middle)
        if error_of(candidate) <= budget:
            best, high = candidate, middle
        else:
            low = middle
    if error_of(best) > budget:
        raise MixcimError(
            f"layer '{layer.name}': no table on chip '{chip.name}' has an error below {error_of(best):.3g} output "
            f"codes, the budget is {budget:g}: raise it"
        )
    rows_per_read = [[UNIFORM_ROWS] * len(chip.mode.cells) for _ in range(ACTIVATION_BITS)]
    step_shift = [[0] * len(chip.mode.cells) for _ in range(ACTIVATION_BITS)]
    for (bit, digit), index in zip(pairs, best, strict=True):
        rows_per_read[bit][digit], step_shift[bit][digit] = choices[index]
    output_height, output_width, _ = network.tensors[layer.output].shape
    uniform = sum(-(-length // UNIFORM_ROWS) for length in lengths) * len(pairs)
    return LayerTuning(
        layer.name,
        WordLineTable(tuple(map(tuple, rows_per_read)), tuple(map(tuple, step_shift))),
        int(reads[best].sum()),
        uniform,
        output_height * output_width * (-(-kernels // chip.channels)),
        error_of(best),
    )
