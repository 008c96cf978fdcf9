"""`Limit`: how much runs at once, for coroutines, threads and whole tasks; and `Gate`, what it shares with `Rate`."""

from __future__ import annotations

from _thread import allocate_lock
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, NoReturn, Self

from .._loops.adapter import LoopAdapter
from .._loops.adapter import Waiter as LoopWakeup
from .._loops.current import current_adapter
from .._rules.arguments import whole
from .._tasks import events
from .._tasks.current import current, on_event_loop
from . import waits
from .waiters import LoopWaiter, Permit, ThreadWaiter, Waiter, enter, newest_active, newest_permit

POLL = 0.02
"""Seconds between two checks of a waiting thread for the cancellation of its task."""
HOLDERS_NAMED = 4


class Gate(ABC):
    """Something that work must pass before it starts. Any thread may call every method; first come, first served."""

    kind = "limit"

    def __init__(self) -> None:
        self._lock = allocate_lock()  # guards the queue and everything that decides which waiter may pass
        self._queue: deque[Waiter] = deque()

    @abstractmethod
    def acquire_nowait_or_enqueue(self, waiter: Waiter, *, enqueue: bool = True) -> bool:
        """Let the waiter pass now and return ``True``; if that is impossible, put it into the queue if `enqueue`."""

    @abstractmethod
    def cancel(self, waiter: Waiter) -> None:
        """Take the waiter out of the queue; if it was granted a permit meanwhile, release that."""

    @abstractmethod
    def release(self, permit: Permit | None) -> None:
        """Release what a waiter was granted."""

    def holders(self) -> list[int]:
        """Ids of the tasks one of which must release it before another may pass; none if time alone decides."""
        return []

    def held_by(self) -> str:
        """The holders in words, "" for none."""
        holders = self.holders()
        known = [f"#{each}" if each else "code outside of tasks" for each in holders[:HOLDERS_NAMED]]
        more = len(holders) - len(known)
        return ", ".join(known) + (f" and {more} more" if more else "")

    def tell_wait(self, task: int) -> waits.ToldWait:
        """Tell that a task waits, by its id; called only while somebody listens."""
        return waits.tell_at_once(task, self.kind, repr(self), len(self._queue), self.held_by())

    def place_of(self, waiter: Waiter) -> tuple[int, int]:
        """The place of a waiter in the queue, from 1 (0 if it is not there), and how many wait; from any thread."""
        waiting = [other for other in list(self._queue) if not other.cancelled]
        return waiting.index(waiter) + 1 if waiter in waiting else 0, len(waiting)

    def _drop_cancelled(self) -> None:
        """Drop cancelled waiters at the head of the queue. With the lock held."""
        while self._queue and self._queue[0].cancelled:
            self._queue.popleft()

    async def __aenter__(self) -> Self:
        from anyio.lowlevel import checkpoint_if_cancelled

        await checkpoint_if_cancelled()
        loop = current_adapter()
        loop.guard(Gate, type(self))
        waiter = LoopWaiter(loop, _ignore)
        if not self.acquire_nowait_or_enqueue(waiter, enqueue=False):
            wakeup = loop.waiter()
            waiter.on_granted = lambda _: wakeup.wake()
            try:
                if not self.acquire_nowait_or_enqueue(waiter):
                    self.watch(waiter, loop)
                    await self._told(wakeup) if events.rows is not None else await wakeup
                    if not waiter.granted:
                        raise_error(waiter)
            except BaseException:
                self.cancel(waiter)
                raise
        enter(waiter.permit)
        return self

    async def _told(self, wakeup: LoopWakeup) -> None:
        wait = self.tell_wait(_id_of_caller())
        try:
            await wakeup
        finally:
            wait.end()

    async def __aexit__(self, kind: object, exc: object, tb: object) -> None:
        self._leave()

    def __enter__(self) -> Self:
        if on_event_loop():
            raise RuntimeError(
                f"`with` would block the event loop that runs in this thread; write `async with {self!r}:` here"
            )
        waiter = ThreadWaiter()
        try:
            if not self.acquire_nowait_or_enqueue(waiter):
                wait = self.tell_wait(_id_of_caller()) if events.rows is not None else None
                try:
                    self._wait_in_thread(waiter)
                finally:
                    if wait is not None:
                        wait.end()
        except BaseException:
            self.cancel(waiter)
            raise
        enter(waiter.permit)
        return self

    def watch(self, waiter: Waiter, loop: LoopAdapter | None) -> None:  # noqa: B027  time ends other waits
        """A waiter begins to wait, in a coroutine or a task of this loop, or in a thread: look for deadlocks."""

    def _wait_in_thread(self, waiter: ThreadWaiter) -> None:
        task = current.get()
        self.watch(waiter, None)
        while not waiter.granted:
            if task is not None:
                task.check_cancelled()
            pause = self._look(waiter)
            waiter.wait(POLL if task is not None else pause)

    def _look(self, waiter: ThreadWaiter) -> float | None:
        """Look for deadlocks if it is time; returns the seconds after which to look again."""
        return None

    def __exit__(self, *exc: object) -> None:
        self._leave()

    @abstractmethod
    def _leave(self) -> None:
        """Release what this context has entered last."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} lives in one process: apply it where the work is started, spawn(f, ..., limit=limit), "
            "instead of passing it to the function"
        )


class Limit(Gate):
    """Allows at most `n` holders at the same time, wherever they run.

    Scopes, pools, threads and event loops may share one limit. Waiters are served first come, first served. Work
    that a holder of the limit starts, and that needs the same limit, never waits for that holder: if no other permit
    is free it shares the holder's own, one at a time. The holder is assumed to wait for such work.

    Args:
        n: the number of holders, at least 1.

    Raises:
        TypeError: `n` is not an int.
        ValueError: `n` is less than 1.

    Cancelling a task that waits for the limit takes it out of the queue.

    Example:
        connections = Limit(10)

        async with connections: ...                       # in a coroutine
        with connections: ...                             # in a thread
        scope.spawn(fetch, url, limit=connections)        # the task waits before it starts, wherever it runs
    """

    known = False  # that somebody waits, or has waited lately

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = self._free = whole("Limit(n)", n)
        self._held: set[Permit] = set()

    @property
    def free(self) -> int:
        """How many permits are free now."""
        return self._free

    def acquire_nowait_or_enqueue(self, waiter: Waiter, *, enqueue: bool = True) -> bool:
        with self._lock:
            self._drop_cancelled()
            if self._free and not self._queue:
                self._free -= 1
                waiter.permit = self._grant(waiter)
            else:
                holder = newest_active(waiter.outer, self)
                if holder is not None and holder.borrower is None:
                    self._lend(holder, waiter)
            if waiter.permit is not None:
                waiter.granted = True
                return True
            if enqueue:
                self._queue.append(waiter)
            return False

    def cancel(self, waiter: Waiter) -> None:
        with self._lock:
            permit, waiter.permit = waiter.permit, None
            waiter.cancelled = True
        if permit is not None:
            self.release(permit)

    def release(self, permit: Permit | None) -> None:
        """Release a permit; the first waiter in the queue gets it."""
        while permit is not None:
            with self._lock:
                waiter = self._end(permit) if permit.active else None
            # A waiter whose loop has ended meanwhile cannot take it: on to the next.
            permit = None if waiter is None or waiter.notify() else waiter.permit

    def watch(self, waiter: Waiter, loop: LoopAdapter | None) -> None:
        from .deadlocks import patrol  # only those who wait need it

        waiter.begin()
        if not self.known:
            patrol.note(self)
        if loop is not None and not loop.watched:
            patrol.begin(loop)

    def _look(self, waiter: ThreadWaiter) -> float | None:
        from .deadlocks import patrol

        raise_error(waiter)
        return patrol.watch_from(waiter.since)

    def asleep(self) -> list[Waiter]:
        """Return who waits, and has told so; from any thread."""
        return [each for each in list(self._queue) if not each.cancelled and hasattr(each, "since")]

    def permits(self) -> list[Permit]:
        """Return the units that are held, those of borrowers included; from any thread."""
        return list(self._held)

    def _grant(self, waiter: Waiter) -> Permit:
        permit = waiter.makes(self, waiter.outer, waiter.task)
        self._held.add(permit)
        return permit

    def holders(self) -> list[int]:
        """Ids of the tasks that hold it now, 0 for code that is not in a task; from any thread."""
        return [permit.task for permit in list(self._held)]

    def _lend(self, holder: Permit, waiter: Waiter) -> None:
        waiter.permit = holder.borrower = self._grant(waiter)
        waiter.permit.lender = holder

    def _end(self, permit: Permit) -> Waiter | None:
        """End a permit, with the lock held; returns the waiter that passes now."""
        permit.end()
        self._held.discard(permit)
        lender = permit.lender
        if permit.borrower is not None:  # the borrower keeps the unit
            permit.borrower.lender = lender
            if lender is not None:
                lender.borrower = permit.borrower
            return None
        if lender is not None:
            lender.borrower = None
            for waiter in self._queue:
                if not waiter.cancelled and newest_active(waiter.outer, self) is lender:
                    self._queue.remove(waiter)
                    self._lend(lender, waiter)
                    waiter.granted = True
                    return waiter
            return None
        self._drop_cancelled()
        if not self._queue:
            self._free += 1
            return None
        waiter = self._queue.popleft()
        waiter.permit = self._grant(waiter)
        waiter.granted = True
        return waiter

    def _leave(self) -> None:
        permit = newest_active(newest_permit.get(), self)
        if permit is None:
            raise RuntimeError(f"{self!r} is released by a task that has not acquired it")
        if newest_permit.get() is permit:
            newest_permit.set(permit.outer)
        self.release(permit)

    def __repr__(self) -> str:
        return f"Limit({self.n})"


def as_gate(limit: Any, what: str) -> Gate | None:
    """Check a ``limit=`` that is not a number.

    Raises:
        TypeError: it is not a limit.
    """
    if limit is None or isinstance(limit, Gate):
        return limit
    raise TypeError(f"{what} must be a number, a Limit or a Rate, got {limit!r}: write limit=Limit(10)")


def _id_of_caller() -> int:
    task = current.get()
    return 0 if task is None else task.id


def raise_error(waiter: Waiter) -> None:
    """Raise what a waiter was woken for, unless that is a permit."""
    error: Exception | None = getattr(waiter, "error", None)
    if error is not None:
        raise error


def _ignore(waiter: Waiter) -> None:
    pass
