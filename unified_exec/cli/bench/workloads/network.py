"""Waiting for servers on loopback: HTTP with many connections, and a blocking client of the standard library."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import struct
from collections.abc import Sequence

from .base import Group, Setting, Workload

LATENCY = 0.05
"""Seconds the HTTP server waits before it answers."""
MOST_THREADS = 1_000
_PATIENCE = 60.0
# Closing sends a reset: ten thousand closed connections would otherwise keep their ports for a minute.
_RESET = struct.pack("ii", 1, 0)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def get(port: int, path: str) -> bytes:
    """One GET over a connection of its own; the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.sendall(_request(path))
        with connection.makefile("rb") as reader:
            head = b"".join(iter(reader.readline, b"\r\n"))
            return reader.read(_length(head))


async def get_async(port: int, path: str) -> bytes:
    """`get` on the event loop."""
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
    """Greet a mail server with `smtplib`, say NOOP three times, leave: the code of its last answer."""
    with contextlib.closing(smtplib.SMTP("127.0.0.1", port, local_hostname="localhost", timeout=_PATIENCE)) as client:
        for _ in range(3):
            client.noop()
        return client.quit()[0]


def _all_answered(size: int):  # type: ignore[no-untyped-def]
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
        f"{connections:,} GETs at once, each over a connection of its own, from a server on loopback that waits "
        f"{LATENCY * 1e3:.0f} ms.",
        fetch,
        items,
        _all_answered(5),
        fetch_async,
        workers_most=min(connections, MOST_THREADS),
        turns=4,
        sockets=connections,
        quick=quick,
    )


WORKLOADS = (
    _http(100),
    _http(1_000),
    _http(10_000, quick=False),
    Workload(
        "smtp",
        "blocking TCP client",
        Group.IO,
        "A session of the standard library's blocking smtplib with a server that waits 5 ms before each of its six "
        "answers.",
        mail,
        lambda setting: [setting.smtp] * setting.count(200, 50),
        _all_answered(221),
        workers_most=50,
        turns=4,
    ),
)
