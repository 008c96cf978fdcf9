"""Waiting for the disk, for SQLite, and for the lock of a counter that all workers share."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import sqlite3
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

from .workload import Group, Setting, Workload

SIZE = 256 << 10
ROWS = 4_000
TIMES = 50

_building = threading.Lock()
_counter_lock = threading.Lock()
_counter = [0]
_loop_locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}


def rewrite(path: str) -> int:
    """Writes 256 KiB to a file, flushes it to the disk (fsync), reads it back, removes it."""
    with open(path, "wb") as file:
        file.write(b"x" * SIZE)
        file.flush()
        os.fsync(file.fileno())
    size = len(Path(path).read_bytes())
    os.unlink(path)
    return size


def _paths(setting: Setting) -> Sequence[str]:
    # Two models never share a file: each model has a process of its own.
    return [os.path.join(setting.folder, f"{os.getpid()}-{number}") for number in range(setting.count(100, 20))]


def database(folder: str) -> str:
    """Return the database that all tasks read; the first caller creates it."""
    path = os.path.join(folder, "rows.db")
    with _building:
        if not os.path.exists(path):
            unfinished = f"{path}.{os.getpid()}"
            with contextlib.closing(sqlite3.connect(unfinished)) as db, db:
                db.execute("create table rows (id integer primary key, city text, amount real)")
                rows = ((n, f"city {n % 97}", n * 0.5) for n in range(ROWS))
                db.executemany("insert into rows values (?, ?, ?)", rows)
            os.replace(unfinished, path)
    return path


def query(path: str) -> tuple[int, float]:
    """Opens an SQLite database of 4,000 rows, groups and sorts them, closes it."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        sums = db.execute("select city, sum(amount * amount) as s from rows group by city order by s desc").fetchall()
    return len(sums), sums[0][1]


def add(path: str) -> int:
    """Add one to the shared counter 50 times, under a lock each time."""
    for _ in range(TIMES):
        with _counter_lock:
            _counter[0] += 1
    return TIMES


async def add_async(path: str) -> int:
    lock = _loop_lock()
    for _ in range(TIMES):
        async with lock:
            _counter[0] += 1
    return TIMES


def _loop_lock() -> asyncio.Lock:
    loop = asyncio.get_running_loop()
    if loop not in _loop_locks:
        _loop_locks.clear()
        _loop_locks[loop] = asyncio.Lock()
    return _loop_locks[loop]


def add_apart(path: str) -> int:
    """Do the same in a mapped file under a file lock, which unrelated processes can share."""
    import fcntl

    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as memory:
        for _ in range(TIMES):
            fcntl.flock(file, fcntl.LOCK_EX)  # lockf would not exclude the other interpreters of this process
            struct.pack_into("q", memory, 0, struct.unpack_from("q", memory)[0] + 1)
            fcntl.flock(file, fcntl.LOCK_UN)
    return TIMES


def _counter_items(setting: Setting) -> Sequence[str]:
    path = os.path.join(setting.folder, f"counter-{os.getpid()}")
    with open(path, "wb") as file:
        file.write(bytes(8))
    _counter[0] = 0
    return [path] * setting.count(400, 80)


def _nothing_lost(items: Sequence[str], results: Sequence[int]) -> bool:
    # Each model uses one of the two counters.
    with open(items[0], "rb") as file:
        (apart,) = struct.unpack("q", file.read(8))
    return bool(sum(results) == len(items) * TIMES == apart + _counter[0])


WORKLOADS = (
    Workload(
        "files",
        "files",
        Group.IO,
        str(rewrite.__doc__),
        rewrite,
        _paths,
        lambda items, results: list(results) == [SIZE] * len(items),
        workers_most=8,
    ),
    Workload(
        "sqlite",
        "SQLite",
        Group.IO,
        str(query.__doc__),
        query,
        lambda setting: [database(setting.folder)] * setting.count(100, 25),
        lambda items, results: len(results) == len(items) and {count for count, _ in results} == {97},
        workers_most=8,
    ),
    Workload(
        "counter",
        "shared counter",
        Group.SHARED,
        "Adds one to a shared counter 50 times, under a lock each time: a threading.Lock, an asyncio.Lock or, between "
        "processes, a file lock around a mapped file.",
        add,
        _counter_items,
        _nothing_lost,
        add_async,
        fn_apart=add_apart,
    ),
)
