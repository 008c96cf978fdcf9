"""Locks that are free in a forked child, even if another thread held them when it was forked."""

from __future__ import annotations

import os
from _thread import RLock

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


def fork_lock() -> Any:
    """Return a reentrant lock that is kept until the process exits."""
    lock: Any = RLock()

    def renew() -> None:
        if not lock._is_owned():  # by the thread that has forked, which goes on here and releases it
            lock._at_fork_reinit()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return lock
