"""Running a task by its plan: it waits for a limit, is tried again, is restarted.

`_rules.retry` decides whether and when there is another attempt; this is the mechanism."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from .._handles.cancelled import is_own_cancellation
from .._loops.adapter import call_later_apart
from .._sync.waiters import Permit, TaskWaiter, enter, newest_permit
from .._tasks import events
from .._tasks.task import Task
from .._tasks.types import Outcome, TaskState
from ..abc import Lane

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._handles.plan import RunPlan
    from .._loops.adapter import LoopAdapter, Timer
    from .._sync.limit import Gate
    from .._sync.waits import ToldWait
    from .._tasks.requests import Request


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
    """Run a coroutine task by its plan; the value or exception of the last attempt is the task's."""
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
            # A failure during cancellation is kept: the outcome is what really happened.
            cancelled = anyio.current_effective_deadline() == float("-inf")
            delay = None if cancelled else retry_delay(handle, plan, error)
            if delay is None:
                raise
            if events.rows is not None:
                events.emit(events.TASK_TRIED, handle.id, handle.attempts, type(error).__name__, delay)
        await anyio.sleep(delay)
        handle.attempts += 1


class Attempt(Task):
    """One attempt to run a task in a pool. Its outcome goes to the `RetryingLane`, which settles the handle."""

    __slots__ = ("_retrying",)

    def __init__(self, handle: TaskHandle[Any], retrying: RetryingLane) -> None:
        assert handle.fn is not None
        assert handle.args is not None
        super().__init__(handle.name, handle.fn, handle.args, handle.backend, handle.owner)
        self._retrying = retrying
        self.deadline = handle.deadline
        self.interrupt = handle.interrupt
        self.abandon = handle.abandon
        self.nested = handle.nested
        self.asked_by = handle.asked_by
        self.silent, self.told_as = True, handle.id  # events tell of the handle

    def on_message(self, message: Any) -> None:
        self._retrying.on_message(message)

    def on_request(self, request: Request) -> None:
        self._retrying.handle.owner.serve(self, request)

    def scope_is_cancelled(self) -> bool:
        return self._retrying.handle.scope_is_cancelled()

    def note_scope_is_cancelled(self) -> None:
        self._retrying.handle.note_scope_is_cancelled()

    def settled(self) -> None:
        self._retrying.on_attempt_ended(self)


class RetryingLane(Lane):
    """The lane of one task that has a plan: it submits each attempt to the lane of the pool."""

    __slots__ = (
        "_adapter",
        "_attempt",
        "_context",
        "_lane",
        "_permit",
        "_plan",
        "_prepared",
        "_retries_at",
        "_timer",
        "_told",
        "_waiter",
        "handle",
    )

    def __init__(self, handle: TaskHandle[Any], plan: RunPlan, lane: Lane, adapter: LoopAdapter) -> None:
        self.handle = handle
        self._plan = plan
        self._lane = lane
        self._adapter = adapter
        self._context = copy_context()
        self._prepared: object = None
        self._attempt: Attempt | None = None
        self._waiter: TaskWaiter | None = None
        self._permit: Permit | None = None
        self._timer: Timer | None = None
        self._retries_at = 0.0
        self._told: ToldWait | None = None

    def submit(self, task: Task) -> None:
        """Pickle the call at once, and submit it as soon as its limit allows.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the call cannot travel.
        """
        attempt = Attempt(self.handle, self)
        self._prepared = self._lane.prepare(attempt)
        task.location = self
        self._acquire_limit(attempt)

    def is_running(self, task: Task) -> bool:
        return self._attempt is not None and self._attempt.state is TaskState.RUNNING

    def waits_for(self) -> tuple[Gate, TaskWaiter] | float | Task | None:
        """What the task waits for: its limit, a pause, in seconds, before its next attempt, or the attempt."""
        waiter, gate = self._waiter, self._plan.limit
        if waiter is not None and gate is not None:
            return gate, waiter
        return max(0.0, self._retries_at - monotonic()) if self._timer is not None else self._attempt

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        handle = self.handle
        if handle.outcome is not None:
            return
        if self._attempt is not None:
            self._lane.cancel([self._attempt], reason)
            if handle.outcome is None:  # it is running: its outcome will follow
                handle.mark_stopping(reason)
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and self._plan.limit is not None:
            self._plan.limit.cancel(self._waiter)
            self._end_wait()
        handle.settle_cancelled()

    def abandon(self, task: Task) -> None:
        if self._attempt is not None:
            self._lane.abandon(self._attempt)

    def on_message(self, message: Any) -> None:
        if self.handle.outcome is None:
            self.handle.on_message(message)

    def _acquire_limit(self, attempt: Attempt) -> None:
        limit = self._plan.limit
        if limit is None:
            self._send(attempt)
            return
        waiter = self._waiter = TaskWaiter(self._adapter, lambda _: self._guarded(self._on_permit, attempt))
        waiter.outer = self._context.run(newest_permit.get)
        waiter.task, waiter.name = self.handle.id, self.handle.name
        waiter.has_deadline = self.handle.deadline is not None
        if limit.acquire_nowait_or_enqueue(waiter):
            self._on_permit(attempt)
            return
        limit.watch(waiter, self._adapter)
        if events.rows is not None:
            self._told = limit.tell_wait(self.handle.id)

    def _on_permit(self, attempt: Attempt) -> None:
        waiter, self._waiter = self._waiter, None
        assert waiter is not None
        self._end_wait()
        if not waiter.granted:
            self._limit_is_stuck(waiter)
        self._permit = waiter.permit
        try:
            self._send(attempt)
        except BaseException:
            self._release()
            raise

    def _end_wait(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            told.end()

    def _limit_is_stuck(self, waiter: TaskWaiter) -> NoReturn:
        assert self._plan.limit is not None
        assert waiter.error is not None
        self._plan.limit.cancel(waiter)
        raise waiter.error

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
        self.handle.attempts += 1
        attempt = Attempt(self.handle, self)
        self._guarded(self._acquire_limit, attempt)

    def _guarded(self, fn: Callable[[Attempt], object], attempt: Attempt) -> None:
        """Continue in a callback of the loop: an error fails the task."""
        if self.handle.outcome is None:
            try:
                fn(attempt)
            except Exception as error:
                self.handle.settle(Outcome(error=error))

    def on_attempt_ended(self, attempt: Attempt) -> None:
        """Settle the task with the outcome of an attempt, unless there is another attempt."""
        handle, outcome = self.handle, attempt.outcome
        assert outcome is not None
        stopped = handle.cancel_requested or attempt.stop_reason is not None
        self._attempt = None
        self._release()
        handle.worker = attempt.worker
        if events.rows is not None:
            handle.note_attempt(attempt)
        if handle.started_at is None:
            handle.started_at = attempt.started_at
        delay = None
        if outcome.error is not None and not stopped:
            try:
                delay = self._context.copy().run(retry_delay, handle, self._plan, outcome.error)
            except BaseException as error:  # of the user's own backoff or policy, in a callback of the loop
                outcome = Outcome(error=error)
        if delay is None:
            handle.finished_at = attempt.finished_at
            handle.settle(outcome)
        else:
            if events.rows is not None:
                events.emit(events.TASK_TRIED, handle.id, handle.attempts, type(outcome.error).__name__, delay)
            self._retries_at = monotonic() + delay
            self._timer = call_later_apart(self._adapter, delay, self._again)
