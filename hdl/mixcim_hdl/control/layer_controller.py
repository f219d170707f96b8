"""Layer controller: walks the program, starts loader and layers, counts cycles, stops on faults."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..commands import (
    ADDRESS_BITS,
    LARGEST_COPIES,
    LOAD_FIELDS,
    Fault,
    Opcode,
    Pooling,
    TinyMode,
    command_words,
    opcode_words,
    pack_layout,
    table_layout,
)
from ..config import ChipConfig, UnitKind
from ..floating import ALIGNED_BITS, ElementFormat
from ..formats import LARGEST_SLICES
from ..interfaces import command_view, table_shape
from ..primitives.delayed import delayed
from ..registers import program_stride

_LOAD_LAYOUT = pack_layout(LOAD_FIELDS)[0]


class State(enum.Enum):
    """What the layer controller does with the next command; the RUN before it may still be at work."""

    IDLE = 0
    FETCH = 1
    CHECK = 2  # of a deep pipeline: two cycles for what is found of the command
    ISSUE = 3


class LayerController(wiring.Component):
    """Program store -> commands: fetch (words of the command + 1 cycles), check, begin, one after the other.

    A deep pipeline has the words two cycles later, and the check two: four cycles more for each command. It sees faults
    a cycle later, and `clear` comes a cycle later: with the first cycle of a program, or with the one behind its stop.

    ```
     idle --start--> fetch --> issue --> what precedes is done? --+--> load --+
      ^                ^                                          +--> run ---+--> fetch the next command
      |                |                                          +--> table -+
      +--- done (END), or fault ------------------------------------'
    ```

    RUN and LOAD go on while the commands after them are fetched (commands.py says who waits for whom). A RUN's fields
    are in `command` from the cycle of run_start until the next RUN begins. Any fault ends the program: `clear` resets
    the datapath for a cycle, and the cause stays in `fault`.

    Members
    -------
    start, abort : from the host.    watchdog : cycles without `progress` before a fault; 0: off.
    program_enable, program_address, program_data : program store, 32-bit words, latency 1.
    command : words of the last RUN.    table : word-line table of the memristor banks.
    run_start, run_busy : layer datapath.    written : output tiles written in this cycle.    progress : anything moved.
    load_start, load_unit, load_units, load_source, load_destination, load_count, load_busy : loader.
    faults : causes that the datapath reports, one bit per Fault code; fault_details : their values, 24 bits each.
    busy, done, fault, fault_command, fault_detail, run_cycles, index : for the host's registers.
    log_enable, log_address, log_data : cycle log, with the begin of each command.    clear : resets the datapath.
    finished, failed : one cycle, for the interrupt.
    """

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__(
            {
                "start": In(1),
                "abort": In(1),
                "watchdog": In(32),
                "program_enable": Out(1),
                "program_address": Out(range(chip.program_commands * program_stride(chip))),
                "program_data": In(32),
                "command": Out(command_view(chip).size),
                "table": Out(table_shape(chip)),
                "run_start": Out(1),
                "run_busy": In(1),
                "written": In(range(chip.engines + 1)),
                "progress": In(1),
                "load_start": Out(1),
                "load_unit": Out(8),
                "load_units": Out(8),
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
        state = Signal(State)
        stride = program_stride(chip)
        fetched = Signal(32 * command_words(chip))  # the next command
        asked, arrived = Signal(range(stride + 1)), Signal(range(stride + 1))  # words of it
        arriving, complete = Signal(1 + 2 * chip.deep_pipeline), Signal()
        word = delayed(m, self.program_data, chip.deep_pipeline, "word")
        program_data = delayed(m, word, chip.deep_pipeline, "program_data")
        first_words = delayed(m, self._words(m, word[:8]), chip.deep_pipeline, "first_words")
        kept_words, last_word = Signal.like(first_words), Signal()
        idle_cycles, tiles = Signal(32), Signal(32)
        running, loading = Signal(), Signal()  # a RUN, a LOAD is at work
        run_index = Signal.like(self.index)
        run = data.View(command_view(chip), self.command)

        fault, fault_command = Signal(8), Signal.like(self.index)
        halted = Signal()  # by a fault of the cycle before
        tiles_wrong = Signal()  # not as many as stated
        # What the datapath resets with; a deep pipeline resets a cycle later, for that is thousands of registers.
        clear = Signal()
        m.d.comb += self.clear.eq(delayed(m, clear, chip.deep_pipeline, "clear"))
        faults, fault_details = (
            delayed(m, value, chip.deep_pipeline, name)
            for name, value in (("faults", self.faults), ("fault_details", self.fault_details))
        )
        detail = Signal(32)
        opcode = fetched[:8]
        table_set, past_end = Signal(), Signal()
        illegal = self._illegal(m, fetched, table_set)
        load_fault = self._load_fault(m, fetched)
        checked = Signal()
        illegal, *load_fault = (
            delayed(m, value, chip.deep_pipeline, f"checked{index}")
            for index, value in enumerate((illegal, *load_fault))
        )

        for name in ("unit", "units", "source", "destination", "count"):
            m.d.comb += getattr(self, f"load_{name}").eq(_load(fetched, name))
        m.d.comb += [
            self.busy.eq(state != State.IDLE),
            self.program_address.eq(self.index * stride + asked),
            self.log_address.eq(self.index),
            self.log_data.eq(self.run_cycles),
            loading.eq(self.load_busy),
            fault_command.eq(self.index),
            past_end.eq(self.index == chip.program_commands),
            # Of a fault that the datapath does not report: of the RUN at work, or of the next command.
            detail.eq(
                Mux(
                    running,
                    self.command[:32],
                    Mux(past_end, self.index, Mux(illegal, fetched[:32], load_fault[1])),
                )
            ),
        ]
        with m.If(self.busy):
            m.d.sync += [
                self.run_cycles.eq(self.run_cycles + 1),
                idle_cycles.eq(Mux(self.progress | ~(running | loading), 0, idle_cycles + 1)),
            ]
        now_tiles = Signal.like(tiles)
        m.d.comb += now_tiles.eq(tiles + self.written)
        m.d.sync += [tiles.eq(now_tiles), tiles_wrong.eq(now_tiles != run.output_tiles), self.run_start.eq(0)]

        # The RUN at work; everything has come out when the datapath is no longer busy.
        run_done = running & ~self.run_start & ~self.run_busy
        with m.If(run_done):
            m.d.sync += running.eq(0)
            # Fewer or more tiles than stated is a mistake in the program.
            with m.If(tiles_wrong):
                m.d.comb += [fault.eq(Fault.ILLEGAL_COMMAND), fault_command.eq(run_index)]

        begin, refused = Signal(), Signal()  # the next command begins; or is at fault, all before it being done
        m.d.comb += self.log_enable.eq(begin | refused)
        with m.If(begin):
            m.d.sync += [self.index.eq(self.index + 1), asked.eq(0), arrived.eq(0), state.eq(State.FETCH)]
        with m.Switch(state):
            with m.Case(State.IDLE), m.If(self.start):
                m.d.comb += clear.eq(1)
                m.d.sync += [
                    self.done.eq(0),
                    self.fault.eq(0),
                    self.fault_command.eq(0),
                    self.fault_detail.eq(0),
                    self.run_cycles.eq(0),
                    self.index.eq(0),
                    asked.eq(0),
                    arrived.eq(0),
                    idle_cycles.eq(0),
                    running.eq(0),
                ]
                m.d.sync += state.eq(State.FETCH)
            with m.Case(State.FETCH):
                # The first word says how many there are.
                # Found a word before it is the last one, but for a command of one.
                words = Mux(arrived == 0, first_words, kept_words)
                with m.If(arriving[-1]):
                    m.d.sync += [kept_words.eq(words), last_word.eq(arrived + 2 == words)]
                m.d.comb += [
                    complete.eq(past_end | (arriving[-1] & Mux(arrived == 0, first_words == 1, last_word))),
                    # Past the command's end, too: what comes in after `complete` is dropped, and the way is short.
                    self.program_enable.eq(~past_end & (asked != command_words(chip))),
                ]
                m.d.sync += arriving.eq(Cat(self.program_enable, arriving))
                with m.If(self.program_enable):
                    m.d.sync += asked.eq(asked + 1)
                with m.If(arriving[-1]):
                    m.d.sync += [fetched.word_select(arrived, 32).eq(program_data), arrived.eq(arrived + 1)]
                with m.If(complete):
                    m.d.sync += [arriving.eq(0), state.eq(State.CHECK if chip.deep_pipeline else State.ISSUE)]
            with m.Case(State.CHECK):
                m.d.sync += [checked.eq(~checked), state.eq(Mux(checked, State.ISSUE, State.CHECK))]
            with m.Case(State.ISSUE):
                quiet = ~running & ~loading & ~halted
                with m.If(past_end | illegal | (load_fault[0] != 0)):
                    m.d.comb += refused.eq(quiet & ~past_end)
                    with m.If(quiet & past_end):
                        m.d.comb += fault.eq(Fault.PROGRAM_END)
                    with m.Elif(quiet & illegal):
                        m.d.comb += fault.eq(Fault.ILLEGAL_COMMAND)
                    with m.Elif(quiet):
                        m.d.comb += fault.eq(load_fault[0])
                with m.Elif(opcode == Opcode.LOAD):
                    m.d.comb += begin.eq(~loading & ~halted & (~running | _load(fetched, "overlap")))
                    m.d.comb += self.load_start.eq(begin)
                with m.Elif(quiet):
                    m.d.comb += begin.eq(1)
                    with m.If(opcode == Opcode.END):
                        m.d.comb += self.finished.eq(1)
                        m.d.sync += [self.done.eq(1), self.index.eq(self.index), state.eq(State.IDLE)]
                    with m.Elif(opcode == Opcode.TABLE):
                        m.d.sync += [*self._set_table(fetched), table_set.eq(1)]
                    with m.Else():
                        m.d.sync += [
                            self.command.eq(fetched),
                            run_index.eq(self.index),
                            self.run_start.eq(1),
                            running.eq(1),
                            tiles.eq(0),
                        ]

        # Last, so that they win over every state.
        with m.If(self.busy & (self.watchdog != 0) & (idle_cycles >= self.watchdog)):
            m.d.comb += [fault.eq(Fault.WATCHDOG), detail.eq(self.command[:32]), fault_command.eq(run_index)]
        # Not what is left of the program before, which is reset in this cycle.
        for code in Fault:
            with m.If(self.busy & ~self.clear & faults[code]):
                m.d.comb += [fault.eq(code), detail.eq(fault_details[code]), fault_command.eq(run_index)]
        # The stop comes a cycle later: the way from an address to the reset of everything is the longest of the chip.
        found, found_command, found_detail = Signal.like(fault), Signal.like(fault_command), Signal.like(detail)
        m.d.sync += [
            found.eq(Mux(clear, 0, fault)),
            found_command.eq(fault_command),
            found_detail.eq(detail),
        ]
        m.d.comb += halted.eq(found != 0)
        stopped = self.abort | halted
        with m.If(stopped):
            m.d.comb += [clear.eq(1), self.finished.eq(0), self.load_start.eq(0)]
            m.d.sync += [
                self.done.eq(0),
                arriving.eq(0),
                checked.eq(0),
                running.eq(0),
                self.run_start.eq(0),
                self.fault.eq(Mux(self.abort, 0, found)),
                self.fault_command.eq(Mux(self.abort, 0, found_command)),
                self.fault_detail.eq(Mux(self.abort, 0, found_detail)),
                self.index.eq(self.index),
                state.eq(State.IDLE),
            ]
            m.d.comb += self.failed.eq(~self.abort)
        return m

    def _words(self, m: Module, opcode: Value) -> Signal:
        """Words of a command by its opcode; an unknown one has its first word only."""
        words = Signal(range(command_words(self._chip) + 1), init=1)
        with m.Switch(opcode):
            for item in Opcode:
                with m.Case(item):
                    m.d.comb += words.eq(opcode_words(item, self._chip))
        return words

    def _entries(self, fetched: Value):
        """(rows_per_read, step_shift) of every entry of a TABLE command."""
        for entry in range(self._chip.input_planes * len(self._chip.mode.cells)):
            yield tuple(self._table_field(fetched, f"{name}[{entry}]") for name in ("rows_per_read", "step_shift"))

    def _table_field(self, fetched: Value, name: str):
        """A field of a TABLE command."""
        bit, width = table_layout(self._chip)[name]
        return fetched[bit : bit + width]

    def _set_table(self, fetched: Value):
        """Statements that take over the word-line table."""
        for name in ("digits", "skip_zero_groups"):
            yield self.table[name].eq(self._table_field(fetched, name))
        for entry, (rows, shift) in enumerate(self._entries(fetched)):
            fields = self.table.entries[entry]
            yield from (fields.rows_per_read.eq(rows), fields.step_shift.eq(shift))

    def _illegal(self, m: Module, fetched: Value, table_set: Signal) -> Signal:
        """High where the fetched command is one that this chip cannot do."""
        chip = self._chip
        run = data.View(command_view(chip), fetched[: command_view(chip).size])
        illegal = Signal()
        digits = self._table_field(fetched, "digits")
        bad_table = [(rows == 0) | (rows > chip.rows) for rows, _ in self._entries(fetched)]
        bad_table.append((digits == 0) | (digits > len(chip.mode.cells)))
        counts = ("tap_words", "kernel_height", "kernel_width", "group_count", "output_height", "output_width")
        bad_run = [run[name] == 0 for name in (*counts, "copies")]
        bad_run.append(run.copies > LARGEST_COPIES)
        bad_run += [
            *self._bad_formats(run),
            run.granule_log2 > (chip.channels - 1).bit_length(),
            Cat(run[f"tiles[{unit}]"] != 0 for unit in range(len(chip.units))).any() == (run.pooling != Pooling.NONE),
        ]
        largest_mode = {UnitKind.TINY: max(TinyMode), UnitKind.SRAM: chip.sram_segments.bit_length() - 1}
        for unit, kind in enumerate(chip.units):
            bad_run.append(run[f"tiles[{unit}]"] > chip.accumulator_tiles)
            bad_run.append((run[f"tiles[{unit}]"] != 0) & (run[f"copy[{unit}]"] >= run.copies))
            if kind is UnitKind.MEMRISTOR:
                bad_run.append((run[f"tiles[{unit}]"] != 0) & ~table_set)
            bad_run.append(run[f"mode[{unit}]"] > largest_mode.get(kind, 0))
            if kind is UnitKind.TINY:
                maximum = (run[f"tiles[{unit}]"] != 0) & (run[f"mode[{unit}]"] == TinyMode.MAX)
                bad_run.append(maximum & (run.weight_slices != 1))
        first, units = _load(fetched, "unit"), _load(fetched, "units")
        loadable = []  # all units are of one kind
        for kind in (UnitKind.SRAM, UnitKind.TINY):
            if kind in chip.units:
                start = chip.units.index(kind)
                loadable.append((first >= start) & (first + units <= start + chip.units.count(kind)))
        with m.Switch(fetched[:8]):
            with m.Case(Opcode.END):
                m.d.comb += illegal.eq(0)
            with m.Case(Opcode.TABLE):
                m.d.comb += illegal.eq(Cat(bad_table).any())
            with m.Case(Opcode.LOAD):
                m.d.comb += illegal.eq(~Cat(loadable).any() | (units == 0))
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

    def _load_fault(self, m: Module, fetched: Value) -> tuple[Signal, Signal]:
        """(fault code or 0, detail) of the fetched command if it is a LOAD."""
        chip = self._chip
        code, detail = Signal(8, name="load_fault"), Signal(24, name="load_fault_detail")
        unit = _load(fetched, "unit")
        source_end, destination_end = (
            delayed(m, _load(fetched, name) + _load(fetched, "count"), chip.deep_pipeline, f"{name}_end")
            for name in ("source", "destination")
        )
        with m.If(fetched[:8] == Opcode.LOAD):
            for number, kind in enumerate(chip.units):
                words = chip.unit_capacity(kind) * (chip.channels if kind is UnitKind.SRAM else 1)
                with m.If((unit == number) & (destination_end > words)):
                    m.d.comb += [code.eq(Fault.UNIT_ADDRESS), detail.eq(number)]
            with m.If(source_end > chip.weight_words):
                m.d.comb += [code.eq(Fault.WEIGHT_ADDRESS), detail.eq(source_end - 1)]
        return code, detail


def _load(fetched: Value, name: str) -> Value:
    """A field of a LOAD command."""
    bit, width = _LOAD_LAYOUT[name]
    return fetched[bit : bit + width]
