"""The store of the results: one SQLite file. These are the demo's blocking calls."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .metrics import FileMetrics

_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, lines INTEGER, branches INTEGER, error TEXT);
CREATE TABLE functions (path TEXT REFERENCES files, name TEXT, line INTEGER, length INTEGER, complexity INTEGER);
"""
_ORDER = "path, line, name, length"


class RankedFunction(NamedTuple):
    """A function and its file."""

    path: str
    name: str
    line: int
    length: int
    complexity: int


class Totals(NamedTuple):
    """Totals of the whole store."""

    files: int
    bytes: int
    lines: int
    branches: int
    functions: int
    unparsable: int


class Store:
    """A new SQLite database; any thread may use it.

    SQLite has one writer at a time, so the threads take turns at one connection.

    Args:
        path: a new file.
    """

    def __init__(self, path: Path) -> None:
        self._turn = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        # A write-ahead log without fsync: the demo measures the work, not the disk.
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def add(self, metrics: FileMetrics) -> None:
        """Store one file in a transaction of its own."""
        path, size, lines, branches, functions, error = metrics
        with self._turn, self._connection as transaction:
            transaction.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?)", (path, size, lines, branches, error))
            transaction.executemany(
                "INSERT INTO functions VALUES (?, ?, ?, ?, ?)",
                [(path, name, line, length, complexity) for name, line, length, complexity in functions],
            )

    def most_complex(self, count: int = 10) -> list[RankedFunction]:
        return self._ranked("complexity DESC", count)

    def longest(self) -> RankedFunction | None:
        return next(iter(self._ranked("length DESC", 1)), None)

    def totals(self) -> Totals:
        sums = "SELECT count(*), total(size), total(lines), total(branches), count(error) FROM files"
        files, size, lines, branches, unparsable = self._rows(sums)[0]
        functions = self._rows("SELECT count(*) FROM functions")[0][0]
        return Totals(files, int(size), int(lines), int(branches), functions, unparsable)

    def paths(self) -> set[str]:
        return {path for (path,) in self._rows("SELECT path FROM files")}

    def everything(self) -> list[tuple[Any, ...]]:
        """Return every row, in an order independent of when it was stored: equal runs return equal lists."""
        files = self._rows("SELECT * FROM files ORDER BY path")
        return files + self._rows(f"SELECT * FROM functions ORDER BY {_ORDER}")

    def close(self) -> None:
        self._connection.close()

    def _ranked(self, order: str, count: int) -> list[RankedFunction]:
        query = f"SELECT path, name, line, length, complexity FROM functions ORDER BY {order}, {_ORDER} LIMIT ?"
        return [RankedFunction(*row) for row in self._rows(query, count)]

    def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._turn:
            return self._connection.execute(query, parameters).fetchall()


@contextlib.contextmanager
def new_store(path: Path) -> Iterator[Store]:
    """Open a new database until the block ends; the file is kept."""
    with contextlib.closing(Store(path)) as store:
        yield store
