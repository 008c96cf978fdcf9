"""Opens the door of this process when its first scope is entered. Light: every program loads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._tasks.loaded import in_worker

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter

ALLOWED = os.environ.get("UNIFIED_EXEC_OBSERVE", "").strip().lower() not in ("0", "false", "no", "off")

TRACE = os.environ.get("UNIFIED_EXEC_TRACE", "")
"""Where to write a trace of the whole program."""

pending = ALLOWED or bool(TRACE)
"""The door is closed and may be opened. Every scope that is entered reads it."""


def opened(adapter: LoopAdapter) -> None:
    """A scope was entered, on the event loop of `adapter`, while the door was closed."""
    global pending
    pending = False
    if TRACE and not in_worker():
        from .output.at_exit import trace_until_exit

        trace_until_exit(TRACE)
    if not ALLOWED:
        return
    if not in_worker():
        try:
            from .live import keeper
        except ImportError:
            return  # a system without what sockets without a name need

        keeper.open_door(adapter, closed)
    else:  # a worker is looked at through its parent
        from .._worker import where

        where.nested_look = _look_inside


def _look_inside() -> dict[str, Any]:
    """Look at the scopes of this worker, without asking its own workers: this runs in a signal handler."""
    from .live.look import Look

    return Look(workers=0.0).make()


def closed() -> None:
    """The door was closed; the next scope opens it again."""
    global pending
    pending = ALLOWED
