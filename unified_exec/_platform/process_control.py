"""What the parent asks of the system for its workers, with what stands in for it elsewhere than on Linux."""

from __future__ import annotations

import os
import signal
import socket
import sys

from ..errors import WorkerStartError
from .posix import DONTWAIT, MESSAGES, PLAIN, ROOM, TELLS_END

try:
    import fcntl
except ImportError:
    MISSING: tuple[str, ...] = ("fcntl",)
else:
    MISSING = tuple(name for name in ("posix_spawn", "killpg", "waitpid") if not hasattr(os, name))
    MISSING += tuple(name for name in ("AF_UNIX", "CMSG_SPACE") if not hasattr(socket, name))


def check() -> None:
    """See that this system can have workers.

    Raises:
        WorkerStartError: it cannot.
    """
    if MISSING:
        raise WorkerStartError(
            f"process tasks need a POSIX system, and this one ({sys.platform}) has no {', '.join(MISSING)}; "
            "use on='thread' or on='loop' here, or run the program on Linux, macOS or WSL"
        )


def pair_for_messages() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages whole.

    Raises:
        OSError: no descriptor is left.
    """
    pair = socket.socketpair(socket.AF_UNIX, MESSAGES)
    if not TELLS_END:
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    return pair


def duplicate_above(fd: int, lowest: int) -> int:
    """A duplicate of a descriptor with a number of at least `lowest`, closed in programs that are started."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; ``None`` where there is none: the lifeline tells."""
    if PLAIN or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None  # a kernel before 5.3, or a filter that forbids it


def kill(pid: int, pidfd: int | None) -> None:
    """Kill a worker and everything in its process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    try:  # by itself too: a task may have moved the worker to another group
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def has_ended(pid: int, lifeline: socket.socket) -> bool:
    """Tell whether a worker has ended, without reaping it."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        try:
            return lifeline.recv(1, DONTWAIT | socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # somebody else has reaped it
