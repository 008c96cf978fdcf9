"""The pipe that carries a worker's log records and warnings to its parent.

A write is out of the process: the last record before a crash arrives. The pipe is made with the first record, and its
other end goes to the parent by the mailbox. A cancellation does not land in this folder (`shielded`).
"""

from __future__ import annotations

import os
from _thread import RLock
from collections import deque
from time import monotonic

from ..._platform.posix import above_standard, enlarge_pipe
from ..._wire import frames
from ..._wire.log_frames import CUT, RATE, framed
from ..connection import WorkerConnection

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

PIPE_SIZE = 256 * 1024
PENDING_MAX = 1024 * 1024
"""Bytes that wait in the worker while the pipe is full, because the parent's event loop is busy."""
BURST = 2 * RATE
"""Records that may come at once."""
RESERVE = 500
"""Records of level ERROR and above that may come at once when no others are sent any more."""
_ERROR = 40


class LogPipe:
    """Writes records without waiting for the parent: what comes too fast is dropped and counted.

    Attributes:
        has_news: something was written since the last answer.
    """

    def __init__(self, connection: WorkerConnection) -> None:
        self._connection = connection
        self._lock = RLock()
        self._fd: int | None = None
        self._node = (0, 0)
        self._busy = False
        self._pending: deque[bytes] = deque()
        self._pending_size = 0
        self._at = self._cut_at = monotonic()
        self._tokens = float(BURST)
        self._reserve = float(RESERVE)
        self._cut: dict[tuple[str, int], int] = {}
        self.has_news = False

    def may_send(self, logger: str, level: int) -> bool:
        """Tell whether one more record may be sent now; if not, it counts as dropped."""
        with self._lock:
            now = monotonic()
            passed, self._at = now - self._at, now
            self._tokens = min(float(BURST), self._tokens + passed * RATE)
            self._reserve = min(float(RESERVE), self._reserve + passed * RESERVE)
            if self._cut and now - self._cut_at >= 1:
                self._send_cut(now)
            if self._pending_size < PENDING_MAX:
                if self._tokens >= 1:
                    self._tokens -= 1
                    return True
                if level >= _ERROR and self._reserve >= 1:
                    self._reserve -= 1
                    return True
            if not self._cut:
                self._cut_at = now
            self._cut[logger, level] = self._cut.get((logger, level), 0) + 1
            return False

    def send(self, items: tuple[Any, ...]) -> None:
        data = framed(items)
        with self._lock:
            self._pending.append(data)
            self._pending_size += len(data)
            self.has_news = True
            self._connection.logs = self
            self._write(False)

    def flags(self) -> int:
        """Write all that is left, and return the flag for the answer that is sent next."""
        with self._lock:
            if self._cut:
                self._send_cut(monotonic())
            self.has_news = False
            self._write(True)
        return frames.LOGGED

    def _send_cut(self, now: float) -> None:
        cut, self._cut, self._cut_at = self._cut, {}, now
        self.send((CUT, list(cut.items())))

    def _write(self, waits: bool) -> None:
        if self._busy:  # called in a signal handler that interrupted this: the loop below goes on with it
            return
        self._busy = True
        try:
            if self._fd is None:
                self._open()
            assert self._fd is not None
            found = os.fstat(self._fd)
            if (found.st_dev, found.st_ino) != self._node:
                raise OSError("a task has closed the pipe, and its number is another file's")
            while self._pending:
                data = self._pending[0]
                try:
                    written = os.write(self._fd, data)
                except BlockingIOError:
                    if not waits:
                        return
                    self._wait_for_room()
                    continue
                self._pending_size -= written
                if written == len(data):
                    self._pending.popleft()
                else:
                    self._pending[0] = data[written:]
        except OSError:
            self._pending.clear()  # the parent or the pipe is gone
            self._pending_size = 0
        finally:
            self._busy = False

    def _wait_for_room(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)  # type: ignore[arg-type]
        poll.poll()

    def _open(self) -> None:
        reader, writer = map(above_standard, os.pipe())
        try:
            os.set_blocking(writer, False)
            os.set_blocking(reader, False)
            enlarge_pipe(writer, PIPE_SIZE)
            self._connection.hand_over(frames.pack_payload(frames.LOGS), reader)
        except BaseException:
            os.close(writer)
            raise
        found = os.fstat(writer)
        self._node = (found.st_dev, found.st_ino)
        self._fd = writer
