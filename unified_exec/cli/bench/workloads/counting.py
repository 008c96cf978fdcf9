"""A shared counter: what a lock costs on each model."""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import threading
from collections.abc import Sequence

from .base import Group, Setting, Workload

TIMES = 50

_lock = threading.Lock()
_count = [0]


def add(path: str) -> int:
    """Add one to the shared counter, fifty times, under a lock each time."""
    for _ in range(TIMES):
        with _lock:
            _count[0] += 1
    return TIMES


async def add_async(path: str) -> int:
    lock = _loop_lock()
    for _ in range(TIMES):
        async with lock:
            _count[0] += 1
    return TIMES


_locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}


def _loop_lock() -> asyncio.Lock:
    loop = asyncio.get_running_loop()
    if loop not in _locks:
        _locks.clear()
        _locks[loop] = asyncio.Lock()
    return _locks[loop]


def add_apart(path: str) -> int:
    """The same in a mapped file under a file lock: what processes share whoever started them."""
    import fcntl

    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as memory:
        for _ in range(TIMES):
            fcntl.flock(file, fcntl.LOCK_EX)  # lockf keeps processes apart, not the interpreters in one
            struct.pack_into("q", memory, 0, struct.unpack_from("q", memory)[0] + 1)
            fcntl.flock(file, fcntl.LOCK_UN)
    return TIMES


def _items(setting: Setting) -> Sequence[str]:
    path = os.path.join(setting.folder, f"counter-{os.getpid()}")
    with open(path, "wb") as file:
        file.write(bytes(8))
    _count[0] = 0
    return [path] * setting.count(400, 80)


def _right(items: Sequence[str], results: Sequence[int]) -> bool:
    # Both counters together: each model uses one of them. Nothing may be lost.
    with open(items[0], "rb") as file:
        (apart,) = struct.unpack("q", file.read(8))
    return bool(sum(results) == len(items) * TIMES == apart + _count[0])


WORKLOADS = (
    Workload(
        "counter",
        "shared counter",
        Group.SHARED,
        "Each task adds one to a shared counter 50 times, under a lock each time: a threading.Lock, an asyncio.Lock, "
        "or between processes a file lock around a mapped file.",
        add,
        _items,
        _right,
        add_async,
        fn_apart=add_apart,
    ),
)
