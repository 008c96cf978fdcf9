"""One call on its way through a thread: what runs it, and what became of it."""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from collections.abc import Callable
from contextvars import Context, copy_context
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

from ..._tasks.current import CurrentTask, consists_of, current
from ..._tasks.inner_loops import cancellations
from ..._tasks.task import Task
from ..._tasks.types import CANCELLED, Outcome
from ...errors import Cancelled
from .interrupt import InterruptToken, fire_again, own_files, run_interruptible

if TYPE_CHECKING:
    import anyio

    from .lane import ThreadLane
    from .queues import NestedCalls

# Where a call is. Every move is made under the pool's lock: taker and canceller may race for it.
QUEUED, RUNNING, OVER, LEFT = range(4)


class ThreadCall(CurrentTask):
    """The call as the pool sees it, and as `current_task` shows it to the task itself.

    Attributes:
        task: the task, until it is settled.
        outcome: what became of it; set before the loop hears of it.
        extra: it runs beyond `max_workers`.
        nest: set if the call is nested.
        shot: what the asker may fire while the function runs; read and replaced under the pool's lock.
        closing: the function has returned: no new shot may be made.
        serving: cancel scopes of what the task runs on the loop; what is in it belongs to the loop's thread.
    """

    __slots__ = (
        "closing",
        "context",
        "extra",
        "finished_at",
        "lane",
        "nest",
        "outcome",
        "owner",
        "serving",
        "shot",
        "state",
        "task",
    )

    holds_thread = True

    def __init__(self, task: Task, lane: ThreadLane) -> None:
        self.id = task.id
        self.name = task.name
        self.backend = task.backend
        self.deadline = task.deadline
        self.cancel_requested = False
        self.reason = None
        self.task: Task | None = task
        self.owner: object = task.owner
        self.lane = lane
        self.state = QUEUED
        self.context: Context | None = copy_context()
        self.outcome: Outcome[Any] | None = None
        self.nest: NestedCalls | None = None
        self.shot: InterruptToken | None = None
        self.extra = self.closing = False
        self.serving: set[anyio.CancelScope] | None = None
        self.finished_at = 0.0

    def send(self, message: object) -> None:
        task = self.task
        if task is not None:
            self.lane.port.call_threadsafe(_heard, task, message)

    def is_running(self, task: Task) -> bool:
        return self.state == RUNNING

    def run(self) -> None:
        """Run the function in this thread and keep its outcome. Raises nothing; leaves no reference in the thread."""
        task = self.task
        assert task is not None
        assert self.context is not None
        args, fn = task.args, task.fn  # in this order: `settle` clears args before fn
        if fn is None or args is None:
            return  # abandoned before it began
        task.worker = get_ident()
        task.started_at = time.monotonic()
        try:
            if task.interrupt or self.lane.pool.interruptible:
                self.context.run(_enter_context, self)
                value = run_interruptible(self, fn, args)
            else:
                value = self.context.run(_run_in_context, self, fn, args)
        except BaseException as exc:
            outcome = self._failed(exc)
        else:
            outcome = Outcome(value) if type(value) is not CoroutineType else _forgotten_await(self.name, value)
        self.finished_at = time.monotonic()
        self.context = None
        self.outcome = outcome
        del task, args, fn, outcome  # the error's traceback may lead back to this frame

    def _failed(self, exc: BaseException) -> Outcome[Any]:
        exc.__traceback__ = _without_own_frames(exc)
        if isinstance(exc, StopIteration):  # as in a coroutine: nobody could await it
            error = RuntimeError(f"task {self.name!r} raised StopIteration")
            error.__cause__ = exc
            return Outcome(error=error)
        if isinstance(exc, Exception):
            return Outcome(error=exc)
        told = self.shot is not None and self.shot.told
        if self.cancel_requested and consists_of(exc, (Cancelled, *cancellations()) if told else (Cancelled,)):
            return CANCELLED
        from ..._wire.errors.nodes import as_outcome_error

        return Outcome(error=as_outcome_error(exc))

    # --- the interruptible part; see _interrupt ---

    def arm(self, shot: InterruptToken) -> None:
        """Let askers fire from now on; who asked before is heard here.

        Raises:
            Cancelled: the task was asked already, or is fired at.
        """
        with self.lane.pool.lock:
            self.shot = shot
        self.check_cancelled()

    def disarm(self) -> None:
        """Let nobody fire any more. May be hit by the last shot."""
        self.closing = True  # first: `swallowed` runs in this thread too, and must not load again from here on
        if self.shot is not None:
            self.shot.close()

    def swallowed(self, frame: FrameType | None) -> None:
        """A finalizer that `frame` ran into swallowed the interrupt: fire again. Called in the task's thread."""
        if not self.closing:
            shot = self.shot = InterruptToken(get_ident())
            if frame is None or not fire_again(shot, self.reason, frame):
                self.lane.port.call_threadsafe(self.lane.fire, self)


def _enter_context(call: ThreadCall) -> None:
    current.set(call)
    if "sniffio" in sys.modules:
        sys.modules["sniffio"].current_async_library_cvar.set(None)  # this thread is no event loop


def _run_in_context(call: ThreadCall, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    current.set(call)
    if "sniffio" in sys.modules:
        sys.modules["sniffio"].current_async_library_cvar.set(None)
    return fn(*args)


def _without_own_frames(exc: BaseException) -> Any:
    """The traceback from the user's function on: it shows what he wrote, and makes no cycle through our frames."""
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code in _OWN_CODE:
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


_OWN_CODE = {ThreadCall.run.__code__, run_interruptible.__code__, _run_in_context.__code__}


def _heard(task: Task, message: object) -> None:
    if task.outcome is None:
        task.on_message(message)


own_files.add(ThreadCall.arm.__code__.co_filename)
