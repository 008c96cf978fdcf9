"""A task that may need more than one plain try: it waits for a limit, is tried again, is restarted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio

from .._handles.cancelled import is_own_cancellation
from .._sync.waiters import LoopWaiter, Permit, enter, newest_permit
from .._tasks.task import Task
from .._tasks.types import Outcome, TaskState
from ..abc import Lane

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._handles.plan import RunPlan
    from .._loops.adapter import LoopAdapter, Timer


def retry_delay(handle: TaskHandle[Any], plan: RunPlan, error: BaseException) -> float | None:
    """Seconds until a task that failed with `error` is to be tried again; ``None`` if it is not."""
    owner = handle.owner
    if not isinstance(error, Exception) or handle.cancel_requested or is_own_cancellation(error, owner):
        return None
    if owner.decided:
        return None
    if plan.retry is not None and plan.retry.wants(error, handle.attempts):
        return plan.retry.delay(handle.attempts)
    return owner.restart_delay(error)


async def run_attempts(
    handle: TaskHandle[Any],
    call: Callable[[Any, tuple[Any, ...]], Awaitable[Any]],
    fn: Any,
    args: tuple[Any, ...],
) -> Any:
    """Run a coroutine task as its plan says; the last try's value or exception is the task's."""
    __tracebackhide__ = True
    plan = handle.plan
    assert plan is not None
    while True:
        try:
            if plan.limit is None:
                handle.begin()
                return await call(fn, args)
            async with plan.limit:
                handle.begin()
                return await call(fn, args)
        except Exception as error:
            # A failure that comes while the task is being cancelled is what really happened.
            cancelled = anyio.current_effective_deadline() == float("-inf")
            delay = None if cancelled else retry_delay(handle, plan, error)
            if delay is None:
                raise
        await anyio.sleep(delay)
        handle.attempts += 1


class Attempt(Task):
    """One try of a task in a pool; its handle hears of it, nobody else."""

    __slots__ = ("_attempts",)

    def __init__(self, handle: TaskHandle[Any], attempts: Attempts) -> None:
        assert handle.fn is not None
        assert handle.args is not None
        super().__init__(handle.name, handle.fn, handle.args, handle.backend, handle.owner)
        self._attempts = attempts
        self.deadline = handle.deadline
        self.interrupt = handle.interrupt
        self.abandon = handle.abandon
        self.nested = handle.nested

    def moved(self, old: TaskState, new: TaskState) -> None:
        pass  # who watches sees the moves of the handle

    def on_message(self, message: Any) -> None:
        self._attempts.on_message(message)

    def settled(self) -> None:
        self._attempts.ended(self)


class Attempts(Lane):
    """The lane of one task that has a plan: between its scope and the lane of its pool."""

    __slots__ = (
        "_attempt",
        "_context",
        "_handle",
        "_lane",
        "_permit",
        "_plan",
        "_port",
        "_prepared",
        "_timer",
        "_waiter",
    )

    def __init__(self, handle: TaskHandle[Any], lane: Lane, port: LoopAdapter) -> None:
        assert handle.plan is not None
        self._handle = handle
        self._plan = handle.plan
        self._lane = lane
        self._port = port
        self._context = copy_context()
        self._prepared: object = None
        self._attempt: Attempt | None = None
        self._waiter: LoopWaiter | None = None
        self._permit: Permit | None = None
        self._timer: Timer | None = None

    def submit(self, task: Task) -> None:
        """Pickle the call here and now, and let it through as soon as its limit allows.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the call cannot travel.
        """
        attempt = Attempt(self._handle, self)
        self._prepared = self._lane.prepare(attempt)
        task.location = self
        self._line_up(attempt)

    def is_running(self, task: Task) -> bool:
        return self._attempt is not None and self._attempt.state is TaskState.RUNNING

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        handle = self._handle
        if handle.outcome is not None:
            return
        if self._attempt is not None:
            self._lane.cancel([self._attempt], reason)
            if handle.outcome is None:  # it was running: its end is on its way
                handle.mark_stopping(reason)
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and self._plan.limit is not None:
            self._plan.limit.cancel(self._waiter)
        handle.settle_cancelled()

    def on_message(self, message: Any) -> None:
        if self._handle.outcome is None:
            self._handle.on_message(message)

    def _line_up(self, attempt: Attempt) -> None:
        limit = self._plan.limit
        if limit is None:
            self._send(attempt)
            return
        waiter = self._waiter = LoopWaiter(self._port, lambda _: self._try(self._let_in, attempt))
        waiter.outer = self._context.run(newest_permit.get)
        if limit.acquire_nowait_or_enqueue(waiter):
            self._let_in(attempt)

    def _let_in(self, attempt: Attempt) -> None:
        assert self._waiter is not None
        self._permit, self._waiter = self._waiter.permit, None
        try:
            self._send(attempt)
        except BaseException:
            self._release()
            raise

    def _send(self, attempt: Attempt) -> None:
        context = self._context.copy()
        context.run(enter, self._permit)
        self._attempt = attempt
        try:
            context.run(self._lane.enqueue, attempt, self._prepared)
        except BaseException:
            self._attempt = None
            raise

    def _release(self) -> None:
        permit, self._permit = self._permit, None
        if permit is not None and self._plan.limit is not None:
            self._plan.limit.release(permit)

    def _again(self) -> None:
        self._timer = None
        self._handle.attempts += 1
        attempt = Attempt(self._handle, self)
        self._try(self._line_up, attempt)

    def _try(self, fn: Callable[[Attempt], object], attempt: Attempt) -> None:
        """Go on from a callback of the loop: what goes wrong is the task's failure."""
        if self._handle.outcome is None:
            try:
                fn(attempt)
            except Exception as error:
                self._handle.settle(Outcome(error=error))

    def ended(self, attempt: Attempt) -> None:
        """A try has its outcome: it is the task's unless there is to be another."""
        handle, outcome = self._handle, attempt.outcome
        assert outcome is not None
        stopped = handle.cancel_requested or attempt.stop_reason is not None
        self._attempt = None
        self._release()
        handle.worker = attempt.worker
        if handle.started_at is None:
            handle.started_at = attempt.started_at
        delay = None
        if outcome.error is not None and not stopped:
            try:
                delay = retry_delay(handle, self._plan, outcome.error)
            except Exception as error:  # the user's own backoff or policy
                outcome = Outcome(error=error)
        if delay is None:
            handle.finished_at = attempt.finished_at
            handle.settle(outcome)
        else:
            self._timer = self._port.call_later(delay, self._again)
