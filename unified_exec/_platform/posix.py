"""System calls of workers and their parent, with fallbacks for systems that lack them.

What differs for workers between Linux and other POSIX systems is here and in `process_control`. With
``UNIFIED_EXEC_PLAIN_POSIX`` in the environment, Linux uses the fallbacks too; the tests do so.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import sys
from time import sleep

from .._tasks.fork_lock import fork_lock

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

PLAIN = "UNIFIED_EXEC_PLAIN_POSIX" in os.environ

MESSAGES: int = getattr(_socket, "SOCK_SEQPACKET", 0)
"""The type of socket that keeps messages whole. Datagram sockets do, too, but do not tell when the other end closes."""
TELLS_END = bool(MESSAGES) and not PLAIN and os.uname().sysname == "Linux" if hasattr(os, "uname") else False
if not TELLS_END:
    MESSAGES = int(_socket.SOCK_DGRAM)

CANCEL_SIGNAL = getattr(_signal, "SIGURG", None)
"""A signal whose default action is to be ignored."""
DONTWAIT = getattr(_socket, "MSG_DONTWAIT", 0)
RECEIVED_CLOEXEC = 0 if PLAIN else getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
ROOM = 512 * 1024
"""Buffer size in bytes of a datagram socket; macOS defaults to 2 KiB, and no message may be longer than that."""
_ROOM_AGAIN = 0.0005
_TO_GROUP = 1 << 2  # PIDFD_SIGNAL_PROCESS_GROUP
sched_yield = getattr(os, "sched_yield", int)

UNTRACKED: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""For `mmap`, which before 3.13 always keeps a descriptor: ten thousand live arrays would cost ten thousand."""

_fcntl_signal = False
try:
    import fcntl

    _fcntl_signal = hasattr(fcntl, "F_SETSIG") and not PLAIN
except ImportError:  # Windows, which has no workers
    pass


def is_full(exc: OSError) -> bool:
    """Tell whether a message was refused because the other end has no room for it; macOS has its own error for that."""
    return exc.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)


def bytes_unread(fd: int) -> int | None:
    """Return how much of what was sent on a socket of this machine has not been read; ``None`` if that is not known."""
    if PLAIN or sys.platform != "linux":
        return None
    import termios

    return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def wait_for_room(exc: OSError) -> None:
    """Give the reader a moment after a blocking send failed with `exc`.

    Raises:
        OSError: `exc`, if it has another cause.
    """
    if exc.errno != errno.ENOBUFS:
        raise exc
    sleep(_ROOM_AGAIN)


def descriptors_max() -> int:
    """Return how many descriptors a process may have at once; `sys.maxsize` if the system has no limit."""
    found = os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else -1
    return found if found > 0 else sys.maxsize


def above_standard(fd: int) -> int:
    """Return a descriptor, moved above 2: a program that has closed its standard ones, or code that it calls, may use
    those numbers as if they were open.

    Raises:
        OSError: no descriptor is left; `fd` is closed.
    """
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        StandardTaken.close(fd)


def enlarge_pipe(fd: int, size: int) -> None:
    """Give a pipe room for `size` bytes, where the system lets us."""
    if not PLAIN and hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            pass  # the user has too many large ones


class StandardTaken:
    """Lets no descriptor that is opened in its block get a number below 3; for code that opens its own.

    Args:
        needed: whether it does.
    """

    __slots__ = ("_needed",)
    _lock = fork_lock()
    _blocks = 0
    _taken: list[int] = []  # noqa: RUF012  as long as any block is open, in whatever thread

    def __init__(self, needed: bool = True) -> None:
        self._needed = needed

    def __enter__(self) -> StandardTaken:
        with self._lock:
            if self._needed:
                StandardTaken._blocks += 1
                try:
                    self._take()
                except BaseException:
                    self.release()
                    raise
        return self

    def _take(self) -> None:
        for fd in range(3):
            try:
                os.fstat(fd)
            except OSError:
                self._taken.append(os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0)))

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        with self._lock:
            if self._needed:
                self._needed = False
                StandardTaken._blocks -= 1
            while self._taken and not self._blocks:
                os.close(self._taken.pop())

    @classmethod
    def close(cls, fd: int) -> None:
        """Close a descriptor below 3, which a block that another thread has begun meanwhile may count on."""
        with cls._lock:
            null = -1
            try:
                if cls._blocks:
                    null = os.open(os.devnull, os.O_RDWR)
                    os.dup2(null, fd, inheritable=False)
                    cls._taken.append(fd)
            finally:
                os.close(fd if null < 0 else null)


def anonymous_memory() -> int:
    """Create memory without a name and return its descriptor, which the caller closes.

    Without memfd it is a file in the folder for temporary files, which is unlinked at once.

    Raises:
        OSError: no descriptor or no memory is left, or that folder cannot be written.
    """
    if hasattr(os, "memfd_create") and not PLAIN:
        return above_standard(os.memfd_create("unified_exec", os.MFD_CLOEXEC))
    folder = os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"
    path = os.path.join(folder, f"unified_exec-{os.urandom(12).hex()}")
    # Windows cannot remove a file that is open, but does so at its close.
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_TEMPORARY", 0)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600)
    if not hasattr(os, "O_TEMPORARY"):
        os.unlink(path)
    return above_standard(fd)


def opened_anew(fd: int) -> int:
    """Return another descriptor of the same file, with locks (`flock`) of its own; -1 where there is no way to it."""
    if PLAIN:
        return -1
    try:
        return above_standard(os.open(f"/proc/self/fd/{fd}", os.O_RDWR))
    except OSError:
        return -1


def write_at(fd: int, data: memoryview, offset: int) -> int:
    """Write at an offset of a file and return how many bytes were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


def signal_group(pid: int, pidfd: int | None, signum: int) -> None:
    """Send a signal to the process group that a worker leads.

    With a pidfd it never reaches another group: if other code has reaped the worker, another process may have its
    number. Before Linux 6.9 what is left of the group of a worker that was reaped is then out of reach.

    Raises:
        ProcessLookupError: there is no such group any more.
        PermissionError: this process has changed its user since it started the worker.
    """
    if pidfd is not None:
        try:
            _signal.pidfd_send_signal(pidfd, signum, None, _TO_GROUP)
            return
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
        _signal.pidfd_send_signal(pidfd, 0)
    os.killpg(pid, signum)


def keep_from_children(fds: list[int]) -> None:
    """Keep programs that are started from inheriting received descriptors, if the system has not done so."""
    if not RECEIVED_CLOEXEC:
        for fd in fds:
            os.set_inheritable(fd, False)


def die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process group when the parent exits, whatever this process is doing then.

    Nothing is ever sent on the lifeline: its only possible event is that the other end is closed. See fcntl(2),
    F_SETSIG and O_ASYNC. On systems other than Linux a thread waits for that event; it reacts late if a call holds the
    GIL. There the lifeline also tells the parent that this process has exited, so no other process may inherit it.
    """
    if _fcntl_signal:
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, _signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    else:
        import _thread

        os.set_inheritable(lifeline, False)
        _thread.start_new_thread(_wait_for_end, (lifeline,))
    # The parent may have exited before the lines above.
    end = _socket.socket(fileno=os.dup(lifeline))
    try:
        if end.recv(1, DONTWAIT | _socket.MSG_PEEK) == b"":
            os._exit(1)
    except BlockingIOError:
        pass
    finally:
        end.close()


def _wait_for_end(lifeline: int) -> None:
    try:
        os.read(lifeline, 1)
    except OSError:
        return  # a task has closed it, which the parent has noticed
    os.killpg(os.getpgrp(), _signal.SIGKILL)
