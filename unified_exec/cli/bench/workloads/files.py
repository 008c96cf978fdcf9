"""Waiting for the disk and for SQLite."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from .base import Group, Setting, Workload

SIZE = 256 << 10
ROWS = 4_000


def rewrite(path: str) -> int:
    """Write 256 KiB to a file, bring it to the disk (fsync), read it back, remove it."""
    with open(path, "wb") as file:
        file.write(b"x" * SIZE)
        file.flush()
        os.fsync(file.fileno())
    size = len(Path(path).read_bytes())
    os.unlink(path)
    return size


def _paths(setting: Setting) -> Sequence[str]:
    # Two models never share a file: each host has its own process id.
    return [os.path.join(setting.folder, f"{os.getpid()}-{number}") for number in range(setting.count(100, 20))]


_building = threading.Lock()


def database(folder: str) -> str:
    """The database all tasks read, made when it is first asked for in this process."""
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
    """Open an SQLite database of 4,000 rows, group and sort them, close it."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        sums = db.execute("select city, sum(amount * amount) as s from rows group by city order by s desc").fetchall()
    return len(sums), sums[0][1]


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
)
