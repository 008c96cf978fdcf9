"""The future of a call in a thread, and what happens when a call waits for another of its executor."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from .._tasks.current import current

T = TypeVar("T")


class FutureOwner(Protocol):
    """The executor, as its futures see it."""

    def run(self, future: ThreadFuture[Any]) -> None:
        """Run the call of a future and complete it."""

    def give_place(self) -> None:
        """Let a queued call run although the code that calls this occupies a thread of the pool."""


class ThreadFuture(Future[T]):
    """The future of a call in a thread. As in the standard library, a running call cannot be cancelled."""

    # Kept until the call begins or is cancelled, whichever is first; the executor until the call has ended.
    _work: tuple[Callable[..., T], tuple[Any, ...], dict[str, Any]] | None = None
    _executor: FutureOwner | None = None
    _number = 0

    def __init__(self) -> None:
        super().__init__()
        self._waiters = _Waiters(self)

    def result(self, timeout: float | None = None) -> T:
        self.before_wait()
        try:
            return super().result(timeout)
        finally:
            del self  # as in the standard library: no cycle over the traceback of the error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.before_wait()
        return super().exception(timeout)

    def before_wait(self) -> None:
        """If another call of the executor is about to wait for this one, let this one run in its place."""
        executor = self._executor
        if executor is not None and current.get() is not None and not self.running():
            executor.give_place()

    def cancel(self) -> bool:
        """Cancel the call unless it is running or done; returns whether it is cancelled."""
        if not super().cancel():
            return False
        self._work = None
        return True


class _Waiters(list[Any]):
    """What `concurrent.futures.wait` and `as_completed` add themselves to."""

    __slots__ = ("_future",)

    def __init__(self, future: ThreadFuture[Any]) -> None:
        self._future = weakref.ref(future)

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        future = self._future()
        if future is not None:
            future.before_wait()
