"""The user's side of a task: wait for it, stop it, look at it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from .._loops.adapter import call_later_apart
from .._rules.arguments import text
from .._tasks.bound import bound_among, live
from .._tasks.task import Task, task_ids
from .._tasks.types import DONE, QUEUED, of_stop_iteration
from .cancelled import TaskCancelled
from .validation import wrong_loop

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter, Timer, Waiter
    from .._tasks.current import CurrentTask
    from .._tasks.requests import Request
    from .decision import Decision
    from .plan import RunPlan

T = TypeVar("T")


if TYPE_CHECKING:

    class TaskOwner(Protocol):
        """The scope of a task, as far as the task uses it."""

        @property
        def adapter(self) -> LoopAdapter:
            """The event loop of the scope."""

        @property
        def decided(self) -> bool:
            """Its policy has decided the outcome: nothing is tried again."""

        def is_cancelled(self) -> bool:
            """Tell, from any thread, whether it or a scope around it was cancelled."""

        def reason(self) -> str:
            """Why it cancels its tasks."""

        def stop_task(self, handle: TaskHandle[Any], reason: str | None) -> None:
            """Stop one of its tasks. Called in the thread of its loop."""

        def task_settled(self, handle: TaskHandle[Any]) -> None:
            """A task of it has its outcome. Called once, in the thread of its loop."""

        def serve(self, task: Task, request: Request) -> None:
            """Do what one of its running tasks asks for. Called in the thread of its loop."""

        def restart_delay(self, error: Exception) -> float | None:
            """Seconds until its policy wants a task that failed with `error` to be started again; ``None`` if never."""


class TaskHandle(Task, Generic[T]):
    """A task that `spawn` started. Await it for its value or its exception.

    A handle belongs to the event loop it was spawned on.

    Attributes:
        name: name of the task.
        id: number of the task, unique in this process.
        backend: ``"loop"``, ``"thread"``, ``"process"`` or ``"interpreter"``.
        worker: process id of its worker, or thread id; ``None`` before it is known and for coroutines.
        timing: when it was queued, started and finished, in seconds of `time.monotonic`.
        state: a `TaskState`.
        attempts: the number of its attempt, the last one if it has ended: 1 unless it was tried again.
        decision: with ``on="auto"`` the `Decision` that sent it where it runs, else ``None``.
    """

    owner: TaskOwner

    # See `Task`: few tasks set these.
    by_scope: bool = False
    context: Context | None = None  # of the spawn, if a policy of the user judges in it
    decision: Decision | None = None
    listener: Callable[[Any], object] | None = None
    plan: RunPlan | None = None
    _timer: Timer | None = None

    __slots__ = ("__weakref__", "_waiters", "private")

    def __init__(
        self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], backend: str, owner: TaskOwner
    ) -> None:
        # What `Task.__init__` does, without the call in between: it is on the way of every task.
        self.id = next(task_ids)
        self.name = name
        self.fn = fn
        self.args = args
        self.backend = backend
        self.owner = owner
        self.backend_data = self.location = self.worker = self.outcome = None
        self.deadline = self.notes = None
        self.queued_at = monotonic()
        self.started_at = self.finished_at = self.sent_at = None
        self.bytes_sent = self.bytes_received = 0
        self._state = QUEUED
        self.private = False  # its outcome is handled by the code that made it; the policy of the scope does not see it
        self._waiters: Waiter | _Callback | list[Waiter | _Callback] | None = None
        if live:
            self.bound = bound_among(self.id, fn, args)

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for the end of the task: its value, or its own exception.

        Raises:
            TaskCancelled: the task was cancelled.
            TaskTimeout: the task did not end within its own timeout.

        Cancelling the waiter does not cancel the task.
        """
        try:
            if self.outcome is None:
                waiter = self._waiter()
                try:
                    yield from waiter.__await__()
                except BaseException:
                    self._wait_failed(waiter)
                    raise
            else:
                yield from checkpoint_if_cancelled().__await__()
            return self.result()
        finally:
            del self  # no cycle from the task's exception over its traceback to this frame

    async def wait(self) -> None:
        """Wait for the end of the task, however it ends; raises nothing of it.

        Cancelling the waiter does not cancel the task.
        """
        if self.outcome is None:
            waiter = self._waiter()
            try:
                await waiter
            except BaseException:
                self._wait_failed(waiter)
                raise
        else:
            await checkpoint_if_cancelled()

    def cancel(self, reason: str | None = None) -> None:
        """Request the task to stop; see "What cancelling means" in the documentation. Does nothing if it is done.

        Args:
            reason: shown to the task and to the code that awaits it.
        """
        if self.outcome is None:
            self.owner.stop_task(self, text(reason))

    def done(self) -> bool:
        """Tell whether the task has ended."""
        return self.outcome is not None

    def result(self) -> T:
        """Return the value of a task that has ended.

        Raises:
            anyio.TaskNotFinished: it has not ended.
            TaskCancelled: it was cancelled.
            Exception: the task's own exception.
        """
        outcome = self.outcome
        if outcome is None:
            raise self._not_finished()
        try:
            if outcome.cancelled:
                raise self.cancellation()
            value: T = outcome.value if outcome.error is None else outcome.unwrap()
            return value
        finally:
            del self, outcome  # no cycle from the exception over its traceback to this frame

    def exception(self) -> BaseException | None:
        """Return the exception of a task that has ended, ``None`` if it returned a value.

        Raises:
            anyio.TaskNotFinished: it has not ended.
            TaskCancelled: it was cancelled.
        """
        outcome = self.outcome
        if outcome is None:
            raise self._not_finished()
        if outcome.cancelled:
            raise self.cancellation()
        return outcome.error

    def cancelled(self) -> bool:
        """Tell whether the task has ended by being cancelled."""
        return self.outcome is not None and self.outcome.cancelled

    def cancellation(self) -> TaskCancelled:
        """What awaiting this task raises if it was cancelled."""
        error = TaskCancelled(self.name, self.stop_reason)
        if self.by_scope:
            error.scope = self.owner
        return error

    def _not_finished(self) -> anyio.TaskNotFinished:
        return anyio.TaskNotFinished(f"task {self.name!r} has not finished yet: `await` the handle first")

    def _waiter(self) -> Waiter:
        waiter = self.owner.adapter.waiter()
        if self._waiters is None:
            self._waiters = waiter
        elif isinstance(self._waiters, list):
            self._waiters.append(waiter)
        else:
            self._waiters = [self._waiters, waiter]
        return waiter

    def _wait_failed(self, waiter: Waiter) -> None:
        if self._waiters is waiter:
            self._waiters = None
        elif isinstance(self._waiters, list) and waiter in self._waiters:
            self._waiters.remove(waiter)
        self.check_loop()

    def check_loop(self) -> None:
        """Check that the task can be waited for here.

        Raises:
            RuntimeError: it runs, and its event loop is another one.
        """
        if self.outcome is None and self.owner.adapter.elsewhere():
            raise RuntimeError(wrong_loop(repr(self)))

    def note_scope_cancel(self, reason: str | None) -> None:
        """Note that the scope is about to stop the task, unless its handle was cancelled before."""
        if not self.cancel_requested:
            self.by_scope = True
            self.stop_reason = reason

    def scope_is_cancelled(self) -> bool:
        return self.owner.is_cancelled()

    def note_scope_is_cancelled(self) -> None:
        self.note_scope_cancel(self.owner.reason())

    def when_done(self, fn: Callable[[], object]) -> None:
        """Call `fn()` in the loop's thread when the task has ended; at once if it has."""
        if self.outcome is not None:
            fn()
        elif self._waiters is None:
            self._waiters = _Callback(fn)
        elif isinstance(self._waiters, list):
            self._waiters.append(_Callback(fn))
        else:
            self._waiters = [self._waiters, _Callback(fn)]

    def inherit_from(self, spawner: CurrentTask) -> None:
        """Note the task whose code has spawned this one.

        A thread task may be waiting for it, through `anyio.from_thread` or because it runs this event loop itself: what
        it spawns must never wait for the thread that it holds.
        """
        if spawner.holds_thread or spawner.nested:
            self.nested = True
        if spawner.asked_by is not None and self.asked_by is None:
            self.asked_by = spawner.asked_by

    def start_clock(self, seconds: float) -> None:
        """Let the task's own timeout run from now."""
        self.timeout = seconds
        self._timer = call_later_apart(self.owner.adapter, max(0.0, seconds), self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self.outcome is None and not self.cancel_requested:
            self.expired = True
            self.cancel(f"its timeout of {self.timeout:g} s is over")

    def on_message(self, message: Any) -> None:
        if self.listener is not None:
            self.listener(message)

    def on_request(self, request: Request) -> None:
        self.owner.serve(self, request)

    def settled(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        outcome = self.outcome
        if outcome is not None and outcome.error is not None and isinstance(outcome.error, StopIteration):
            self.outcome = of_stop_iteration(self.name, outcome.error)
        # Wake the waiters first: if the scope were cancelled before, they would see the cancellation, not the failure.
        waiters, self._waiters = self._waiters, None
        try:
            if isinstance(waiters, list):
                for waiter in waiters:
                    waiter.wake()
            elif waiters is not None:
                waiters.wake()
        finally:
            self.owner.task_settled(self)

    def __repr__(self) -> str:
        state = self.state
        text = state.value
        if state is DONE and self.outcome is not None:
            text = "cancelled" if self.outcome.cancelled else "finished" if self.outcome.is_value else "failed"
        return f"<TaskHandle {self.name!r} id={self.id} on {self.backend}: {text}>"


class _Callback:
    __slots__ = ("wake",)

    def __init__(self, fn: Callable[[], object]) -> None:
        self.wake = fn
