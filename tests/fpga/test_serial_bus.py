"""The host driver over a pseudo-terminal to the pins of a verilated link: bursts, damage of every kind, errors."""

import os
import random

import numpy as np
import pytest

from fpga.boards import Board
from fpga.conftest import BAUD
from fpga.ledger import ALARM, CHIP, MEMORY_WORDS, SUM, TICKET, WRITES, mixed
from mixcim.errors import MixcimError
from mixcim.host.bus import BusError
from mixcim.host.serial_bus import SerialBus
from mixcim.host.sparse import sparse_payloads, sparse_size
from mixcim.rtl.bridge import SerialBridge
from mixcim.rtl.serial import SerialSimulator
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import CONTRACT_VERSION


class Damage:
    """Loses, changes, doubles and puts in bytes, each with a quarter of a probability a byte."""

    def __init__(self, seed: int, probability: float) -> None:
        self._random, self._probability, self.damaged = random.Random(seed), probability, 0

    def __call__(self, data: bytes) -> bytes:
        passed = bytearray()
        for byte in data:
            if self._random.random() >= self._probability:
                passed.append(byte)
                continue
            self.damaged += 1
            kind = self._random.randrange(4)
            if kind == 1:
                passed.append(byte ^ self._random.randrange(1, 256))
            elif kind == 2:
                passed += bytes([byte, byte])
            elif kind == 3:
                passed += bytes([self._random.randrange(256), byte])
        return bytes(passed)


def words(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, np.uint32)


def use(bus: SerialBus, seed: int) -> None:
    """Everything that a retry could spoil, compared with what must come out."""
    memory = words(MEMORY_WORDS, seed)
    bus.write(0, memory)
    assert np.array_equal(bus.read(0, MEMORY_WORDS), memory)
    pushed: list[int] = []
    for count in (1, 700, 30, 260):
        pushed += words(count, count).tolist()
        bus.write(SUM, np.array(pushed[-count:], np.uint32), step=0)
        assert bus.read(SUM, 1)[0] == mixed(pushed)
    assert bus.read(WRITES, 1)[0] == len(pushed)
    sparse = words(1000, seed + 1) * (words(1000, seed + 2) % 5 == 0)
    bus.write(4, sparse)
    assert np.array_equal(bus.read(4, 1000), sparse)
    bus.write(SUM, sparse, step=0)
    pushed += sparse.tolist()
    assert bus.read(SUM, 1)[0] == mixed(pushed) and bus.read(WRITES, 1)[0] == len(pushed)
    memory[1:1001] = sparse
    tickets = [bus.read(TICKET, count, step=0) for count in (1, 300, 5, 600)]
    assert np.array_equal(np.concatenate(tickets), np.arange(906))
    bus.write(ALARM, np.array([3000], np.uint32))
    assert bus.run_until_interrupt(10_000_000) <= 3000
    with pytest.raises(BusError, match="write of address 0x00002000: the chip refuses it"):
        bus.write(4 * MEMORY_WORDS - 4 * 300, words(600))
    assert np.array_equal(bus.read(4 * MEMORY_WORDS - 4 * 300, 300), words(600)[:300])
    assert np.array_equal(bus.read(0, 500), memory[:500])


def test_bursts_steps_and_errors(bridge: SerialBridge) -> None:
    with SerialBus(bridge.port, CHIP, BAUD) as bus:
        use(bus, 1)
        bus.write(0, words(3), step=400)  # more than a frame's step: one frame a word
        assert np.array_equal(bus.read(0, 3, step=400), words(3))
        bus.write(0, words(0))
        assert bus.read(0, 0).size == 0
        with pytest.raises(BusError) as caught:
            bus.read(4 * MEMORY_WORDS - 8, 20)
        assert caught.value.address == 4 * MEMORY_WORDS
        with pytest.raises(MixcimError, match="must be uint32, not int64"):
            bus.write(0, np.zeros(1, np.int64))
        with pytest.raises(MixcimError, match="leaves the 32-bit addresses"):
            bus.read(0xFFFF_FFFC, 2)
        assert bus.repeats == 0
        assert bus.run_until_interrupt(5000) >= 0


