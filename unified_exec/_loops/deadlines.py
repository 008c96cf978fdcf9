"""Deadlines of the loop for tasks that run outside of it."""

from __future__ import annotations

import time
from types import MethodType
from typing import Any

import anyio

from .._tasks.current import INF
from .._tasks.holders import ThreadHolder
from .._tasks.loaded import loaded
from .callbacks import loop_time


def enclosing_deadline() -> float | None:
    """Return the nearest enclosing anyio deadline as an instant of `time.monotonic`, ``None`` if there is none."""
    deadline = anyio.current_effective_deadline()
    if deadline == INF:
        return None
    return time.monotonic() + deadline - anyio.current_time()


def nearest(enclosing: float | None, deadline: float, timeout: float | None) -> float | None:
    """Return the earliest of three deadlines, as an instant of `time.monotonic`, ``None`` for never.

    Args:
        enclosing: an instant of `time.monotonic`.
        deadline: an instant of the event loop's clock.
        timeout: seconds from now.
    """
    least = INF if enclosing is None else enclosing
    if deadline != INF:
        least = min(least, time.monotonic() + deadline - loop_time())
    if timeout is not None:
        least = min(least, time.monotonic() + timeout)
    return None if least == INF else least


def has_deadline(task: Any) -> bool:
    """Tell whether a deadline will end what a suspended task of asyncio or trio, or a thread, does.

    `asyncio.timeout` is seen on the event loop of asyncio, not on uvloop.
    """
    if type(task) is ThreadHolder:
        return task.has_deadline
    status = getattr(task, "_cancel_status", None)  # of trio
    if status is not None:
        return bool(status.effective_deadline() != INF)
    if not hasattr(task, "get_loop"):
        return False
    if any(scope.deadline != INF for scope in cancel_scopes(task)[0]):
        return True
    for timer in list(getattr(task.get_loop(), "_scheduled", ())):
        callback = getattr(timer, "_callback", None)
        owner = callback.__self__ if type(callback) is MethodType else None  # no code of the user's may run here
        if type(owner).__name__ == "Timeout" and not timer.cancelled() and getattr(owner, "_task", None) is task:
            return True
    return False


def cancel_scopes(task: Any) -> tuple[list[Any], list[Any]]:
    """Return the cancel scopes (of anyio on asyncio, or of trio) that can end what a suspended task does.

    Returns:
        the scopes, the innermost first, and what the event loop has that refers to them.
    """
    scopes: list[Any] = []
    status = getattr(task, "_cancel_status", None)  # of trio
    if status is not None:
        states: list[Any] = [task]
        while task.parent_nursery is not None and task.parent_nursery.parent_task.parent_nursery is not None:
            task = task.parent_nursery.parent_task
        last = None if task.parent_nursery is None else task.parent_nursery._cancel_status  # those of trio itself
        while status is not None and status is not last:
            states.append(status)
            scopes.append(getattr(status, "_scope"))  # noqa: B009  not a name of this package
            status = None if scopes[-1].shield else status.parent
        return scopes, states
    state = getattr(loaded("anyio._backends._asyncio"), "_task_states", {}).get(task)
    scope = None if state is None else state.cancel_scope
    while scope is not None:
        scopes.append(scope)
        scope = None if scope.shield else scope._parent_scope
    return scopes, [] if state is None else [state]
