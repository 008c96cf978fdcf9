"""What a worker and its parent ask of the system, each with what stands in for it where the system has it not.

All that differs between Linux and other POSIX systems lies here and in `process_control`. With
``UNIFIED_EXEC_PLAIN_POSIX`` in the environment Linux, too, makes do with what every POSIX system has; the tests do it.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import sys
from time import sleep
from typing import Any

PLAIN = "UNIFIED_EXEC_PLAIN_POSIX" in os.environ

MESSAGES: int = getattr(_socket, "SOCK_SEQPACKET", 0)
"""The kind of socket that keeps messages whole. Datagrams do too, but nobody hears that their other end is gone."""
TELLS_END = bool(MESSAGES) and not PLAIN and os.uname().sysname == "Linux" if hasattr(os, "uname") else False
if not TELLS_END:
    MESSAGES = int(_socket.SOCK_DGRAM)

CANCEL_SIGNAL = getattr(_signal, "SIGURG", None)
"""A signal whose default action is to be ignored."""
DONTWAIT = getattr(_socket, "MSG_DONTWAIT", 0)
RECEIVED_CLOEXEC = 0 if PLAIN else getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
ROOM = 512 * 1024
"""Bytes a socket for datagrams shall hold; macOS gives it 2 KiB, and no message may be longer than that."""
_BREATH = 0.0005
sched_yield = getattr(os, "sched_yield", int)

UNTRACKED: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""For `mmap`: before 3.13 it keeps a descriptor of its own, and ten thousand live arrays would cost ten thousand."""

_fcntl_signal = False
try:
    import fcntl

    _fcntl_signal = hasattr(fcntl, "F_SETSIG") and not PLAIN
except ImportError:  # Windows, which has no workers
    pass


def is_full(exc: OSError) -> bool:
    """Tell whether a message was refused for want of room at the other end; macOS has a word of its own for it."""
    return exc.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)


def wait_for_room(exc: OSError) -> None:
    """Give the reader a moment after a blocking send failed with `exc`.

    Raises:
        OSError: `exc`, if it is about anything but room.
    """
    if exc.errno != errno.ENOBUFS:
        raise exc
    sleep(_BREATH)


def descriptors_max() -> int:
    """How many descriptors a process may have at once; more than any has where the system names no limit."""
    found = os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else -1
    return found if found > 0 else sys.maxsize


def anonymous_memory() -> int:
    """Make a piece of memory without a name: the descriptor, which the caller closes.

    Without memfd it is a file in the folder for temporary ones, nameless from its first moment on.

    Raises:
        OSError: no descriptor or no memory is left, or that folder cannot be written.
    """
    if hasattr(os, "memfd_create") and not PLAIN:
        return os.memfd_create("unified_exec", os.MFD_CLOEXEC)
    folder = os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"
    path = os.path.join(folder, f"unified_exec-{os.urandom(12).hex()}")
    # Windows cannot remove a file that is open, but does so at its close.
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_TEMPORARY", 0)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600)
    if not hasattr(os, "O_TEMPORARY"):
        os.unlink(path)
    return fd


def write_at(fd: int, data: memoryview, offset: int) -> int:
    """Write at an offset of a file; returns how many bytes were taken."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


def keep_from_children(fds: list[int]) -> None:
    """Close descriptors that came with a message to programs that are started, where the system did not do it."""
    if not RECEIVED_CLOEXEC:
        for fd in fds:
            os.set_inheritable(fd, False)


def die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process group when the parent is gone, in whatever call we are then.

    The lifeline is a socket nothing is ever sent on: the only event it can have is the loss of its other end.
    See fcntl(2), F_SETSIG and O_ASYNC. Elsewhere than on Linux a thread waits for the end of the lifeline; it comes
    late if a call keeps the GIL. There the parent, too, hears of our end by it: nobody else may hold it.
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
    # The parent may have gone before the lines above.
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
        return  # a task has closed it; the parent has heard of that
    os.killpg(os.getpgrp(), _signal.SIGKILL)
