"""Engine: all compute units side by side, from the broadcast of a vector to complete sums."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from .commands import ADDRESS_BITS, NOISE_STRIDE, TinyMode
from .config import ChipConfig, UnitKind
from .control.accumulator import Accumulator
from .control.kernel_controller import KernelController
from .control.sequencer import Sequencer
from .formats import NOISE_BITS
from .interfaces import WRITE_LAYOUT, result_layout, run_view, table_shape, vector_layout
from .memristor.bank import MemristorBank
from .memristor.write_verify import WriteVerify, memristor_lines
from .output.arbiter import ResultArbiter
from .registers import CELLS_PER_WRITE, WEAR_BITS, WRITTEN_FIELDS
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
    repair_* : what the spare columns replace; repair_write has one bit per bank.
    write_*, written_*, wear_* : write-verify of four cells of write_bank, at program_word and program_column.
    adc_*, noise_*, seed_* : parameters of the memristor banks (MemristorBank); adc_write has one bit per bank.
    reading, saturations, lines_on : counts of this cycle over all memristor banks.
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
                "program_word": In(range(chip.memristor_words)),
                "program_column": In(range(chip.physical_columns)),
                "program_cells": In(8 * CELLS_PER_WRITE),
                "repair_write": In(banks),
                "repair_word": In(range(chip.memristor_words)),
                "repair_spare": In(8),
                "repair_column": In(8),
                "write_start": In(1),
                "write_bank": In(8),
                "write_first": In(1),
                "write_targets": In(8 * CELLS_PER_WRITE),
                "write_held": In(chip.rows),
                "write_registers": In(WRITE_LAYOUT),
                "write_busy": Out(1),
                "write_refused": Out(1),
                "write_wear": Out(WEAR_BITS),
                "wear_read": In(1),
                "wear_address": In(range(memristor_lines(chip))),
                "wear_data": Out(WEAR_BITS),
                "written_read": In(1),
                "written_address": In(range(chip.rows)),
                "written_data": Out(data.StructLayout(WRITTEN_FIELDS)),
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
                "lines_on": Out(range(chip.rows * banks + 1)),
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

        write = self._build_write_verify(m) if chip.memristor_banks else None
        memristors: list[MemristorBank] = []
        steps, inside = [], []
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
                sequencer.slices.eq(run.weight_slices),
                bank.input_bits.eq(run.input_bits),
                bank.input_signed.eq(run.input_signed),
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
            if isinstance(bank, MemristorBank):
                self._build_memristor(m, bank, len(memristors), write)
                memristors.append(bank)
            with m.If(sequencer.fault):
                m.d.comb += [self.fault.eq(1), self.fault_unit.eq(unit)]
            steps.append(bank.step.valid & bank.step.ready)
            count = Signal(4, name=f"inside_{name}")  # steps taken whose dot-product values are not accumulated yet
            m.d.sync += count.eq(count + (bank.step.valid & bank.step.ready) - (bank.dpv.valid & bank.dpv.ready))
            inside.append(count != 0)
        stepping = Signal()
        m.d.comb += [
            self.reading.eq(sum(bank.reading for bank in memristors)),
            self.saturations.eq(sum(bank.saturations for bank in memristors)),
            self.lines_on.eq(sum(bank.lines_on for bank in memristors)),
            stepping.eq(Cat(steps).any()),
            self.busy.eq(Cat(inside).any() | self.result.valid),
            self.moving.eq(stepping | (self.result.valid & self.result.ready)),
        ]
        if write is not None:
            codes = Array(bank.verify_code for bank in memristors)
            m.d.comb += write.code.eq(codes[write.active_bank])
        return m

    def _build_write_verify(self, m: Module) -> WriteVerify:
        """The write-verify machine that all memristor banks share, on the host's side."""
        m.submodules.write_verify = write = WriteVerify(self._chip)
        m.d.comb += [
            write.word.eq(self.program_word),
            write.column.eq(self.program_column),
            write.last.eq(self.program_last),
            *(
                getattr(write, name).eq(getattr(self, f"write_{name}"))
                for name in ("start", "bank", "first", "targets", "held", "registers")
            ),
            *(getattr(self, f"write_{name}").eq(getattr(write, name)) for name in ("busy", "refused", "wear")),
            write.wear_read.eq(self.wear_read),
            write.wear_address.eq(self.wear_address),
            self.wear_data.eq(write.wear_data),
            write.written_read.eq(self.written_read),
            write.written_address.eq(self.written_address),
            self.written_data.eq(write.written_data),
        ]
        return write

    def _build_memristor(self, m: Module, bank: MemristorBank, number: int, write: WriteVerify | None) -> None:
        """What only memristor bank `number` has: table, programming, readout's parameters."""
        assert write is not None
        selected = write.busy & (write.active_bank == number)
        m.d.comb += [
            bank.table.eq(self.table),
            bank.skip_zero_groups.eq(self.table.skip_zero_groups & (self.run.group_count == 1)),
            bank.program_valid.eq(self.program_banks[number] | (selected & write.program_valid)),
            bank.program_last.eq(Mux(write.busy, write.program_last, self.program_last)),
            bank.program_word.eq(Mux(write.busy, write.active_word, self.program_word)),
            bank.program_column.eq(Mux(write.busy, write.active_column, self.program_column)),
            bank.program_cells.eq(Mux(write.busy, write.program_cells, self.program_cells)),
            bank.repair_write.eq(self.repair_write[number]),
            bank.verify_enable.eq(selected),
            bank.verify_connect.eq(selected & write.connect),
            bank.verify_word.eq(write.active_word),
            bank.verify_lines.eq(write.word_lines),
            bank.verify_column.eq(write.active_column),
            bank.adc_write.eq(self.adc_write[number]),
            bank.seed.eq(self.seed + (NOISE_STRIDE * 256 * number & 0xFFFFFFFF)),
            bank.seed_write.eq(self.seed_write),
        ]
        for name in ("adc_number", "adc_parameter", "adc_value", "noise_write", "noise_index", "noise_value",
                     "repair_word", "repair_spare", "repair_column"):  # fmt: skip
            m.d.comb += getattr(bank, name).eq(getattr(self, name))
