"""Who waits for a channel or a lock inside one process: a thread in a lock of its own, a coroutine in its loop."""

from __future__ import annotations

import time
from _thread import allocate_lock, get_ident
from abc import abstractmethod
from typing import TYPE_CHECKING

from ..._loops.current import current_adapter
from ..._tasks.current import CurrentTask, Sleeper, on_event_loop

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter, Waiter

__all__ = ["LoopSleeper", "QueueSleeper", "ThreadSleeper", "refuse_on_loop", "sleep"]


class QueueSleeper(Sleeper):
    """A waiter in a queue. It is never handed anything: it is woken, and looks again.

    Attributes:
        woken: it was taken out of the queue and woken. If it leaves without looking, it passes the wake on.
    """

    __slots__ = ("woken",)

    def __init__(self) -> None:
        self.woken = False

    @abstractmethod
    def wake(self) -> bool:
        """Wake it; ``False`` if it is gone with its event loop. From any thread."""


class ThreadSleeper(QueueSleeper):
    """A thread."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        super().__init__()
        self.lock = allocate_lock()
        self.lock.acquire()

    def wake(self) -> bool:
        self.woken = True
        self.interrupt()
        return True

    def interrupt(self) -> None:
        try:
            self.lock.release()
        except RuntimeError:
            pass  # it is awake already


class LoopSleeper(QueueSleeper):
    """A coroutine of any event loop. Await `waiter`.

    Attributes:
        adapter: of its event loop.
    """

    __slots__ = ("_thread", "adapter", "waiter")

    def __init__(self) -> None:
        super().__init__()
        self.adapter: LoopAdapter = current_adapter()
        self._thread = get_ident()
        self.waiter: Waiter = self.adapter.waiter()

    def renew(self) -> None:
        """It is awake, and may wait again."""
        if self.woken:
            self.woken = False
            self.waiter = self.adapter.waiter()

    def wake(self) -> bool:
        self.woken = True
        adapter = self.adapter
        if adapter.ended():
            return False
        if get_ident() == self._thread and not adapter.elsewhere():
            self.waiter.wake()
            return True
        return adapter.call_threadsafe(self.waiter.wake)


def sleep(sleeper: ThreadSleeper, task: CurrentTask | None, deadline: float | None) -> None:
    """Sleep until woken. The caller has put the sleeper into `sleepers` if there is a task.

    Raises:
        Cancelled: the task was requested to stop; here a raise may land at any instruction.
        TimeoutError: the deadline has passed.
    """
    __interruptible__ = True  # noqa: F841
    if task is not None and task.cancel_requested:
        task.raise_cancelled()
    seconds = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
    if not sleeper.lock.acquire(True, seconds):
        raise TimeoutError("nothing came within the timeout")
    if task is not None and task.cancel_requested and not sleeper.woken:
        task.raise_cancelled()


def refuse_on_loop(call: str, instead: str) -> None:
    """Refuse to block the thread of an event loop.

    Raises:
        RuntimeError: the calling thread runs an event loop.
    """
    if on_event_loop():
        raise RuntimeError(f"{call}() would block the event loop; use `{instead}`")
