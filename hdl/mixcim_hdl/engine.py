"""Engine: all compute units side by side, from the broadcast of a vector to complete sums."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from .commands import ADDRESS_BITS, NOISE_STRIDE, TinyMode
from .config import ChipConfig, UnitKind
from .control.accumulator import Accumulator
from .control.kernel_controller import KernelController
from .control.sequencer import Sequencer
from .formats import NOISE_BITS
from .interfaces import result_layout, run_view, table_shape, vector_layout
from .memristor.bank import MemristorBank
from .output.arbiter import ResultArbiter
from .registers import CELLS_PER_WRITE
from .sram.bank import SramBank
from .tiny.bank import TinyBank

#: Component of each kind; docs/extending.md lists every place that a fourth kind needs.
BANKS = {UnitKind.MEMRISTOR: MemristorBank, UnitKind.SRAM: SramBank, UnitKind.TINY: TinyBank}


class Engine(wiring.Component):
    """vector stream -> result stream.

    ```
                             .-> sequencer -> memristor bank -> accumulator -.
     vector -> kernel -------+-> sequencer -> SRAM-CIM bank --> accumulator -+-> arbiter -> result
               controller    '-> sequencer -> tiny-digital ---> accumulator -'
    ```

    Members
    -------
    run : fields of the command, constant while vectors are in flight.    table : word-line table.
    load_enable, load_unit, load_address, load_data : a weight word for unit `load_unit`.
    program_* : programming port; program_banks has one bit per memristor bank.
    adc_*, noise_*, seed_* : parameters of the memristor banks (MemristorBank); adc_write has one bit per bank.
    reading, saturations : counts of this cycle over all memristor banks.
    fault, fault_unit : a unit was to read past its memory.    moving : a vector or a result moves.
    busy : steps or results are inside.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        banks = max(chip.memristor_banks, 1)
        super().__init__(
            {
                "run": In(run_view(chip)),
                "vector": In(stream.Signature(vector_layout(chip))),
                "result": Out(stream.Signature(result_layout(chip))),
                "table": In(table_shape(chip)),
                "load_enable": In(1),
                "load_unit": In(8),
                "load_address": In(ADDRESS_BITS),
                "load_data": In(chip.rows * 8),
                "program_banks": In(banks),
                "program_last": In(1),
                "program_word": In(range(chip.memristor_slots * len(chip.mode.cells))),
                "program_column": In(range(chip.memristor_columns)),
                "program_cells": In(8 * CELLS_PER_WRITE),
                "adc_write": In(banks),
                "adc_number": In(8),
                "adc_parameter": In(8),
                "adc_value": In(16),
                "noise_write": In(1),
                "noise_index": In(8),
                "noise_value": In(NOISE_BITS),
                "seed_write": In(1),
                "seed": In(32),
                "reading": Out(range(banks + 1)),
                "saturations": Out(range(chip.adcs * banks + 1)),
                "fault": Out(1),
                "fault_unit": Out(8),
                "moving": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, run = self._chip, self.run
        m.submodules.kernel_controller = controller = KernelController(chip)
        m.submodules.arbiter = arbiter = ResultArbiter(chip)
        connect(m, wiring.flipped(self.vector), controller.vector)
        connect(m, arbiter.result, wiring.flipped(self.result))
        m.d.comb += controller.active.eq(Cat(run[f"tiles[{unit}]"] != 0 for unit in range(len(chip.units))))

        reading, saturations, steps, inside = [], [], [], []
        for unit, kind in enumerate(chip.units):
            name = f"{kind.value}{unit}"
            m.submodules[f"sequencer_{name}"] = sequencer = Sequencer(chip, chip.unit_capacity(kind))
            m.submodules[f"bank_{name}"] = bank = BANKS[kind](chip)
            m.submodules[f"accumulator_{name}"] = accumulator = Accumulator(chip)
            connect(m, getattr(controller, f"unit{unit}"), sequencer.vector)
            connect(m, sequencer.step, bank.step)
            connect(m, bank.dpv, accumulator.dpv)
            connect(m, accumulator.result, getattr(arbiter, f"unit{unit}"))
            mode = run[f"mode[{unit}]"]
            m.d.comb += [
                sequencer.tiles.eq(run[f"tiles[{unit}]"]),
                sequencer.slot.eq(run[f"slot[{unit}]"]),
                sequencer.parameter.eq(run[f"parameter[{unit}]"]),
                sequencer.stride.eq(1),
                bank.input_bits.eq(run.input_bits),
                bank.mode.eq(mode),
                bank.load_enable.eq(self.load_enable & (self.load_unit == unit)),
                bank.load_address.eq(self.load_address),
                bank.load_data.eq(self.load_data),
            ]
            if kind is UnitKind.TINY:
                broadcast = Mux(mode == TinyMode.BROADCAST, chip.channels, 1)
                m.d.comb += [
                    sequencer.stride.eq(Mux(mode == TinyMode.MAX, 0, broadcast)),
                    accumulator.maximum.eq(mode == TinyMode.MAX),
                ]
            if kind is UnitKind.MEMRISTOR:
                m.d.comb += [
                    bank.table.eq(self.table),
                    bank.program_valid.eq(self.program_banks[len(reading)]),
                    bank.program_last.eq(self.program_last),
                    bank.program_word.eq(self.program_word),
                    bank.program_column.eq(self.program_column),
                    bank.program_cells.eq(self.program_cells),
                ]
                m.d.comb += [
                    bank.adc_write.eq(self.adc_write[len(reading)]),
                    bank.seed.eq(self.seed + (NOISE_STRIDE * 256 * len(reading) & 0xFFFFFFFF)),
                ]
                for name in ("adc_number", "adc_parameter", "adc_value", "noise_write", "noise_index", "noise_value"):
                    m.d.comb += getattr(bank, name).eq(getattr(self, name))
                m.d.comb += bank.seed_write.eq(self.seed_write)
                reading.append(bank.reading)
                saturations.append(bank.saturations)
            with m.If(sequencer.fault):
                m.d.comb += [self.fault.eq(1), self.fault_unit.eq(unit)]
            steps.append(bank.step.valid & bank.step.ready)
            count = Signal(4, name=f"inside_{name}")  # steps taken whose dot-product values are not accumulated yet
            m.d.sync += count.eq(count + (bank.step.valid & bank.step.ready) - (bank.dpv.valid & bank.dpv.ready))
            inside.append(count != 0)
        stepping = Signal()
        m.d.comb += [
            self.reading.eq(sum(reading)),
            self.saturations.eq(sum(saturations)),
            stepping.eq(Cat(steps).any()),
            self.busy.eq(Cat(inside).any() | self.result.valid),
            self.moving.eq(stepping | (self.result.valid & self.result.ready)),
        ]
        return m
