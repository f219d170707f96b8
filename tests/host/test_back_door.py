"""A program loaded through the simulator's back door: the same chip as one loaded over the bus."""

import dataclasses

import numpy as np
import pytest

from mixcim.host.processor import Processor
from mixcim.model import ProcessorModel
from mixcim.rtl.interpreted import AmaranthBus
from mixcim.rtl.processor import rtl_processor
from mixcim.rtl.simulator import Simulator
from mixcim_hdl.presets import PRESETS
from model.random_program import random_program

TINY = PRESETS["tiny"]
MANY_BANKS = dataclasses.replace(
    TINY, name="many_banks", channels=8, memristor_banks=2, sram_banks=2, tiny_banks=2, output_lanes=8,
    activation_banks=4, adc_bits=4, conductance_bits=6, weight_mode="MM-1",
)  # fmt: skip


#: Stores in every engine, memory banks by more than one group of address bits, weight words in parts.
ENGINES = dataclasses.replace(MANY_BANKS, name="engines", engines=2, feeder_words=2, activation_banks=8, load_cycles=2)


def simulator(processor: Processor) -> Simulator:
    assert isinstance(processor.bus, Simulator)
    return processor.bus


def memories(processor: Processor) -> dict[str, np.ndarray]:
    return {path: contents.copy() for path, contents in simulator(processor).memories().items()}


@pytest.mark.parametrize("chip", [TINY, MANY_BANKS, ENGINES], ids=lambda chip: chip.name)
def test_memories_outputs_and_cycles_are_those_of_the_bus(chip) -> None:
    moved = 0
    for seed in range(12):
        program, codes = random_program(chip, seed)
        over_bus, directly = rtl_processor(chip), rtl_processor(chip)
        assert directly.open_back_door()
        before = simulator(directly).cycle
        for processor in (over_bus, directly):
            processor.load(program)
            processor.write_input(codes[0])
        assert simulator(directly).cycle - before < simulator(over_bus).cycle - before
        first, second = memories(over_bus), memories(directly)
        assert first.keys() == second.keys()
        for path, contents in first.items():
            assert np.array_equal(contents, second[path]), f"seed {seed}: {path}"
        moved += sum(int(contents.any()) for contents in first.values())
        want = ProcessorModel(chip, program).run(codes[:1])[0]
        for number, code in enumerate(codes):
            (output, counters), (same, same_counters) = over_bus.infer(code), directly.infer(code)
            # The model counts on a fresh chip; random programs read what the input before left behind.
            assert number or np.array_equal(output, want), f"seed {seed}"
            assert np.array_equal(same, output), f"seed {seed}"
            assert counters == same_counters, f"seed {seed}"
        assert np.array_equal(over_bus.command_cycles(), directly.command_cycles())
    assert moved > 100


def test_cells_and_repair_from_any_line_on(chip=MANY_BANKS) -> None:
    over_bus, directly = rtl_processor(chip), rtl_processor(chip)
    directly.open_back_door()
    random = np.random.default_rng(3)
    codes = random.integers(0, 64, (chip.physical_columns + 5, chip.rows)).astype(np.uint8)
    repair = random.integers(0, chip.memristor_columns, (3, chip.spare_columns)).astype(np.uint8)
    for processor in (over_bus, directly):
        processor.set_cells(1, 7, codes)
        processor.set_repair(0, 2, repair)
    first, second = memories(over_bus), memories(directly)
    assert all(np.array_equal(contents, second[path]) for path, contents in first.items())
    assert sum(contents.any() for contents in first.values()) == chip.physical_columns + 1


def test_a_bus_without_memories_has_no_back_door() -> None:
    processor = Processor(AmaranthBus(TINY), TINY)
    assert not processor.open_back_door()
