"""Which kernels of which layer run on which kind of compute unit.

Rule by default (`default_unit`):

1. Depthwise, pooling and identity layers: tiny-digital. A CIM unit would hold them as a diagonal, with 1 weight in
   `channels` used; a maximum is something that only tiny-digital can do. Pooling and identity layers of floating-point
   inputs: no unit at all. The float pool does them, and no rule by hand may name them.
2. Convolution and fully connected layers that take no more cycles (cycles.py) on tiny-digital than on SRAM-CIM:
   tiny-digital. These are few-input kernels, since tiny-digital takes a row a cycle for each kernel tile, SRAM-CIM an
   input bit of a whole vector; and kernels too long for a unit of SRAM-CIM.
3. All other convolution and fully connected layers: SRAM-CIM, which is exact. With `hidden` set to another kind, hidden
   convolutions go there instead: not the first layer with weights, not the last one, no fully connected layer (these
   are the ones that the paper's policy keeps on SRAM-CIM), and no layer of case 1.

By hand (`placement_rules`), one rule a string; a file holds one rule a line, "#" starts a comment::

    conv3=memristor                                  all kernels of the layer of that name
    layer3=tiny                                      ... of the third layer in execution order
    layer5:0-15=memristor,16-31=sram                 kernel ranges, both ends included; they name every kernel once
    *=sram                                           layers that no other rule names (max-pooling stays on tiny, and
                                                     what the float pool does in the pool)
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mixcim_hdl.config import ChipConfig, UnitKind

from ..errors import MixcimError
from .cycles import work_of
from .merge import merged_view, plain_view
from .network import Layer, LayerKind, Network
from .portions import dense_portions, unit_tiles

_RANGED = re.compile(r"(?P<layer>.+?):(?P<parts>\d+(-\d+)?=[^=,:]*(,\d+(-\d+)?=[^=,:]*)*)")
_WHOLE = re.compile(r"(?P<layer>.+)=(?P<unit>[^=]*)")

#: Layer name -> kind of unit of each of its kernels; None: the float pool, which has all kernels of a layer.
Placement = dict[str, tuple[UnitKind | None, ...]]


def place(
    network: Network, chip: ChipConfig, placement_rules: Iterable[str] = (), hidden: UnitKind | str | None = None
) -> Placement:
    """Kind of unit for every kernel of every layer: the rules given by hand, and the default rule for the rest.

    `hidden`: kind of unit for hidden convolutions by default (None: SRAM-CIM). Raises MixcimError in one line: layer or
    kernel that is not there, kernels placed twice or not at all, unknown unit, a kind of unit that the chip lacks, a
    maximum on anything but tiny-digital.
    """
    hidden = _unit(hidden, chip, "--hidden") if isinstance(hidden, str) else hidden
    if hidden is not None:
        _check_on_chip(hidden, chip, "--hidden")
    rules: dict[str, list[tuple[int, int, UnitKind]]] = {}
    everywhere: UnitKind | None = None
    for rule in placement_rules:
        layer_text, parts = _parse(rule, chip)
        if layer_text == "*":
            if everywhere is not None:
                raise MixcimError(f"placement '{rule}': '*' is placed twice; keep one of the two rules")
            if parts[0][0] is not None:
                raise MixcimError(f"placement '{rule}': '*' takes no kernel ranges; write '*=UNIT'")
            everywhere = parts[0][2]
            continue
        layer = find_layer(network, layer_text, f"placement '{rule}'")
        last = kernel_count(network, layer) - 1
        for low, high, unit in parts:
            _check_kind(network, layer, unit, rule)
            low, high = (0, last) if low is None or high is None else (low, high)
            if low > high:
                raise MixcimError(
                    f"placement '{rule}': kernel range {low}-{high} is empty; write the smaller one first"
                )
            if high > last:
                raise MixcimError(
                    f"placement '{rule}': layer '{layer.name}' has kernels 0 to {last}, there is no kernel {high}"
                )
            rules.setdefault(layer.name, []).append((low, high, unit))
    placement: Placement = {}
    for layer in network.layers:
        if layer.name in rules:
            placement[layer.name] = _cover(layer, kernel_count(network, layer), rules[layer.name])
        else:
            unit = default_unit(network, layer, chip, hidden)
            if everywhere is not None and unit is not None and layer.kind is not LayerKind.MAX_POOL:
                unit = everywhere
            placement[layer.name] = (unit,) * kernel_count(network, layer)
    return placement


def read_placement_file(path: Path | str) -> list[str]:
    """Placement rules of a file: one a line, without comments and empty lines. Raises MixcimError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MixcimError(f"placement file '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MixcimError(
            f"placement file '{path}' is not text: write one rule a line, such as 'layer3=sram'"
        ) from None
    lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def kernel_count(network: Network, layer: Layer) -> int:
    """Kernels of a layer = channels of its output tensor."""
    return network.tensors[layer.output].shape[2]


def is_fully_connected(network: Network, layer: Layer) -> bool:
    """True for a convolution whose single window is the whole input."""
    return layer.kind is LayerKind.CONVOLUTION and layer.kernel == network.tensors[layer.input].shape[:2]


