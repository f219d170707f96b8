"""Frames of the host link (mixcim_fpga.protocol) as bytes: requests made, replies taken apart."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from mixcim_fpga.protocol import (
    CRC_BYTES,
    MAX_WORDS,
    REPLY_FIELDS,
    REPLY_HEADER,
    REPLY_SYNC,
    REQUEST_FIELDS,
    REQUEST_SYNC,
    Command,
    Status,
)


@dataclass(frozen=True, eq=False)
class Request:
    """A request without its sequence number. `words`: the payload, uint32, if there is one; `count`: of words."""

    command: Command
    address: int = 0
    step: int = 0
    count: int = 0
    words: np.ndarray | None = None

    def encoded(self, sequence: int) -> bytes:
        """The frame."""
        fields = {
            "sequence": sequence,
            "command": self.command,
            "step": self.step,
            "count": self.count,
            "address": self.address,
        }
        parts = [int(fields[name]).to_bytes(bits // 8, "little") for name, bits in REQUEST_FIELDS.items()]
        payload = b"" if self.words is None else self.words.astype("<u4").tobytes()
        frame = b"".join([bytes([REQUEST_SYNC]), *parts, payload])
        return frame + _crc(frame)


@dataclass(frozen=True, eq=False)
class Reply:
    """A reply with a right CRC. `words`: uint32."""

    sequence: int
    status: int
    last: int
    words: np.ndarray


def reply_length(head: bytes) -> int | None:
    """Bytes of the reply that begins with these (at least REPLY_HEADER of them); None if no reply begins so."""
    count = int.from_bytes(head[REPLY_HEADER - 2 : REPLY_HEADER], "little")
    if head[0] != REPLY_SYNC or count > MAX_WORDS:
        return None
    return REPLY_HEADER + 4 * count + CRC_BYTES


def decode_reply(frame: bytes) -> Reply | None:
    """The reply in a frame of `reply_length` bytes; None if its CRC is wrong or its status unknown."""
    body = frame[:-CRC_BYTES]
    if _crc(body) != frame[-CRC_BYTES:]:
        return None
    values, start = {}, 1
    for name, bits in REPLY_FIELDS.items():
        values[name] = int.from_bytes(body[start : start + bits // 8], "little")
        start += bits // 8
    if values["status"] not in set(Status):
        return None
    words = np.frombuffer(body[REPLY_HEADER:], "<u4").astype(np.uint32)
    return Reply(values["sequence"], values["status"], values["last"], words)


def _crc(frame: bytes) -> bytes:
    return zlib.crc32(frame).to_bytes(CRC_BYTES, "little")
