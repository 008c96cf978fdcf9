"""A task of a blocking scope."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from .._handles.handle import TaskHandle
from .._tasks.holders import of_thread
from .._tasks.types import TaskState
from .loop_thread import LoopThread, current_thread_task, has_ended, would_wait_for_itself

if TYPE_CHECKING:
    from .._handles.decision import Decision

T = TypeVar("T")


class SyncTaskHandle(Generic[T]):
    """A task of a `SyncTaskScope`; every method may be called from any thread."""

    def __init__(self, handle: TaskHandle[T], loop: LoopThread) -> None:
        self._handle = handle
        self._loop = loop
        self.ended: Future[None] = Future()

    @property
    def name(self) -> str:
        return self._handle.name

    @property
    def id(self) -> int:
        return self._handle.id

    @property
    def decision(self) -> Decision | None:
        """With ``on="auto"`` what sent it where it runs, else ``None``."""
        return self._handle.decision

    @property
    def state(self) -> TaskState:
        return self._handle.state

    def done(self) -> bool:
        """Tell whether the task has ended."""
        return self._handle.done()

    def cancelled(self) -> bool:
        """Tell whether the task has ended by being cancelled."""
        return self._handle.cancelled()

    @property
    def attempts(self) -> int:
        """Which try it is at, or ended with."""
        return self._handle.attempts

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the task, however it ends; ``False`` if `timeout` seconds were not enough.

        Raises:
            RuntimeError: in the thread of the scope's loop, where the wait could not end.
            Cancelled: the thread task that waits was requested to stop.
        """
        if self._loop.is_current() and not self.ended.done():
            raise RuntimeError(would_wait_for_itself(f"the wait for task {self.name!r}"))
        if timeout is None and (of_thread.holder is not None and of_thread.holder.holds):
            self._wait_and_tell()
        task = current_thread_task()
        ended = has_ended(self.ended, timeout, task)
        if task is not None and task.cancel_requested and self._handle.cancelled():
            task.raise_cancelled()
        return ended

    def _wait_and_tell(self) -> None:
        """Wait, with a shared lock in hand: other processes may have to know what this thread waits for."""
        from .._sync.deadlocks import look
        from .._sync.deadlocks.known import all_locks

        while not has_ended(self.ended, look.PERIOD, current_thread_task()):
            look.look(all_locks, None)

    def result(self, timeout: float | None = None) -> T:
        """Wait for the task and return its value.

        Args:
            timeout: seconds to wait; the task goes on when they are over.

        Raises:
            TimeoutError: the task did not end in time.
            TaskCancelled: the task was cancelled.
            Exception: the task's own exception.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"task {self.name!r} has not ended within {timeout} s; it goes on")
        return self._handle.result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task and return its exception, ``None`` if it returned a value. Raises as `result` does."""
        if not self.wait(timeout):
            raise TimeoutError(f"task {self.name!r} has not ended within {timeout} s; it goes on")
        return self._handle.exception()

    def cancel(self, reason: str | None = None) -> None:
        """Ask the task to stop; does not wait for its end."""
        self._loop.call_soon(self._handle.cancel, reason)

    def __repr__(self) -> str:
        return f"<Sync{repr(self._handle)[1:]}"
