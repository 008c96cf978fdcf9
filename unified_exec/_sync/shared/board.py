"""What the waiting tasks of several processes wait for: a file in memory with a row for each process.

A process writes its row while one of its tasks has waited for a second, four times a second, each time with the next
*beat*. So a row whose beat goes on tells what is true now; that of a process that has died, or has nothing to tell,
stands still. The descriptor travels with every shared channel and lock, and is kept by them. A process knows more than
one board if objects of several origins have come to it; it writes its row into each.
"""

from __future__ import annotations

import marshal
import os
import struct
from binascii import crc32
from typing import Any
from weakref import WeakValueDictionary, finalize

from ..._platform import posix
from ..._tasks.loaded import in_interpreter
from .seats import is_dead, record_lock, start_of

_ROW = 1 << 15
_ROWS_MAX = 512
_HEAD = struct.Struct("<QQQLL")
"""Process, its start time, beat, length and checksum of what follows."""

Row = tuple[int, list[Any]]
"""Beat and content."""


class Board:
    """One board, as this process uses it.

    Args:
        fd: its descriptor, which is closed when nothing refers to this object.
    """

    __slots__ = ("__weakref__", "_row", "fd", "identity")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.identity = _identity(fd)
        self._row = -1
        _boards[self.identity] = self
        finalize(self, _close, fd, self.identity).atexit = in_interpreter()

    def write(self, pid: int, beat: int, body: bytes) -> None:
        at = self._own_row(pid)
        if at >= 0:
            head = _HEAD.pack(pid, start_of(pid), beat, len(body), crc32(body))
            os.pwrite(self.fd, head + body, at)

    def _own_row(self, pid: int) -> int:
        """Where the row of this process is; -1 if none is left."""
        if self._row >= 0 and self._head(self._row)[0] == pid:
            return self._row
        with record_lock(self.fd, True):
            for at in range(0, _ROW * _ROWS_MAX, _ROW):
                other, start, *_ = self._head(at)
                if not other or is_dead(other, start):
                    os.pwrite(self.fd, _HEAD.pack(pid, start_of(pid), 0, 0, 0), at)
                    self._row = at
                    return at
        return -1

    def _head(self, at: int) -> tuple[Any, ...]:
        data = os.pread(self.fd, _HEAD.size, at)
        return _HEAD.unpack(data) if len(data) == _HEAD.size else (0, 0, 0, 0, 0)

    def read(self, mine: int) -> dict[int, Row]:
        """The rows of other processes."""
        found: dict[int, Row] = {}
        for at in range(0, os.fstat(self.fd).st_size, _ROW):
            pid, _, beat, length, check = self._head(at)
            if pid in (0, mine) or not 0 < length <= _ROW - _HEAD.size:
                continue
            body = os.pread(self.fd, length, at + _HEAD.size)
            if crc32(body) == check:  # otherwise it is being written
                found[pid] = beat, marshal.loads(body)
        return found


_boards: WeakValueDictionary[tuple[int, int], Board] = WeakValueDictionary()
_beat = 0


def known() -> bool:
    """Tell whether anything is shared with other processes."""
    return bool(_boards)


def current() -> Board:
    """The board for an object that is shared from now on.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    return next(filter(_is_still, list(_boards.values())), None) or Board(posix.anonymous_memory())


def adopt(fd: int) -> Board:
    """Return the board that came with a shared object; this takes the descriptor over."""
    known = _boards.get(_identity(fd))
    if known is None or not _is_still(known):
        return Board(fd)
    os.close(fd)
    return known


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _is_still(board: Board) -> bool:
    """Tell whether its descriptor is still its own: a task may have closed all descriptors."""
    try:
        return _identity(board.fd) == board.identity
    except OSError:
        return False


def _close(fd: int, identity: tuple[int, int]) -> None:
    try:
        if _identity(fd) == identity:
            os.close(fd)
    except OSError:
        pass


def exchange(content: list[Any]) -> dict[int, Row]:
    """Tell the other processes what tasks of this one wait for; returns what they tell, by process id."""
    global _beat
    _beat += 1
    body = marshal.dumps(content)
    found: dict[int, Row] = {}
    for board in list(_boards.values()):
        if not _is_still(board):
            continue
        try:
            if len(body) <= _ROW - _HEAD.size:  # otherwise nobody is told: a deadlock may be missed, never invented
                board.write(os.getpid(), _beat, body)
            found.update(board.read(os.getpid()))
        except OSError:
            pass  # no memory
    return found