def test_writes_come_near_the_rate_of_the_line(bridge: SerialBridge) -> None:
    """In the chip's clock cycles: the host's own time counts only as far as it lets the line run dry."""
    with SerialBus(bridge.port, CHIP, BAUD) as bus:
        content = words(8 * 1024)
        begin = bridge.simulator.cycle
        for _ in range(4):
            bus.write(SUM, content, step=0)
        cycles = bridge.simulator.cycle - begin
    line = 4 * content.nbytes * 80
    print(f"{line / cycles:.1%} of the line's rate")
    assert line / cycles > 0.8


def test_words_that_are_mostly_0_take_less_time(bridge: SerialBridge) -> None:
    picture = words(2000)
    picture.reshape(-1, 4)[:, 1:] = 0  # 3 or 4 of 16 channels
    with SerialBus(bridge.port, CHIP, BAUD) as bus:
        cycles = []
        for content in (words(2000), picture):
            begin = bridge.simulator.cycle
            for _ in range(4):
                bus.write(0, content)
            cycles.append(bridge.simulator.cycle - begin)
            assert np.array_equal(bus.read(0, 2000), content)
    print(cycles)
    assert cycles[1] < 0.5 * cycles[0]


@pytest.mark.parametrize("density", [0, 0.1, 0.7, 1])
def test_sparse_payloads_say_it_all(density: float) -> None:
    generator = np.random.default_rng(1)
    content = words(32 * 100) * (generator.random(3200) < density)
    found: list[int] = []
    for first, payload in sparse_payloads(content, 100):
        assert first == len(found) and 0 < len(payload) <= 100
        rest = payload.tolist()
        while rest:
            mask = rest.pop(0)
            found += [rest.pop(0) if mask >> bit & 1 else 0 for bit in range(32)]
    assert found == content.tolist()
    assert sum(len(payload) for _, payload in sparse_payloads(content, 100)) == sparse_size(content)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_both_ways_never_give_a_wrong_result(bridge: SerialBridge, seed: int) -> None:
    print(f"seed {seed}")
    with SerialBus(bridge.port, CHIP, BAUD, attempts=30) as bus:
        bridge.to_device, bridge.to_host = to_device, to_host = Damage(seed, 4e-4), Damage(seed + 100, 4e-4)
        use(bus, seed)
        assert to_device.damaged + to_host.damaged > 5 and bus.repeats > 3


@pytest.mark.parametrize("seed", range(2))
def test_disturbed_pins_never_give_a_wrong_result(simulator: SerialSimulator, seed: int) -> None:
    print(f"seed {seed}")
    simulator.disturb(seed, 6e-6, 20)
    with SerialBridge(simulator) as bridge, SerialBus(bridge.port, CHIP, BAUD, attempts=30) as bus:
        use(bus, seed)
        assert bus.repeats > 3
    assert simulator.disturbances > 5


@pytest.mark.parametrize("seed", range(3))
def test_a_hopeless_line_ends_in_a_clear_error(bridge: SerialBridge, seed: int) -> None:
    print(f"seed {seed}")
    with SerialBus(bridge.port, CHIP, BAUD, patience=0.2, attempts=4) as bus:
        bridge.to_device, bridge.to_host = Damage(seed, 0.02), Damage(seed + 100, 0.02)
        with pytest.raises(MixcimError, match="gave no sound answer to 4 requests in a row.*check the cable"):
            for _ in range(50):
                use(bus, seed)


def test_a_cut_line_is_told_and_forgotten_when_it_is_mended(bridge: SerialBridge) -> None:
    with SerialBus(bridge.port, CHIP, BAUD, patience=0.1, attempts=3) as bus:
        bus.write(0, words(10))
        bridge.to_host = lambda data: b""
        with pytest.raises(MixcimError, match="no sound answer to 3 requests in a row: check the cable"):
            bus.read(0, 10)
        bridge.to_host = bytes
        assert np.array_equal(bus.read(0, 10), words(10))


