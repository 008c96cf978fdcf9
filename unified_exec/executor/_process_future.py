"""The future of a call in a process, and its task."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol, TypeVar

from .._tasks.task import Task
from .._tasks.types import Outcome

T = TypeVar("T")


class CallOwner(Protocol):
    """An executor as its calls see it."""

    def stop(self, call: ProcessCall) -> None:
        """Stop a call whose future was cancelled."""

    def ended(self, call: ProcessCall) -> None:
        """Count out a call that has ended."""

    def in_reactor(self) -> bool:
        """Tell whether the caller is the thread that completes the futures."""


class ProcessFuture(Future[T]):
    """The future of a call in a process. Unlike the standard library's it can stop a call that runs."""

    _task: ProcessCall | None = None

    def cancel(self) -> bool:
        """Cancel the call, also while it runs; ``False`` if it is done.

        The future is cancelled at once. A running call is asked to stop (`Cancelled` is raised in it); after the
        grace, its worker is killed and replaced.
        """
        if not super().cancel():
            return False
        self._notify_waiters()
        task, self._task = self._task, None
        if task is not None:
            task.owner.stop(task)
        return True

    def running(self) -> bool:
        """Tell whether a worker is executing the call right now."""
        task = self._task
        if task is None or self.done():
            return False
        place = task.location
        try:
            return place is not None and place.is_running(task)
        except ValueError:  # its worker is being reaped
            return False

    def result(self, timeout: float | None = None) -> T:
        self._check_can_wait()
        try:
            return super().result(timeout)
        finally:
            del self  # no cycle from the exception over its traceback to this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check_can_wait()
        return super().exception(timeout)

    def _check_can_wait(self) -> None:
        task = self._task
        if task is not None and task.owner.in_reactor() and not self.done():
            raise RuntimeError("a done-callback cannot wait for a future: it occupies the thread that completes them")

    def _notify_waiters(self) -> None:
        """Tell `wait` and `as_completed` of the cancellation, once."""
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()

    def complete(self, outcome: Outcome[T], backend: str) -> None:
        """End the future, unless it was cancelled before. `backend` is the kind of the pool."""
        self._task = None
        try:
            if outcome.cancelled:
                if super().cancel():
                    self._notify_waiters()
            elif outcome.error is not None:
                from .errors import translate

                self.set_exception(translate(outcome.error, backend))
            else:
                self.set_result(outcome.unwrap())
        except InvalidStateError:
            pass


class ProcessCall(Task):
    """A task whose outcome goes to a future.

    Attributes:
        future: the future, until it is complete.
        queued: it was given to its lane; set in the reactor.
    """

    __slots__ = ("future", "queued")

    owner: CallOwner
    future: ProcessFuture[Any] | None
    queued: bool

    def settled(self) -> None:
        future, self.future = self.future, None
        if future is not None and self.outcome is not None:
            try:
                future.complete(self.outcome, self.backend)
            finally:
                del future
                self.owner.ended(self)
