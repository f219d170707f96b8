"""Which RUN commands a chip can do: the checks that the layer controller makes before it starts one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mixcim_hdl.commands import LARGEST_COPIES, Pooling, TinyMode
from mixcim_hdl.config import ChipConfig, UnitKind
from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat
from mixcim_hdl.formats import LARGEST_SLICES


def illegal(fields: Mapping[str, int], chip: ChipConfig) -> str | None:
    """What is illegal in a RUN, of its fields alone: an ILLEGAL_COMMAND; None for nothing."""
    return next((reason for check in (_window, _pooling, _arithmetic, _units) for reason in check(fields, chip)), None)


def _window(fields: Mapping[str, int], chip: ChipConfig) -> Iterator[str]:
    """Fields of the window."""
    for name in (
        "kernel_height",
        "kernel_width",
        "tap_words",
        "output_height",
        "output_width",
        "group_count",
        "copies",
    ):
        if not fields[name]:
            yield f"RUN field '{name}' must not be 0"
    if fields["copies"] > LARGEST_COPIES:
        yield f"RUN has {fields['copies']} copies, at most {LARGEST_COPIES} are possible"
    if 1 << fields["granule_log2"] > chip.channels:
        yield f"RUN takes {1 << fields['granule_log2']} channels of a word that has {chip.channels}"


def _pooling(fields: Mapping[str, int], chip: ChipConfig) -> Iterator[str]:
    """Pooling in float32."""
    if fields["pooling"] > max(Pooling):
        yield f"RUN has pooling {fields['pooling']}, of which there are {max(Pooling)}"
    elif fields["pooling"] != Pooling.NONE:
        if not fields["floating"] or fields["input_format"] == ElementFormat.INTEGER:
            yield "RUN with pooling must be floating and have a floating-point input_format"
        if any(fields[f"tiles[{unit}]"] for unit in range(len(chip.units))):
            yield "RUN with pooling must have no tiles in any unit"


def _arithmetic(fields: Mapping[str, int], chip: ChipConfig) -> Iterator[str]:
    """Formats and widths of inputs, weights and outputs."""
    formats = [fields[name] for name in ("input_format", "output_format", "residual_format")]
    if not chip.floating_point:
        for name, only in (("floating", 0), ("input_signed", 0), ("input_zero_point", 0), ("weight_slices", 1)):
            if fields[name] != only:
                yield f"RUN {name} must be {only} on a chip without floating point, not {fields[name]}"
    if max(formats) > max(ElementFormat):
        yield f"RUN has element format {max(formats)}, of which there are {max(ElementFormat)}"
    if not fields["floating"] and any(formats):
        yield f"RUN has element format {ElementFormat(max(formats)).name}, but is not floating"
    if not 1 <= fields["weight_slices"] <= LARGEST_SLICES:
        yield f"RUN weight_slices must be from 1 to {LARGEST_SLICES}, not {fields['weight_slices']}"
    if fields["pooling"] != Pooling.NONE:
        return
    bits = fields["input_bits"]
    if fields["input_format"] == ElementFormat.INTEGER:
        if not 1 <= bits <= chip.input_planes:
            yield f"RUN input_bits must be from 1 to {chip.input_planes}, not {bits}"
        return
    allowed = [width for width in ALIGNED_BITS if width <= chip.aligned_bits]
    if bits not in allowed:
        yield f"RUN input_bits of floating-point inputs must be one of {', '.join(map(str, allowed))}, not {bits}"
    if not fields["input_signed"]:
        yield "RUN input_signed must be 1 with floating-point inputs"
    if not fields["tap_exponents"]:
        yield "RUN tap_exponents must not be 0 with floating-point inputs"


def _units(fields: Mapping[str, int], chip: ChipConfig) -> Iterator[str]:
    """Fields of the compute units."""
    largest = {UnitKind.TINY: max(TinyMode), UnitKind.SRAM: chip.sram_segments.bit_length() - 1}
    for unit, kind in enumerate(chip.units):
        tiles, mode = fields[f"tiles[{unit}]"], fields[f"mode[{unit}]"]
        copy, copies = fields[f"copy[{unit}]"], fields["copies"]
        if tiles and copy >= copies:
            yield f"RUN unit {unit} ({kind.value}) is of copy {copy}, but copies is {copies}"
        if tiles > chip.accumulator_tiles:
            yield f"RUN accumulates {tiles} tiles in unit {unit}, which has {chip.accumulator_tiles}"
        if mode > largest.get(kind, 0):
            yield f"RUN unit {unit} ({kind.value}) has no mode {mode}"
        if kind is UnitKind.TINY and tiles and mode == TinyMode.MAX and fields["weight_slices"] != 1:
            yield f"RUN weight_slices must be 1 with a maximum (unit {unit}), not {fields['weight_slices']}"
