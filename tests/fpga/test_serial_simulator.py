"""The simulated serial line itself: port names of a board's top, misuse."""

from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixcim.errors import MixcimError
from mixcim.rtl.build import build_library
from mixcim.rtl.serial import SerialSimulator, serial_driver
from mixcim_fpga.link.uart import UartReceiver, UartTransmitter, bit_length
from mixcim_hdl.verilog import to_verilog


class Top(wiring.Component):
    """Sends back every byte, one higher; its reset is low active, and it has one light."""

    def __init__(self) -> None:
        super().__init__(
            {
                "clock": In(1),
                "button": In(1),
                "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]
                "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
                "light": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.d.comb += [sync.clk.eq(self.clock), sync.rst.eq(~self.button)]
        m.submodules.receiver = receiver = UartReceiver(bit_length(1_000_000, 100_000))
        m.submodules.transmitter = transmitter = UartTransmitter(bit_length(1_000_000, 100_000))
        full, byte = Signal(), Signal(8)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.light.eq(full),
            transmitter.byte.valid.eq(full),
            transmitter.byte.payload.eq(byte),
        ]
        with m.If(transmitter.byte.ready):
            m.d.sync += full.eq(0)
        with m.If(receiver.received.valid):
            m.d.sync += [full.eq(1), byte.eq(receiver.received.payload.byte + 1)]
        return m


def test_ports_may_have_other_names() -> None:
    driver = serial_driver("clock", "button", reset_active=False, busy=None, fault="light")
    library = build_library(to_verilog(Top(), "board_top", "For tests only."), "board_top", driver=driver)
    with SerialSimulator(library, 10.1) as simulator:
        assert simulator.exchange(b"HAL", 350) + simulator.exchange(b"", 200) == b"IBM"
        assert not simulator.busy and not simulator.fault
        simulator.exchange(b"xyz", 300)
        simulator.reset()
        assert simulator.exchange(b"", 300)[-1:] != b"{"  # the last byte was lost in the reset


def test_misuse_is_told(ledger_library: Path, tmp_path: Path) -> None:
    with pytest.raises(MixcimError, match="cannot be loaded"):
        SerialSimulator(tmp_path / "missing.so", 8)
    simulator = SerialSimulator(ledger_library, 8)
    simulator.close()
    with pytest.raises(MixcimError, match="closed"):
        simulator.exchange(b"", 1)
