# amaranth: UnusedElaboratable=no
# Only for the members that components of some kinds have are they made, too.

"""Engine: an equal share of the compute units of every kind, and an output pipeline for what they compute."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out, connect

from .commands import Pooling
from .config import ChipConfig, UnitKind
from .emission import for_fpga, once
from .interfaces import UNIT_LAYOUT, load_members, result_layout, run_view, vector_layout
from .memory.store import Store
from .output.arbiter import ResultArbiter
from .output.pipeline import TILE_BITS, OutputPipeline
from .unit import ComputeUnit, own_members

#: Inputs of memristor banks of which every bank has its own; the others are the same for all.
OF_EACH_BANK = ("program_valid", "repair_write", "verify_enable", "adc_write", "seed")
#: What a memristor bank takes only while the other input is high; otherwise it sees 0, and nothing in it moves.
TAKEN_WITH = {
    **dict.fromkeys(("program_last", "program_word", "program_column", "program_cells"), "program_valid"),
    **dict.fromkeys(("repair_word", "repair_spare", "repair_column"), "repair_write"),
    **dict.fromkeys(("verify_connect", "verify_word", "verify_lines", "verify_column"), "verify_enable"),
    **dict.fromkeys(("adc_number", "adc_parameter", "adc_value"), "adc_write"),
    **dict.fromkeys(("noise_index", "noise_value"), "noise_write"),
    "seed": "seed_write",
}
#: Ports of the output pipeline that lead to memories which all engines share.
MEMORY_PORTS = (
    "residual_enable", "residual_ready", "residual_wide", "residual_address", "residual_banks", "residual_data",
    "write_lanes", "write_ready", "write_wide", "write_address", "write_data",
    "exponent_write", "exponent_ready", "exponent_address", "exponent_data",
)  # fmt: skip
#: What the output pipeline tells the layer controller.
REPORTS = ("written", "parameter_fault", "parameter", "output_fault", "output_address")
#: Stores of the output pipeline that the host fills, by the name of their registers.Region, in lower case.
STORES = ("parameters", "tiles")


def engine_kinds(chip: ChipConfig) -> tuple[UnitKind, ...]:
    """Kind of each unit of an engine."""
    return tuple(kind for unit, kind in enumerate(chip.units) if chip.engine_of(unit) == 0)


def engine_units(chip: ChipConfig, engine: int) -> list[int]:
    """Number on the chip of each unit of an engine, in the order of engine_kinds."""
    return [unit for unit in range(len(chip.units)) if chip.engine_of(unit) == engine]


def memristor_inputs(chip: ChipConfig) -> dict[str, Member]:
    """Inputs of an engine for its memristor banks: those OF_EACH_BANK are arrays, one element a bank."""
    banks = chip.memristor_banks // chip.engines
    return {
        name: In(data.ArrayLayout(member.shape, banks)) if name in OF_EACH_BANK else member
        for name, member in (own_members(UnitKind.MEMRISTOR, chip).items() if banks else ())
        if member.flow is In
    }


#: Entries up to which the tile map is a quick memory: the way from it to the activation memory is a long one.
QUICK_TILES = 64


class Engine(wiring.Component):
    """vector stream -> activation memory.

    ```
               .-> memristor units ---.
     vector ---+-> SRAM-CIM units ----+--> arbiter --> output pipeline --> activation and exponent memory
               '-> tiny-digital units '                (parameters, tile map)
    ```

    Members
    -------
    clear : resets all but what the host has set.    start : one cycle, begins a layer.
    run : fields of the command, constant while vectors are in flight.    fields : those of each unit.
    valid, ready, payload : vector stream, with one handshake per unit.
    pool_valid, pool_ready, pool_payload : result stream of the float pool, taken instead of the units' if run.pooling.
    load_* : a part of a weight word, for any of the units (load_members).
    host_address, host_data, <store>_write, <store>_read, <store>_data : the host's access to each of STORES.
    MEMORY_PORTS, REPORTS : see OutputPipeline.    memristor_inputs : see MemristorBank.
    verify_code : of the bank whose verify_enable is high.
    reading, saturations, lines_on : counts of this cycle over the engine's memristor banks.
    fault, fault_unit : one of its units was to read past its memory.    moving : a step is taken or a tile enters.
    busy : vectors, steps, results or tiles are inside.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        pipeline = OutputPipeline(chip).signature.members
        kinds = engine_kinds(chip)
        banks = max(kinds.count(UnitKind.MEMRISTOR), 1)
        super().__init__(
            {
                "clear": In(1),
                "start": In(1),
                "run": In(run_view()),
                "fields": In(data.ArrayLayout(UNIT_LAYOUT, len(kinds))),
                "valid": In(len(kinds)),
                "ready": Out(len(kinds)),
                "payload": In(vector_layout(chip)),
                "pool_valid": In(1),
                "pool_ready": Out(1),
                "pool_payload": In(result_layout(chip)),
                **load_members(chip, len(kinds)),
                "host_address": In(26),
                "host_data": In(32),
                **{f"{store}_{access}": In(1) for store in STORES for access in ("write", "read")},
                **{f"{store}_data": Out(32) for store in STORES},
                **{name: pipeline[name] for name in (*MEMORY_PORTS, *REPORTS)},
                **memristor_inputs(chip),
                "verify_code": Out(chip.conductance_bits),
                "reading": Out(range(banks + 1)),
                "saturations": Out(range(chip.adcs * banks + 1)),
                "lines_on": Out(range(chip.rows * banks + 1)),
                "fault": Out(1),
                "fault_unit": Out(range(max(len(kinds), 2))),
                "moving": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        m.submodules.arbiter = arbiter = ResetInserter(self.clear)(ResultArbiter(chip))
        m.submodules.output = pipeline = ResetInserter(self.clear)(OutputPipeline(chip))
        pooled = self.run.pooling != Pooling.NONE if chip.floating_point else C(0)  # without it there is no pool
        m.d.comb += [
            pipeline.result.payload.eq(Mux(pooled, self.pool_payload, arbiter.result.payload)),
            pipeline.result.valid.eq(Mux(pooled, self.pool_valid, arbiter.result.valid)),
            arbiter.result.ready.eq(pipeline.result.ready),
            self.pool_ready.eq(pipeline.result.ready),
        ]
        self._build_stores(m, pipeline)
        units: list[ComputeUnit] = []
        memristors: list[ComputeUnit] = []
        for number, kind in enumerate(engine_kinds(chip)):
            unit = ComputeUnit(chip, kind)
            m.submodules[f"unit{number}"] = once(unit, f"unit_{kind.value}", platform)
            connect(m, unit.result, getattr(arbiter, f"unit{number}"))
            m.d.comb += [
                unit.clear.eq(self.clear),
                unit.start.eq(self.start),
                unit.run.eq(self.run),
                unit.fields.eq(self.fields[number]),
                # Units that do not take the vector do not see it: fewer toggles, but a LUT a bit.
                unit.vector.payload.eq(
                    self.payload if for_fpga(platform) else Mux(self.valid[number], self.payload, 0)
                ),
                unit.vector.valid.eq(self.valid[number]),
                self.ready[number].eq(unit.vector.ready),
                unit.load_enable.eq(self.load_enable[number]),
                unit.load_address.eq(self.load_address),
                unit.load_data.eq(self.load_data),
            ]
            with m.If(unit.fault):
                m.d.comb += [self.fault.eq(1), self.fault_unit.eq(number)]
            units.append(unit)
            if kind is UnitKind.MEMRISTOR:
                own = {
                    name: getattr(self, name)[len(memristors)] if name in OF_EACH_BANK else getattr(self, name)
                    for name in memristor_inputs(chip)
                }
                for name, value in own.items():
                    seen = Mux(own[TAKEN_WITH[name]], value, 0) if name in TAKEN_WITH else value
                    m.d.comb += getattr(unit, name).eq(seen)
                memristors.append(unit)
        moving = Signal()
        m.d.comb += [
            self.reading.eq(_sum(unit.reading for unit in memristors)),
            self.saturations.eq(_sum(unit.saturations for unit in memristors)),
            self.lines_on.eq(_sum(unit.lines_on for unit in memristors)),
            moving.eq(Cat(unit.moving for unit in units).any()),
            self.moving.eq(moving | (pipeline.result.valid & pipeline.result.ready)),
            self.busy.eq(Cat(unit.busy for unit in units).any() | pipeline.result.valid | pipeline.busy),
            pipeline.run.eq(self.run),
        ]
        if memristors:
            codes = Array(unit.verify_code for unit in memristors)
            selected = Signal(range(max(len(memristors), 2)))
            for number in range(len(memristors)):
                with m.If(self.verify_enable[number]):
                    m.d.comb += selected.eq(number)
            m.d.comb += self.verify_code.eq(codes[selected])
        pipeline_members = OutputPipeline(chip).signature.members
        for name in (*MEMORY_PORTS, *REPORTS):
            outside, inside = getattr(self, name), getattr(pipeline, name)
            m.d.comb += inside.eq(outside) if pipeline_members[name].flow is In else outside.eq(inside)
        return m

    def _build_stores(self, m: Module, pipeline: OutputPipeline) -> None:
        """Parameters and tile map of the output pipeline."""
        chip = self._chip
        beats = chip.channels // chip.output_lanes
        m.submodules.parameters = parameters = Store(chip.output_lanes * 64, chip.parameter_tiles * beats)
        m.submodules.tiles = tiles = Store(TILE_BITS, chip.parameter_tiles, quick=chip.parameter_tiles <= QUICK_TILES)
        for name, store in zip(STORES, (parameters, tiles), strict=True):
            m.d.comb += [
                store.host_address.eq(self.host_address),
                store.host_data.eq(self.host_data),
                store.host_write.eq(getattr(self, f"{name}_write")),
                store.host_read.eq(getattr(self, f"{name}_read")),
                getattr(self, f"{name}_data").eq(store.host_read_data),
            ]
        m.d.comb += [
            tiles.read_enable.eq(pipeline.tile_enable),
            tiles.read_address.eq(pipeline.tile_address),
            pipeline.tile_data.eq(tiles.read_data),
            parameters.read_enable.eq(pipeline.parameter_enable),
            parameters.read_address.eq(pipeline.parameter_address),
            pipeline.parameter_data.eq(parameters.read_data),
        ]


def _sum(values) -> Value:
    """Sum of any number of values."""
    return sum(values, Value.cast(0))
