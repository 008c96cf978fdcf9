"""Starting a worker process: fresh interpreter, own process group, nothing inherited but four descriptors."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import weakref

from ..._platform import process_control
from ..._platform.posix import anonymous_memory
from ..._worker import connection
from ..._worker.settings import Settings
from ...errors import WorkerStartError
from .child import Child

_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from unified_exec._worker.main import main; main()"
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_ABOVE = 20  # sources lie above every target, so that no dup2 in the child overwrites one still needed
_STANDARD_FINDERS = 3
_lifelines: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def start_process(environment: dict[str, str], arguments: tuple[str, ...] = ()) -> Child:
    """Start a worker and return at once; it says READY when it is up.

    Args:
        environment: of the process.
        arguments: for the worker's `main`.

    Raises:
        WorkerStartError: the process could not be made.
    """
    process_control.check()
    if not sys.executable:
        raise WorkerStartError("sys.executable is empty, so there is no Python to run it with")
    with contextlib.ExitStack() as undo:
        try:
            child = _start_process(environment, arguments, undo)
        except OSError as exc:
            raise WorkerStartError(f"{sys.executable} could not be run: {exc}") from exc
        undo.pop_all()
    return child


def _start_process(environment: dict[str, str], arguments: tuple[str, ...], undo: contextlib.ExitStack) -> Child:
    tasks, claims = _closing(process_control.pair_for_messages(), undo)
    control, its_control = _closing(process_control.pair_for_messages(), undo)
    lifeline, its_lifeline = _closing(socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM), undo)
    _lifelines.add(lifeline)
    status_fd = anonymous_memory()
    with contextlib.closing(its_control), contextlib.closing(its_lifeline):
        try:
            os.ftruncate(status_fd, connection.STATUS_SIZE)
            status = mmap.mmap(status_fd, connection.STATUS_SIZE)
            undo.callback(status.close)
            theirs = [claims.fileno(), its_control.fileno(), its_lifeline.fileno(), status_fd]
            pid = _spawn(environment, _command(arguments), theirs)
        finally:
            os.close(status_fd)
    undo.callback(_end, pid)
    tasks.setblocking(False)
    control.setblocking(False)
    return Child(pid, tasks, claims, control, lifeline, status, process_control.open_pidfd(pid))


def _closing(
    pair: tuple[socket.socket, socket.socket], undo: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    for end in pair:
        undo.callback(end.close)
    return pair


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # the application ignores SIGCHLD, so the system has reaped it


def _spawn(environment: dict[str, str], command: list[str], sources: list[int]) -> int:
    targets = (connection.TASKS_FD, connection.CONTROL_FD, connection.LIFELINE_FD, connection.STATUS_FD)
    high = [process_control.duplicate_above(fd, _ABOVE) for fd in sources]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in zip(high, targets, strict=True)]
    try:
        return os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGURG, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD),
        )
    finally:
        for fd in high:
            os.close(fd)


def _command(arguments: tuple[str, ...]) -> list[str]:
    # -S: `site` costs half the start of an interpreter, and all it would do is told by the parent.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-S", "-P", "-c", _BOOT, _ROOT, *arguments]


def parent_settings() -> Settings:
    """Settings that make a worker look like this process to the code it will run."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""  # it was removed; nothing can be imported from it
    return Settings(
        path=[entry or folder for entry in sys.path if entry or folder],
        argv=list(sys.argv),
        prefix=(sys.prefix, sys.exec_prefix),
        site=not sys.flags.no_site and len(sys.meta_path) > _STANDARD_FINDERS and _has_installed_finders(),
        authkey=_authkey(),
    )


def _authkey() -> bytes | None:
    if "multiprocessing.managers" not in sys.modules:
        return None
    from multiprocessing import process

    return bytes(process.current_process().authkey)


def _has_installed_finders() -> bool:
    return any("editable" in getattr(finder, "__module__", type(finder).__module__) for finder in sys.meta_path)


def _close_lifelines() -> None:
    # A fork, also one in the midst of a start: what it holds would keep the workers of a dead parent alive.
    for lifeline in list(_lifelines):
        lifeline.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_lifelines)
