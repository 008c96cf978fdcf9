"""Waiting for what the operating system does in its own time: by asking, and never for longer than said."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    import psutil

    from unified_exec import TaskHandle

PATIENCE = 30.0
"""Seconds for what comes at once on a quiet machine: only a test that fails waits them."""
PAUSE = 0.01


def until(
    condition: Callable[[], object],
    within: float = PATIENCE,
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Ask `condition` until it holds, for at most `within` seconds; tell whether it did.

    It is asked once more when the time is over, so that a machine that slept through it does no harm.
    """
    over = clock() + within
    while not condition():
        if clock() >= over:
            return bool(condition())
        pause(PAUSE)
    return True


async def until_async(condition: Callable[[], object], within: float = PATIENCE) -> bool:
    """`until` for coroutines: the event loop runs on between two questions."""
    over = anyio.current_time() + within
    while not condition():
        if anyio.current_time() >= over:
            return bool(condition())
        await anyio.sleep(PAUSE)
    return True


async def reached(condition: Callable[[], object]) -> None:
    """Wait for a condition, long enough for a worker to start on a busy machine."""
    assert await until_async(condition, 60)


def is_asleep(handle: TaskHandle[Any]) -> bool:
    """Tell whether the thread of a task sleeps in a channel or a lock."""
    frame = sys._current_frames().get(handle.worker or 0)
    return frame is not None and frame.f_code.co_name in ("sleep", "_sleep")


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process, of whatever parent, has ended, be it reaped or not."""
    import psutil  # not at the top: no interpreter of an `InterpreterPool` loads it

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_alive(pid: int) -> bool:
    import psutil

    try:
        return not has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def is_freed(ref: Callable[[], object]) -> bool:
    """Tell whether the object of a weak reference is gone: at once, or where there is no GIL, when the collector has
    looked: the thread that made it keeps a count of its own until then."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return ref() is None
    return until(lambda: gc.collect() >= 0 and ref() is None)
