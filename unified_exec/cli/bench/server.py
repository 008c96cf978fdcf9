"""The servers the I/O workloads talk to: HTTP and mail (SMTP) on loopback, each answer after a set time.

They run in a process of their own, started as a script (``python -I server.py HTTP_SECONDS SMTP_SECONDS``), which
prints the two ports and serves until its stdin ends: when its parent is gone, however that died.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading

BACKLOG = 16_384
SMALL = b"small"
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "mix",
    "potions",
)


def page() -> bytes:
    """Four hundred records of some words each."""
    records = [{"id": n, "text": " ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 25))} for n in range(400)]
    return json.dumps(records).encode()


class Http(asyncio.Protocol):
    """Answers each GET on a connection, after a while."""

    transport: asyncio.Transport

    def __init__(self, seconds: float, pages: dict[bytes, bytes]) -> None:
        self.seconds = seconds
        self.pages = pages
        self.got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        while b"\r\n\r\n" in self.got:
            head, _, self.got = self.got.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self.seconds, self.answer, head.split(b" ", 2)[1])

    def answer(self, path: bytes) -> None:
        body = self.pages.get(path)
        status = b"200 OK" if body is not None else b"404 Not Found"
        body = body or b""
        self.transport.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


class Smtp(asyncio.Protocol):
    """Says yes to every line, after a while; ends at QUIT."""

    transport: asyncio.Transport

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.later(b"220 ready\r\n")

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            leaving = line.upper().startswith(b"QUIT")
            self.later(b"221 bye\r\n" if leaving else b"250 yes\r\n", leaving)

    def later(self, answer: bytes, leaving: bool = False) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self.say, answer, leaving)

    def say(self, answer: bytes, leaving: bool) -> None:
        self.transport.write(answer)
        if leaving:
            self.transport.close()


async def serve(http_seconds: float, smtp_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    pages = {b"/small": SMALL, b"/page": page()}
    http = await loop.create_server(lambda: Http(http_seconds, pages), "127.0.0.1", 0, backlog=BACKLOG)
    smtp = await loop.create_server(lambda: Smtp(smtp_seconds), "127.0.0.1", 0, backlog=1024)
    threading.Thread(target=_until_stdin_ends, args=(loop, over), daemon=True).start()
    print(http.sockets[0].getsockname()[1], smtp.sockets[0].getsockname()[1], flush=True)
    await over.wait()
    http.close()
    smtp.close()


def _until_stdin_ends(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(over.set)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent decides
    asyncio.run(serve(*map(float, sys.argv[1:3])))
