"""Worker processes that are started before a pool needs them.

Their interpreters start on other cores while the program still imports. They know nothing of the program until a pool
takes them, and a pool takes one only if a process started at that moment would inherit the same.
"""

from __future__ import annotations

import atexit
from typing import NamedTuple

from ..._platform import process_control
from ..._tasks.fork_lock import in_forked_child
from .child import Child
from .start_worker import check_no_worker, start_process

IDLE_SECONDS = 60.0
"""A process that no pool has taken after this many seconds exits, as an idle worker of the default pool does."""


class Prestarted(NamedTuple):
    """A process that waits for a pool.

    Attributes:
        environment: its environment variables.
        inherited: what else it has from this process, see `process_control.inherited`.
    """

    child: Child
    environment: dict[str, str]
    inherited: tuple[object, ...]


_waiting: list[Prestarted] = []  # changed with `pop` and `append` alone, which threads can do at the same time


def start_ahead(count: int, environment: dict[str, str]) -> None:
    """Have at least `count` processes waiting for a pool whose workers have this environment.

    Raises:
        WorkerStartError: a process could not be started, or this program was started in place of a worker.
    """
    check_no_worker()
    process_control.check()
    inherited = process_control.inherited()
    useful = []
    for _ in range(len(_waiting)):
        process = _pop()
        if process is None:
            break
        if process.child.has_ended() or process[1:] != (environment, inherited):
            _end(process)
        else:
            useful.append(process)
    _waiting.extend(useful)
    for _ in range(count - len(useful)):
        child = start_process(environment, (str(IDLE_SECONDS),))
        _waiting.append(Prestarted(child, environment, inherited))


def take(environment: dict[str, str]) -> Child | None:
    """Return a process that is no different from one that would be started now, ``None`` if there is none."""
    if not _waiting:
        return None
    inherited = process_control.inherited()
    others = []
    found = None
    while found is None and (process := _pop()) is not None:
        if process.child.has_ended():
            _end(process)
        elif process[1:] == (environment, inherited):
            found = process.child
        else:
            others.append(process)
    _waiting.extend(others)
    return found


@atexit.register
def discard() -> None:
    """End the processes that no pool has taken."""
    while (process := _pop()) is not None:
        _end(process)


def _pop() -> Prestarted | None:
    try:
        return _waiting.pop()
    except IndexError:
        return None


def _end(process: Prestarted) -> None:
    process.child.reap()
    process.child.close()


@in_forked_child
def _after_fork() -> None:
    while (process := _pop()) is not None:
        process.child.close()
