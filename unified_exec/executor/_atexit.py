"""The end of the program waits for what was submitted to executors."""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Protocol

from .._tasks.fork_lock import in_forked_child


class Joinable(Protocol):
    """An executor that the end of the program waits for."""

    def shutdown(self, wait: bool = ...) -> None: ...

    def after_fork(self) -> None:
        """Start over in a forked child: what was submitted belongs to the parent."""


_executors: weakref.WeakSet[Joinable] = weakref.WeakSet()
over = False
"""The interpreter is shutting down: nothing can be submitted any more."""


def join_at_exit(executor: Joinable) -> None:
    """Have the end of the program wait for what was submitted to `executor`."""
    _executors.add(executor)


def check_open(shut: bool) -> None:
    """Check that calls can still be submitted.

    Raises:
        RuntimeError: they cannot; the text is the standard library's.
    """
    if shut:
        raise RuntimeError("cannot schedule new futures after shutdown")
    if over:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")


def _join_all() -> None:
    global over
    over = True
    executors = list(_executors)
    for executor in executors:
        executor.shutdown(wait=False)
    for executor in executors:
        executor.shutdown(wait=True)


@in_forked_child
def _after_fork() -> None:
    for executor in list(_executors):
        executor.after_fork()


# Before threads can no longer be started, as concurrent.futures does; atexit runs a little later.
getattr(threading, "_register_atexit", atexit.register)(_join_all)
