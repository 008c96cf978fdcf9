"""What is made anew in a forked child: what modules say, and locks that another thread held when it was forked."""

from __future__ import annotations

import os
from _thread import RLock

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def in_forked_child(function: Callable[[], object]) -> Callable[[], object]:
    """Call `function` in each process that is forked of this one, where the system forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


def fork_lock() -> Any:
    """Return a reentrant lock that is kept until the process exits."""
    lock: Any = RLock()

    @in_forked_child
    def renew() -> None:
        if not lock._is_owned():  # by the thread that has forked, which goes on here and releases it
            lock._at_fork_reinit()

    return lock
