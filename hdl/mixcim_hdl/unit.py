# amaranth: UnusedElaboratable=no
# Only for the members that components of some kinds have are they made, too.

"""Compute unit: a bank of any kind with what is in front of it and behind it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from .commands import TinyMode
from .config import ChipConfig, UnitKind
from .control.accumulator import Accumulator
from .control.sequencer import Sequencer
from .emission import for_fpga
from .interfaces import UNIT_LAYOUT, BankSignature, dpv_layout, load_members, result_layout, run_view, vector_layout
from .memristor.bank import MemristorBank
from .primitives.delayed import delayed
from .primitives.queues import MemoryQueue, RegisterQueue
from .sram.bank import SramBank
from .tiny.bank import TinyBank

#: Component of each kind; docs/extending.md lists every place that a fourth kind needs.
BANKS = {UnitKind.MEMRISTOR: MemristorBank, UnitKind.SRAM: SramBank, UnitKind.TINY: TinyBank}


STEPS = 4  #: in a bank of a deep pipeline; a fifth one would make ResNet-20 7 % faster, and a bank 700 LUTs larger


def own_members(kind: UnitKind, chip: ChipConfig) -> dict[str, wiring.Member]:
    """Members that banks of a kind have besides those of all kinds (interfaces.BankSignature)."""
    common = BankSignature(chip).members
    return {name: member for name, member in BANKS[kind](chip).signature.members.items() if name not in common}


class ComputeUnit(wiring.Component):
    """vector stream -> result stream of one unit.

    ```
     vector --> queue --> sequencer --step--> bank --dpv--> accumulator --> result
                (vector_queue)
    ```

    A deep pipeline lets STEPS steps into the bank at most, and has room for all of their dpvs before the accumulator:
    so the bank never waits for it, and no way leads from the accumulator to it. Steps shorter than the bank's latency /
    STEPS wait for each other: four steps of one cycle on SRAM-CIM take six.

    Latency: 1 (queue) + that of the bank + 2 (accumulator), + 1 in a deep pipeline. Its pace is that of the slowest of
    sequencer (a step a cycle), bank and accumulator (1 or 2 cycles a tile).

    Members
    -------
    clear : resets all but what the host has set.    start : one cycle, begins a layer.
    run : fields of the command, constant while vectors are in flight.    fields : those of this unit.
    vector, result : streams.
    load_* : a part of a weight word for the bank (load_members).
    Those of the kind's own: see its bank.
    fault : it was to read past its memory.    moving : it takes a step.    busy : vectors, steps or results are inside.
    """

    def __init__(self, chip: ChipConfig, kind: UnitKind):
        self._chip, self._kind = chip, kind
        super().__init__(
            {
                "clear": In(1),
                "start": In(1),
                "run": In(run_view()),
                "fields": In(UNIT_LAYOUT),
                "vector": In(stream.Signature(vector_layout(chip))),
                "result": Out(stream.Signature(result_layout(chip))),
                **load_members(chip),
                **own_members(kind, chip),
                "fault": Out(1),
                "moving": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chip, kind, run, fields = self._chip, self._kind, self.run, self.fields
        # On an FPGA of registers, of which there are many; a memory of two words takes more LUTs than they save.
        if for_fpga(platform):
            queue = RegisterQueue(vector_layout(chip), chip.vector_queue)
        else:
            queue = MemoryQueue(vector_layout(chip), chip.vector_queue)
        tiles = chip.sram_segments if kind is UnitKind.SRAM else 1  # in a step
        sequencer = Sequencer(chip, chip.unit_capacity(kind), tiles)
        bank, accumulator = BANKS[kind](chip), Accumulator(chip, tiles)
        blocks = {"queue": queue, "sequencer": sequencer, "bank": bank, "accumulator": accumulator}
        for name, block in blocks.items():
            m.submodules[name] = ResetInserter(self.clear)(block)
        connect(m, wiring.flipped(self.vector), queue.input)
        connect(m, queue.output, sequencer.vector)
        inside, now_inside = Signal(4), Signal(4)  # steps taken whose dot-product values are not accumulated yet
        room = Signal(init=1)
        m.d.comb += [
            bank.step.payload.eq(sequencer.step.payload),
            bank.step.valid.eq(sequencer.step.valid & room),
            sequencer.step.ready.eq(bank.step.ready & room),
        ]
        if chip.deep_pipeline:
            m.d.sync += room.eq(now_inside < STEPS)
            sums = RegisterQueue(dpv_layout(chip, tiles), STEPS - 1)
            m.submodules.sums = ResetInserter(self.clear)(sums)
            connect(m, bank.dpv, sums.input)
            connect(m, sums.output, accumulator.dpv)
        else:
            connect(m, bank.dpv, accumulator.dpv)
        connect(m, accumulator.result, wiring.flipped(self.result))
        mode = delayed(m, fields.mode, chip.deep_pipeline, "mode")  # there long before the first vector
        stride: object = 1
        if kind is UnitKind.TINY:
            broadcast = Mux(mode == TinyMode.BROADCAST, chip.channels, 1)
            stride = Mux(mode == TinyMode.MAX, 0, broadcast)
            m.d.comb += accumulator.maximum.eq(mode == TinyMode.MAX)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.tiles.eq(fields.tiles),
            sequencer.slot.eq(fields.slot),
            sequencer.parameter.eq(fields.parameter),
            sequencer.stride.eq(stride),
            sequencer.mode.eq(mode),
            sequencer.slices.eq(run.weight_slices),
            bank.input_bits.eq(run.input_bits),
            bank.input_signed.eq(run.input_signed),
            bank.mode.eq(mode),
            *(getattr(bank, name).eq(getattr(self, name)) for name in ("load_enable", "load_address", "load_data")),
            self.fault.eq(sequencer.fault),
            self.moving.eq(bank.step.valid & bank.step.ready),
        ]
        for name, member in own_members(kind, chip).items():
            outer, inner = getattr(self, name), getattr(bank, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        with m.If(~self.clear):
            finished = accumulator.dpv.valid & accumulator.dpv.ready
            m.d.comb += now_inside.eq(inside + self.moving - finished)
        m.d.sync += inside.eq(now_inside)
        m.d.comb += self.busy.eq(queue.output.valid | (inside != 0))
        return m
