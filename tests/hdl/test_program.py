"""Program files: the same bytes for the same program, and nothing but a whole, sound file is loaded."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest

from hdl.chips import TINY
from mixcim_hdl.files import write_whole
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import MAGIC, Program, ProgramError
from mixcim_hdl.registers import CONTRACT_VERSION
from model.random_program import random_program


def sealed(body: bytes) -> bytes:
    """A file with a right first line around any body."""
    return f"{MAGIC} {CONTRACT_VERSION} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def test_bytes_come_back_and_repeat():
    program, _ = random_program(TINY, 3)
    data = program.to_bytes()
    assert data == random_program(TINY, 3)[0].to_bytes()
    again = Program.from_bytes(data, "x")
    assert again.to_bytes() == data
    assert again.tensors == program.tensors


def no_header() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, commands=np.zeros(1))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a mixcim program"),
        (b"hello", "is not a mixcim program"),
        (f"{MAGIC} {CONTRACT_VERSION + 1} 00\n".encode(), f"has version {CONTRACT_VERSION + 1}"),
        (sealed(b"")[:-1] + b"?", "is not a mixcim program|damaged"),
        (sealed(b"abc") + b"d", "damaged or truncated"),
        (sealed(b""), "not a program's contents"),
        (sealed(b"abc"), "not a program's contents"),
        (sealed(no_header()), "not a program's contents"),
    ],
)
def test_anything_else_is_refused_in_one_line(data, message):
    with pytest.raises(ProgramError, match=message) as caught:
        Program.from_bytes(data, "x")
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused():
    data = random_program(TINY, 3)[0].to_bytes()
    for length in range(0, len(data), 97):
        with pytest.raises(ProgramError):
            Program.from_bytes(data[:length], "x")


def test_a_program_for_other_sizes_is_refused():
    program, _ = random_program(TINY, 3)
    program.check_chip(TINY)
    with pytest.raises(ProgramError, match="was compiled for a chip 'tiny'"):
        program.check_chip(PRESETS["demo"])


def test_files_are_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_whole(target, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mixcim_hdl.files.os.replace", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(target, b"new")
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OSError, match="is no regular file"):
        write_whole(tmp_path, b"")
