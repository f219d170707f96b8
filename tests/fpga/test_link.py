"""The host link frame by frame: what is executed, what is refused, and what a damaged frame does (nothing)."""

import random
import zlib
from pathlib import Path

import numpy as np
import pytest

from fpga.conftest import BAUD, GAP_SECONDS
from fpga.ledger import ALARM, CHIP, CLOCK, MEMORY_WORDS, SUM, TICKET, WRITES, mixed
from mixcim.host.frames import Reply, Request, decode_reply, reply_length
from mixcim.rtl.serial import SerialSimulator
from mixcim_fpga.protocol import (
    IDENTITY_WORDS,
    LINK_IDENTIFICATION,
    LINK_VERSION,
    MAX_WORDS,
    REQUEST_SYNC,
    WINDOW,
    Command,
    Status,
)
from mixcim_hdl.registers import CONTRACT_VERSION

BYTE = 10 * CLOCK // BAUD  #: cycles
GAP = round(GAP_SECONDS * CLOCK)


def replies(simulator: SerialSimulator, data: bytes, cycles: int = 0) -> list[Reply]:
    """Send bytes; every reply that comes until the line has been quiet for longer than a gap."""
    received, quiet = simulator.exchange(data, len(data) * BYTE + cycles), 0
    while quiet < 3 or simulator.busy or simulator.waiting:
        came = simulator.exchange(b"", GAP)
        received, quiet = received + came, 0 if came else quiet + 1
    found = []
    while received:
        length = reply_length(received)
        assert length is not None and length <= len(received), received
        reply = decode_reply(received[:length])
        assert reply is not None
        found.append(reply)
        received = received[length:]
    assert simulator.framing_errors == 0
    return found


def ask(simulator: SerialSimulator, sequence: int, request: Request) -> Reply:
    """The one reply to a request."""
    [reply] = replies(simulator, request.encoded(sequence))
    return reply


def write(address: int, words: list[int], step: int = 4) -> Request:
    return Request(Command.WRITE, address, step, len(words), np.array(words, np.uint32))


def read(address: int, count: int = 1, step: int = 4) -> Request:
    return Request(Command.READ, address, step, count)


def begin(simulator: SerialSimulator, sequence: int = 0) -> None:
    assert ask(simulator, sequence, Request(Command.IDENTIFY)).status == Status.DONE


def test_the_crc_is_the_one_of_zlib_and_fields_lie_as_documented() -> None:
    frame = write(0x30000010, [0x04030201], 8).encoded(7)
    assert frame[:-4] == bytes([0xA6, 7, 2, 8, 1, 0, 0x10, 0, 0, 0x30, 1, 2, 3, 4])
    assert frame[-4:] == zlib.crc32(frame[:-4]).to_bytes(4, "little")


def test_identify_tells_what_the_device_is_and_begins_a_session(simulator: SerialSimulator) -> None:
    assert ask(simulator, 1, read(0)).status == Status.HALTED  # before a session nothing is executed
    reply = ask(simulator, 200, Request(Command.IDENTIFY, 0xDEADBEEF))
    assert (reply.sequence, reply.status, reply.last) == (200, Status.DONE, 200)
    words = dict(zip(IDENTITY_WORDS, reply.words.tolist(), strict=True))
    assert words == {
        "identification": LINK_IDENTIFICATION,
        "nonce": 0xDEADBEEF,
        "link_version": LINK_VERSION,
        "contract_version": CONTRACT_VERSION,
        "fingerprint": CHIP.fingerprint,
        "clock_frequency": CLOCK,
        "limits": MAX_WORDS | WINDOW << 16,
    }
    assert ask(simulator, 201, read(0)).status == Status.DONE


@pytest.mark.parametrize("count", [0, 1, 2, MAX_WORDS])
def test_bursts_of_any_length_come_back(simulator: SerialSimulator, count: int) -> None:
    begin(simulator)
    words = np.random.default_rng(count).integers(0, 1 << 32, count, np.uint32).tolist()
    reply = ask(simulator, 1, write(64, words))
    assert (reply.status, reply.words.size) == (Status.DONE, 0)
    reply = ask(simulator, 2, read(64, count))
    assert (reply.status, reply.sequence, reply.words.tolist()) == (Status.DONE, 2, words)


def test_steps_skip_words_and_step_0_stays(simulator: SerialSimulator) -> None:
    begin(simulator)
    assert ask(simulator, 1, write(0, [1, 2, 3], 12)).status == Status.DONE
    assert ask(simulator, 2, read(0, 7)).words.tolist() == [1, 0, 0, 2, 0, 0, 3]
    assert ask(simulator, 3, read(0, 3, 24)).words.tolist() == [1, 3, 0]
    assert ask(simulator, 4, write(SUM, [5, 6, 7], 0)).status == Status.DONE
    assert ask(simulator, 5, read(SUM)).words.tolist() == [mixed([5, 6, 7])]
    assert ask(simulator, 6, read(TICKET, 4, 0)).words.tolist() == [0, 1, 2, 3]


