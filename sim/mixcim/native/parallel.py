"""Work on independent parts of a batch by as many threads as the process may use cores.

numpy and the compiled kernels let other threads run while they compute, so threads of one process do.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="mixcim")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def for_each(work: Callable[[Part], object], parts: Sequence[Part]) -> None:
    """Call `work` on every part, in any order, several at a time. Raises what the first part that failed raised."""
    threads = min(cores(), len(parts))
    if threads < 2:
        for part in parts:
            work(part)
    else:
        for _ in _pool(cores()).map(work, parts):
            pass
