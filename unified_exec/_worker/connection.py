"""The worker's two sockets: tasks and answers on one; settings, cancellations and large answers on the other."""

from __future__ import annotations

import _socket
import os
from _struct import Struct
from collections.abc import Callable, Sequence
from mmap import mmap

from .._platform import shared_memory
from .._platform.posix import DONTWAIT, RECEIVED_CLOEXEC, above_standard, keep_from_children, wait_for_room
from .._platform.shm_cache import BlockCache
from .._wire import frames
from .settings import CONTROL_FD, STATUS_FD, STATUS_SIZE, TASKS_FD

STARTED = Struct("<Q")
"""The id of the task that was begun last, at the start of the status memory."""
HAS_SETTINGS = STARTED.size
"""The byte of the status memory after it: 1 once the worker has read its settings, before its initializer runs."""

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Protocol

    from .._wire.pickling.codec import Packed

    class LogPipe(Protocol):
        """What an answer needs of the pipe of log records."""

        has_news: bool

        def flags(self) -> int: ...


RING, PARK, PARKED = b"r", b"p", b"P"
"""What goes over the bell of an interpreter: read your mailbox; the program ends; no code runs here any more."""

STREAMED, MAILED = 1, 2

_INT = Struct("@i")
_TIMEVAL = Struct("@ll")
_ANC = _socket.CMSG_SPACE(_INT.size * 8) if hasattr(_socket, "CMSG_SPACE") else 0


