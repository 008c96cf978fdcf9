"""HTTP and mail (SMTP) servers on loopback for the I/O workloads; each answer comes after a fixed time.

They run in a process of their own: this file, run as a script, prints the two ports and serves until its stdin ends,
which also happens when the parent is killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

HTTP_LATENCY = 0.05
"""Seconds the HTTP server waits before it answers."""
SMTP_LATENCY = 0.005
BACKLOG = 16_384
SMALL = b"small"
WORDS = "the quick brown fox jumps over a lazy dog while seven wizards mix potions".split()  # noqa: SIM905


class Ports(NamedTuple):
    """Where the servers listen on loopback."""

    http: int
    smtp: int


@contextmanager
def serving(http_seconds: float = HTTP_LATENCY, smtp_seconds: float = SMTP_LATENCY) -> Iterator[Ports]:
    """Run both servers in another process until the block ends.

    Raises:
        RuntimeError: they did not start; what was printed is on stderr.
    """
    from ..measuring.child_server import child_server  # here: as a script this file has no package

    with child_server(__file__, str(http_seconds), str(smtp_seconds)) as started:
        http, smtp = map(int, started.words)
        yield Ports(http, smtp)


def page() -> bytes:
    """Return 400 records of 24 words each, as JSON."""
    records = [{"id": n, "text": " ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 25))} for n in range(400)]
    return json.dumps(records).encode()


def html() -> bytes:
    """Return a page of 200 paragraphs, each with a link."""
    words = " ".join(WORDS)
    return "\n".join(
        f'<p class="c">{words} <a href="/page/{n % 150}">see <b>{n}</b></a></p>' for n in range(200)
    ).encode()


class Http(asyncio.Protocol):
    """Answers each GET on a connection after `seconds`."""

    transport: asyncio.Transport

    def __init__(self, seconds: float, pages: dict[bytes, bytes]) -> None:
        self.seconds = seconds
        self.pages = pages
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self.seconds, self.answer, head.split(b" ", 2)[1])

    def answer(self, path: bytes) -> None:
        body = self.pages.get(path)
        status = b"200 OK" if body is not None else b"404 Not Found"
        body = body or b""
        self.transport.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


class Smtp(asyncio.Protocol):
    """Accepts every line after `seconds`; closes at QUIT."""

    transport: asyncio.Transport

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.answer_later(b"220 ready\r\n")

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            leaving = line.upper().startswith(b"QUIT")
            self.answer_later(b"221 bye\r\n" if leaving else b"250 yes\r\n", leaving)

    def answer_later(self, answer: bytes, leaving: bool = False) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self.answer, answer, leaving)

    def answer(self, answer: bytes, leaving: bool) -> None:
        self.transport.write(answer)
        if leaving:
            self.transport.close()


async def serve(http_seconds: float, smtp_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    pages = {b"/small": SMALL, b"/page": page(), b"/html": html()}
    http = await loop.create_server(lambda: Http(http_seconds, pages), "127.0.0.1", 0, backlog=BACKLOG)
    smtp = await loop.create_server(lambda: Smtp(smtp_seconds), "127.0.0.1", 0, backlog=1024)
    threading.Thread(target=_until_stdin_ends, args=(loop, stopped), daemon=True).start()
    print(http.sockets[0].getsockname()[1], smtp.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    http.close()
    smtp.close()


def _until_stdin_ends(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(stopped.set)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent decides
    asyncio.run(serve(*map(float, sys.argv[1:3])))
