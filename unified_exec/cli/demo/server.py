"""The web server of the demonstration: Python source files below one directory, over real HTTP on loopback.

It runs in a process of its own, so that neither of the two measured runs pays for it with its own interpreter lock;
both use the same one. Started as a script (``python -I -S server.py ROOT``) it prints its port and serves until its
stdin ends, which happens when its parent is gone, however that died.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

POLL = 0.01  # seconds until it notices that it shall end


class SourceServer(ThreadingHTTPServer):
    """Serves the ``*.py`` files below `root` on an ephemeral port of 127.0.0.1, a thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def find(self, target: str) -> Path | None:
        """Return the file a request line asks for, or ``None`` unless it is a Python file below the root."""
        below = unquote(urlsplit(target).path).removeprefix("/")
        if "\0" in below or not below.endswith(".py"):
            return None
        path = Path(os.path.realpath(self.root / below))  # with links followed: they may lead out, too
        return path if path.is_relative_to(self.root) and os.path.isfile(path) else None


class _Handler(BaseHTTPRequestHandler):
    server: SourceServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment ...
    disable_nagle_algorithm = True  # ... and no waiting for the other side's delayed acknowledgement
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
        """Say nothing: the terminal belongs to the demonstration."""


class _QuietServer(SourceServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was cancelled hangs up in the middle of an answer."""


def main(root: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent decides
    with _QuietServer(Path(root)) as server:
        threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True).start()
        print(server.port, flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
