"""`asyncio.Task.cancel`, as far as a scope must know of it."""

from __future__ import annotations

import sys


def native_cancels() -> tuple[int, int] | None:
    """Return the id of the running asyncio task and how often it was cancelled so far, all of which it has been told;
    ``None`` if it has not yet, and on other loops."""
    current_task = getattr(sys.modules.get("asyncio"), "current_task", None)
    try:
        task = None if current_task is None else current_task()
    except RuntimeError:
        return None
    if task is None or getattr(task, "_must_cancel", True):
        return None
    return id(task), task.cancelling()  # the id: the caller keeps it, and must not keep the task
