"""What the program answers to viewers: one thread, several viewers, and none of them is ever waited for."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..recording.ring import Batch, ring
from . import control
from .looker import LOOKS, Looker
from .protocol import ANSWER_MAX, REQUEST_MAX, VERSION, BadMessage, command_line, pack, take

if TYPE_CHECKING:
    from .door import Door

VIEWERS_MAX = 4
STUCK_SECONDS = 2.0
"""A viewer that takes nothing for this long is let go."""
CREDENTIALS = struct.Struct("3i")


class Viewer:
    """One connection.

    Attributes:
        sock: the socket.
        received: what has not been understood yet.
        outgoing: messages the viewer has not taken yet; any thread may append.
        moved_at: instant at which it took something, or had nothing to take.
        unsubscribe: ends its events.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.outgoing: deque[bytes] = deque()
        self.moved_at = time.monotonic()
        self.unsubscribe: Callable[[], object] | None = None
        self.dropped = 0
        self._sent = 0  # of the first message that is outgoing

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; events that a slow viewer has no room for are dropped and counted."""
        packed = pack(message)
        if message["type"] == "events" and sum(map(len, self.outgoing)) + len(packed) > ANSWER_MAX:
            self.dropped += len(message["rows"])
            return
        if not self.outgoing:
            self.moved_at = time.monotonic()
        self.outgoing.append(packed)

    def flush(self) -> None:
        """Send what the viewer takes now.

        Raises:
            BlockingIOError: it takes no more for now.
            OSError: it has gone.
        """
        while self.outgoing:
            first = self.outgoing[0]
            self._sent += self.sock.send(memoryview(first)[self._sent :])
            self.moved_at = time.monotonic()
            if self._sent == len(first):
                self.outgoing.popleft()
                self._sent = 0


class Reception:
    """Serves the viewers that connect until the door's thread is to end."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._listener = socket.socket(fileno=door.listener)
        self._viewers: dict[int, Viewer] = {}
        self._looker = Looker(door.wake)

    def run(self) -> None:
        try:
            while not self._door.stopping:
                self._turn()
        finally:
            for viewer in list(self._viewers.values()):
                self._let_go(viewer)
            self._listener.detach()  # the door keeps it
            self._looker.wait()

    def _turn(self) -> None:
        door, poll = self._door, select.poll()
        poll.register(door.listener, select.POLLIN)
        poll.register(door.wake_read, select.POLLIN)
        for fd, viewer in self._viewers.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if viewer.outgoing else 0))
        sending = any(viewer.outgoing for viewer in self._viewers.values())
        for fd, event in poll.poll(1000 * STUCK_SECONDS if sending else None):
            if fd == door.listener:
                self._accept()
            elif fd == door.wake_read:
                os.read(fd, 4096)
            elif fd in self._viewers:
                self._serve(self._viewers[fd], event)
        for viewer in list(self._viewers.values()):
            if viewer.outgoing:
                self._flush(viewer)

    def _flush(self, viewer: Viewer) -> None:
        """Send what it takes, and let it go if it has taken nothing for long. A look may have taken long, too."""
        try:
            viewer.flush()
        except BlockingIOError:
            if time.monotonic() - viewer.moved_at > STUCK_SECONDS:
                self._let_go(viewer)
        except OSError:
            self._let_go(viewer)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # it has gone, or no descriptor is left
        sock.setblocking(False)
        viewer = Viewer(sock)
        if not allowed(sock):
            sock.close()
            return
        if len(self._viewers) >= VIEWERS_MAX:
            try:
                sock.send(pack({"type": "error", "what": f"{VIEWERS_MAX} others look at this program already"}))
            except OSError:
                pass
            sock.close()
            return
        self._viewers[sock.fileno()] = viewer
        viewer.send(hello())

    def _serve(self, viewer: Viewer, event: int) -> None:
        try:
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = viewer.sock.recv(REQUEST_MAX)
                if not data:
                    self._let_go(viewer)
                    return
                viewer.received += data
                while (request := take(viewer.received, REQUEST_MAX)) is not None:
                    self._answer(viewer, request)
        except BlockingIOError:
            return
        except (OSError, BadMessage):
            self._let_go(viewer)

    def _answer(self, viewer: Viewer, request: dict[str, Any]) -> None:
        kind = request.get("type")
        if kind in LOOKS:
            self._looker.ask(viewer.send, request)
        elif kind == "hello":
            viewer.send(hello())
        elif kind == "cancel":
            viewer.send(control.cancel(request))
        elif kind == "events":
            self._subscribe(viewer, request)
        elif kind == "stop":
            self._unsubscribe(viewer)
            viewer.send({"type": "stopped", "dropped": viewer.dropped + ring.dropped})
        else:
            viewer.send({"type": "error", "what": f"there is no request {str(kind)[:50]!r}"})

    def _subscribe(self, viewer: Viewer, request: dict[str, Any]) -> None:
        self._unsubscribe(viewer)
        kinds = request.get("kinds")
        wanted = frozenset(kind for kind in kinds if isinstance(kind, str)) if isinstance(kinds, list) else None
        door = self._door

        def send(batch: Batch) -> None:
            rows = [row for row in batch.rows if wanted is None or row[1] in wanted]
            if rows:
                viewer.send({"type": "events", "rows": rows})
                door.wake()

        viewer.unsubscribe = ring.subscribe(send, request.get("moves") is True)

    def _unsubscribe(self, viewer: Viewer) -> None:
        end, viewer.unsubscribe = viewer.unsubscribe, None
        if end is not None:
            end()

    def _let_go(self, viewer: Viewer) -> None:
        self._viewers.pop(viewer.sock.fileno(), None)
        self._unsubscribe(viewer)
        viewer.sock.close()


def hello() -> dict[str, Any]:
    """What the program says first."""
    return {
        "type": "hello",
        "v": VERSION,
        "pid": os.getpid(),
        "version": sys.modules["unified_exec"].__version__,
        "python": sys.version.split()[0],
        "argv": command_line(),
        "monotonic": time.monotonic(),
        "time": time.time(),
        "control": control.is_allowed(),
    }


def allowed(sock: socket.socket) -> bool:
    """Tell whether the other side is this user or root. The kernel has checked that before; this is for certain."""
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        return uid in (os.geteuid(), 0)
    return True  # the folder of the socket has let in nobody else
