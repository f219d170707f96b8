"""Register bank: the host's view of the chip, behind the AXI4-Lite slave: registers and memory windows."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import ADC_PARAMETERS, NOISE_BITS
from ..interfaces import WRITE_LAYOUT, WRITE_NAMES
from ..primitives.delayed import delayed
from ..registers import (
    CELLS_PER_WRITE,
    CONTRACT_VERSION,
    EVENT_COUNTERS,
    IDENTIFICATION,
    UNLOCK_KEY,
    WEAR_BITS,
    WRITE_REGISTERS,
    Event,
    Region,
    Register,
    window_bytes,
)
from .axi_lite import RESPONSE_LAYOUT, request_layout
from .event_counters import COUNTER_BITS

#: Regions that are memories, in the order of their ports.
WINDOWS = tuple(region for region in Region if region is not Region.REGISTERS)
#: Bits of a register's address; all else of it is looked at a cycle before.
_REGISTER_BITS = (EVENT_COUNTERS + 8 * len(Event) - 1).bit_length()


class RegisterBank(wiring.Component):
    """request -> response, latency LATENCY, one access per cycle. Illegal accesses change nothing and answer `error`.

    ```
     request --> register --> registers, or access to a memory --> memory --> word --> response
    ```

    While write-verify is busy, requests wait, and for a cycle behind a write of CONTROL, in which it takes effect. In a
    deep pipeline an activation word is written a cycle late: a read has it behind the write's response, as AXI says.

    Members
    -------
    request, response : streams of axi_lite.
    window_address (32-bit word in the region), window_data; per region <name>_write, <name>_read, <name>_data
        (latency 2, of the weights in a deep pipeline 3); of a memory that the chip has not they are idle.
    start, abort : one cycle.    watchdog : its register.    interrupt : level.
    busy, done, fault, fault_command, fault_detail, run_cycles, index, finished, failed : from the layer controller.
    event_counts : of EventCounters.
    adc_*, noise_*, seed_* : parameters of the memristor banks; adc_write has one bit per bank.
    program_* : programming port of the memristor banks; program_banks has one bit per bank.
    repair_* : what spare columns replace; repair_write has one bit per bank.
    write_* : write-verify of four cells at program_word and program_column (WriteVerify).
    """

    LATENCY = 6  #: from a request taken to its response; one more in a deep pipeline

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self.LATENCY = type(self).LATENCY + chip.deep_pipeline
        banks = max(chip.memristor_banks, 1)
        windows = {}
        for region in WINDOWS:
            name = region.name.lower()
            windows.update({f"{name}_write": Out(1), f"{name}_read": Out(1), f"{name}_data": In(32)})
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(32))),
                "response": Out(stream.Signature(RESPONSE_LAYOUT, always_ready=True)),
                "window_address": Out(26),
                "window_data": Out(32),
                **windows,
                "start": Out(1),
                "abort": Out(1),
                "watchdog": Out(32),
                "interrupt": Out(1),
                "busy": In(1),
                "done": In(1),
                "fault": In(8),
                "fault_command": In(24),
                "fault_detail": In(32),
                "run_cycles": In(32),
                "index": In(24),
                "finished": In(1),
                "failed": In(1),
                "event_counts": In(data.ArrayLayout(COUNTER_BITS, len(Event))),
                "program_banks": Out(banks),
                "adc_write": Out(banks),
                "adc_number": Out(8),
                "adc_parameter": Out(8),
                "adc_value": Out(16),
                "noise_write": Out(1),
                "noise_index": Out(8),
                "noise_value": Out(NOISE_BITS),
                "seed_write": Out(1),
                "seed": Out(32),
                "program_last": Out(1),
                "program_word": Out(range(chip.memristor_words)),
                "program_column": Out(range(chip.physical_columns)),
                "program_cells": Out(8 * CELLS_PER_WRITE),
                "repair_write": Out(banks),
                "repair_word": Out(range(chip.memristor_words)),
                "repair_spare": Out(8),
                "repair_column": Out(8),
                "write_start": Out(1),
                "write_bank": Out(8),
                "write_first": Out(1),
                "write_targets": Out(8 * CELLS_PER_WRITE),
                "write_held": Out(chip.rows),
                "write_registers": Out(WRITE_LAYOUT),
                "write_busy": In(1),
                "write_refused": In(1),
                "write_wear": In(WEAR_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip = self._chip
        windows = [window for window in WINDOWS if window_bytes(window, chip)]  # the others answer errors
        # A request in a register, and what there is to know of it: ways from an address are long.
        request, waiting = Signal(self.request.payload.shape()), Signal()
        whole, in_registers, in_window = Signal(), Signal(), Signal(len(windows))
        with m.If(self.request.ready):
            given, address = self.request.payload, self.request.payload.address
            m.d.sync += [
                request.eq(given),
                waiting.eq(self.request.valid),
                whole.eq((address[:2] == 0) & (~given.write | given.strobe.all())),
                in_registers.eq(address[_REGISTER_BITS:] == 0),
                *(
                    inside.eq((address[28:] == window) & (address[:28] < window_bytes(window, chip)))
                    for window, inside in zip(windows, in_window, strict=True)
                ),
            ]
        offset = request.address[2:_REGISTER_BITS]  # in words
        accept = Signal()
        m.d.comb += [
            self.request.ready.eq(~self.start & ~self.abort & ~self.write_busy),
            accept.eq(waiting & self.request.ready),
        ]
        m.d.sync += [self.window_address.eq(request.address[2:28]), self.window_data.eq(request.data)]
        error = Signal(init=1)
        read_data = Signal(32)
        from_window = Signal(len(windows))

        # Registers that the host writes.
        enable, status = Signal(2), Signal(2)
        watchdog = Signal(32, init=chip.watchdog_cycles)
        m.d.comb += self.watchdog.eq(watchdog)
        bank, word, column = Signal(8), Signal(24), Signal(8)
        spare, spare_word = Signal(8), Signal(24)
        locked = Array(Signal(32, name=f"locked{word}") for word in range(max(-(-chip.memristor_banks // 32), 1)))
        of_bank = locked[bank >> 5]
        present_banks = Array(Const((1 << chip.memristor_banks) - 1 >> 32 * word, 32) for word in range(len(locked)))
        held = Signal(chip.rows)
        write_registers = Signal(WRITE_LAYOUT)
        adc, adc_parameter, noise_index = Signal(8), Signal(8), Signal(8)
        group = Signal(range(chip.rows // CELLS_PER_WRITE))
        m.d.comb += [
            self.interrupt.eq((enable & status).any()),
            self.program_word.eq(word),
            self.program_column.eq(column),
            self.program_cells.eq(request.data),
            self.adc_number.eq(adc),
            self.adc_parameter.eq(adc_parameter),
            self.adc_value.eq(request.data),
            self.noise_index.eq(noise_index),
            self.noise_value.eq(request.data),
            self.seed.eq(request.data),
            self.program_last.eq(group == chip.rows // CELLS_PER_WRITE - 1),
            self.repair_word.eq(spare_word),
            self.repair_spare.eq(spare),
            self.repair_column.eq(request.data),
            self.write_bank.eq(bank),
            self.write_first.eq(group == 0),
            self.write_targets.eq(request.data),
            self.write_held.eq(held),
            self.write_registers.eq(write_registers),
        ]
        readable: dict[int, ValueLike] = {
            Register.IDENTIFICATION: IDENTIFICATION,
            Register.VERSION: CONTRACT_VERSION,
            Register.FINGERPRINT: chip.fingerprint,
            Register.CONTROL: 0,
            Register.STATUS: Cat(self.busy, self.done, self.fault != 0),
            Register.FAULT: Cat(self.fault, self.fault_command),
            Register.FAULT_DETAIL: self.fault_detail,
            Register.INTERRUPT_ENABLE: enable,
            Register.INTERRUPT_STATUS: status,
            Register.WATCHDOG: self.watchdog,
            Register.RUN_CYCLES: self.run_cycles,
            Register.COMMAND: self.index,
            Register.MEMRISTOR_BANK: bank,
            Register.MEMRISTOR_LINE: Cat(column, word),
            Register.ADC_SELECT: Cat(adc, adc_parameter),
            Register.NOISE_INDEX: noise_index,
            Register.MEMRISTOR_LOCK: of_bank,
            Register.MEMRISTOR_SPARE: Cat(spare, spare_word),
            Register.WRITE_STATUS: Cat(self.write_refused, Const(0, 7), self.write_wear),
            **{register: write_registers[name] for register, name in zip(WRITE_REGISTERS, WRITE_NAMES, strict=True)},
        }
        for event in Event:
            for half in range(COUNTER_BITS // 32):
                readable[EVENT_COUNTERS + 8 * event + 4 * half] = self.event_counts[event].word_select(half, 32)
        clear_status = Signal(2)
        idle = ~self.busy & (chip.memristor_banks > 0)
        unlocked = idle & ~of_bank.bit_select(bank[:5], 1)
        room = word < chip.memristor_words
        next_cells = Signal()  # four cells are written
        with m.If(next_cells):
            m.d.sync += group.eq(Mux(self.program_last, 0, group + 1))
            with m.If(self.program_last):
                last_column = column == chip.physical_columns - 1
                m.d.sync += [column.eq(Mux(last_column, 0, column + 1)), word.eq(word + last_column)]
        m.d.sync += [self.start.eq(0), self.abort.eq(0)]
        m.d.sync += status.eq((status & ~clear_status) | Cat(self.finished, self.failed))
        with m.If(accept & in_registers & whole):
            with m.If(request.write), m.Switch(offset):
                with m.Case(Register.CONTROL >> 2):
                    m.d.comb += error.eq(0)
                    m.d.sync += [self.start.eq(request.data[0]), self.abort.eq(request.data[1])]
                with m.Case(Register.INTERRUPT_ENABLE >> 2):
                    m.d.comb += error.eq(0)
                    m.d.sync += enable.eq(request.data)
                with m.Case(Register.INTERRUPT_STATUS >> 2):
                    m.d.comb += [error.eq(0), clear_status.eq(request.data)]
                with m.Case(Register.WATCHDOG >> 2):
                    m.d.comb += error.eq(0)
                    m.d.sync += watchdog.eq(request.data)
                with m.Case(Register.MEMRISTOR_BANK >> 2), m.If(request.data < chip.memristor_banks):
                    m.d.comb += error.eq(0)
                    m.d.sync += [bank.eq(request.data), group.eq(0)]
                with m.Case(Register.MEMRISTOR_LINE >> 2), m.If(request.data[:8] < chip.physical_columns):
                    m.d.comb += error.eq(0)
                    m.d.sync += [Cat(column, word).eq(request.data), group.eq(0)]
                with m.Case(Register.MEMRISTOR_DATA >> 2), m.If(room & unlocked):
                    m.d.comb += [error.eq(0), next_cells.eq(1), self.program_banks.eq(1 << bank)]
                with m.Case(Register.MEMRISTOR_TARGET >> 2), m.If(room & unlocked):
                    m.d.comb += [error.eq(0), next_cells.eq(1), self.write_start.eq(1)]
                with m.Case(Register.MEMRISTOR_HELD >> 2), m.If(idle):
                    m.d.comb += error.eq(0)
                    m.d.sync += held.eq(Cat(held, request.data[: min(chip.rows, 32)])[-chip.rows :])
                with m.Case(Register.MEMRISTOR_SPARE >> 2), m.If(request.data[:8] < chip.spare_columns):
                    m.d.comb += error.eq(0)
                    m.d.sync += Cat(spare, spare_word).eq(request.data)
                with m.Case(Register.MEMRISTOR_REPAIR >> 2):
                    present = (spare_word < chip.memristor_words) & (spare < chip.spare_columns)
                    with m.If(present & unlocked & (request.data <= chip.memristor_columns)):
                        last_spare = spare == chip.spare_columns - 1
                        m.d.comb += [error.eq(0), self.repair_write.eq(1 << bank)]
                        m.d.sync += [spare.eq(Mux(last_spare, 0, spare + 1)), spare_word.eq(spare_word + last_spare)]
                with m.Case(Register.MEMRISTOR_LOCK >> 2), m.If((request.data & ~present_banks[bank >> 5]) == 0):
                    m.d.comb += error.eq(0)
                    m.d.sync += of_bank.eq(of_bank | request.data)
                with m.Case(Register.MEMRISTOR_UNLOCK >> 2), m.If(request.data == UNLOCK_KEY):
                    m.d.comb += error.eq(0)
                    m.d.sync += [word.eq(0) for word in locked]
                for (register, width), name in zip(WRITE_REGISTERS.items(), WRITE_NAMES, strict=True):
                    with m.Case(register >> 2), m.If(idle & (request.data >> width == 0)):
                        m.d.comb += error.eq(0)
                        m.d.sync += write_registers[name].eq(request.data)
                with m.Case(Register.ADC_SELECT >> 2):
                    legal = (request.data[:8] < chip.adcs) & (request.data[8:] < len(ADC_PARAMETERS))
                    with m.If(legal):
                        m.d.comb += error.eq(0)
                        m.d.sync += Cat(adc, adc_parameter).eq(request.data)
                with m.Case(Register.ADC_VALUE >> 2), m.If((adc < chip.adcs) & idle):
                    last_parameter = adc_parameter == len(ADC_PARAMETERS) - 1
                    m.d.comb += [error.eq(0), self.adc_write.eq(1 << bank)]
                    m.d.sync += [
                        adc_parameter.eq(Mux(last_parameter, 0, adc_parameter + 1)),
                        adc.eq(adc + last_parameter),
                    ]
                with m.Case(Register.NOISE_INDEX >> 2), m.If(request.data <= chip.rows):
                    m.d.comb += error.eq(0)
                    m.d.sync += noise_index.eq(request.data)
                with m.Case(Register.NOISE_VALUE >> 2), m.If((noise_index <= chip.rows) & idle):
                    m.d.comb += [error.eq(0), self.noise_write.eq(1)]
                    m.d.sync += noise_index.eq(noise_index + 1)
                with m.Case(Register.NOISE_SEED >> 2), m.If(idle):
                    m.d.comb += [error.eq(0), self.seed_write.eq(1)]
            with m.Else(), m.Switch(offset):
                for register, value in readable.items():
                    with m.Case(register >> 2):
                        m.d.comb += [error.eq(0), read_data.eq(value)]

        # Memory windows.
        for number, window in enumerate(windows):
            name = window.name.lower()
            write, read = getattr(self, f"{name}_write"), getattr(self, f"{name}_read")
            read_only = window in (Region.CYCLES, Region.WRITTEN, Region.WEAR)
            m.d.sync += [read.eq(0), write.eq(0)]
            with m.If(accept & in_window[number] & whole & ~self.busy):
                m.d.sync += [read.eq(~request.write), write.eq(0 if read_only else request.write)]
                m.d.comb += [
                    error.eq(request.write if read_only else 0),
                    from_window[number].eq(~request.write),
                ]

        # Of an access: its memory's word is there three cycles later (of the latest memory), one more and it is in a
        # register.
        answers, kept_error, kept_data, kept_from = (
            delayed(m, value, self.LATENCY - 2, name)
            for name, value in {"answers": accept, "error": error, "data": read_data, "from": from_window}.items()
        )
        words = [Signal(32, name=f"word_of_{window.name.lower()}") for window in windows]
        for word, window in zip(words, windows, strict=True):
            name = f"{window.name.lower()}_data"
            m.d.sync += word.eq(delayed(m, getattr(self, name), chip.deep_pipeline * (window != Region.WEIGHTS), name))
        answer = Signal(32)
        m.d.comb += answer.eq(kept_data)
        for number, word in enumerate(words):
            with m.If(kept_from[number]):
                m.d.comb += answer.eq(word)
        m.d.sync += [
            self.response.valid.eq(answers),
            self.response.payload.error.eq(kept_error),
            self.response.payload.data.eq(answer),
        ]
        return m
