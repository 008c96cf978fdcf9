"""Who waits for a channel or a lock inside one process: a thread in a lock of its own, a coroutine in its loop."""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..._loops.current import current_adapter
from ..._tasks.current import CurrentTask, Sleeper, on_event_loop

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter, Waiter


class QueueSleeper(Sleeper):
    """A waiter in a queue. It is never handed anything: it is woken, and looks again.

    Attributes:
        woken: it was woken. If it leaves without looking, it passes the wake on.
        since: when it began to wait.
        suspected: the ring in which the last look found it, and how far other processes were then.
        error: what it is to raise.
    """

    __slots__ = ("error", "since", "suspected", "woken")

    def __init__(self) -> None:
        self.woken = False
        self.since = monotonic()
        self.suspected: tuple[frozenset[Any], dict[int, int]] | None = None
        self.error: Exception | None = None

    def wake(self) -> bool:
        """Wake it, unless it wakes by itself; ``False`` if it is gone with its event loop. From any thread."""
        return True


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


def sleep(sleeper: ThreadSleeper, task: CurrentTask | None, deadline: float | None, pause: float) -> bool:
    """Sleep until woken; ``False`` if it was not within `pause` seconds. The caller has put the sleeper into `sleepers`
    if there is a task.

    Raises:
        Cancelled: the task was requested to stop; here a raise may land at any instruction.
        TimeoutError: the deadline has passed.
    """
    __interruptible__ = True  # noqa: F841
    if task is not None and task.cancel_requested:
        task.raise_cancelled()
    seconds = pause if deadline is None else min(pause, max(0.0, deadline - monotonic()))
    woken = sleeper.lock.acquire(True, seconds)
    if not woken and deadline is not None and monotonic() >= deadline:
        raise TimeoutError
    if task is not None and task.cancel_requested and not sleeper.woken:
        task.raise_cancelled()
    return woken


def refuse_on_loop(call: str, instead: str) -> None:
    """Refuse to block the thread of an event loop.

    Raises:
        RuntimeError: the calling thread runs an event loop.
    """
    if on_event_loop():
        raise RuntimeError(f"{call}() would block the event loop; use `{instead}`")
