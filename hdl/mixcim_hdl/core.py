"""Core: host port, memories, layer controller and the datapath of a layer."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out, connect

from .commands import Fault, Opcode, Pooling
from .config import ChipConfig
from .control.axi_lite import AxiLiteSlave, axi_lite_ports, forward_axi_lite
from .control.event_counters import EventCounters
from .control.layer_controller import LayerController
from .control.loader import Loader
from .control.register_bank import RegisterBank
from .engine import Engine
from .feeder.feeder import Feeder
from .interfaces import run_view
from .memory.activation import ActivationMemory
from .memory.exponent import ExponentMemory
from .memory.store import Store
from .output.pipeline import TILE_BITS, OutputPipeline
from .pool.float_pool import FloatPool
from .primitives.ram import Ram
from .registers import program_stride

#: Ports through which the host programs the memristor banks and sets their parameters.
MEMRISTOR_PORTS = (
    "program_banks", "program_last", "program_word", "program_column", "program_cells",
    "repair_write", "repair_word", "repair_spare", "repair_column",
    "write_start", "write_bank", "write_first", "write_targets", "write_held", "write_registers",
    "adc_write", "adc_number", "adc_parameter", "adc_value", "noise_write", "noise_index", "noise_value",
    "seed_write", "seed",
)  # fmt: skip


class Core(wiring.Component):
    """The whole chip behind an AXI4-Lite slave port and an interrupt.

    ```
     host --> AXI4-Lite slave --> register bank --> program, weight, parameter, tile stores; cycle log
                                       |
                              layer controller --> loader --> weights of the units
                                       |
     activation memory -+-> feeder --> engine -+-> output pipeline --> activation memory
     (exponent memory)  '---> float pool ------'                       (exponent memory)

    Exponent memory and float pool: chips with floating point. A RUN goes through the engine or through the pool.
    ```

    Members
    -------
    s_axi_* : AXI4-Lite slave, 32-bit address and data (registers.py has the map).
    interrupt : high while an enabled cause is pending.
    """

    def __init__(self, chip: ChipConfig):
        self.chip = chip
        super().__init__({**axi_lite_ports(), "interrupt": Out(1)})

    def elaborate(self, platform):
        m = Module()
        chip = self.chip
        m.submodules.axi = axi = AxiLiteSlave()
        m.submodules.register_bank = host = RegisterBank(chip)
        m.submodules.layer_controller = controller = LayerController(chip)
        m.submodules.program = program = Store(32, chip.program_commands * program_stride(chip))
        m.submodules.weights = weights = Store(chip.rows * 8, chip.weight_words)
        m.submodules.parameters = parameters = Store(
            chip.output_lanes * 64, chip.parameter_tiles * chip.channels // chip.output_lanes
        )
        m.submodules.tiles = tiles = Store(TILE_BITS, chip.parameter_tiles)
        m.submodules.cycle_log = cycle_log = Ram(32, chip.program_commands)
        m.submodules.activations = activations = ActivationMemory(chip)
        clear = Signal()
        feeder, loader, engine, pipeline = Feeder(chip), Loader(), Engine(chip), OutputPipeline(chip)
        for name, block in {"feeder": feeder, "loader": loader, "engine": engine, "output": pipeline}.items():
            m.submodules[name] = ResetInserter(clear)(block)
        forward_axi_lite(m, self, axi)
        connect(m, axi.request, host.request)
        connect(m, host.response, axi.response)
        connect(m, feeder.vector, engine.vector)
        connect(m, engine.result, pipeline.result)

        self._build_control(m, host, controller, feeder, loader, engine, pipeline, clear)
        self._build_stores(
            m, host, controller, program, weights, parameters, tiles, cycle_log, loader, engine, pipeline
        )
        self._build_activations(m, host, controller, activations, feeder, pipeline)
        if chip.floating_point:
            m.submodules.exponents = exponents = ExponentMemory(chip)
            self._build_exponents(m, host, controller, exponents, feeder, pipeline)
            pool = FloatPool(chip)
            m.submodules.pool = ResetInserter(clear)(pool)
            self._build_pool(m, controller, activations, feeder, pool, pipeline)
        m.d.comb += self.interrupt.eq(host.interrupt)
        return m

    def _build_control(self, m, host, controller, feeder, loader, engine, pipeline, clear):
        """Host <-> controller <-> datapath: start, status, faults, counters."""
        run = data.View(run_view(self.chip), controller.command)
        m.submodules.event_counters = counters = EventCounters(self.chip)
        for name in (
            "busy",
            "done",
            "fault",
            "fault_command",
            "fault_detail",
            "run_cycles",
            "index",
            "finished",
            "failed",
        ):
            m.d.comb += getattr(host, name).eq(getattr(controller, name))
        m.d.comb += [
            controller.start.eq(host.start),
            controller.abort.eq(host.abort),
            controller.watchdog.eq(host.watchdog),
            controller.run_busy.eq(feeder.busy | engine.busy | pipeline.busy),
            controller.written.eq(pipeline.written),
            controller.load_busy.eq(loader.busy),
            controller.progress.eq(
                engine.moving
                | loader.busy
                | pipeline.written
                | (engine.reading != 0)
                | (feeder.read_enable & feeder.read_ready)
                | feeder.exponent_enable
            ),
            feeder.start.eq(controller.run_start),
            feeder.run.eq(run),
            engine.run.eq(run),
            engine.table.eq(controller.table),
            pipeline.run.eq(run),
            counters.clear.eq(host.start & ~controller.busy),
            counters.memristor_reads.eq(engine.reading),
            counters.adc_conversions.eq(engine.reading * self.chip.adcs),
            counters.adc_saturations.eq(engine.saturations),
            counters.word_lines_on.eq(engine.lines_on),
            host.event_counts.eq(counters.counts),
            clear.eq(controller.clear),
        ]
        sources = {
            Fault.INPUT_ADDRESS: (feeder.fault, feeder.fault_address),
            Fault.OUTPUT_ADDRESS: (pipeline.output_fault, pipeline.output_address),
            Fault.UNIT_ADDRESS: (engine.fault, engine.fault_unit),
            Fault.PARAMETER_ADDRESS: (pipeline.parameter_fault, pipeline.parameter),
        }
        for code, (fault, detail) in sources.items():
            m.d.comb += [controller.faults[code].eq(fault), controller.fault_details[code].eq(detail)]

    def _build_stores(
        self, m, host, controller, program, weights, parameters, tiles, cycle_log, loader, engine, pipeline
    ):
        """Memories that the host fills, and who reads them."""
        for name, store in {"program": program, "weights": weights, "parameters": parameters, "tiles": tiles}.items():
            m.d.comb += [
                store.host_address.eq(host.window_address),
                store.host_data.eq(host.window_data),
                store.host_write.eq(getattr(host, f"{name}_write")),
                store.host_read.eq(getattr(host, f"{name}_read")),
                getattr(host, f"{name}_data").eq(store.host_read_data),
            ]
        m.d.comb += [
            program.read_enable.eq(controller.program_enable),
            program.read_address.eq(controller.program_address),
            controller.program_data.eq(program.read_data),
            weights.read_enable.eq(loader.read_enable),
            weights.read_address.eq(loader.read_address),
            loader.start.eq(controller.load_start),
            tiles.read_enable.eq(pipeline.tile_enable),
            tiles.read_address.eq(pipeline.tile_address),
            pipeline.tile_data.eq(tiles.read_data),
            parameters.read_enable.eq(pipeline.parameter_enable),
            parameters.read_address.eq(pipeline.parameter_address),
            pipeline.parameter_data.eq(parameters.read_data),
            cycle_log.write_enable.eq(controller.log_enable),
            cycle_log.write_address.eq(controller.log_address),
            cycle_log.write_data.eq(controller.log_data),
            cycle_log.read_enable.eq(host.cycles_read),
            cycle_log.read_address.eq(host.window_address),
            host.cycles_data.eq(cycle_log.read_data),
            engine.load_enable.eq(loader.load_enable),
            engine.load_unit.eq(controller.load_unit),
            engine.load_address.eq(loader.load_address),
            engine.load_data.eq(weights.read_data),
        ]
        for name in ("source", "destination", "count"):
            m.d.comb += getattr(loader, name).eq(getattr(controller, f"load_{name}"))
        for name in MEMRISTOR_PORTS:
            m.d.comb += getattr(engine, name).eq(getattr(host, name))
        for name in ("write_busy", "write_refused", "write_wear"):
            m.d.comb += getattr(host, name).eq(getattr(engine, name))
        m.d.comb += [
            engine.wear_read.eq(host.wear_read),
            engine.wear_address.eq(host.window_address),
            host.wear_data.eq(engine.wear_data),
            engine.written_read.eq(host.written_read),
            engine.written_address.eq(host.window_address),
            host.written_data.eq(engine.written_data),
        ]

    def _build_activations(self, m, host, controller, activations, feeder, pipeline):
        """Activation memory: feeder, residual and output pipeline while busy, the host while idle."""
        chip = self.chip
        parts = chip.channels // 4  # 32-bit parts of a word
        select = (parts - 1).bit_length()
        word = host.window_address >> select
        part = host.window_address[:select] if select else 0
        part_read = Signal(max(select, 1))
        with m.If(host.activations_read):
            m.d.sync += part_read.eq(part)
        m.d.comb += [
            activations.first_enable.eq(pipeline.residual_enable),
            activations.first_wide.eq(pipeline.residual_wide),
            activations.first_address.eq(pipeline.residual_address),
            pipeline.residual_data.eq(activations.first_data),
            activations.second_enable.eq(Mux(controller.busy, feeder.read_enable, host.activations_read)),
            activations.second_wide.eq(controller.busy & feeder.read_wide),
            activations.second_address.eq(Mux(controller.busy, feeder.read_address, word)),
            feeder.read_ready.eq(activations.second_ready),
            feeder.read_data.eq(activations.second_data),
            host.activations_data.eq(activations.second_data.word_select(part_read, 32)),
            activations.write_lanes.eq(
                Mux(controller.busy, pipeline.write_lanes, host.activations_write.replicate(4) << (part << 2))
            ),
            activations.write_wide.eq(controller.busy & pipeline.write_wide),
            activations.write_address.eq(Mux(controller.busy, pipeline.write_address, word)),
            activations.write_data.eq(Mux(controller.busy, pipeline.write_data, host.window_data.replicate(parts))),
        ]

    def _build_pool(self, m, controller, activations, feeder, pool, pipeline):
        """Float pool: in a RUN with pooling it takes the place of feeder and engine, after all other connections."""
        run = data.View(run_view(self.chip), controller.command)
        pooled = controller.busy & (run.opcode == Opcode.RUN) & (run.pooling != Pooling.NONE)
        m.d.comb += [
            pool.run.eq(run),
            pool.read_ready.eq(activations.second_ready),
            pool.read_data.eq(activations.second_data),
            pool.result.ready.eq(pipeline.result.ready),
        ]
        with m.If(pooled):
            m.d.comb += [
                feeder.start.eq(0),
                pool.start.eq(controller.run_start),
                controller.run_busy.eq(pool.busy | pipeline.busy),
                controller.progress.eq(pool.moving | pipeline.written),
                controller.faults[Fault.INPUT_ADDRESS].eq(pool.fault),
                controller.fault_details[Fault.INPUT_ADDRESS].eq(pool.fault_address),
                activations.second_enable.eq(pool.read_enable),
                activations.second_wide.eq(pool.read_wide),
                activations.second_address.eq(pool.read_address),
                pipeline.result.valid.eq(pool.result.valid),
                pipeline.result.payload.eq(pool.result.payload),
            ]

    def _build_exponents(self, m, host, controller, exponents, feeder, pipeline):
        """Exponent memory: feeder and output pipeline while busy, the host while idle."""
        m.d.comb += [
            exponents.read_enable.eq(Mux(controller.busy, feeder.exponent_enable, host.exponents_read)),
            exponents.read_address.eq(Mux(controller.busy, feeder.exponent_address, host.window_address)),
            feeder.exponent_data.eq(exponents.read_data),
            host.exponents_data.eq(exponents.read_data),
            exponents.write_enable.eq(Mux(controller.busy, pipeline.exponent_write, host.exponents_write)),
            exponents.write_address.eq(Mux(controller.busy, pipeline.exponent_address, host.window_address)),
            exponents.write_data.eq(Mux(controller.busy, pipeline.exponent_data.as_value(), host.window_data)),
        ]
