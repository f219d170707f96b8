"""Core: host port, memories, layer controller and the datapath of a layer."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out, connect

from .banks import bank_bit
from .commands import NOISE_STRIDE, UNIT_FIELDS, Fault, Pooling
from .config import ChipConfig, UnitKind
from .control.axi_lite import AxiLiteSlave, axi_lite_ports, forward_axi_lite, request_layout
from .control.event_counters import EventCounters
from .control.kernel_controller import KernelController
from .control.layer_controller import LayerController
from .control.loader import Loader
from .control.register_bank import RegisterBank
from .emission import once
from .engine import OF_EACH_BANK, STORES, Engine, engine_kinds, engine_units, memristor_inputs
from .feeder.feeder import Feeder
from .interfaces import command_view, run_view
from .memory.activation import ActivationMemory
from .memory.exponent import ExponentMemory
from .memory.store import Store
from .memristor.write_verify import WriteVerify
from .pool.float_pool import FloatPool
from .primitives.delayed import delayed
from .primitives.queues import RegisterQueue
from .primitives.ram import Ram
from .registers import program_stride

#: What the host sets in memristor banks as it is, the same for all of them.
OF_HOST = (
    "repair_word", "repair_spare", "repair_column", "adc_number", "adc_parameter", "adc_value",
    "noise_write", "noise_index", "noise_value", "seed_write",
)  # fmt: skip


def weight_store(chip: ChipConfig) -> Store:
    """The weight store of a chip: parts of words, in the order in which a LOAD takes them."""
    return Store(chip.load_bits, chip.weight_words * chip.load_cycles, late=chip.deep_pipeline)


class Core(wiring.Component):
    """The whole chip behind an AXI4-Lite slave port and an interrupt.

    ```
     host --> AXI4-Lite slave --> register bank --> program and weight store, stores of the engines; cycle log
                                       |
                              layer controller --> loader --> weights of the units
                                       |
     activation memory -+-> feeder --> kernel controller --> engines --> activation memory
     (exponent memory)  '-> float pool ----------------------> engine 0  (exponent memory)

    Exponent memory and float pool: chips with floating point. A RUN goes through the units or through the pool.
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
        m.submodules.axi = axi = AxiLiteSlave(outstanding=16)
        m.submodules.register_bank = host = RegisterBank(chip)
        m.submodules.layer_controller = controller = LayerController(chip)
        m.submodules.kernel_controller = kernel_controller = ResetInserter(controller.clear)(KernelController(chip))
        m.submodules.feeder = feeder = ResetInserter(controller.clear)(Feeder(chip))
        weights = weight_store(chip)
        # In a deep pipeline a word is in a register behind the store, too (_build_stores).
        loader = Loader(chip, weights.latency + chip.deep_pipeline)
        m.submodules.loader = ResetInserter(controller.clear)(loader)
        engines = [Engine(chip) for _ in range(chip.engines)]
        for number, engine in enumerate(engines):
            m.submodules[f"engine{number}"] = once(engine, "engine", platform)
        forward_axi_lite(m, self, axi)
        m.submodules.requests = requests = RegisterQueue(request_layout(32), 2)
        connect(m, axi.request, requests.input)
        connect(m, requests.output, host.request)
        connect(m, host.response, axi.response)
        connect(m, feeder.vector, kernel_controller.vector)

        self._build_control(m, host, controller, feeder, loader, engines)
        self._build_units(m, controller, kernel_controller, loader, engines)
        self._build_stores(m, host, controller, loader, weights, engines)
        activations = self._build_activations(m, host, controller, feeder, engines)
        if chip.floating_point:
            self._build_exponents(m, host, controller, feeder, engines)
            pool = FloatPool(chip)
            m.submodules.pool = ResetInserter(controller.clear)(pool)
            self._build_pool(m, controller, activations, feeder, pool, engines)
        if chip.memristor_banks:
            self._build_memristor(m, host, controller, engines)
        m.d.comb += self.interrupt.eq(host.interrupt)
        return m

    def _build_control(self, m, host, controller, feeder, loader, engines):
        """Host <-> controller <-> datapath: start, status, faults, counters."""
        chip = self.chip
        run = data.View(run_view(), controller.command[: run_view().size])
        m.submodules.event_counters = counters = EventCounters(chip)
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
        reading = sum(engine.reading for engine in engines)
        progress = (
            Cat(engine.moving | engine.written | (engine.reading != 0) for engine in engines).any()
            | (feeder.reads != 0)
            | feeder.exponent_enable
            | loader.busy
        )
        m.d.comb += [
            controller.start.eq(host.start),
            controller.abort.eq(host.abort),
            controller.watchdog.eq(host.watchdog),
            controller.run_busy.eq(feeder.busy | Cat(engine.busy for engine in engines).any()),
            controller.written.eq(sum(engine.written for engine in engines)),
            controller.load_busy.eq(loader.busy),
            controller.progress.eq(delayed(m, progress, chip.deep_pipeline, "progress")),
            feeder.start.eq(controller.run_start),
            feeder.run.eq(run),
            counters.clear.eq(host.start & ~controller.busy),
            counters.memristor_reads.eq(reading),
            counters.adc_conversions.eq(reading * chip.adcs),
            counters.adc_saturations.eq(sum(engine.saturations for engine in engines)),
            counters.word_lines_on.eq(sum(engine.lines_on for engine in engines)),
            host.event_counts.eq(counters.counts),
        ]
        m.d.comb += [controller.faults[Fault.INPUT_ADDRESS].eq(feeder.fault)]
        m.d.comb += [controller.fault_details[Fault.INPUT_ADDRESS].eq(feeder.fault_address)]
        for number, engine in enumerate(engines):
            m.d.comb += [
                engine.clear.eq(controller.clear),
                engine.start.eq(controller.run_start),
                engine.run.eq(run),
            ]
            unit = Array(engine_units(chip, number))[engine.fault_unit]
            for code, fault, detail in (
                (Fault.OUTPUT_ADDRESS, engine.output_fault, engine.output_address),
                (Fault.UNIT_ADDRESS, engine.fault, unit),
                (Fault.PARAMETER_ADDRESS, engine.parameter_fault, engine.parameter),
            ):
                with m.If(fault):
                    m.d.comb += [controller.faults[code].eq(1), controller.fault_details[code].eq(detail)]

    def _build_units(self, m, controller, kernel_controller, loader, engines):
        """What goes to each compute unit: its fields of RUN, vectors, weights."""
        chip = self.chip
        run = data.View(command_view(chip), controller.command)
        for number, engine in enumerate(engines):
            m.d.comb += [
                engine.payload.eq(kernel_controller.vector.payload),
                engine.load_address.eq(loader.load_address),
            ]
            for local, unit in enumerate(engine_units(chip, number)):
                # It is long there when the first word comes.
                loaded = delayed(m, (unit >= loader.first) & (unit < loader.end), chip.deep_pipeline, f"loaded{unit}")
                m.d.comb += [
                    *(engine.fields[local][name].eq(run[f"{name}[{unit}]"]) for name in UNIT_FIELDS),
                    kernel_controller.active[unit].eq(run[f"tiles[{unit}]"] != 0),
                    kernel_controller.copies[unit].eq(run[f"copy[{unit}]"]),
                    engine.valid[local].eq(kernel_controller.valid[unit]),
                    kernel_controller.ready[unit].eq(engine.ready[local]),
                    engine.load_enable[local].eq(loader.load_enable & loaded),
                ]

    def _build_stores(self, m, host, controller, loader, weights, engines):
        """Memories that the host fills, and who reads them. All engines hold the same parameters and tile map."""
        chip = self.chip
        m.submodules.program = program = Store(32, chip.program_commands * program_stride(chip))
        m.submodules.weights = weights
        m.submodules.cycle_log = cycle_log = Ram(32, chip.program_commands)
        for name, store in {"program": program, "weights": weights}.items():
            m.d.comb += [
                store.host_address.eq(host.window_address),
                store.host_data.eq(host.window_data),
                store.host_write.eq(getattr(host, f"{name}_write")),
                store.host_read.eq(getattr(host, f"{name}_read")),
                getattr(host, f"{name}_data").eq(store.host_read_data),
            ]
        accessed = Cat(getattr(host, f"{name}_{access}") for name in STORES for access in ("write", "read")).any()
        # The weight store is the largest memory: its block RAMs lie all over an FPGA.
        word = delayed(m, weights.read_data, chip.deep_pipeline, "weight_word")
        for engine in engines:
            m.d.comb += [
                engine.host_address.eq(Mux(accessed, host.window_address, 0)),
                engine.host_data.eq(Mux(accessed, host.window_data, 0)),
                engine.load_data.eq(word),
            ]
            for name in STORES:
                for access in (f"{name}_write", f"{name}_read"):
                    m.d.comb += getattr(engine, access).eq(getattr(host, access))
        m.d.comb += [
            *(getattr(host, f"{name}_data").eq(getattr(engines[0], f"{name}_data")) for name in STORES),
            program.read_enable.eq(controller.program_enable),
            program.read_address.eq(controller.program_address),
            controller.program_data.eq(program.read_data),
            weights.read_enable.eq(loader.read_enable),
            weights.read_address.eq(loader.read_address),
            loader.start.eq(controller.load_start),
            cycle_log.write_enable.eq(controller.log_enable),
            cycle_log.write_address.eq(controller.log_address),
            cycle_log.write_data.eq(controller.log_data),
            cycle_log.read_enable.eq(host.cycles_read),
            cycle_log.read_address.eq(host.window_address),
            host.cycles_data.eq(delayed(m, cycle_log.read_data, 1, "cycles_data")),
        ]
        for name in ("unit", "units", "source", "destination", "count"):
            m.d.comb += getattr(loader, name).eq(getattr(controller, f"load_{name}"))

    def _build_activations(self, m, host, controller, feeder, engines):
        """The activation memory: engines and feeder while busy; the host while idle, through the first ports."""
        chip = self.chip
        m.submodules.activations = activations = ActivationMemory(chip)
        parts = chip.channels // 4  # 32-bit parts of a word
        select = (parts - 1).bit_length()
        # The host's accesses a cycle later than to stores, whose words have one register more on their way back.
        address, written, reads, writes = (
            delayed(m, value, 1, f"host_{index}")
            for index, value in enumerate(
                (host.window_address, host.window_data, host.activations_read, host.activations_write)
            )
        )
        used = (host.window_address >> select)[: (chip.activation_words - 1).bit_length()]
        host_banks = delayed(m, bank_bit(used, chip.activation_banks), 1, "host_banks")
        word = address >> select
        part = address[:select] if select else 0
        part_read = Signal(max(select, 1))
        with m.If(reads):
            m.d.sync += part_read.eq(part)
        for number, engine in enumerate(engines):
            m.d.comb += [
                activations.read_enable[number].eq(engine.residual_enable),
                activations.read_wide[number].eq(engine.residual_wide),
                activations.read_address[number].eq(engine.residual_address),
                engine.residual_ready.eq(activations.read_ready[number]),
                engine.residual_data.eq(activations.read_data[number]),
                activations.write_lanes[number].eq(engine.write_lanes),
                activations.write_wide[number].eq(engine.write_wide),
                activations.write_address[number].eq(engine.write_address),
                activations.write_data[number].eq(engine.write_data),
                engine.write_ready.eq(activations.write_ready[number]),
            ]
        if chip.deep_pipeline:
            m.d.comb += [
                activations.read_banks.eq(Cat(*(engine.residual_banks for engine in engines), feeder.read_banks)),
                activations.read_blocked.eq(Cat(C(0, chip.engines), feeder.read_blocked)),
                # Not the host's: the feeder is at rest then.
                activations.read_claims.eq(Cat(*(engine.residual_banks for engine in engines))),
            ]
        m.d.comb += activations.read_now.eq(
            Cat(C(1).replicate(chip.engines), feeder.read_now.replicate(chip.feeder_words))
        )
        for lane in range(chip.feeder_words):
            port = chip.engines + lane
            m.d.comb += [
                activations.read_enable[port].eq(feeder.read_enable[lane]),
                activations.read_wide[port].eq(feeder.read_wide),
                activations.read_address[port].eq(feeder.read_address[lane]),
                feeder.read_ready[lane].eq(activations.read_ready[port]),
                feeder.read_data[lane].eq(activations.read_data[port]),
            ]
        m.d.comb += host.activations_data.eq(activations.read_data[0].word_select(part_read, 32))
        # The engines are at rest then; the host's registers say so earlier than the controller's state.
        with m.If(reads):
            m.d.comb += [
                activations.read_enable[0].eq(1),
                activations.read_wide[0].eq(0),
                activations.read_address[0].eq(word),
            ]
            if chip.deep_pipeline:
                m.d.comb += activations.read_banks[0].eq(host_banks)
        with m.If(writes):
            m.d.comb += [
                activations.write_lanes[0].eq(0xF << (part << 2)),
                activations.write_wide[0].eq(0),
                activations.write_address[0].eq(word),
                activations.write_data[0].eq(written.replicate(parts)),
            ]
        return activations

    def _build_pool(self, m, controller, activations, feeder, pool, engines):
        """Float pool: in a RUN with pooling it takes the place of feeder and units, after all other connections."""
        first = self.chip.engines  # reader of the feeder's first word
        run = data.View(run_view(), controller.command[: run_view().size])
        m.d.comb += [
            pool.run.eq(run),
            pool.read_ready.eq(activations.read_ready[first]),
            pool.read_data.eq(activations.read_data[first]),
            pool.result.ready.eq(engines[0].pool_ready),
            *(engine.pool_valid.eq(pool.result.valid if number == 0 else 0) for number, engine in enumerate(engines)),
            *(engine.pool_payload.eq(pool.result.payload) for engine in engines),
        ]
        with m.If(run.pooling != Pooling.NONE):
            m.d.comb += [
                feeder.start.eq(0),
                pool.start.eq(controller.run_start),
                controller.run_busy.eq(pool.busy | engines[0].busy),
                controller.progress.eq(pool.moving | engines[0].written | controller.load_busy),
                controller.faults[Fault.INPUT_ADDRESS].eq(pool.fault),
                controller.fault_details[Fault.INPUT_ADDRESS].eq(pool.fault_address),
            ]
        with m.If(controller.busy & (run.pooling != Pooling.NONE)):
            m.d.comb += [
                activations.read_enable[first].eq(pool.read_enable),
                activations.read_now.eq(-1),
                activations.read_wide[first].eq(pool.read_wide),
                activations.read_address[first].eq(pool.read_address),
            ]

    def _build_exponents(self, m, host, controller, feeder, engines):
        """Exponent memory: feeder and engines while busy; the host while idle, through the first ports."""
        m.submodules.exponents = exponents = ExponentMemory(self.chip)
        m.d.comb += [
            exponents.read_enable[0].eq(Mux(controller.busy, feeder.exponent_enable, host.exponents_read)),
            exponents.read_address[0].eq(Mux(controller.busy, feeder.exponent_address, host.window_address)),
            feeder.exponent_data.eq(exponents.read_data[0]),
            host.exponents_data.eq(delayed(m, exponents.read_data[0], 1, "exponents_data")),
        ]
        for number, engine in enumerate(engines):
            m.d.comb += [
                exponents.write_lanes[number].eq(engine.exponent_write),
                exponents.write_address[number].eq(engine.exponent_address),
                exponents.write_data[number].eq(engine.exponent_data),
                engine.exponent_ready.eq(exponents.write_ready[number]),
            ]
        with m.If(~controller.busy):
            m.d.comb += [
                exponents.write_lanes[0].eq(host.exponents_write),
                exponents.write_address[0].eq(host.window_address),
                exponents.write_data[0].eq(host.window_data),
            ]

    def _build_memristor(self, m, host, controller, engines):
        """What the host sets in the memristor banks, by itself or through the write-verify machine that they share."""
        chip = self.chip
        m.submodules.write_verify = write = WriteVerify(chip)
        m.d.comb += [
            write.word.eq(host.program_word),
            write.column.eq(host.program_column),
            write.last.eq(host.program_last),
            *(
                getattr(write, name).eq(getattr(host, f"write_{name}"))
                for name in ("start", "bank", "first", "targets", "held", "registers")
            ),
            *(getattr(host, f"write_{name}").eq(getattr(write, name)) for name in ("busy", "refused", "wear")),
            write.wear_read.eq(host.wear_read),
            write.wear_address.eq(host.window_address),
            host.wear_data.eq(delayed(m, write.wear_data, 1, "wear_data")),
            write.written_read.eq(host.written_read),
            write.written_address.eq(host.window_address),
            host.written_data.eq(delayed(m, write.written_data, 1, "written_data")),
        ]
        run = data.View(run_view(), controller.command[: run_view().size])
        shared = {
            "table": controller.table,
            "skip_zero_groups": controller.table.skip_zero_groups & (run.group_count == 1),
            "program_last": Mux(write.busy, write.program_last, host.program_last),
            "program_word": Mux(write.busy, write.active_word, host.program_word),
            "program_column": Mux(write.busy, write.active_column, host.program_column),
            "program_cells": Mux(write.busy, write.program_cells, host.program_cells),
            "verify_connect": write.connect,
            "verify_word": write.active_word,
            "verify_lines": write.word_lines,
            "verify_column": write.active_column,
            **{name: getattr(host, name) for name in OF_HOST},
        }
        assert set(shared) | set(OF_EACH_BANK) == set(memristor_inputs(chip))
        banks = engine_kinds(chip).count(UnitKind.MEMRISTOR)
        for number, engine in enumerate(engines):
            m.d.comb += [getattr(engine, name).eq(value) for name, value in shared.items()]
            for local in range(banks):
                bank = number * banks + local
                selected = write.busy & (write.active_bank == bank)
                m.d.comb += [
                    engine.program_valid[local].eq(host.program_banks[bank] | (selected & write.program_valid)),
                    engine.repair_write[local].eq(host.repair_write[bank]),
                    engine.verify_enable[local].eq(selected),
                    engine.adc_write[local].eq(host.adc_write[bank]),
                    engine.seed[local].eq(host.seed + (NOISE_STRIDE * 256 * bank & 0xFFFFFFFF)),
                ]
            with m.If(engine.verify_enable.as_value().any()):
                m.d.comb += write.code.eq(engine.verify_code)
