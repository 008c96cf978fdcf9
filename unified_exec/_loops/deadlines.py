"""Deadlines of the loop for tasks that run outside of it."""

from __future__ import annotations

import time

import anyio

from .._tasks.current import INF


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
        least = min(least, time.monotonic() + deadline - anyio.current_time())
    if timeout is not None:
        least = min(least, time.monotonic() + timeout)
    return None if least == INF else least