def default_unit(network: Network, layer: Layer, chip: ChipConfig, hidden: UnitKind | None = None) -> UnitKind | None:
    """Kind of unit for all kernels of a layer that no rule places; see the head of this file."""
    if network.pools(layer):
        return None
    if layer.kind is not LayerKind.CONVOLUTION:
        return UnitKind.TINY
    weighted = [item.name for item in network.layers if item.weight is not None]
    is_hidden = layer.name not in (weighted[0], weighted[-1]) and not is_fully_connected(network, layer)
    if hidden is not None and is_hidden:
        return hidden
    views = {kind: [plain_view(network, layer, chip)] for kind in (UnitKind.TINY, UnitKind.SRAM)}
    units = (UnitKind.SRAM,) * kernel_count(network, layer)
    if (merged := merged_view(network, layer, units, None, chip)) is not None:
        views[UnitKind.SRAM].append(merged)

    def cycles(kind: UnitKind) -> float:
        fewest = math.inf
        for view in views[kind]:
            if unit_tiles(kind, view.window, chip):
                work = work_of(view.network, view.layer, view.window)
                portions = dense_portions(work, {kind: len(view.places)}, chip)
                fewest = min(fewest, sum(portion.cycles for portion in portions))
        return fewest

    if chip.sram_banks == 0:
        return UnitKind.TINY
    on_tiny, on_sram = cycles(UnitKind.TINY), cycles(UnitKind.SRAM)
    return UnitKind.TINY if on_tiny <= on_sram and on_tiny < math.inf else UnitKind.SRAM


def find_layer(network: Network, text: str, where: str) -> Layer:
    """Layer of that name, or of that number in execution order (`layer1` is the first).

    Raises MixcimError that begins with `where`, what the layer is needed for.
    """
    for layer in network.layers:
        if layer.name == text:
            return layer
    number = re.fullmatch(r"layer(\d+)", text)
    if number and 1 <= int(number[1]) <= len(network.layers):
        return network.layers[int(number[1]) - 1]
    names = [layer.name for layer in network.layers]
    near = difflib.get_close_matches(text, names, 3, 0.4)
    hint = f"names like it: {', '.join(near)}" if near else f"its first layers: {', '.join(names[:3])}"
    raise MixcimError(
        f"{where}: network '{network.name}' has no layer '{text}'; it has layer1 to layer{len(names)}, {hint}"
    )


def _parse(rule: str, chip: ChipConfig) -> tuple[str, list[tuple[int | None, int | None, UnitKind]]]:
    """Layer text and (first kernel, last kernel, unit) of a rule; both kernels None for all of them."""
    match = _RANGED.fullmatch(rule.strip())
    if match:
        parts: list[tuple[int | None, int | None, UnitKind]] = []
        for part in match["parts"].split(","):
            kernels, unit = part.split("=")
            low, _, high = kernels.partition("-")
            parts.append((int(low), int(high or low), _unit(unit, chip, f"placement '{rule}'")))
        return match["layer"].strip(), parts
    match = _WHOLE.fullmatch(rule.strip())
    if not match:
        raise MixcimError(f"placement '{rule}' must read LAYER=UNIT or LAYER:0-15=UNIT,16-31=UNIT")
    return match["layer"].strip(), [(None, None, _unit(match["unit"], chip, f"placement '{rule}'"))]


def _unit(text: str, chip: ChipConfig, where: str) -> UnitKind:
    try:
        unit = UnitKind(text.strip())
    except ValueError:
        known = ", ".join(kind.value for kind in UnitKind)
        raise MixcimError(f"{where}: unit must be one of {known}, not '{text.strip()}'") from None
    _check_on_chip(unit, chip, where)
    return unit


def _check_on_chip(unit: UnitKind, chip: ChipConfig, where: str) -> None:
    if unit not in chip.units:
        present = ", ".join(dict.fromkeys(kind.value for kind in chip.units))
        raise MixcimError(f"{where}: chip '{chip.name}' has no {unit.value} unit, only {present}")


def _check_kind(network: Network, layer: Layer, unit: UnitKind, rule: str) -> None:
    if network.pools(layer):
        raise MixcimError(
            f"placement '{rule}': layer '{layer.name}' has no weights and floating-point inputs, which the float pool "
            f"sums or compares in FP32, no unit; leave the rule out"
        )
    if layer.kind is LayerKind.MAX_POOL and unit is not UnitKind.TINY:
        raise MixcimError(
            f"placement '{rule}': layer '{layer.name}' is a max-pooling, which only tiny units do; write tiny"
        )


def _cover(layer: Layer, count: int, ranges: list[tuple[int, int, UnitKind]]) -> tuple[UnitKind, ...]:
    """Kind of each kernel from ranges that must name every kernel exactly once."""
    owner = np.full(count, -1)
    for index, (low, high, _) in enumerate(ranges):
        taken = np.flatnonzero(owner[low : high + 1] >= 0)
        if taken.size:
            raise MixcimError(
                f"placement of layer '{layer.name}': kernel {low + int(taken[0])} is placed twice; "
                "each kernel goes to one unit"
            )
        owner[low : high + 1] = index
    missing = np.flatnonzero(owner < 0)
    if missing.size:
        raise MixcimError(
            f"placement of layer '{layer.name}': {missing.size} of its kernels 0 to {count - 1} are not placed, "
            f"the first is {int(missing[0])}; name every kernel"
        )
    return tuple(ranges[index][2] for index in owner)
