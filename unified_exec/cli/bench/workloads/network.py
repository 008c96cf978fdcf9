"""Waiting for servers on loopback: many HTTP connections, a blocking SMTP client, and pages fetched, parsed, stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import smtplib
import socket
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from urllib.parse import urljoin

from ..io_servers import HTTP_LATENCY
from .workload import Group, Setting, Workload

Page = tuple[int, str]
"""The server's port and the database's path."""

MOST_THREADS = 1_000
_PATIENCE = 60.0
# Closing sends a reset: otherwise ten thousand closed connections would keep their ports for a minute.
_RESET = struct.pack("ii", 1, 0)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def get(port: int, path: str) -> bytes:
    """Send one GET over a new connection and return the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.sendall(_request(path))
        with connection.makefile("rb") as reader:
            head = b"".join(iter(reader.readline, b"\r\n"))
            return reader.read(_length(head))


async def get_async(port: int, path: str) -> bytes:
    """Do what `get` does, on the event loop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.write(_request(path))
        head = await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(_length(head))
    finally:
        writer.close()


def fetch(port: int) -> int:
    return len(get(port, "/small"))


async def fetch_async(port: int) -> int:
    return len(await get_async(port, "/small"))


def mail(port: int) -> int:
    """Connect to a mail server with `smtplib`, send NOOP three times, quit; return the last status code."""
    with contextlib.closing(smtplib.SMTP("127.0.0.1", port, local_hostname="localhost", timeout=_PATIENCE)) as client:
        for _ in range(3):
            client.noop()
        return client.quit()[0]


def _all_answered(size: int) -> Callable[[Sequence[int], Sequence[int]], bool]:
    def right(items: Sequence[int], results: Sequence[int]) -> bool:
        return list(results) == [size] * len(items)

    return right


def _http(connections: int, quick: bool = True) -> Workload:
    def items(setting: Setting) -> Sequence[int]:
        return [setting.http] * max(2, round(connections * setting.scale))

    return Workload(
        f"http-{connections}",
        f"HTTP, {connections:,} connections",
        Group.IO,
        f"{connections:,} GETs at once, each over a connection of its own, to a server on loopback that answers after "
        f"{HTTP_LATENCY * 1e3:.0f} ms.",
        fetch,
        items,
        _all_answered(5),
        fetch_async,
        workers_most=min(connections, MOST_THREADS),
        turns=4,
        sockets=connections,
        quick=quick,
    )


def parse(body: bytes) -> tuple[int, int]:
    """Count, in Python, the words of the page's 400 records; return the total and the number of different words."""
    words: Counter[str] = Counter()
    for record in json.loads(body):
        for word in record["text"].split():
            words[word.lower().strip(".,")] += 1
    return sum(words.values()), len(words)


class _Links(HTMLParser):
    """Collects the addresses and counts the words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name == "href" and value]

    def handle_data(self, data: str) -> None:
        self.words += len(data.split())


def links(body: bytes) -> tuple[int, int]:
    """Parse a page with the standard library's `html.parser`; return its words and the number of different links."""
    parser = _Links()
    parser.feed(body.decode())
    return parser.words, len({urljoin("http://127.0.0.1/", link) for link in parser.found})


def store(found: tuple[Page, tuple[int, int]]) -> int:
    """Write the counts to SQLite and return the number of words."""
    (_, path), counts = found
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.execute("pragma synchronous = off")
        db.execute("create table if not exists pages (words, different)")
        db.execute("insert into pages values (?, ?)", counts)
    return counts[0]


def page(item: Page) -> int:
    return store((item, parse(get(item[0], "/page"))))


async def page_async(item: Page) -> int:
    return store((item, parse(await fetch_page(item))))


async def fetch_page(item: Page) -> bytes:
    return await get_async(item[0], "/page")


def crawl(item: Page) -> int:
    return store((item, links(get(item[0], "/html"))))


async def crawl_async(item: Page) -> int:
    return store((item, links(await fetch_html(item))))


async def fetch_html(item: Page) -> bytes:
    return await get_async(item[0], "/html")


def _pages(setting: Setting) -> Sequence[Page]:
    path = os.path.join(setting.folder, f"pages-{os.getpid()}.db")
    return [(setting.http, path)] * setting.count(100, 24)


def _same_counts(items: Sequence[Page], results: Sequence[int]) -> bool:
    return len(results) == len(items) and len(set(results)) == 1 and results[0] > 1000


WORKLOADS = (
    _http(100),
    _http(1_000),
    _http(10_000, quick=False),
    Workload(
        "smtp",
        "blocking TCP client",
        Group.IO,
        "A session of the standard library's blocking smtplib with a server that takes 5 ms for each of six answers.",
        mail,
        lambda setting: [setting.smtp] * setting.count(200, 50),
        _all_answered(221),
        workers_most=50,
        turns=4,
    ),
    Workload(
        "mixed",
        "fetch, parse, store",
        Group.MIXED,
        f"Fetches a page over HTTP (the server takes {HTTP_LATENCY * 1e3:.0f} ms), counts its words in Python, stores "
        "the counts in SQLite.",
        page,
        _pages,
        _same_counts,
        page_async,
        stages=(fetch_page, parse, store),
        workers_most=24,
        turns=4,
    ),
    Workload(
        "crawl",
        "crawler",
        Group.MIXED,
        f"Fetches an HTML page of 200 links (the server takes {HTTP_LATENCY * 1e3:.0f} ms), parses it in Python, "
        "stores what it found in SQLite.",
        crawl,
        _pages,
        _same_counts,
        crawl_async,
        stages=(fetch_html, links, store),
        workers_most=24,
        turns=4,
    ),
)