def test_a_repeated_request_is_answered_again_but_executed_once(simulator: SerialSimulator) -> None:
    begin(simulator)
    for _ in range(3):
        assert ask(simulator, 1, read(TICKET, 2, 0)).words.tolist() == [0, 1]
    for _ in range(3):
        assert ask(simulator, 2, write(SUM, [9, 8], 0)).status == Status.DONE
    assert ask(simulator, 3, read(SUM)).words.tolist() == [mixed([9, 8])]
    assert ask(simulator, 4, read(WRITES)).words.tolist() == [2]


def test_sequence_numbers_go_round_and_others_are_refused(simulator: SerialSimulator) -> None:
    begin(simulator, 254)
    for number, sequence in enumerate((255, 0, 1)):
        assert ask(simulator, sequence, read(TICKET)).words.tolist() == [number]
    for sequence in (0, 3, 129, 255):
        reply = ask(simulator, sequence, read(TICKET))
        assert (reply.sequence, reply.status, reply.last, reply.words.size) == (sequence, Status.OUT_OF_ORDER, 1, 0)
    assert ask(simulator, 1, read(TICKET)).words.tolist() == [2]  # refusals do not disturb the kept reply
    assert ask(simulator, 2, read(TICKET)).words.tolist() == [3]


def test_after_a_bus_error_nothing_is_executed_until_identify(simulator: SerialSimulator) -> None:
    begin(simulator)
    end = 4 * MEMORY_WORDS
    reply = ask(simulator, 1, write(end - 8, [1, 2, 3, 4]))
    assert (reply.status, reply.words.tolist()) == (Status.BUS_ERROR, [2, 2])  # the third word, SLVERR
    assert ask(simulator, 2, write(0, [5])).status == Status.HALTED
    again = ask(simulator, 1, write(end - 8, [1, 2, 3, 4]))
    assert (again.status, again.words.tolist()) == (Status.BUS_ERROR, [2, 2])
    begin(simulator, 77)
    assert ask(simulator, 78, read(end - 8, 2)).words.tolist() == [1, 2]
    assert ask(simulator, 79, read(0)).words.tolist() == [0]
    assert ask(simulator, 80, read(end - 4, 2)).words.tolist() == [1, 2]
    assert ask(simulator, 80, read(end - 4, 2)).status == Status.BUS_ERROR


def test_frames_may_follow_without_a_pause(simulator: SerialSimulator) -> None:
    begin(simulator)
    words = list(range(MAX_WORDS))
    requests = [write(0, words), write(4 * MAX_WORDS, words[::-1]), read(TICKET)]
    answers = replies(simulator, b"".join(item.encoded(1 + number) for number, item in enumerate(requests)))
    assert [(reply.sequence, reply.status) for reply in answers] == [(1, 0), (2, 0), (3, 0)]
    assert ask(simulator, 4, read(4 * MAX_WORDS - 8, 4)).words.tolist() == [254, 255, 255, 254]
    assert not simulator.fault


def test_a_frame_beyond_the_window_is_dropped_and_told(simulator: SerialSimulator) -> None:
    begin(simulator)
    requests = [Request(Command.WAIT, 30_000), read(TICKET), read(TICKET)]
    answers = replies(simulator, b"".join(item.encoded(1 + number) for number, item in enumerate(requests)), 40_000)
    assert [reply.status for reply in answers] == [Status.DONE, Status.DONE, Status.GARBLED]
    assert ask(simulator, 3, read(TICKET)).words.tolist() == [1]


def test_wait_ends_with_the_interrupt_or_with_the_limit(simulator: SerialSimulator) -> None:
    begin(simulator)
    assert ask(simulator, 1, Request(Command.WAIT, 500)).words.tolist() == [500, 0]
    assert ask(simulator, 2, write(ALARM, [60_000])).status == Status.DONE
    [reply] = replies(simulator, Request(Command.WAIT, 1 << 31).encoded(3), 70_000)
    cycles, interrupt = reply.words.tolist()
    assert interrupt == 1 and 30_000 < cycles < 60_000
    assert ask(simulator, 4, Request(Command.WAIT, 0)).words.tolist() == [0, 1]


