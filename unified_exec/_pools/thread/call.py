"""One call in a thread: what runs it, and what became of it."""

from __future__ import annotations

import sys
import threading
import time
from _thread import LockType, get_ident
from collections.abc import Callable
from contextvars import Context, copy_context
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any

from ..._loops.adapter import LoopAdapter
from ..._tasks import events
from ..._tasks.current import CurrentTask, consists_of, current, set_current
from ..._tasks.fork_lock import in_forked_child
from ..._tasks.holders import of_thread, task_ended
from ..._tasks.inner_loops import cancellations
from ..._tasks.requests import LocalRequest, Pending
from ..._tasks.task import Task
from ..._tasks.types import CANCELLED, Outcome, of_stop_iteration
from ...errors import Cancelled
from .interrupt import InterruptToken, run_interruptible
from .queues import ENDED, QUEUED, RUNNING, LaneQueue, NestedCalls

if TYPE_CHECKING:
    import anyio

    from ..._tasks.requests import Request

_traceback_of = vars(BaseException)["__traceback__"].__get__
CHECK_LOOP = 1.0
"""Seconds after which a thread that waits for the event loop checks that it has not ended."""


class CallLane(LaneQueue):
    """A lane as its calls see it.

    Attributes:
        adapter: the event loop.
        interruptible: every call of its pool may be interrupted.
    """

    adapter: LoopAdapter
    interruptible: bool

    @property
    def lock(self) -> LockType:
        """Guards the states of the calls and their tokens."""
        raise NotImplementedError

    def interrupt(self, call: ThreadCall) -> None:
        """Interrupt the call as soon as possible. In the loop's thread."""
        raise NotImplementedError


