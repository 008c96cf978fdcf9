"""What the executors owe at the end: the program does not end before what was submitted has."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Protocol


class Joinable(Protocol):
    """An executor as the end of the program sees it."""

    def shutdown(self, wait: bool = ...) -> None: ...

    def after_fork(self) -> None:
        """Begin afresh in a forked child: what was submitted is the parent's."""


_executors: weakref.WeakSet[Joinable] = weakref.WeakSet()
over = False
"""The interpreter is ending: nothing can be submitted any more."""


def join_at_exit(executor: Joinable) -> None:
    """Have the end of the program wait for what `executor` was given."""
    _executors.add(executor)


def check_open(shut: bool) -> None:
    """Raise what `submit` raises when it is too late.

    Raises:
        RuntimeError: as the standard library's.
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


def _after_fork() -> None:
    for executor in list(_executors):
        executor.after_fork()


# Before threads can no longer be started, as concurrent.futures does; without that, a little later.
getattr(threading, "_register_atexit", atexit.register)(_join_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
