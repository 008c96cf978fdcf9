"""Deadlines as the loop sees them, for `time_left` and for the tasks that leave the loop."""

from __future__ import annotations

import sys
import time

import anyio

from .._tasks import current as model


def on_event_loop() -> bool:
    """Tell whether the calling code runs inside an event loop."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return True
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


def loop_time_left() -> float | None:
    """Seconds until the nearest enclosing deadline of the calling coroutine, ``None`` outside of event loops."""
    if not on_event_loop():
        return None
    try:
        left = anyio.current_effective_deadline() - anyio.current_time()
    except RuntimeError:
        return None  # a callback of the loop, not a task
    task = model.current.get()
    if task is not None and task.deadline is not None:
        left = min(left, task.deadline - time.monotonic())
    return left


def enclosing_deadline() -> float | None:
    """The nearest enclosing anyio deadline as an instant of `time.monotonic`, ``None`` if there is none."""
    deadline = anyio.current_effective_deadline()
    if deadline == model.INF:
        return None
    return time.monotonic() + deadline - anyio.current_time()


def nearest(enclosing: float | None, deadline: float, timeout: float | None) -> float | None:
    """The first of three deadlines, as an instant of `time.monotonic`, ``None`` for never.

    Args:
        enclosing: an instant of `time.monotonic`.
        deadline: an instant of the event loop's clock.
        timeout: seconds from now.
    """
    least = model.INF if enclosing is None else enclosing
    if deadline != model.INF:
        least = min(least, time.monotonic() + deadline - anyio.current_time())
    if timeout is not None:
        least = min(least, time.monotonic() + timeout)
    return None if least == model.INF else least


def spawned_in_thread_task() -> bool:
    """Tell whether the calling code serves a thread task that may be waiting for it (through `anyio.from_thread`, or
    by running an event loop of its own): what it spawns must not wait for that thread's place."""
    task = model.current.get()
    return task is not None and (task.holds_thread or task.nested)


model.loop_time_left = loop_time_left
