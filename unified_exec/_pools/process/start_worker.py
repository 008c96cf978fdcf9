"""Starting a worker process: a fresh interpreter in its own process group, which inherits four descriptors only."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable

from ..._platform import cpu_count, process_control, terminal_stop
from ..._platform.posix import StandardTaken, anonymous_memory
from ..._tasks.fork_lock import in_forked_child
from ..._wire.pickling.surroundings import authkey_now, import_path
from ..._worker import interpreter
from ..._worker.settings import (
    CONTROL_FD,
    LIFELINE_FD,
    STATUS_FD,
    STATUS_SIZE,
    TASKS_FD,
    WORKER,
    WORKER_MARK,
    Settings,
)
from ...errors import WorkerStartError
from .child import Child
from .frozen import WORKER_OPTION, check_frozen, is_frozen
from .imported_again import check_not_imported_for_a_task

_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from unified_exec._worker.main import main; main()"
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_STANDARD_FINDERS = 3
_lifelines: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def start_process(environment: dict[str, str], arguments: tuple[str, ...] = (), mark: str = WORKER) -> Child:
    """Start a worker process and return at once; it waits for its settings.

    Args:
        environment: its environment variables.
        arguments: for the worker's `main`.
        mark: what it is to be.

    Raises:
        WorkerStartError: the process could not be started.
    """
    process_control.check()
    check_frozen()
    if not sys.executable:
        raise WorkerStartError("sys.executable is empty, so there is no Python to run it with")
    marked = {**environment, WORKER_MARK: mark}
    try:
        return connect(lambda descriptors: process_control.spawn(command(arguments), marked, descriptors))
    except OSError as exc:
        if not os.access(os.devnull, os.R_OK):
            raise WorkerStartError(f"{os.devnull}, the stdin of a worker, could not be opened") from exc
        raise WorkerStartError(f"{sys.executable} could not be run: {exc}") from exc


def connect(launch: Callable[[dict[int, int]], int]) -> Child:
    """Make the sockets of a worker and have it started by `launch`, which is given the descriptors for it by the
    numbers that it wants, and returns its process id.

    Raises:
        OSError: it could not be started, or no descriptor is left.
        WorkerStartError: see `check_not_imported_for_a_task`.
    """
    check_not_imported_for_a_task()
    with contextlib.ExitStack() as undo:
        child = _connect(launch, undo)
        undo.pop_all()
    return child


def _connect(launch: Callable[[dict[int, int]], int], undo: contextlib.ExitStack) -> Child:
    tasks, claims = _closing(process_control.pair_for_messages(), undo)
    control, its_control = _closing(process_control.pair_for_messages(), undo)
    lifeline, its_lifeline = _closing(process_control.socket_pair(socket.SOCK_STREAM), undo)
    _lifelines.add(lifeline)
    status_fd = anonymous_memory()
    with contextlib.closing(its_control), contextlib.closing(its_lifeline):
        try:
            os.ftruncate(status_fd, STATUS_SIZE)
            with StandardTaken():  # before Python 3.13 it opens a descriptor of its own
                status = mmap.mmap(status_fd, STATUS_SIZE)
            undo.callback(status.close)
            descriptors = {
                TASKS_FD: claims.fileno(),
                CONTROL_FD: its_control.fileno(),
                LIFELINE_FD: its_lifeline.fileno(),
                STATUS_FD: status_fd,
            }
            pid = launch(descriptors)
            terminal_stop.add(pid)
        finally:
            os.close(status_fd)
    undo.callback(process_control.reap, pid, None)
    undo.callback(process_control.kill, pid, None)
    tasks.setblocking(False)
    control.setblocking(False)
    pidfd = process_control.open_pidfd(pid)
    terminal_stop.add(pid, pidfd)
    return Child(pid, tasks, claims, control, lifeline, status, pidfd)


def _closing(
    pair: tuple[socket.socket, socket.socket], undo: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    for end in pair:
        undo.callback(end.close)
    return pair


def command(arguments: tuple[str, ...] = ()) -> list[str]:
    """Return what runs a worker."""
    if is_frozen():
        return [sys.executable, WORKER_OPTION, *arguments]
    # -S: `site` costs half the start of an interpreter, and all it would do is told by the parent.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    for name, value in sys._xoptions.items():  # those it leaves out
        option = name if value is True else f"{name}={value}"
        if option not in flags:
            flags += ["-X", option]
    return [sys.executable, *flags, "-S", "-P", "-c", _BOOT, _ROOT, *arguments]


def check_no_worker() -> None:
    """Check that this process was not itself started in place of a worker.

    Raises:
        WorkerStartError: it was: its own workers would be this program once more.
    """
    if WORKER_MARK in os.environ:
        raise WorkerStartError(
            "this program was itself started as a worker of another: the other's sys.executable runs a program and not "
            "Python; call unified_exec.freeze_support() first thing in it"
        )


def environment_now(max_workers: int, cores: int) -> dict[str, str]:
    """Return the environment variables of a worker that is started now, one of `max_workers` that share `cores`."""
    own = dict(os.environ)
    return {**own, **cpu_count.worker_environment(own, max_workers, cores)}


def parent_settings() -> Settings:
    """Settings that make a worker look like this process to the code it will run. All of it is plain data."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""  # it was removed; nothing can be imported from it
    argv = getattr(sys, "argv", None) or ()  # a program that embeds Python may have none
    return Settings(
        path=import_path(sys.path, folder),
        argv=[str.__str__(each) if isinstance(each, str) else str(each) for each in argv],
        prefix=(sys.prefix, sys.exec_prefix),
        site=not sys.flags.no_site and (_measures_coverage() or _has_installed_finders()),
        authkey=None if (key := authkey_now()) is None else bytes(key),
        interpreter=interpreter.read(),
    )


def _measures_coverage() -> bool:
    """Tell whether new interpreters start coverage.py, which they do through a `.pth` file: `site` reads those."""
    return "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ


def _has_installed_finders() -> bool:
    return len(sys.meta_path) > _STANDARD_FINDERS and any(
        "editable" in getattr(finder, "__module__", type(finder).__module__) for finder in sys.meta_path
    )


@in_forked_child
def _close_lifelines() -> None:
    # A fork, also one in the midst of a start: what it holds would keep the workers of a dead parent alive.
    for lifeline in list(_lifelines):
        lifeline.close()
