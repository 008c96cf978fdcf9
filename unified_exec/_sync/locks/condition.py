"""`Condition`: waiting for a change of what a lock protects, in coroutines, threads and processes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from sys import _getframe, maxsize
from types import FrameType
from typing import Any

from ..._tasks.holders import describe, me
from ..shared.calls import End, end_of, timed_out
from ..shared.sleepers import refuse_on_loop
from .lock import Lock
from .meeting import Meeting
from .tickets import GO, CoroutineTicket, ThreadTicket, Ticket

_ALL = 1 << 60


class Condition(Meeting):
    """Lets tasks wait until another one says that something has changed, under a lock.

    Passed to a process task it becomes shared with its lock, as a `Channel` does.

    Args:
        lock: a `Lock` or `RLock`; one of its own if it is ``None``.
        name: names the condition in errors.

    Example:
        changed = Condition()
        jobs = []

        async def take():
            async with changed:
                await changed.wait_for(lambda: jobs)
                return jobs.pop()

        def put(job):                                     # in a thread
            with changed:
                jobs.append(job)
                changed.notify()
    """

    __slots__ = ("_lock",)

    kind = "a condition"

    def __init__(self, lock: Lock | None = None, *, name: str | None = None) -> None:
        super().__init__(name)
        if lock is not None and not isinstance(lock, Lock):
            raise TypeError(f"Condition(lock) needs a Lock or an RLock of this package, got {lock!r}")
        self._lock: Lock = Lock(name=name) if lock is None else lock

    # -- the lock

    @property
    def lock(self) -> Lock:
        """The lock."""
        return self._lock

    def __aenter__(self) -> Awaitable[None]:
        return self._lock._enter(_getframe(1))

    def __aexit__(self, kind: object, error: object, traceback: object) -> Awaitable[None]:
        return self._lock.__aexit__(kind, error, traceback)

    def __enter__(self) -> None:
        self._lock._enter_sync(_getframe(1))

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._lock.release()

    # -- for everybody

    def notify(self, n: int = 1) -> None:
        """Wake `n` of those that wait, the first that came first. The caller holds the lock.

        Raises:
            RuntimeError: the caller does not hold the lock.
            TypeError: `n` is not a whole number.
        """
        self._check("notify")
        if type(n) is not int:
            from ..._rules.arguments import whole

            n = whole("notify(n)", n, -maxsize)
        self._tell(n, GO)

    def notify_all(self) -> None:
        """Wake all that wait. The caller holds the lock.

        Raises:
            RuntimeError: the caller does not hold the lock.
        """
        self._check("notify_all")
        self._tell(_ALL, GO)

    # -- in a coroutine

    async def wait(self, *, timeout: float | None = None) -> None:
        """Release the lock, wait to be notified, and acquire the lock again.

        Args:
            timeout: the seconds to wait at most; ``None`` for no limit. Acquiring the lock again is not limited.

        Raises:
            TimeoutError: nobody notified it within `timeout`.
            RuntimeError: the caller does not hold the lock.

        Whatever it raises, also if it is cancelled, the caller holds the lock. A notification that a cancelled waiter
        had got goes to the next one.
        """
        self._check("wait")
        ticket = CoroutineTicket()
        self._join(ticket)
        lock = self._lock
        frame = _getframe(1)
        again = lock._release_all()
        try:
            await self._wait(ticket, timeout)
        except GeneratorExit:
            raise  # a coroutine that is closed cannot wait for the lock
        except BaseException:
            await self._resume(ticket, frame, again, False)
            raise
        await self._resume(ticket, frame, again, True)

    async def _resume(self, ticket: CoroutineTicket, frame: FrameType, again: int, returns: bool) -> None:
        """Acquire the lock again. If the wait does not return, pass on what the ticket was told."""
        from anyio import CancelScope

        told = self._leave(ticket)
        with CancelScope(shield=True):
            await self._lock._acquire(frame, None)
        self._lock._acquired_again(again)
        if told and not returns:
            self._tell(1, GO)

    async def wait_for(self, predicate: Callable[[], object], *, timeout: float | None = None) -> None:
        """Wait until `predicate` returns something true; it is called with the lock held.

        Args:
            predicate: what to wait for.
            timeout: the seconds to wait at most; ``None`` for no limit.

        Raises:
            TimeoutError: it was not true within `timeout`.
            RuntimeError: the caller does not hold the lock.
        """
        end = end_of(timeout)
        self._check("wait_for")
        while not predicate():
            try:
                await self.wait(timeout=_left(end))
            except TimeoutError:
                raise self._not_true(end) from None

    # -- in a thread or a process task

    def wait_sync(self, *, timeout: float | None = None) -> None:
        """Release the lock, wait to be notified, and acquire it again, in a thread or a process task; see `wait`.

        Raises:
            Cancelled: the task was requested to stop. The caller holds the lock.
            RuntimeError: it would block the event loop that runs in this thread.
        """
        self._check("wait_sync")
        refuse_on_loop("Condition.wait_sync", "await condition.wait()")
        ticket = ThreadTicket()
        self._join(ticket)
        lock = self._lock
        frame = _getframe(1)
        again = lock._release_all()
        returns = False
        try:
            self._wait_sync(ticket, timeout)
            returns = True
        finally:
            told = self._leave(ticket)
            lock._acquire_sync(me(), frame, None, shielded=True)
            lock._acquired_again(again)
            if told and not returns:
                self._tell(1, GO)

    def wait_for_sync(self, predicate: Callable[[], object], *, timeout: float | None = None) -> None:
        """Wait in a thread or a process task until `predicate` returns something true; see `wait_for`."""
        end = end_of(timeout)
        self._check("wait_for_sync")
        while not predicate():
            try:
                self.wait_sync(timeout=_left(end))
            except TimeoutError:
                raise self._not_true(end) from None

    # -- for the meeting

    def _not_true(self, end: End | None) -> TimeoutError:
        assert end is not None
        return timed_out(end.timeout, f"the predicate of a wait for {self!r} was not true")

    def _missed(self) -> tuple[str, str]:
        return f"the wait for {self!r} did not end", "nobody has notified it"

    @classmethod
    def _of_parties(cls, parties: int, name: str | None) -> Condition:
        return cls(name=name)

    def _may_join(self, waiting: int, flag: bool) -> bool:
        return True

    def _gone(self, ticket: Ticket) -> None:
        if self._leave(ticket):
            self._tell(1, GO)

    def _check(self, call: str) -> None:
        if not self._lock._is_mine():
            raise RuntimeError(
                f"{describe(me())} called {call}() of {self!r} without its lock, which is {self._lock._held_by()}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        arrive, arguments = super().__reduce__()
        return _arrived, (arrive, *arguments, self._lock)


def _arrived(arrive: Callable[..., Any], cls: Any, token: bytes, lock: Lock) -> Any:
    found = arrive(cls, token)
    found._lock = lock
    return found


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())
