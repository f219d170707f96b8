"""Number formats of a network's layers: what they are called, and rules for whole networks and single layers.

A rule reads FORMAT, INPUTS/WEIGHTS, LAYER=FORMAT or LAYER=INPUTS/WEIGHTS, with the layer's name or layer1, layer2, ...
in execution order (* for all)::

    bf16                 inputs and weights of all layers
    bf16/int8            inputs of all layers in BF16, their weights in int8
    conv1=fp8_e4m3       that layer only
    layer3=int8

Layers that no rule names are int8/int8. Formats: int8, int4 (codes 0..15, weights up to 7), bf16, fp16, fp8_e4m3,
fp8_e5m2. A tensor has the input format of the layers whose window reads it; a second operand of an Add may have any
format, and has that of its Add's layer if no window reads it. The network's output is INTEGER if its layer has integer
inputs; otherwise it has the layer's input format, FP16 for FP8. In int4 the network's own input has the step of 16
codes, but beyond the calibrated range it may reach 255.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mixcim_hdl.floating import ALIGNED_BITS, ElementFormat, Rounding

from ..errors import MixcimError
from .network import Network
from .placement import find_layer

DEFAULT_ALIGNED_BITS = 12


@dataclass(frozen=True)
class NumberFormat:
    """A format by the name that the user gives it. `bits`: width of a number."""

    name: str
    element: ElementFormat
    bits: int

    @property
    def largest_code(self) -> int:
        """Largest code of an activation; the smallest is 0."""
        return (1 << self.bits) - 1

    @property
    def largest_weight(self) -> int:
        """Largest magnitude of an integer weight."""
        return (1 << self.bits - 1) - 1


INT8, INT4 = (NumberFormat(f"int{bits}", ElementFormat.INTEGER, bits) for bits in (8, 4))
FP16 = NumberFormat("fp16", ElementFormat.FP16, 16)
NUMBER_FORMATS = {
    item.name: item
    for item in (
        INT8,
        INT4,
        *(
            NumberFormat(element.name.lower(), element, 8 * element.bytes)
            for element in ElementFormat
            if element is not ElementFormat.INTEGER
        ),
    )
}


@dataclass(frozen=True)
class LayerFormat:
    """Formats of a layer's inputs and of its weights."""

    inputs: NumberFormat = INT8
    weights: NumberFormat = INT8

    def __str__(self) -> str:
        return f"{self.inputs.name}/{self.weights.name}"


@dataclass(frozen=True)
class Formats:
    """What the user chose; see the head of this file.

    `default`: of layers that `rules` (layer text -> format) does not name. `aligned_bits`, `weight_aligned_bits`: width
    of aligned inputs and weights, sign included. `rounding`: of alignment. `output`: of the network's output, None for
    the rule above.
    """

    default: LayerFormat = LayerFormat()
    rules: Mapping[str, LayerFormat] = field(default_factory=dict)
    aligned_bits: int = DEFAULT_ALIGNED_BITS
    weight_aligned_bits: int = DEFAULT_ALIGNED_BITS
    rounding: Rounding = Rounding.NEAREST_EVEN
    output: NumberFormat | None = None

    @property
    def floating(self) -> NumberFormat | None:
        """A floating-point format among them, None if there is none."""
        layers = (self.default, *self.rules.values())
        items = (*(part for item in layers for part in (item.inputs, item.weights)), self.output)
        return next((item for item in items if item and item.element is not ElementFormat.INTEGER), None)

    @property
    def integer_weight_bits(self) -> int | None:
        """Width of all weights if the network is quantised to integers in one way everywhere, else None."""
        if {self.default, *self.rules.values()} != {self.default} or self.output not in (None, INT8):
            return None
        integer = self.default.weights.element is ElementFormat.INTEGER
        return self.default.weights.bits if integer and self.default.inputs == INT8 else None

    def of(self, network: Network) -> dict[str, LayerFormat]:
        """Format of each layer by its name. Raises MixcimError for a rule about no layer, or two about one."""
        formats = dict.fromkeys((layer.name for layer in network.layers), self.default)
        named: dict[str, str] = {}
        for text, item in self.rules.items():
            name = find_layer(network, text, f"format '{text}={item}'").name
            if name in named:
                raise MixcimError(f"format '{text}={item}': layer '{name}' has one as '{named[name]}'; give one rule")
            named[name], formats[name] = text, item
        return formats


def parse_formats(
    rules: Iterable[str],
    largest_aligned_bits: int,
    aligned_bits: int | None = None,
    weight_aligned_bits: int | None = None,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    output: str | None = None,
) -> Formats:
    """Formats from rules as on the command line. `largest_aligned_bits`: what the chip can align to, 0 for none.

    `aligned_bits` defaults to 12, or what the chip can; `weight_aligned_bits` to the same. Raises MixcimError for an
    unknown format, two rules about the same layer, a width that there is not, and floating point on a chip without.
    """
    default: LayerFormat | None = None
    layers: dict[str, LayerFormat] = {}
    for rule in rules:
        text, equals, format_text = rule.rpartition("=")
        name = text.strip() if equals else "*"
        item = _layer_format(format_text, f"format '{rule}'")
        if name in layers or (name == "*" and default is not None):
            thing = "the network" if name == "*" else f"layer '{name}'"
            raise MixcimError(f"format '{rule}': {thing} has a format already; give one rule")
        if name == "*":
            default = item
        else:
            layers[name] = item
    output_format = None if output is None else _number_format(output, "--output-format")
    if output_format == INT4:
        raise MixcimError("--output-format: an output of 4 bits saves nothing; give int8")
    default = default or LayerFormat()
    floating = Formats(default, layers, output=output_format).floating
    if floating and not largest_aligned_bits:
        raise MixcimError(
            f"the chip has no floating point (aligned_bits = 0), but a format is {floating.name}: choose another chip, "
            "or int8"
        )
    if aligned_bits is None:
        aligned_bits = min(DEFAULT_ALIGNED_BITS, largest_aligned_bits or DEFAULT_ALIGNED_BITS)
    if weight_aligned_bits is None:
        weight_aligned_bits = aligned_bits
    for option, bits in (("--aligned-bits", aligned_bits), ("--weight-aligned-bits", weight_aligned_bits)):
        if bits not in ALIGNED_BITS:
            raise MixcimError(f"{option} must be one of {', '.join(map(str, ALIGNED_BITS))}, not {bits}")
    if floating and aligned_bits > largest_aligned_bits:
        raise MixcimError(f"--aligned-bits {aligned_bits}: the chip aligns to {largest_aligned_bits} bits at most")
    return Formats(default, layers, aligned_bits, weight_aligned_bits, rounding, output_format)


def _layer_format(text: str, where: str) -> LayerFormat:
    inputs, slash, weights = text.partition("/")
    return LayerFormat(_number_format(inputs, where), _number_format(weights if slash else inputs, where))


def _number_format(text: str, where: str) -> NumberFormat:
    name = text.strip().lower()
    if name not in NUMBER_FORMATS:
        raise MixcimError(f"{where}: number format must be one of {', '.join(NUMBER_FORMATS)}, not '{text.strip()}'")
    return NUMBER_FORMATS[name]
