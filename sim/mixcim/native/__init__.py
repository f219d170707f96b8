"""Native code that mixcim compiles on the machine: the C++ compiler, and the folder where what it built is kept.

`parallel`: threads that run it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..errors import MixcimError


def cache_folder() -> Path:
    """Where built libraries are kept: $MIXCIM_CACHE, else `mixcim` in the user's cache folder."""
    if chosen := os.environ.get("MIXCIM_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mixcim"


def clear_cache() -> None:
    """Remove every built library."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


@contextmanager
def one_at_a_time(target: Path) -> Iterator[None]:
    """Lets one process at a time make the file `target` of the cache folder; the others wait here and then find it."""
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, even by a crash
        yield


def digest(parts: Sequence[str]) -> str:
    """Hash of strings such that no two different lists of them run together."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:".encode() + part.encode())
    return total.hexdigest()[:24]


def compiler() -> list[str]:
    """The C++ compiler: $CXX, or g++. Raises MixcimError when it is not installed."""
    command = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    if shutil.which(command[0]) is None:
        raise MixcimError(
            f"the C++ compiler '{command[0]}' is not installed; install g++ (Debian: apt install g++) or set CXX"
        )
    return command


@cache
def compiler_version() -> str:
    """First line that the compiler says of itself; part of what a built library depends on."""
    result = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=False)
    return result.stdout.partition("\n")[0]


@cache
def processor_features() -> str:
    """What `-march=native` means here, as far as the system tells: a cache folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def build_source(source: Path, options: Sequence[str]) -> Path:
    """Shared library of one C++ file for this very processor, in the cache folder; at once if it is there.

    Processes that want the same one wait for the first. Raises MixcimError when there is no compiler or it refuses.
    """
    flags = [*options, "-march=native", "-shared", "-fPIC"]
    parts = [source.read_text(), *flags, *compiler(), compiler_version(), platform.machine(), processor_features()]
    library = cache_folder() / f"{source.stem}-{digest(parts)}.so"
    if library.exists():
        return library
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MixcimError(
            f"cache folder '{library.parent}' cannot be made: {error.strerror}; set MIXCIM_CACHE"
        ) from None
    with one_at_a_time(library), tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder:
        if library.exists():
            return library  # another process has built it meanwhile
        built = Path(folder, "library.so")
        command = [*compiler(), *flags, str(source), "-o", str(built)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if "rror" in line] or ["no message"]
            raise MixcimError(f"{Path(command[0]).name} failed on {source.name}: {lines[0].strip()}")
        os.replace(built, library)
    return library


def load_source(source: Path, options: Sequence[str]) -> ctypes.CDLL:
    """The library of `build_source`. Raises MixcimError when it cannot be compiled or loaded."""
    path = build_source(source, options)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise MixcimError(f"the compiled library '{path}' cannot be loaded: {error}") from None
