"""Values of globals that coordinate threads, or belong to one process, are made anew, or are those of each worker."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_Reduced = tuple[Any, ...]


def _new_lock(kind: str) -> object:
    return getattr(threading, kind)()


def _empty(value: Any) -> _Reduced:
    return type(value), ()


REDUCERS: dict[type, Any] = {
    type(threading.Lock()): lambda lock: (_new_lock, ("Lock",)),
    type(threading.RLock()): lambda lock: (_new_lock, ("RLock",)),
    threading.local: _empty,
    threading.Condition: lambda it: (threading.Condition, (vars(it)["_lock"],)),  # of a queue, all have one lock
    threading.Event: _empty,
    threading.Semaphore: lambda it: (threading.Semaphore, (vars(it)["_value"],)),
    threading.BoundedSemaphore: lambda it: (threading.BoundedSemaphore, (vars(it)["_initial_value"],)),
    threading.Barrier: lambda it: (threading.Barrier, (it.parties, vars(it)["_action"], vars(it)["_timeout"])),
    weakref.WeakValueDictionary: _empty,
    weakref.WeakKeyDictionary: _empty,
    weakref.WeakSet: _empty,
    type(os.environ): lambda it: (getattr, (os, "environ")) if it is os.environ else it.__reduce_ex__(4),
}
"""Reducers by type, for a pickler's dispatch table."""