def fd_message(*fds: int) -> list[tuple[int, int, bytes]]:
    """Ancillary data that hands descriptors over with a message."""
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(map(_INT.pack, fds)))]


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
        BlockingIOError: no message is there and the socket, or `flags`, says not to wait.
        ProtocolError: the message did not fit, or brought more than one descriptor.
    """
    size, ancillary, got, _ = sock.recvmsg_into([buffer], _ANC, flags | RECEIVED_CLOEXEC)
    return size, received_fd(ancillary, got) if ancillary or got & _socket.MSG_TRUNC else None


def received_fd(ancillary: Sequence[tuple[int, int, bytes]], got: int) -> int | None:
    """Return the one descriptor that came with a message, if any; `got` are the flags of the message.

    Raises:
        ProtocolError: the message did not fit, or brought more than one.
    """
    fds = _whole(ancillary, got)
    if len(fds) > 1:
        shared_memory.close_all(fds)
        raise frames.ProtocolError("a message brought more than one descriptor")
    return fds[0] if fds else None


def _whole(ancillary: Sequence[tuple[int, int, bytes]], got: int) -> list[int]:
    fds = received_fds(ancillary)
    keep_from_children(fds)
    if got & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        shared_memory.close_all(fds)
        raise frames.ProtocolError("a message was cut off")
    return [above_standard(fd) for fd in fds]


def receive_all(sock: _socket.socket, buffer: bytearray, flags: int = 0) -> tuple[int, list[int]]:
    """Read one message into `buffer`: its length and all descriptors it brought.

    Raises:
        BlockingIOError, ProtocolError: as `receive`.
    """
    size, ancillary, got, _ = sock.recvmsg_into([buffer], _ANC, flags | RECEIVED_CLOEXEC)
    return size, _whole(ancillary, got) if ancillary or got & _socket.MSG_TRUNC else []


class WorkerConnection:
    """The worker's end of the conversation. Sends whole messages and waits for room: an answer has left, or is
    in shared memory, when `answer` returns.

    The reports of a task and its answer arrive in the order they were sent, though there are two sockets: from its
    first large one on all go into the mailbox, with the note that the parent must read the other socket first if the
    task has sent something there before.

    Attributes:
        tasks: the socket of tasks and answers.
        control: the mailbox.
        status: memory in which the parent finds, even after our death, which task was begun.
        reported_on: the tasks that have sent reports, each with the sockets used (`STREAMED`, `MAILED`).
        blocks: what large answers may be written into.
        logs: the pipe of log records, once there was one.
    """

    __slots__ = ("_buffer", "_into", "_view", "blocks", "control", "logs", "reported_on", "status", "tasks")

    def __init__(self, tasks: int = TASKS_FD, control: int = CONTROL_FD, status: int = STATUS_FD) -> None:
        self.tasks = _socket.socket(fileno=tasks)
        self.control = _socket.socket(fileno=control)
        self.status = mmap(status, STATUS_SIZE)
        os.close(status)
        self._buffer = bytearray(frames.MESSAGE_MAX)
        self._into = [self._buffer]
        self._view = memoryview(self._buffer)
        self.reported_on: dict[int, int] = {}
        self.blocks: BlockCache | None = None
        self.logs: LogPipe | None = None

    def close(self) -> None:
        """Close our copies of the sockets, in a process that is not the worker."""
        self.tasks.close()
        self.control.close()

    def next_task(self, flags: int = 0) -> tuple[memoryview, int | None] | None:
        """Wait for the next message of the task stream; ``None`` when the parent has closed it or sent STOP.

        The message is valid until the next call.

        Raises:
            BlockingIOError: nothing came within the socket's timeout.
            ProtocolError: the message did not fit, or brought more than one descriptor.
        """
        size, ancillary, got, _ = self.tasks.recvmsg_into(self._into, _ANC, flags | RECEIVED_CLOEXEC)
        fd = received_fd(ancillary, got) if ancillary or got & _socket.MSG_TRUNC else None
        return (self._view[:size], fd) if size and self._buffer[0] != frames.STOP else None

    def wait_at_most(self, seconds: float | None) -> None:
        """Limit how long `next_task` waits; ``None`` for no limit."""
        limit = seconds or 0.0
        data = _TIMEVAL.pack(int(limit), int(limit % 1 * 1e6))
        self.tasks.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, data)

    def answer(self, message: bytes) -> None:
        """Send a message on the socket of answers."""
        while True:
            try:
                self.tasks.sendall(message)
                return
            except OSError as exc:
                wait_for_room(exc)

    def log_flags(self) -> int:
        """Write the log records that are left; returns the flag that tells the parent to read them first, or 0."""
        return self.logs.flags() if self.logs is not None and self.logs.has_news else 0

    def hand_over(self, message: bytes, fd: int) -> None:
        """Send a descriptor by the mailbox and close it here."""
        try:
            self._send_in_order(message, fd, 0)
        finally:
            os.close(fd)

    def done(self, id: int, message: bytes, fd: int | None = None) -> None:
        """Send the answer of a task, with the shared block that holds it; closes our descriptor of the block."""
        try:
            self._send_in_order(message, fd, self.reported_on.pop(id, 0))
        finally:
            if fd is not None:
                os.close(fd)

    def report(self, id: int, pack: Callable[..., bytes], packed: Packed, flags: int) -> None:
        """Send what a running task reports, in a shared block if it is large.

        Args:
            id: of the task.
            pack: makes the message of the payload and the flags.
            packed: what is reported.
            flags: of the message.
        """
        payload, fd = packed.data, None
        if packed.buffers or len(payload) > frames.INLINE_MAX:
            flags |= frames.IN_SHARED
            fd, payload = shared_memory.write_block(payload, packed.buffers, self.blocks)
        try:  # a cancellation may come at any instruction
            sockets = self.reported_on.get(id, 0)
            self.reported_on[id] = sockets | (MAILED if fd is not None or sockets & MAILED else STREAMED)
            self._send_in_order(pack(payload, flags), fd, sockets)
        finally:
            if fd is not None:
                os.close(fd)

    def _send_in_order(self, message: bytes, fd: int | None, sockets: int) -> None:
        if fd is None and not sockets & MAILED:
            self.answer(message)
            return
        if sockets & STREAMED:
            message = frames.after_stream(message)
        while True:
            try:
                self.control.sendmsg([message], fd_message(fd) if fd is not None else ())
                return
            except OSError as exc:
                wait_for_room(exc)

    def control_messages(self, buffer: bytearray) -> list[tuple[bytes, list[int]]]:
        """Read the mailbox, without waiting: its messages and the descriptors that came with each."""
        found: list[tuple[bytes, list[int]]] = []
        try:
            while (got := receive_all(self.control, buffer, DONTWAIT))[0]:
                found.append((bytes(buffer[: got[0]]), got[1]))
        except OSError:
            pass  # empty, or a task closed the descriptor: then nobody can cancel our tasks, only kill us
        return found
