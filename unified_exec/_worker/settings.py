"""The settings that the parent sends to a new worker, and what both know of its descriptors."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from .._tasks.light_typing import NamedTuple

WORKER_MARK = "UNIFIED_EXEC_WORKER"
"""Set in the environment of a process that is to be a worker, which removes it. A process that keeps it is another
program."""
WORKER, TEMPLATE = "1", "template"
"""Its values: the process is to be a worker; it is to be forked for each worker, see `template`."""

TASKS_FD, CONTROL_FD, LIFELINE_FD, STATUS_FD = 3, 4, 5, 6
"""Where a worker finds its descriptors; everything above is closed at its start."""

STATUS_SIZE = 4096
"""Bytes of the memory in which a worker notes what it does, see `connection`."""


class WorkerKind:
    """What a worker runs: `CALLS` or `COROUTINES`.

    Attributes:
        concurrent: it runs many tasks at the same time; otherwise one by one, in the order in which they were sent.
    """

    __slots__ = ("_name", "concurrent")

    def __init__(self, name: str, concurrent: bool) -> None:
        self._name = name
        self.concurrent = concurrent

    def __reduce__(self) -> str:
        return self._name  # in every process the same object

    def __repr__(self) -> str:
        return self._name


CALLS = WorkerKind("CALLS", concurrent=False)
"""Plain functions."""
COROUTINES = WorkerKind("COROUTINES", concurrent=True)
"""Coroutine functions, in an event loop."""


class Settings(NamedTuple):
    """Settings of one worker; travels as a plain dict.

    Attributes:
        kind: what it runs.
        path: ``sys.path`` of the parent.
        argv: ``sys.argv`` of the parent.
        prefix: ``sys.prefix`` and ``sys.exec_prefix`` of the parent (a virtual environment's).
        relayed: the program is on another machine; what shares memory cannot be sent to it.
        site: run `site.main`, because a ``.pth`` file changed the parent's import system, or starts coverage.py.
        initializer: the pickled initializer and its arguments, or ``None``.
        main: how to import the program's main file (see `main_file.load`), or ``None``.
        max_tasks: retire after this many tasks, ``None`` for never.
        max_memory: retire after a task that left the worker with more resident bytes than this.
        idle: retire after this many seconds without a task.
        authkey: the parent's key for the managers of `multiprocessing`, if it uses them.
        interpreter: what the parent has set in its interpreter, see `interpreter.read`.
        levels: those of the parent's loggers, see `log_levels`.
    """

    kind: WorkerKind = CALLS
    path: list[str] | None = None
    argv: list[str] | None = None
    prefix: tuple[str, str] | None = None
    site: bool = False
    initializer: bytes | None = None
    main: tuple[str, str] | None = None
    max_tasks: int | None = None
    max_memory: int | None = None
    idle: float | None = None
    authkey: bytes | None = None
    interpreter: dict[str, Any] | None = None
    levels: dict[str, Any] | None = None
    relayed: bool = False

    def worn_out(self, done: int) -> bool:
        """Tell whether the worker should retire after `done` tasks."""
        if self.max_tasks is not None and done >= self.max_tasks:
            return True
        return self.max_memory is not None and resident_bytes() > self.max_memory


def resident_bytes() -> int:
    """Resident memory of this process in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _resident_peak()


def _resident_peak() -> int:
    try:
        import resource
    except ImportError:
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
