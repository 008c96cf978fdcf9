"""System calls of the parent for its workers, with fallbacks for systems other than Linux."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import Any

from ..errors import WorkerStartError
from . import terminal_stop
from .posix import DONTWAIT, MESSAGES, PLAIN, ROOM, TELLS_END, StandardTaken, above_standard, signal_group

try:
    import fcntl
except ImportError:
    MISSING: tuple[str, ...] = ("fcntl",)
else:
    MISSING = tuple([name for name in ("posix_spawn", "killpg", "waitpid") if not hasattr(os, name)])
    MISSING += tuple([name for name in ("AF_UNIX", "CMSG_SPACE") if not hasattr(socket, name)])

_STATUS = "/proc/thread-self/status"
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")
_INHERITED = (b"Umask", b"Uid", b"Gid", b"Groups", b"SigIgn", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_", b"Mems_")


def check() -> None:
    """Check that this system can run worker processes.

    Raises:
        WorkerStartError: it cannot.
    """
    if MISSING:
        raise WorkerStartError(
            f"process tasks need a POSIX system, and this one ({sys.platform}) has no {', '.join(MISSING)}; "
            "use on='thread' or on='loop' here, or run the program on Linux, macOS or WSL"
        )


def socket_pair(kind: int) -> tuple[socket.socket, socket.socket]:
    """Make a pair of Unix sockets, whose descriptors are not those of the standard streams.

    Raises:
        OSError: no descriptor is left.
    """
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    if one.fileno() > 2 and other.fileno() > 2:
        return one, other
    with one, other, StandardTaken():
        return one.dup(), other.dup()


def pair_for_messages() -> tuple[socket.socket, socket.socket]:
    """Make a pair of sockets that keep messages whole.

    Raises:
        OSError: no descriptor is left.
    """
    pair = socket_pair(MESSAGES)
    if not TELLS_END:
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    return pair


def spawn(command: list[str], environment: dict[str, str], descriptors: dict[int, int]) -> int:
    """Start a program in a process group of its own and return its process id. Its stdin is empty.

    Args:
        command: the executable and its arguments.
        environment: all its environment variables.
        descriptors: what it inherits besides stdout and stderr: its numbers, each with ours.

    Raises:
        OSError: the program cannot be run, or no descriptor is left.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    actions += [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2) if not is_stream(fd)]
    above: list[int] = []  # above every target, so that no dup2 in the child overwrites one still needed
    try:
        for target, source in descriptors.items():
            above.append(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, max(descriptors) + 1))
            actions.append((os.POSIX_SPAWN_DUP2, above[-1], target))
        pid = os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGURG, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD),
        )
    finally:
        for fd in above:
            os.close(fd)
    return pid


def is_stream(fd: int) -> bool:
    """Tell whether this is a standard stream of the program: if it is closed, another file may have its number."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def inherited() -> tuple[object, ...]:
    """Return what a worker started now would have besides the environment: interpreter, standard streams, folder, user,
    session, limits, masks, control groups, namespaces.

    Without ``/proc``, much of it is missing.
    """
    try:
        folder: str | None = os.getcwd()
    except OSError:
        folder = None  # it was removed
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    root = os.stat("/")
    return (
        sys.executable,
        folder,
        (root.st_dev, root.st_ino),
        priority,
        os.getsid(0),
        _lines(_STATUS, _INHERITED),
        *[_lines(f"/proc/thread-self/{name}", (b"",)) for name in ("limits", "cgroup", "oom_score_adj")],
        *map(_namespace, _NAMESPACES),
        *[_file(fd) if is_stream(fd) else None for fd in (1, 2)],
    )


def _namespace(name: str) -> str | None:
    try:
        return os.readlink(f"/proc/thread-self/ns/{name}")
    except OSError:
        return None


def _file(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _without_libc(line: bytes) -> bytes:
    """The line without the signals of the C library (32, 33): it takes them when the first thread is started."""
    name, _, mask = line.partition(b"\t")
    return line if name != b"SigIgn:" else b"%x" % (int(mask, 16) & ~(3 << 31))


def _lines(path: str, starts: tuple[bytes, ...]) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return [_without_libc(line) for line in file if line.startswith(starts)]
    except OSError:
        return []


def state_and_time(pid: int) -> tuple[bytes, float] | None:
    """Return the state of a process as ``ps`` tells it, and the processor time (seconds) it has used.

    ``None`` without ``/proc``, and if it is gone.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable when the process has ended, ``None`` where the system has none.

    There the lifeline tells.
    """
    if PLAIN or not hasattr(os, "pidfd_open"):
        return None
    try:
        return above_standard(os.pidfd_open(pid))
    except OSError:
        return None  # a kernel before 5.3, or a filter that forbids it


def credentials() -> tuple[object, ...]:
    """Return user, groups and root folder of this process."""
    root = os.stat("/")
    users = os.getresuid() if hasattr(os, "getresuid") else (os.getuid(), os.geteuid())
    groups = os.getresgid() if hasattr(os, "getresgid") else (os.getgid(), os.getegid())
    return users, groups, sorted(os.getgroups()), (root.st_dev, root.st_ino)


def send_signal(pid: int, pidfd: int | None, signum: int) -> None:
    """Send a signal to a worker, and to no other process that has its number by now.

    Raises:
        ProcessLookupError: there is no such process any more.
        PermissionError: this process has changed its user since it started the worker.
    """
    if pidfd is not None:
        signal.pidfd_send_signal(pidfd, signum)
    else:
        os.kill(pid, signum)


def kill(pid: int, pidfd: int | None) -> bool:
    """Kill a worker and everything in its process group.

    Returns:
        ``False`` if that is not permitted: this process has changed its user since it started the worker.
    """
    try:
        signal_group(pid, pidfd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    try:  # by itself too: a task may have moved the worker to another group
        send_signal(pid, pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def reap(pid: int, pidfd: int | None) -> int | None:
    """Wait for a process that is dead or about to be, and return its exit code, negative for a signal.

    ``None`` if other code has reaped it, or the application ignores SIGCHLD.
    """
    terminal_stop.discard(pid)
    try:
        if pidfd is None:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found: Any = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        code: int = found.si_status
        return code if found.si_code == os.CLD_EXITED else -code
    except ChildProcessError:
        return None


def is_readable(fd: int, seconds: float | None) -> bool:
    """Wait until a descriptor is readable, at most `seconds`, and tell whether it is. A pidfd is after the exit."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))


def has_ended(pid: int, pidfd: int | None, lifeline: socket.socket) -> bool:
    """Tell whether a worker has ended, without reaping it."""
    if pidfd is not None:
        return is_readable(pidfd, 0)  # it may be another's child
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
        return True  # other code has reaped it
