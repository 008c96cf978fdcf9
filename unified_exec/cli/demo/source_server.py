"""The demo's web server: Python source files below one directory, over HTTP on loopback.

It runs in a process of its own, so that the GIL of the measured runs does not slow it down. This file, run as a
script, prints its port and serves until its stdin ends, which also happens when the parent is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

POLL = 0.01
"""Seconds until the server notices that it has been told to shut down."""


class Site(NamedTuple):
    """A running server: its address, e.g. ``http://127.0.0.1:40123``, and its process id."""

    url: str
    pid: int


@contextmanager
def serving(root: Path) -> Iterator[Site]:
    """Serve the Python files below `root` from another process until the block ends.

    Raises:
        RuntimeError: the server did not start; what it printed is on stderr.
    """
    from ..measuring.child_server import child_server  # here: as a script this file has no package

    with child_server(__file__, str(root)) as started:
        yield Site(f"http://127.0.0.1:{int(started.words[0])}", started.pid)


class SourceServer(ThreadingHTTPServer):
    """Serves the ``*.py`` files below `root` on an ephemeral port of 127.0.0.1, with a thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def find(self, target: str) -> Path | None:
        """Return the requested file, or ``None`` if it is not a Python file below the root."""
        below = unquote(urlsplit(target).path).removeprefix("/")
        if "\0" in below or not below.endswith(".py"):
            return None
        path = Path(os.path.realpath(self.root / below))  # resolves links, which may lead out of the root
        return path if path.is_relative_to(self.root) and os.path.isfile(path) else None


class _Handler(BaseHTTPRequestHandler):
    server: SourceServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment ...
    disable_nagle_algorithm = True  # ... sent without waiting for a delayed acknowledgement
    timeout = 60

    def do_GET(self) -> None:
        path = self.server.find(self.path)
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = path.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/x-python")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal belongs to the demo."""


class _QuietServer(SourceServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a cancelled client closes its connection in the middle of a response."""


def main(root: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent decides
    with _QuietServer(Path(root)) as server:
        threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True).start()
        print(server.port, flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
