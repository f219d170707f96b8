"""Boards that are none: what a wrong port or a wrong board answers, in the place of a SerialSimulator."""

import zlib

from mixcim_fpga.protocol import IDENTITY_WORDS, LINK_IDENTIFICATION, LINK_VERSION, MAX_WORDS, WINDOW
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.registers import CONTRACT_VERSION


class Board:
    """Answers IDENTIFY, with some words changed; or, with `answer`, always that."""

    waiting = 0

    def __init__(self, answer: bytes | None = None, **changed: int) -> None:
        self._answer, self._changed, self._received = answer, changed, b""

    def exchange(self, data: bytes, cycles: int) -> bytes:
        self._received += data
        if self._answer is not None:
            return self._answer if data else b""
        if len(self._received) < 14:
            return b""
        frame, self._received = self._received[:14], self._received[14:]
        words = {
            "identification": LINK_IDENTIFICATION,
            "nonce": int.from_bytes(frame[6:10], "little"),
            "link_version": LINK_VERSION,
            "contract_version": CONTRACT_VERSION,
            "fingerprint": PRESETS["tiny"].fingerprint,
            "clock_frequency": 1,
            "limits": MAX_WORDS | WINDOW << 16,
        } | self._changed
        body = bytes([0x59, frame[1], 0, frame[1], len(words), 0])
        body += b"".join(words[name].to_bytes(4, "little") for name in IDENTITY_WORDS)
        return body + zlib.crc32(body).to_bytes(4, "little")
