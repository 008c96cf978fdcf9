"""Fetch a page, parse it, store what was found: the loop's, a core's and the disk's work in one."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence

from .base import Group, Setting, Workload
from .network import LATENCY, get, get_async

Page = tuple[int, str]
"""The server's port and the database's path."""


def parse(body: bytes) -> tuple[int, int]:
    """Count the words of the page's 400 records in Python: how many there are, how many different ones."""
    words: Counter[str] = Counter()
    for record in json.loads(body):
        for word in record["text"].split():
            words[word.lower().strip(".,")] += 1
    return sum(words.values()), len(words)


def store(found: tuple[Page, tuple[int, int]]) -> int:
    """Write the counts; the number of words."""
    (_, path), counts = found
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.execute("pragma synchronous = off")
        db.execute("create table if not exists pages (words, different)")
        db.execute("insert into pages values (?, ?)", counts)
    return counts[0]


def page(item: Page) -> int:
    return store((item, parse(get(item[0], "/page"))))


async def page_async(item: Page) -> int:
    return store((item, parse(await fetch(item))))


async def fetch(item: Page) -> bytes:
    return await get_async(item[0], "/page")


def _pages(setting: Setting) -> Sequence[Page]:
    path = os.path.join(setting.folder, f"pages-{os.getpid()}.db")
    return [(setting.http, path)] * setting.count(100, 24)


def _right(items: Sequence[Page], results: Sequence[int]) -> bool:
    return len(results) == len(items) and len(set(results)) == 1 and results[0] > 1000


WORKLOADS = (
    Workload(
        "mixed",
        "fetch, parse, store",
        Group.MIXED,
        f"A page over HTTP (the server waits {LATENCY * 1e3:.0f} ms), its words counted in Python, the counts stored "
        "in SQLite.",
        page,
        _pages,
        _right,
        page_async,
        stages=(fetch, parse, store),
        workers_most=24,
        turns=4,
    ),
)
