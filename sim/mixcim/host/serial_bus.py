"""`SerialBus`: the host port of a chip on a board, over a serial port; mixcim_fpga.protocol has the frames."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from mixcim_fpga.protocol import (
    BUS_ERROR_WORDS,
    DEFAULT_BAUD,
    GAP_SECONDS,
    GROUP_WORDS,
    IDENTITY_WORDS,
    LARGEST_STEP,
    LINK_IDENTIFICATION,
    LINK_VERSION,
    REPLY_HEADER,
    SEQUENCES,
    WAIT_WORDS,
    Command,
    Status,
)
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import CONTRACT_VERSION

from ..errors import MixcimError
from .bus import BusError, check_range, words_to_write
from .frames import Reply, Request, decode_reply, reply_length
from .serial_port import SerialPort
from .sparse import sparse_payloads, sparse_size

#: Seconds that the device may take for one WAIT: Ctrl-C and `on_progress` wait no longer.
_WAIT_SECONDS = 0.2
#: Seconds without a byte that end a reply.
_PAUSE_SECONDS = 0.25
_OPENING_ATTEMPTS = 3
#: Share of its bytes with which a write is sent sparse: the device needs its time for zeros, too.
_SPARSE_SHARE = 0.8


@dataclass(frozen=True)
class Identity:
    """What a device says of itself. `clock_frequency` in Hz; `max_words` in a frame; `window`: requests at a time."""

    link_version: int
    contract_version: int
    fingerprint: int
    clock_frequency: int
    max_words: int
    window: int


class SerialBus:
    """A chip on a board, as a bus for host.processor.Processor.

    What comes back is what the chip answered, whatever happens to bytes on the line: frames have a CRC, and are sent
    again when no sound reply comes. A request is executed once, however often it is sent. Use it in a `with` statement,
    or `close()` it; it takes one thread at a time.

    Parameters
    ----------
    port, baud: the serial port and its rate.
    chip: what must answer there; None: anything.
    patience: seconds that a reply may take, beside the time of its bytes.
    attempts: how often a request is sent before it is given up.

    Raises MixcimError, in one line with the remedy: no such port, port in use, no answer, another version of the link
    or of the registers, another chip; and from any method when the device does not answer any more.
    """

    def __init__(
        self,
        port: str,
        chip: ChipConfig | None = None,
        baud: int = DEFAULT_BAUD,
        *,
        patience: float = 1.0,
        attempts: int = 8,
    ) -> None:
        self._where = f"'{port}' at {baud} baud"
        self._byte_seconds = 10 / baud
        self._patience, self._attempts = patience, attempts
        self._received = bytearray()
        self._next = 0  # sequence number of the next request
        self._begun = False  # whether there is a session, and the device waits for that number
        self._chip = chip
        self.repeats = 0  #: how often something went wrong on the line and was put right
        #: Called now and then during run_until_interrupt; may use the bus.
        self.on_progress: Callable[[], None] | None = None
        #: Called with the bytes of payload moved so far, after each frame; must not use the bus.
        self.on_transfer: Callable[[int], None] | None = None
        self._moved = 0
        self._port = SerialPort(port, baud, write_timeout=patience + 10)
        try:
            self.identity = self._begin(_OPENING_ATTEMPTS)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def __enter__(self) -> SerialBus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, address: int, words: np.ndarray, step: int = 4) -> None:
        """Write `words` (uint32, any shape, in C order) to `address`, `address + step`, ... bytes.

        Returns when every write is acknowledged. Raises BusError at the first word that is refused; those after it are
        not written.
        """
        data = words_to_write(words).reshape(-1)
        check_range("write", address, data.size, step)
        groups = data.size // GROUP_WORDS * GROUP_WORDS
        requests = []
        if step <= LARGEST_STEP and sparse_size(data[:groups]) < _SPARSE_SHARE * groups:
            requests = [
                Request(Command.WRITE_SPARSE, address + first * step, step, len(payload), payload)
                for first, payload in sparse_payloads(data[:groups], self.identity.max_words)
            ]
            data, address = data[groups:], address + groups * step
        requests += [
            Request(Command.WRITE, start, frame_step, count, data[first : first + count])
            for first, count, start, frame_step in self._frames(address, data.size, step)
        ]
        self._exchange(requests, self.identity.window)

    def read(self, address: int, count: int, step: int = 4) -> np.ndarray:
        """Read `count` words from `address`, `address + step`, ... bytes. Returns uint32[count]. Raises BusError."""
        check_range("read", address, count, step)
        requests = [
            Request(Command.READ, start, frame_step, number)
            for _, number, start, frame_step in self._frames(address, count, step)
        ]
        # One at a time: of a read behind another one, only the last reply is kept.
        replies = self._exchange(requests, 1)
        return np.concatenate([np.zeros(0, np.uint32), *(reply.words for reply in replies)])

    def run_until_interrupt(self, max_cycles: int) -> int:
        """Wait for the interrupt line, at most that many cycles of the chip's clock; returns the cycles waited."""
        most = max(1, min((1 << 32) - 1, int(self.identity.clock_frequency * _WAIT_SECONDS)))
        done = 0
        while done < max_cycles:
            request = Request(Command.WAIT, min(most, max_cycles - done))
            [reply] = self._exchange([request], 1)
            waited = dict(zip(WAIT_WORDS, reply.words.tolist(), strict=True))
            done += waited["cycles"]
            if waited["interrupt"]:
                break
            if self.on_progress is not None:
                self.on_progress()
        return done

    def _frames(self, address: int, count: int, step: int) -> list[tuple[int, int, int, int]]:
        """(first word, words, address, step) of each frame of a burst."""
        most = self.identity.max_words if step <= LARGEST_STEP else 1
        return [
            (first, min(most, count - first), address + first * step, step if step <= LARGEST_STEP else 0)
            for first in range(0, count, most)
        ]

    def _exchange(self, requests: Sequence[Request], window: int) -> list[Reply]:
        """Replies to requests, which are executed once each and in order, `window` of them unanswered at a time.

        Of a window above 1, replies may be missing; only those of writes, which say nothing.
        """
        if not self._begun:
            self.identity = self._begin(self._attempts)
        # Whatever ends this early (an error, Ctrl-C) leaves requests that the device may have executed; the number of
        # such a one, used for another request, would bring its reply.
        self._begun = False
        replies = self._answers(requests, window)
        self._begun = True
        return replies

    def _answers(self, requests: Sequence[Request], window: int) -> list[Reply]:
        replies: list[Reply] = []
        base, answered, sent, failures = self._next, 0, 0, 0
        while answered < len(requests):
            while sent < min(answered + window, len(requests)):
                self._port.write(requests[sent].encoded((base + sent) % SEQUENCES))
                sent += 1
            reply = self._receive()
            oldest = (base + answered) % SEQUENCES
            if reply is not None and reply.status in (Status.DONE, Status.BUS_ERROR):
                number = answered + (reply.sequence - oldest) % SEQUENCES
                if number < sent and reply.words.size == _reply_words(requests[number], reply):
                    if reply.status == Status.BUS_ERROR:
                        raise self._bus_error(requests[number], reply)
                    replies.append(reply)
                    self._moved += sum(4 * request.count for request in requests[answered : number + 1])
                    if self.on_transfer is not None:
                        self.on_transfer(self._moved)
                    answered, failures = number + 1, 0  # requests before it went well, or it would have been refused
                    self._next = (base + answered) % SEQUENCES
                    continue
                if number >= answered + SEQUENCES - 2 * window:
                    continue  # an answer that came after its request had been sent again
            executed = answered  # the oldest request whose own reply is still wanted
            if reply is not None and reply.status in (Status.OUT_OF_ORDER, Status.HALTED):
                last = answered + (reply.last - oldest) % SEQUENCES
                executed = last if last < sent else answered
                # The device answers the last one that it has executed, failed or not; unless it has lost its memory.
                if reply.status == Status.HALTED and reply.sequence == oldest and executed == answered:
                    raise MixcimError(f"the board at {self._where} was reset meanwhile: run it again from the start")
            failures += 1
            self.repeats += 1
            if failures == self._attempts:
                raise MixcimError(
                    f"the board at {self._where} gave no sound answer to {self._attempts} requests in a row"
                    f"{_reason(reply)}: check the cable, or use a lower baud rate"
                )
            self._settle()
            sent = answered = executed
        return replies

    def _receive(self, patience: float | None = None) -> Reply | None:
        """The next reply; None if none came, or not a sound one."""
        sending = self.identity.max_words * 4 * self.identity.window * self._byte_seconds if patience is None else 0
        deadline = time.monotonic() + (self._patience + _WAIT_SECONDS + sending if patience is None else patience)
        length: int | None = None
        while True:
            if length is None and len(self._received) >= REPLY_HEADER:
                length = reply_length(bytes(self._received[:REPLY_HEADER]))
                if length is None:
                    return None
            if length is not None and len(self._received) >= length:
                frame = bytes(self._received[:length])
                del self._received[:length]
                return decode_reply(frame)
            came = self._port.read()
            now = time.monotonic()
            if came:
                self._received += came
                deadline = now + _PAUSE_SECONDS + self._patience / 4
            elif now > deadline:
                return None

    def _settle(self) -> None:
        """Be quiet until the device waits for a new frame, and forget what it has sent."""
        in_adapter = 512 * self._byte_seconds  # what a USB adapter may still have to send
        self._port.settle(2 * GAP_SECONDS + in_adapter, limit=self._patience + in_adapter)
        self._received.clear()

    def _begin(self, attempts: int) -> Identity:
        """Begin a session with the right device. Raises MixcimError if it is not."""
        identity = self._identify(attempts)
        self._check_identity(identity)
        self._begun = True
        return identity

    def _identify(self, attempts: int) -> Identity:
        """Begin a session. Raises MixcimError if nothing answers as a device does."""
        heard = False
        for _ in range(attempts):
            self._settle()
            nonce = secrets.randbits(32)
            sequence = secrets.randbelow(SEQUENCES)
            self._port.write(Request(Command.IDENTIFY, nonce).encoded(sequence))
            while (reply := self._receive(self._patience + _WAIT_SECONDS)) is not None:
                heard = True
                words: dict[str, int] = dict(zip(IDENTITY_WORDS, reply.words.tolist(), strict=False))
                if words.get("identification") == LINK_IDENTIFICATION and words.get("nonce") == nonce:
                    self._next = (sequence + 1) % SEQUENCES
                    return _identity(words)
            heard = heard or bool(self._received)
        if heard:
            raise MixcimError(
                f"what answers at {self._where} is no mixcim device, or has another rate: give its --baud"
            )
        raise MixcimError(
            f"nothing answers at {self._where}: program the board (mixcim fpga program), and give the port and the "
            "baud rate for which it was built"
        )

    def _check_identity(self, found: Identity) -> None:
        chip = self._chip
        remedy = "build and program it anew (mixcim fpga build, mixcim fpga program)"
        for what, version, ours in (
            ("host link", found.link_version, LINK_VERSION),
            ("registers", found.contract_version, CONTRACT_VERSION),
        ):
            if version != ours:
                raise MixcimError(
                    f"the board at {self._where} has version {version} of the {what}, this mixcim has {ours}: {remedy}"
                )
        if chip is not None and found.fingerprint != chip.fingerprint:
            known = [preset.name for preset in PRESETS.values() if preset.fingerprint == found.fingerprint]
            raise MixcimError(
                f"the board at {self._where} holds {f'chip {known[0]!r}' if known else 'another chip'} (fingerprint "
                f"{found.fingerprint:#010x}), not chip '{chip.name}' ({chip.fingerprint:#010x}): give that with "
                f"--chip, or {remedy}"
            )

    @staticmethod
    def _bus_error(request: Request, reply: Reply) -> BusError:
        """The error of a refused access."""
        failed = dict(zip(BUS_ERROR_WORDS, reply.words.tolist(), strict=True))
        address = request.address + failed["word"] * request.step
        return BusError("read" if request.command is Command.READ else "write", address, failed["response"])


def _identity(words: dict[str, int]) -> Identity:
    # A device of another version may have fewer words behind link_version, or others: they are not used then.
    limits = words.get("limits", 0)
    return Identity(
        words.get("link_version", 0),
        words.get("contract_version", 0),
        words.get("fingerprint", 0),
        words.get("clock_frequency", 0),
        max_words=limits & 0xFFFF,
        window=limits >> 16,
    )


def _reply_words(request: Request, reply: Reply) -> int:
    """How many words the reply must have."""
    if reply.status == Status.BUS_ERROR:
        return len(BUS_ERROR_WORDS)
    return {Command.READ: request.count, Command.WAIT: len(WAIT_WORDS)}.get(request.command, 0)


def _reason(reply: Reply | None) -> str:
    return "" if reply is None else f" (the last one was {Status(reply.status).name})"
