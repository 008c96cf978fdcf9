"""The worker's two sockets: tasks and answers on one, settings, cancellations and large answers on the other."""

from __future__ import annotations

import _socket
import os
from _struct import Struct
from collections.abc import Sequence
from mmap import mmap

from .._platform import shared_memory
from .._platform.posix import DONTWAIT, RECEIVED_CLOEXEC, keep_from_children, wait_for_room
from .._platform.shm_cache import BlockCache
from .._wire import frames

TASKS_FD, CONTROL_FD, LIFELINE_FD, STATUS_FD = 3, 4, 5, 6
"""Where a worker finds its descriptors; everything above is closed at its start."""

STATUS_SIZE = 4096
STARTED = Struct("<Q")

STREAMED, MAILED = 1, 2

_INT = Struct("@i")
_TIMEVAL = Struct("@ll")
_ANC = _socket.CMSG_SPACE(_INT.size * 4) if hasattr(_socket, "CMSG_SPACE") else 0


def fd_message(fd: int) -> list[tuple[int, int, bytes]]:
    """Ancillary data that hands `fd` over with a message."""
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _INT.pack(fd))]


def received_fds(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came with a message; each is the receiver's to close."""
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(data) - len(data) % _INT.size
            fds.extend(_INT.unpack_from(data, at)[0] for at in range(0, whole, _INT.size))
    return fds


def receive(sock: _socket.socket, buffer: bytearray, flags: int = 0) -> tuple[int, int | None]:
    """Read one message into `buffer`: its length (0 when the other end is gone) and the descriptor it brought.

    Raises:
        BlockingIOError: nothing is there and the socket, or `flags`, says not to wait.
        ProtocolError: the message did not fit, or brought more than one descriptor.
    """
    size, ancillary, got, _ = sock.recvmsg_into([buffer], _ANC, flags | RECEIVED_CLOEXEC)
    if not ancillary and not got & _socket.MSG_TRUNC:
        return size, None
    fds = received_fds(ancillary)
    keep_from_children(fds)
    if got & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC) or len(fds) > 1:
        shared_memory.close_all(fds)
        raise frames.ProtocolError("a message was cut off")
    return size, fds[0] if fds else None


class WorkerConnection:
    """The worker's end of the conversation. Sends whole messages and waits for room: an answer has left, or lies
    in shared memory, when `answer` returns.

    The reports of a task and its answer arrive in the order they were sent, though there are two sockets: from its
    first large one on all go into the mailbox, with the note that the parent shall read the other socket first if the
    task has sent something there before.

    Attributes:
        said: the tasks that have reported something, each with the sockets it was sent on (`STREAMED`, `MAILED`).
        blocks: what large answers may be written into.
    """

    __slots__ = ("_buffer", "_view", "blocks", "control", "said", "status", "tasks")

    def __init__(self) -> None:
        self.tasks = _socket.socket(fileno=TASKS_FD)
        self.control = _socket.socket(fileno=CONTROL_FD)
        self.status = mmap(STATUS_FD, STATUS_SIZE)
        os.close(STATUS_FD)
        self._buffer = bytearray(frames.MESSAGE_MAX)
        self._view = memoryview(self._buffer)
        self.said: dict[int, int] = {}
        self.blocks: BlockCache | None = None

    def next_task(self, flags: int = 0) -> tuple[memoryview, int | None] | None:
        """Wait for the next message of the task stream; ``None`` when the parent has closed it, or says so.

        Raises:
            BlockingIOError: nothing came within the socket's timeout.
        """
        size, fd = receive(self.tasks, self._buffer, flags)
        return (self._view[:size], fd) if size and self._buffer[0] != frames.STOP else None

    def wait_at_most(self, seconds: float | None) -> None:
        """Limit how long `next_task` waits; ``None`` for no limit."""
        limit = seconds or 0.0
        data = _TIMEVAL.pack(int(limit), int(limit % 1 * 1e6))
        self.tasks.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, data)

    def mark_started(self, id: int) -> None:
        """Say, where the parent can read it after our death, that `id` is begun."""
        STARTED.pack_into(self.status, 0, id)

    def answer(self, message: bytes) -> None:
        while True:
            try:
                self.tasks.sendall(message)
                return
            except OSError as exc:
                wait_for_room(exc)

    def done(self, id: int, message: bytes, fd: int | None = None) -> None:
        """Send the answer of a task, with the shared block it lies in; closes our descriptor of that."""
        if fd is None and not self.said:
            self.answer(message)
        else:
            self._tell(message, fd, self.said.pop(id, 0))

    def report(self, id: int, message: bytes, fd: int | None = None) -> None:
        """Send what a running task says, with the shared block it lies in; closes our descriptor of that."""
        said = self.said.get(id, 0)
        self.said[id] = said | (MAILED if fd is not None or said & MAILED else STREAMED)
        self._tell(message, fd, said)

    def _tell(self, message: bytes, fd: int | None, said: int) -> None:
        if fd is None and not said & MAILED:
            self.answer(message)
            return
        if said & STREAMED:
            message = frames.after_stream(message)
        try:
            while True:
                try:
                    self.control.sendmsg([message], fd_message(fd) if fd is not None else ())
                    return
                except OSError as exc:
                    wait_for_room(exc)
        finally:
            if fd is not None:
                os.close(fd)

    def control_messages(self, buffer: bytearray) -> list[tuple[bytes, int | None]]:
        """Take what lies in the mailbox, without waiting, and the descriptors that came with it."""
        found: list[tuple[bytes, int | None]] = []
        try:
            while (got := receive(self.control, buffer, DONTWAIT))[0]:
                found.append((bytes(buffer[: got[0]]), got[1]))
        except OSError:
            pass  # empty, or a task closed the descriptor: then nobody can ask us, only kill us
        return found