def test_unknown_commands_and_too_many_words_are_refused(simulator: SerialSimulator) -> None:
    begin(simulator)
    frame = bytearray(read(TICKET).encoded(1)[:-4])
    frame[2] = 9
    assert replies(simulator, bytes(frame) + zlib.crc32(frame).to_bytes(4, "little"))[0].status == Status.ILLEGAL
    assert ask(simulator, 1, read(TICKET, MAX_WORDS + 1, 0)).status == Status.ILLEGAL
    assert ask(simulator, 1, write(SUM, [1] * (MAX_WORDS + 1), 0)).status == Status.GARBLED
    assert ask(simulator, 1, read(TICKET)).words.tolist() == [0]
    assert ask(simulator, 2, read(WRITES)).words.tolist() == [0]


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_frame_is_never_executed(simulator: SerialSimulator, seed: int) -> None:
    """Any byte changed, lost, doubled or put in: one GARBLED, and the next sound frame works."""
    generator = random.Random(seed)
    begin(simulator)
    sequence, written = 1, []
    for _ in range(60):
        words = [generator.randrange(1 << 32) for _ in range(generator.choice((1, 3, 10)))]
        frame = bytearray(write(SUM, words, 0).encoded(sequence))
        place = generator.randrange(len(frame))
        kind = generator.choice(("change", "lose", "double", "put in", "cut", "begin again"))
        if kind == "change":
            frame[place] ^= generator.randrange(1, 256)
        elif kind == "lose":
            del frame[place]
        elif kind == "double":
            frame.insert(place, frame[place])
        elif kind == "put in":
            frame.insert(place, generator.randrange(256))
        elif kind == "cut":
            del frame[place + (place == 0) :]
        else:  # the last byte is not followed by a pause: a sound frame inside the damaged one does not count
            frame[place:place] = bytes([REQUEST_SYNC]) + bytes(frame)
        if bytes(frame) == write(SUM, words, 0).encoded(sequence):
            continue
        answers = replies(simulator, bytes(frame))
        harmless = kind in ("double", "put in") and frame[: len(frame) - 1] == write(SUM, words, 0).encoded(sequence)
        expected = [Status.DONE, Status.GARBLED] if harmless else [Status.GARBLED]
        assert [reply.status for reply in answers] == expected, (seed, kind, place)
        assert simulator.fault
        if not harmless:
            assert ask(simulator, sequence, write(SUM, words, 0)).status == Status.DONE
        written += words
        sequence = (sequence + 1) % 256
    assert ask(simulator, sequence, read(SUM)).words.tolist() == [mixed(written)]
    assert ask(simulator, (sequence + 1) % 256, read(WRITES)).words.tolist() == [len(written)]


def test_a_pause_within_a_frame_drops_it(simulator: SerialSimulator) -> None:
    begin(simulator)
    frame = read(TICKET).encoded(1)
    assert simulator.exchange(frame[:-1], len(frame) * BYTE + GAP // 2) == b""
    assert replies(simulator, frame[-1:])[0].status == Status.DONE  # a short one does not
    frame = read(TICKET).encoded(2)
    assert [reply.status for reply in replies(simulator, frame[:-1])] == [Status.GARBLED]
    assert [reply.status for reply in replies(simulator, frame[-1:])] == [Status.GARBLED]
    assert ask(simulator, 2, read(TICKET)).words.tolist() == [1]


def test_the_lights_tell_of_work_and_of_damage(simulator: SerialSimulator) -> None:
    begin(simulator)
    assert not simulator.busy and not simulator.fault
    frame = Request(Command.WAIT, 5_000).encoded(1)
    simulator.exchange(frame, len(frame) * BYTE + 1000)
    assert simulator.busy
    replies(simulator, b"")
    assert not simulator.busy
    replies(simulator, b"x")
    assert simulator.fault
    simulator.reset()
    assert not simulator.fault
    assert ask(simulator, 2, read(0)).status == Status.HALTED


def test_sparse_writes_put_zeros_between_their_words(simulator: SerialSimulator) -> None:
    begin(simulator)
    assert ask(simulator, 1, write(0, list(range(1, 101)))).status == Status.DONE
    groups = np.array([1 << 31 | 0b101, 11, 12, 13, 0, 1, 14], np.uint32)
    sparse = Request(Command.WRITE_SPARSE, 4, 4, len(groups), groups)
    assert ask(simulator, 2, sparse).status == Status.DONE
    expected = [1, 11, 0, 12, *[0] * 28, 13, *[0] * 32, 14, *[0] * 31, 98, 99, 100]
    assert ask(simulator, 3, read(0, 100)).words.tolist() == expected
    to_sum = Request(Command.WRITE_SPARSE, SUM, 0, 2, np.array([2, 5], np.uint32))
    for _ in range(2):
        assert ask(simulator, 4, to_sum).status == Status.DONE
    assert ask(simulator, 5, read(SUM)).words.tolist() == [mixed([0, 5, *[0] * 30])]
    assert ask(simulator, 6, read(WRITES)).words.tolist() == [32]
    end = Request(Command.WRITE_SPARSE, 4 * MEMORY_WORDS - 40, 4, 3, np.array([0b11, 6, 7], np.uint32))
    reply = ask(simulator, 7, end)
    assert (reply.status, reply.words.tolist()) == (Status.BUS_ERROR, [10, 2])


@pytest.mark.parametrize("off", [-0.025, 0.025])
def test_whole_frames_from_a_host_whose_clock_is_off(ledger_library: Path, off: float) -> None:
    words = np.random.default_rng(5).integers(0, 1 << 32, MAX_WORDS, np.uint32).tolist()
    with SerialSimulator(ledger_library, CLOCK / BAUD * (1 + off)) as simulator:
        begin(simulator)
        assert ask(simulator, 1, write(0, words)).status == Status.DONE
        assert ask(simulator, 2, read(0, MAX_WORDS)).words.tolist() == words
        assert not simulator.fault
