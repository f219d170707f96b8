"""Layer controller: walks the program, starts loader and layers, counts cycles, stops on faults."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import ADDRESS_BITS, Fault, Opcode, Pooling, TinyMode, command_words, load_layout, table_layout
from ..config import ChipConfig, UnitKind
from ..floating import ALIGNED_BITS, ElementFormat
from ..formats import LARGEST_SLICES
from ..interfaces import run_view, table_shape
from ..registers import program_stride


class State(enum.Enum):
    """What the layer controller is doing."""

    IDLE = 0
    FETCH = 1
    CHECK = 2
    LOAD = 3
    RUN = 4
    LOG = 5


class LayerController(wiring.Component):
    """Program store -> commands, one after the other: fetch (command_words + 1 cycles), check, execute, log.

    ```
     idle --start--> fetch --> check --+--> load --+
      ^                ^               +--> run  --+--> log --> fetch the next command
      |                |               +--> table -+
      +--- done (END), or fault ----------------'
    ```

    Any fault ends the program: `clear` resets the datapath for a cycle, and the cause stays in `fault`.

    Members
    -------
    start, abort : from the host.    watchdog : cycles without `progress` before a fault; 0: off.
    program_enable, program_address, program_data : program store, 32-bit words, latency 1.
    command : the present command's words.    table : word-line table of the memristor banks.
    run_start, run_busy : layer datapath.    written : an output tile was written.    progress : anything moved.
    load_start, load_unit, load_source, load_destination, load_count, load_busy : loader.
    faults : causes that the datapath reports, one bit per Fault code; fault_details : their values, 24 bits each.
    busy, done, fault, fault_command, fault_detail, run_cycles, index : for the host's registers.
    log_enable, log_address, log_data : cycle log.    clear : resets the datapath.
    finished, failed : one cycle, for the interrupt.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        words = command_words(chip)
        super().__init__(
            {
                "start": In(1),
                "abort": In(1),
                "watchdog": In(32),
                "program_enable": Out(1),
                "program_address": Out(range(chip.program_commands * program_stride(chip))),
                "program_data": In(32),
                "command": Out(32 * words),
                "table": Out(table_shape(chip)),
                "run_start": Out(1),
                "run_busy": In(1),
                "written": In(1),
                "progress": In(1),
                "load_start": Out(1),
                "load_unit": Out(8),
                "load_source": Out(ADDRESS_BITS),
                "load_destination": Out(ADDRESS_BITS),
                "load_count": Out(ADDRESS_BITS),
                "load_busy": In(1),
                "faults": In(len(Fault)),
                "fault_details": In(data.ArrayLayout(24, len(Fault))),
                "busy": Out(1),
                "done": Out(1),
                "fault": Out(8),
                "fault_command": Out(24),
                "fault_detail": Out(32),
                "run_cycles": Out(32),
                "index": Out(range(chip.program_commands + 1)),
                "log_enable": Out(1),
                "log_address": Out(range(chip.program_commands)),
                "log_data": Out(32),
                "clear": Out(1),
                "finished": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        words = command_words(chip)
        state = Signal(State)
        stride = program_stride(chip)
        word = Signal(range(stride + 1))
        arriving = Signal()
        cycles, idle_cycles, tiles = Signal(32), Signal(32), Signal(32)
        run = data.View(run_view(chip), self.command)

        fault = Signal(8)
        detail = Signal(32)
        opcode = self.command[:8]
        table_set = Signal()
        illegal = self._illegal(m, table_set)
        load_fault = self._load_fault(m)

        for name in ("unit", "source", "destination", "count"):
            m.d.comb += getattr(self, f"load_{name}").eq(self._load(name))
        m.d.comb += [
            self.program_address.eq(self.index * stride + word),
            self.log_address.eq(self.index),
            self.log_data.eq(cycles),
        ]
        with m.If(self.busy):
            m.d.sync += [
                self.run_cycles.eq(self.run_cycles + 1),
                cycles.eq(cycles + 1),
                idle_cycles.eq(Mux(self.progress, 0, idle_cycles + 1)),
            ]
        with m.If(self.written):
            m.d.sync += tiles.eq(tiles + 1)

        with m.Switch(state):
            with m.Case(State.IDLE), m.If(self.start):
                m.d.comb += self.clear.eq(1)
                m.d.sync += [
                    self.done.eq(0),
                    self.fault.eq(0),
                    self.fault_command.eq(0),
                    self.fault_detail.eq(0),
                    self.run_cycles.eq(0),
                    self.index.eq(0),
                    word.eq(0),
                    cycles.eq(1),
                    idle_cycles.eq(0),
                ]
                m.d.sync += state.eq(State.FETCH)
            with m.Case(State.FETCH):
                m.d.comb += [self.busy.eq(1), self.program_enable.eq(word != words)]
                m.d.sync += [arriving.eq(word != words), word.eq(word + 1), idle_cycles.eq(0)]
                with m.If(arriving):
                    m.d.sync += self.command.eq(Cat(self.command[32:], self.program_data))
                with m.If(self.index == chip.program_commands):
                    m.d.comb += [fault.eq(Fault.PROGRAM_END), detail.eq(self.index)]
                with m.If(word == words):
                    m.d.sync += arriving.eq(0)
                    m.d.sync += state.eq(State.CHECK)
            with m.Case(State.CHECK):
                m.d.comb += self.busy.eq(1)
                m.d.sync += [tiles.eq(0), idle_cycles.eq(0)]
                with m.If(illegal):
                    m.d.comb += [fault.eq(Fault.ILLEGAL_COMMAND), detail.eq(self.command[:32])]
                with m.Elif(opcode == Opcode.END):
                    m.d.sync += state.eq(State.LOG)
                with m.Elif(opcode == Opcode.TABLE):
                    m.d.sync += [*self._set_table(), table_set.eq(1)]
                    m.d.sync += state.eq(State.LOG)
                with m.Elif(opcode == Opcode.LOAD):
                    m.d.comb += [fault.eq(load_fault[0]), detail.eq(load_fault[1])]
                    m.d.comb += self.load_start.eq(load_fault[0] == 0)
                    m.d.sync += state.eq(State.LOAD)
                with m.Else():
                    m.d.comb += self.run_start.eq(1)
                    m.d.sync += state.eq(State.RUN)
            with m.Case(State.LOAD):
                m.d.comb += self.busy.eq(1)
                with m.If(~self.load_busy):
                    m.d.sync += state.eq(State.LOG)
            with m.Case(State.RUN):
                m.d.comb += self.busy.eq(1)
                with m.If(~self.run_busy):
                    # Everything has come out: fewer or more tiles than stated is a mistake in the program.
                    with m.If(tiles != run.output_tiles):
                        m.d.comb += [fault.eq(Fault.ILLEGAL_COMMAND), detail.eq(self.command[:32])]
                    m.d.sync += state.eq(State.LOG)
            with m.Case(State.LOG):
                m.d.comb += [self.busy.eq(1), self.log_enable.eq(1)]
                m.d.sync += [cycles.eq(1), word.eq(0)]
                with m.If(opcode == Opcode.END):
                    m.d.comb += self.finished.eq(1)
                    m.d.sync += self.done.eq(1)
                    m.d.sync += state.eq(State.IDLE)
                with m.Else():
                    m.d.sync += self.index.eq(self.index + 1)
                    m.d.sync += state.eq(State.FETCH)

        # Last, so that they win over every state.
        with m.If(self.busy & (self.watchdog != 0) & (idle_cycles >= self.watchdog)):
            m.d.comb += [fault.eq(Fault.WATCHDOG), detail.eq(self.command[:32])]
        for code in Fault:
            with m.If(self.busy & self.faults[code]):
                m.d.comb += [fault.eq(code), detail.eq(self.fault_details[code])]
        with m.If(fault != 0):
            m.d.comb += [self.failed.eq(1), self.clear.eq(1), self.finished.eq(0), self.log_enable.eq(0)]
            m.d.sync += [
                self.fault.eq(fault),
                self.fault_command.eq(self.index),
                self.fault_detail.eq(detail),
                self.done.eq(0),
                arriving.eq(0),
            ]
            m.d.sync += state.eq(State.IDLE)
        with m.If(self.abort):
            m.d.comb += [self.clear.eq(1), self.failed.eq(0), self.finished.eq(0)]
            m.d.sync += [self.fault.eq(0), self.fault_command.eq(0), self.fault_detail.eq(0), self.done.eq(0)]
            m.d.sync += arriving.eq(0)
            m.d.sync += state.eq(State.IDLE)
        return m

    def _entries(self):
        """(rows_per_read, step_shift) of every entry of a TABLE command in the command register."""
        for entry in range(self._chip.input_planes * len(self._chip.mode.cells)):
            yield tuple(self._table_field(f"{name}[{entry}]") for name in ("rows_per_read", "step_shift"))

    def _table_field(self, name: str):
        """A field of the TABLE command in the register."""
        bit, width = table_layout(self._chip)[name]
        return self.command[bit : bit + width]

    def _set_table(self):
        """Statements that take over the word-line table."""
        for name in ("digits", "skip_zero_groups"):
            yield self.table[name].eq(self._table_field(name))
        for entry, (rows, shift) in enumerate(self._entries()):
            fields = self.table.entries[entry]
            yield from (fields.rows_per_read.eq(rows), fields.step_shift.eq(shift))

    def _illegal(self, m: Module, table_set: Signal) -> Signal:
        """High where the command in the register is one that this chip cannot do."""
        chip = self._chip
        run = data.View(run_view(chip), self.command)
        illegal = Signal()
        digits = self._table_field("digits")
        bad_table = [(rows == 0) | (rows > chip.rows) for rows, _ in self._entries()]
        bad_table.append((digits == 0) | (digits > len(chip.mode.cells)))
        limits = ("tap_words", "kernel_height", "kernel_width", "group_count", "output_height", "output_width")
        bad_run = [run[name] == 0 for name in limits]
        bad_run += [
            *self._bad_formats(run),
            run.granule_log2 > (chip.channels - 1).bit_length(),
            Cat(run[f"tiles[{unit}]"] != 0 for unit in range(len(chip.units))).any() == (run.pooling != Pooling.NONE),
        ]
        for unit, kind in enumerate(chip.units):
            bad_run.append(run[f"tiles[{unit}]"] > chip.accumulator_tiles)
            if kind is UnitKind.MEMRISTOR:
                bad_run.append((run[f"tiles[{unit}]"] != 0) & ~table_set)
            bad_run.append(run[f"mode[{unit}]"] > (max(TinyMode) if kind is UnitKind.TINY else 0))
            if kind is UnitKind.TINY:
                maximum = (run[f"tiles[{unit}]"] != 0) & (run[f"mode[{unit}]"] == TinyMode.MAX)
                bad_run.append(maximum & (run.weight_slices != 1))
        number = self._load("unit")
        loadable = [number == unit for unit, kind in enumerate(chip.units) if kind is not UnitKind.MEMRISTOR]
        with m.Switch(self.command[:8]):
            with m.Case(Opcode.END):
                m.d.comb += illegal.eq(0)
            with m.Case(Opcode.TABLE):
                m.d.comb += illegal.eq(Cat(bad_table).any())
            with m.Case(Opcode.LOAD):
                m.d.comb += illegal.eq(~Cat(loadable).any())
            with m.Case(Opcode.RUN):
                m.d.comb += illegal.eq(Cat(bad_run).any())
            with m.Default():
                m.d.comb += illegal.eq(1)
        return illegal

    def _bad_formats(self, run: data.View):
        """High each where what a RUN says of number formats and slices is wrong: the last paragraph on RUN."""
        chip = self._chip
        if not chip.floating_point:
            yield (run.weight_slices != 1) | run.floating | run.input_signed | (run.input_zero_point != 0)
        formats = (run.input_format, run.output_format, run.residual_format)
        floating_input = run.input_format != ElementFormat.INTEGER
        aligned = Cat(run.input_bits == bits for bits in ALIGNED_BITS if bits <= chip.aligned_bits).any()
        yield from (format > max(ElementFormat) for format in formats)
        yield ~run.floating & (Cat(*formats) != 0)
        pooled = run.pooling != Pooling.NONE
        yield pooled & (~run.floating | ~floating_input)
        yield run.pooling > max(Pooling)
        yield ~pooled & ((run.input_bits == 0) | (run.input_bits > chip.input_planes))
        yield ~pooled & floating_input & (~aligned | ~run.input_signed | (run.tap_exponents == 0))
        yield ~Cat(run.weight_slices == slices for slices in range(1, LARGEST_SLICES + 1)).any()

    def _load(self, name: str):
        """A field of the LOAD command in the register."""
        bit, width = load_layout(self._chip)[name]
        return self.command[bit : bit + width]

    def _load_fault(self, m: Module) -> tuple[Signal, Signal]:
        """(fault code or 0, detail) of the LOAD command in the register."""
        chip = self._chip
        code, detail = Signal(8, name="load_fault"), Signal(24, name="load_fault_detail")
        source_end, destination_end = Signal(25), Signal(25)
        m.d.comb += [
            source_end.eq(self._load("source") + self._load("count")),
            destination_end.eq(self._load("destination") + self._load("count")),
        ]
        for unit, kind in enumerate(chip.units):
            words = chip.unit_capacity(kind) * (chip.channels if kind is UnitKind.SRAM else 1)
            with m.If((self._load("unit") == unit) & (destination_end > words)):
                m.d.comb += [code.eq(Fault.UNIT_ADDRESS), detail.eq(unit)]
        with m.If(source_end > chip.weight_words):
            m.d.comb += [code.eq(Fault.WEIGHT_ADDRESS), detail.eq(source_end - 1)]
        return code, detail
