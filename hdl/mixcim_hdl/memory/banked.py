"""Banked memory: many readers and writers of one address space, each bank with one read and one write port."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..banks import bank_of
from ..commands import ADDRESS_BITS
from ..emission import once
from ..primitives.delayed import delayed
from ..primitives.ram import Ram


class BankedMemory(wiring.Component):
    """`depth` words of `width` bits in `banks` Rams (a power of two, at least 2; divides depth); 0 at power-up.

    ```
     readers --.                                    .--> a register per reader
               +--> first one of each bank --> bank +
     writers --'      (ready: it is served)  (bank_of)
    ```

    A port is served (ready) in each cycle in which no enabled port of its kind with a lower index wants a bank of its
    own, whether that one is served or not; port 0 always. `ready` is combinational, from the ports of lower index and
    from the port's own address and `wide`, and means nothing while the port is not enabled. Readers and writers do
    not hinder each other; reading a word in the cycle that writes it gives the old one (but see Ram). Read latency 1; a
    reader's data stays until it is served again. Addresses beyond the memory must not be given.

    `pairs`: data ports are two words wide. The lower half is the word at the address; a `wide` access takes bit 0 of
    the address as 0, and its upper half is the word after, which lies in another bank: it is served if both are free.
    In a narrow access the upper half means nothing. Without `pairs`, `wide` is ignored.

    `read_now` comes last of all: a port that is served but has it low does not read. It must be so where that hinders
    no port of higher index that reads.

    `late_writes`: 1: a word is written a cycle after it is taken, from registers at its bank.

    `given`: who reads finds the bank itself, and gives it as a bit of read_banks, for the way from an address to
    `ready` is long; without `pairs` only. The readers from number `given` on are one component's, which tells in
    read_blocked whether one of lower index among them wants the bank, too. Each one below tells in read_claims what it
    wants: its read_banks while it is enabled, or nothing where no reader of higher index can be enabled.

    Members, an element per reader or writer
    -------
    read_banks, read_claims (below `given`), read_blocked (if `given`).
    read_enable, read_now, read_wide, read_address, read_ready, read_data.
    write_lanes (one enable per lane of a word, for both words; none: not enabled), write_wide, write_address,
    write_ready, write_data.
    """

    def __init__(
        self, width: int, depth: int, banks: int, readers: int, writers: int, lanes: int = 1, pairs: bool = False,
        given: int = 0, late_writes: int = 0,
    ):  # fmt: skip
        if banks < 2 or banks & (banks - 1):
            raise ValueError(f"banks must be a power of two, at least 2, not {banks}")
        if depth % banks:
            raise ValueError(f"depth must be a multiple of banks ({banks}), not {depth}")
        self._width, self._depth, self._banks, self._lanes, self._pairs = width, depth, banks, lanes, pairs
        self._given, self._late_writes = given, late_writes
        words = 2 if pairs else 1
        found = {
            "read_banks": In(data.ArrayLayout(banks, readers)),
            "read_claims": In(data.ArrayLayout(banks, given)),
            "read_blocked": In(readers),
        }
        super().__init__(
            {
                **(found if given else {}),
                "read_enable": In(readers),
                "read_now": In(readers, init=(1 << readers) - 1),  # pyright: ignore[reportCallIssue]
                "read_wide": In(readers),
                "read_address": In(data.ArrayLayout(ADDRESS_BITS, readers)),
                "read_ready": Out(readers),
                "read_data": Out(data.ArrayLayout(words * width, readers)),
                "write_lanes": In(data.ArrayLayout(lanes, writers)),
                "write_wide": In(writers),
                "write_address": In(data.ArrayLayout(ADDRESS_BITS, writers)),
                "write_ready": Out(writers),
                "write_data": In(data.ArrayLayout(words * width, writers)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        readers, writers = len(self.read_enable), len(self.write_wide)
        depth = self._depth // self._banks
        lanes = [self.write_lanes[index] for index in range(writers)]
        read_bank, read_row, read_served = self._arbitrate(
            m, "read", list(self.read_enable), self.read_wide, self.read_address, self.read_ready
        )
        write_bank, write_row, write_served = self._arbitrate(
            m, "write", [lane.any() for lane in lanes], self.write_wide, self.write_address, self.write_ready
        )
        read_rows, write_rows = Signal(len(Cat(read_row))), Signal(len(Cat(write_row)))
        m.d.comb += [read_rows.eq(Cat(read_row)), write_rows.eq(Cat(write_row))]
        banks = []
        for number in range(self._banks):
            bank = _Bank(self._width, depth, readers, writers, self._lanes, self._pairs, self._late_writes)
            name = f"bank_{self._width}x{depth}_{readers}r{writers}w"
            m.d.comb += [
                bank.read_select.eq(Cat(served[number] for served in read_served)),
                bank.read_now.eq(self.read_now),
                bank.read_row.eq(read_rows),
                bank.write_select.eq(Cat(served[number] for served in write_served)),
                bank.write_upper.eq(Cat(bank[0] ^ number % 2 for bank in write_bank)),
                bank.write_lanes.eq(self.write_lanes.as_value()),
                bank.write_row.eq(write_rows),
                bank.write_data.eq(self.write_data.as_value()),
            ]
            m.submodules[f"bank{number}"] = once(bank, name, platform)
            banks.append(bank.read_data)

        words = Signal(self._banks * self._width)
        m.d.comb += words.eq(Cat(banks))
        for index in range(readers):
            new, origin = Signal(name=f"new{index}"), Signal.like(read_bank[index], name=f"origin{index}")
            kept = Signal(len(self.read_data[index]), name=f"kept{index}")
            read = [words.word_select(origin, self._width)]
            if self._pairs:
                read.append(words.word_select(origin ^ 1, self._width))
            m.d.sync += [
                new.eq(read_served[index].any() & self.read_now[index]),
                origin.eq(read_bank[index]),
                kept.eq(self.read_data[index]),
            ]
            # A bank's register may be overwritten by another reader, so each reader keeps what it got.
            m.d.comb += self.read_data[index].eq(Mux(new, Cat(read), kept))
        return m

    def _arbitrate(self, m: Module, kind: str, enables: list[Value], wides, addresses, ready):
        """For each port: bank of its (lower) word, row in the bank, and the banks that serve it, a bit each."""
        select = (self._banks - 1).bit_length()
        used = (self._depth - 1).bit_length()
        taken: Value = C(0)  # banks that ports of lower index want
        ports = []
        for index, enable in enumerate(enables):
            bank, wanted, served = (
                Signal(width, name=f"{kind}_{name}{index}")
                for name, width in (("bank", select), ("wanted", self._banks), ("served", self._banks))
            )
            address = addresses[index][:used]
            wide = wides[index] if self._pairs else C(0)
            before = Signal(self._banks, name=f"{kind}_before{index}")
            given = bool(self._given) and kind == "read"
            one = Value.cast(1) << bank
            number = bank_of(address, self._banks) ^ (address[0] & wide)
            if self._pairs:
                one = Mux(wide, Value.cast(0b11) << Cat(C(0, 1), bank[1:]), one)
            elif given:
                one = self.read_banks[index]
                number = Cat(
                    Cat(one[bank] for bank in range(self._banks) if bank >> bit & 1).any() for bit in range(select)
                )
            m.d.comb += [
                bank.eq(number),
                wanted.eq(one),
                before.eq(taken),
                served.eq(Mux(enable & ready[index], wanted, 0)),
            ]
            if given:  # by pairs: a shorter way than through all ports of lower index
                pairs = [
                    (self.read_claims[other] & self.read_banks[index]).any() for other in range(min(index, self._given))
                ]
                m.d.comb += ready[index].eq(~Cat(pairs, self.read_blocked[index]).any())
            else:
                m.d.comb += ready[index].eq(~(wanted & before).any())
            taken = before | Mux(enable, wanted, 0)
            ports.append((bank, address[select:], served))
        return [list(column) for column in zip(*ports, strict=True)]


class _Bank(wiring.Component):
    """One bank: at most one reader and one writer are selected in a cycle. What each has lies side by side.

    Members: read_select, read_now, read_row; read_data, of the reader that was selected last; write_select, write_upper
    (the bank has the upper half of this writer's data), write_lanes, write_row, write_data.
    """

    def __init__(self, width: int, depth: int, readers: int, writers: int, lanes: int, pairs: bool, late_writes: int):
        self._width, self._depth, self._lanes, self._pairs = width, depth, lanes, pairs
        self._late_writes = late_writes
        row, words = (depth - 1).bit_length(), 2 if pairs else 1
        super().__init__(
            {
                "read_select": In(readers),
                "read_now": In(readers),
                "read_row": In(row * readers),
                "read_data": Out(width),
                "write_select": In(writers),
                "write_upper": In(writers),
                "write_lanes": In(lanes * writers),
                "write_row": In(row * writers),
                "write_data": In(words * width * writers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(self._width, self._depth, lanes=self._lanes)
        m.d.comb += [
            ram.read_enable.eq((self.read_select & self.read_now).any()),
            ram.read_address.eq(_selected(self.read_select, self.read_row)),
            self.read_data.eq(ram.read_data),
        ]
        data = _selected(self.write_select, self.write_data)
        if self._pairs:
            data = Mux((self.write_select & self.write_upper).any(), data[self._width :], data[: self._width])
        for name, value in (
            ("write_enable", _selected(self.write_select, self.write_lanes)),
            ("write_address", _selected(self.write_select, self.write_row)),
            ("write_data", data),
        ):
            m.d.comb += getattr(ram, name).eq(delayed(m, value, self._late_writes, name))
        return m


def _selected(select: Value, values: Value) -> Value:
    """Of the values side by side the one whose bit of `select` is set, 0 for none."""
    width = len(values) // len(select)
    result: Value = C(0)
    for index in range(len(select)):
        result = result | Mux(select[index], values[index * width : (index + 1) * width], 0)
    return result
