"""What has come from one worker and was not handled yet: messages of the mailbox, and the pipe of log records."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from ..._platform.shared_memory import close_all
from ..._wire.log_frames import take_whole

READ_SIZE = 64 * 1024


class LogPipeEnd:
    """Our end of the pipe of one worker's log records.

    Args:
        read_one: what is made of the pickle of each tuple; ``None`` to skip it.

    Attributes:
        fd: the descriptor.
        read_at: the instant at which it was found readable last.
    """

    __slots__ = ("_buffer", "_read_one", "_waiting", "fd", "read_at")

    def __init__(self, fd: int, read_one: Callable[[bytes], Any]) -> None:
        self.fd = fd
        self._read_one = read_one
        self.read_at = 0.0
        self._buffer = bytearray()
        self._waiting: deque[Any] = deque()

    def read(self, most: int) -> bool:
        """Read what is there, up to about `most` bytes; ``False`` at the end of the pipe."""
        left = most
        while left > 0:
            try:
                data = os.read(self.fd, READ_SIZE)
            except BlockingIOError:
                break
            except OSError:
                return False
            if not data:
                return False
            left -= len(data)
            self._buffer += data
            self._waiting.extend(filter(None, take_whole(self._buffer, self._read_one)))
            if len(data) < READ_SIZE:
                break
        return True

    def take(self) -> Any:
        """Take the next one; ``None`` if there is none. A handler of the user's may have the pipe read while we handle
        its record: the order stays."""
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        os.close(self.fd)


class Inbox:
    """What was read from a worker ahead of its turn.

    Attributes:
        closed: the worker has closed its end of the mailbox.
        logs: our end of the pipe of its log records; ``None`` until there is one.
        mail: messages of the mailbox, each with its descriptors.
    """

    __slots__ = ("closed", "logs", "mail")

    def __init__(self) -> None:
        self.closed = False
        self.logs: LogPipeEnd | None = None
        self.mail: deque[tuple[memoryview, list[int]]] = deque()

    def close(self) -> None:
        logs, self.logs = self.logs, None
        if logs is not None:
            logs.close()
        close_all([fd for _, fds in self.mail for fd in fds])
        self.mail.clear()
