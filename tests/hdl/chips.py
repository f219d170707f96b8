"""Small chips for block tests: one of each shape that matters."""

from __future__ import annotations

import dataclasses

from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS

TINY = PRESETS["tiny"]
#: Other proportions: a vector of two words, more lanes, other cells, two banks of each kind.
OTHER = ChipConfig(
    name="other", rows=16, channels=8, memristor_banks=2, memristor_slots=8, sram_banks=2, sram_slots=8, tiny_banks=2,
    tiny_words=32, accumulator_tiles=8, activation_words=256, activation_banks=4, weight_words=64, program_commands=8,
    parameter_tiles=16, output_lanes=8, adc_bits=4, conductance_bits=6, weight_mode="MM-1",
)  # fmt: skip
#: The other encodings of weights.
OFFSET = dataclasses.replace(TINY, name="offset", encoding="offset", weight_mode="MM-2")
TWOS_COMPLEMENT = dataclasses.replace(TINY, name="twos_complement", encoding="twos_complement", weight_mode="MM-S")
#: Without floating point, and with the widest integers.
NO_FLOAT = dataclasses.replace(TINY, name="no_float", aligned_bits=0)
WIDEST = dataclasses.replace(TINY, name="widest", aligned_bits=16)
#: SRAM-CIM banks that take several bit planes in a cycle.
TWO_PLANES = dataclasses.replace(TINY, name="two_planes", sram_planes=2)
FOUR_PLANES = dataclasses.replace(NO_FLOAT, name="four_planes", sram_planes=4, load_cycles=4)
SIX_PLANES = dataclasses.replace(TINY, name="six_planes", sram_planes=6)
#: Long ways halved, as on boards.
DEEP = dataclasses.replace(
    NO_FLOAT, name="deep", deep_pipeline=1, feeder_words=2, window_words=16, activation_banks=4, sram_planes=2,
    load_cycles=2,
)  # fmt: skip
DEEP_ENGINES = dataclasses.replace(
    DEEP, name="deep_engines", engines=2, memristor_banks=2, sram_banks=4, tiny_banks=2, spare_columns=2,
    feeder_words=4, window_words=12, vector_queue=3, sram_planes=3, encoding="offset", conductance_bits=4,
    output_lanes=4, load_cycles=4,
)  # fmt: skip
CHIPS = [TINY, OTHER, NO_FLOAT, WIDEST, TWO_PLANES, FOUR_PLANES, SIX_PLANES, DEEP]
