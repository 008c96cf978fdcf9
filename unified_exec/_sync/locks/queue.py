"""Who waits for a permit in this process, in the order in which they came."""

from __future__ import annotations

import time
from types import CodeType

from ..._tasks.current import CurrentTask
from ..shared.sleepers import LoopSleeper, ThreadSleeper

LOOK = 0.05
"""Seconds after which the first of a queue looks whether the holder has ended, or its process has died."""
LOOK_AGAIN = 0.25
LOOK_LATE = 1.0
"""The same for all others: one that becomes the first because the one before it has got the permit is not woken."""


class ThreadInQueue(ThreadSleeper):
    """A thread.

    Attributes:
        holder: who it is.
        code, at: the line where it waits.
        may_time_out: the wait ends by itself.
    """

    __slots__ = ("at", "code", "holder", "may_time_out")

    def __init__(self, holder: object, code: CodeType, at: int, may_time_out: bool) -> None:
        super().__init__()
        self.holder, self.code, self.at = holder, code, at
        self.may_time_out = may_time_out

    def renew(self) -> None:
        """It is awake, and may be woken again."""
        self.woken = False


class CoroutineInQueue(LoopSleeper):
    """A coroutine of any event loop.

    Attributes:
        holder, code, at, may_time_out: see `ThreadInQueue`.
    """

    __slots__ = ("at", "code", "holder", "may_time_out")

    def __init__(self, holder: object, code: CodeType, at: int, may_time_out: bool) -> None:
        super().__init__()
        self.holder, self.code, self.at = holder, code, at
        self.may_time_out = may_time_out

    async def wait(self, pause: float | None) -> bool:
        """Wait until woken, for `pause` seconds at most; ``True`` if it was not woken."""
        if pause is None:
            await self.waiter
            return False
        timer = self.adapter.call_later(pause, self.wake)
        began = time.monotonic()
        try:
            await self.waiter
        finally:
            timer.cancel()
        return time.monotonic() - began >= pause

    async def wait_for(self, fd: int, pause: float) -> bool:
        """Wait until a descriptor is readable or it is woken; ``True`` if neither was within `pause` seconds."""
        adapter = self.adapter
        adapter.add_reader(fd, self.wake)
        try:
            return await self.wait(pause)
        finally:
            adapter.remove_reader(fd)


def sleep(
    each: ThreadInQueue, task: CurrentTask | None, deadline: float | None, pause: float | None, shielded: bool
) -> bool:
    """Sleep until woken; ``False`` if it was not within `pause` seconds.

    Raises:
        Cancelled: the task was requested to stop.
        TimeoutError: the deadline has passed.
    """
    now = time.monotonic()
    seconds = -1.0 if deadline is None else max(0.0, deadline - now)
    if pause is not None and (deadline is None or pause < seconds):
        seconds = pause
    woken = each.lock.acquire(True, seconds) if shielded else _sleep(each, task, seconds)
    if not woken and deadline is not None and time.monotonic() >= deadline:
        raise TimeoutError
    return woken


def _sleep(each: ThreadInQueue, task: CurrentTask | None, seconds: float) -> bool:
    """Sleep; here a raise may land at any instruction."""
    __interruptible__ = True  # noqa: F841
    if task is not None and task.cancel_requested:
        task.raise_cancelled()
    woken = each.lock.acquire(True, seconds)
    if task is not None and task.cancel_requested and not each.woken:
        task.raise_cancelled()
    return woken