class ThreadCall(CurrentTask):
    """The call as the pool sees it, and as `current_task` shows it to the task itself.

    Attributes:
        lane, state, siblings, extra, outcome, finished_at, task, owner, priority: see `Call`.
        interruptible: the function may be interrupted.
        token, finishing: see `Interruptible`.
        loop_scopes: cancel scopes of what the task runs on the loop; only the loop's thread changes the set.
        scope_cancelled: the task has found its scope cancelled before the loop delivered that.
    """

    # Few calls set these: the others read the value of the class, and stay small.
    cancel_requested = extra = finishing = scope_cancelled = False
    reason: str | None = None
    siblings: NestedCalls | None = None
    token: InterruptToken | None = None
    loop_scopes: set[anyio.CancelScope] | None = None

    __slots__ = (
        "__dict__",
        "context",
        "finished_at",
        "interruptible",
        "lane",
        "outcome",
        "owner",
        "priority",
        "state",
        "task",
    )

    holds_thread = True
    asked_by: Request | None = property(lambda self: self.task and self.task.asked_by)  # type: ignore[assignment]

    def __init__(self, task: Task, lane: CallLane) -> None:
        self.id = task.id
        self.name = task.name
        self.backend = task.backend
        self.deadline = task.deadline
        self.task: Task | None = task
        self.owner: object = task.owner
        self.priority = task.priority
        self.lane = lane
        self.state = QUEUED
        self.context: Context | None = copy_context()
        self.outcome: Outcome[Any] | None = None
        self.interruptible = task.interrupt or lane.interruptible
        self.finished_at = 0.0

    def send(self, message: object) -> None:
        task = self.task
        if task is not None:
            self.lane.adapter.call_threadsafe(_pass_on, task, message)

    def send_request(self, pending: Pending) -> None:
        task = self.task
        if task is None:
            what = "was abandoned" if self.cancel_requested else "has ended"
            raise RuntimeError(f"task {self.name!r} {what}: nothing can be asked of its scope")
        request = LocalRequest(pending, copy_context())
        if not self.lane.adapter.call_threadsafe(task.on_request, request):
            raise RuntimeError(f"the event loop of task {self.name!r} has ended")

    def wait_for(self, pending: Pending) -> None:
        while not pending.lock.acquire(True, CHECK_LOOP):
            if self.lane.adapter.ended():
                raise RuntimeError(f"the event loop of task {self.name!r} has ended")

    def withdraw(self, pending: Pending) -> None:
        if pending.found is None and not self.cancel_requested:
            self.send_request(pending.stop())

    def is_running(self, task: Task) -> bool:
        return self.state == RUNNING

    def is_cancelled(self) -> bool:
        # The scope itself is asked: the loop may have had no time yet to deliver its cancellation.
        task = self.task
        if not self.cancel_requested and task is not None and task.scope_is_cancelled():
            self.scope_cancelled = True
        return self.cancel_requested or self.scope_cancelled

    def check_cancelled(self) -> None:
        if self.is_cancelled():
            raise Cancelled(self.reason if self.cancel_requested else "its scope was cancelled")

    def run(self) -> None:
        """Run the function in this thread and keep its outcome. Raises nothing; leaves no reference in the thread."""
        __tracebackhide__ = True
        task, context = self.task, self.context
        assert task is not None
        assert context is not None
        args, fn = task.args, task.fn  # in this order: `settle` clears args before fn
        if fn is None or args is None:
            return  # abandoned before it began
        task.worker = get_ident()
        task.started_at = time.monotonic()
        if (sink := events.moves) is not None:  # `emit_started`, without the call
            id, attempt = (task.id, 1) if task.notes is None else (task.event_id, task.attempts)
            sink((events.TASK_STARTED, task.started_at, id, task.worker, attempt, False))
            sink = None  # events wait for those who hold it, see `Ring`
        try:
            library = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)
            if library is not None and context.get(library) is not None:
                context.run(library.set, None)  # this thread is no event loop
            if self.interruptible:
                context.run(set_current, self)
                value = run_interruptible(self, fn, args)
            else:
                value = context.run(_run_in_context, self, fn, args)
        except BaseException as exc:
            outcome = self._failed(exc)
        else:
            outcome = Outcome(value) if type(value) is not CoroutineType else _forgotten_await(self.name, value)
        if of_thread.holder is not None:
            task_ended()
        self.finished_at = time.monotonic()
        self.context = None
        self.outcome = outcome
        del task, context, args, fn, outcome  # the error's traceback may lead back to this frame

    def log_abandoned(self) -> None:
        outcome, self.outcome = self.outcome, None
        if outcome is not None and outcome.error is not None:
            import logging

            logging.getLogger("unified_exec").error(
                "task %r, which was abandoned, has failed", self.name, exc_info=outcome.error
            )

    def _failed(self, exc: BaseException) -> Outcome[Any]:
        # The methods themselves: the class of the exception may forbid to set attributes, as a frozen dataclass does.
        BaseException.with_traceback(exc, _without_own_frames(_traceback_of(exc)))
        if isinstance(exc, StopIteration):
            return of_stop_iteration(self.name, exc)
        if isinstance(exc, Exception):
            return Outcome(error=exc)
        if self.cancel_requested or self.scope_cancelled:
            loop_cancelled = self.loop_scopes is not None or (self.token is not None and self.token.loop_cancelled)
            if consists_of(exc, (Cancelled, *cancellations()) if loop_cancelled else (Cancelled,)):
                return CANCELLED
        from ..._wire.errors.nodes import as_outcome_error

        return Outcome(error=as_outcome_error(exc))

    # --- for `run_interruptible`, in the task's thread ---

    @property
    def lock(self) -> LockType:
        return self.lane.lock

    def request_interrupt(self) -> None:
        self.lane.adapter.call_threadsafe(self.lane.interrupt, self)


def _run_in_context(call: ThreadCall, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    __tracebackhide__ = True
    set_current(call)
    return fn(*args)


def _without_own_frames(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the user's function on: it shows no line of ours, and makes no cycle through our
    frames, which are those whose code has a variable `__tracebackhide__`."""
    while tb is not None and "__tracebackhide__" in tb.tb_frame.f_code.co_varnames:
        tb = tb.tb_next
    return tb


def _forgotten_await(name: str, value: CoroutineType[Any, Any, Any]) -> Outcome[Any]:
    value.close()
    return Outcome(
        error=TypeError(
            f"task {name!r} returned a coroutine, which nobody would await: it is an async function in disguise; "
            "spawn it with on='loop'"
        )
    )


def _pass_on(task: Task, message: object) -> None:
    if task.outcome is None:
        task.on_message(message)


@in_forked_child
def _end_current_call() -> None:
    call = current.get()
    if isinstance(call, ThreadCall):
        call.state = ENDED  # here it runs in the main thread, and no pool of the child waits for it
        main: Any = threading.main_thread()
        if getattr(main, "_tstate_lock", main) is None:
            # Before 3.13 the end of a process asserts this lock, which threads of `_thread` do not have.
            main._set_tstate_lock()