def test_a_request_behind_one_that_was_given_up_gets_its_own_reply(bridge: SerialBridge) -> None:
    """The device has executed the one that was given up: the number of that must not come again."""
    with SerialBus(bridge.port, CHIP, BAUD, patience=0.1, attempts=2) as bus:
        bus.write(0, words(20))
        bridge.to_host = lambda data: b""
        with pytest.raises(MixcimError, match="no sound answer"):
            bus.read(0, 10)
        bridge.to_host = bytes
        assert np.array_equal(bus.read(40, 10), words(20)[10:])


class Lose:
    """Loses the first bytes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, data: bytes) -> bytes:
        lost = min(self.count, len(data))
        self.count -= lost
        return data[lost:]


@pytest.mark.parametrize("lost", range(1, 60, 4))
def test_any_replies_of_a_window_may_be_lost(bridge: SerialBridge, lost: int) -> None:
    """Those of writes that went well, and of one that was refused, with and without the one before it."""
    end = 4 * MEMORY_WORDS
    with SerialBus(bridge.port, CHIP, BAUD, patience=0.1) as bus:
        bridge.to_host = Lose(lost)
        bus.write(SUM, words(700), step=0)
        bridge.to_host = Lose(lost)
        with pytest.raises(BusError) as caught:
            bus.write(end - 4 * 300, words(600))
        assert caught.value.address == end
        bridge.to_host = Lose(lost)
        assert bus.read(SUM, 1)[0] == mixed(words(700).tolist()) and bus.read(WRITES, 1)[0] == 700
        assert np.array_equal(bus.read(end - 4 * 300, 300), words(600)[:300])


def test_a_board_that_was_reset_is_told(bridge: SerialBridge) -> None:
    with SerialBus(bridge.port, CHIP, BAUD) as bus:
        bus.write(0, words(10))
        bridge.on_pause(bridge.simulator.reset)
        with pytest.raises(MixcimError, match="was reset meanwhile: run it again"):
            bus.read(0, 10)


def test_a_port_in_use_is_told(bridge: SerialBridge) -> None:
    in_use = pytest.raises(MixcimError, match=f"serial port '{bridge.port}' is in use: close the other program")
    with SerialBus(bridge.port, CHIP, BAUD), in_use:
        SerialBus(bridge.port, CHIP, BAUD)
    with SerialBus(bridge.port, CHIP, BAUD):
        pass  # given back


def test_a_port_that_is_absent_or_forbidden_is_told(tmp_path) -> None:
    with pytest.raises(MixcimError, match="serial port '/dev/ttyNone' does not exist; .* give its port with --port"):
        SerialBus("/dev/ttyNone")
    with pytest.raises(MixcimError, match="cannot be opened"):
        SerialBus(str(tmp_path))
    master, slave = os.openpty()
    try:
        with pytest.raises(MixcimError, match="does not take 123456789123 baud"):
            SerialBus(os.ttyname(slave), baud=123456789123)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("board", "message"),
    [
        (Board(answer=b""), "nothing answers at .* baud: program the board"),
        (Board(answer=b"Hello, I am a modem.\r\n"), "no mixcim device, or has another rate: give its --baud"),
        (Board(identification=5), "no mixcim device, or has another rate"),
        (Board(link_version=99), "has version 99 of the host link, this mixcim has 1: build and program it anew"),
        (
            Board(contract_version=4),
            f"version 4 of the registers, this mixcim has {CONTRACT_VERSION}: build and program",
        ),
        (
            Board(fingerprint=PRESETS["demo"].fingerprint),
            "holds chip 'demo' .* not chip 'tiny' .*: give that with --chip",
        ),
        (Board(fingerprint=1), "holds another chip .fingerprint 0x00000001., not chip 'tiny'"),
    ],
    ids=["silent", "modem", "other", "link", "contract", "chip", "unknown chip"],
)
def test_a_wrong_board_is_told_in_one_line(board: Board, message: str) -> None:
    with SerialBridge(board) as bridge:
        with pytest.raises(MixcimError, match=message) as caught:
            SerialBus(bridge.port, CHIP, BAUD, patience=0.1)
        assert "\n" not in str(caught.value)


def test_a_right_board_passes() -> None:
    with SerialBridge(Board()) as bridge, SerialBus(bridge.port, CHIP, BAUD) as bus:
        assert bus.identity.fingerprint == CHIP.fingerprint
