"""A task: one record that its scope, its backend and the user's handle share."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ..errors import TaskTimeout
from . import events
from .events import Noted, Notes
from .messages import Waited
from .types import CANCELLED, DONE, NEXT, QUEUED, RUNNING, STOPPING, IllegalMove, Outcome, TaskState, Timing

if TYPE_CHECKING:
    from typing import Protocol

    from .bound import Bound
    from .requests import Request

    class Location(Protocol):
        """Where a backend has put a task."""

        def is_running(self, task: Task) -> bool:
            """Tell whether the function of `task` is being called there right now."""

    class Asked(Protocol):
        """What a task has asked of its scope."""

        def stop(self, reason: str | None) -> None:
            """Cancel the functions that run for it."""


task_ids = itertools.count(1)
"""The numbers of the tasks of this process."""


class Task:
    """A call: made by a scope, run by a backend, settled exactly once.

    A backend reads `fn`, `args`, `deadline`, `interrupt` and `abandon`, keeps its own data in `backend_data` and
    `location`, and ends the task with `settle`. Everything here happens in the thread of the owner's loop.

    Attributes:
        owner: the scope or executor the task belongs to. Here it is only compared by identity: backends share their
            workers fairly between owners.
        backend_data: the backend's own data about the call (the pickled call, the thread's token, ...).
        location: where the backend put the task (a worker), or ``None`` while it waits.
        deadline: instant of `time.monotonic` at which the task will be cancelled, ``None`` for never.
        bound: what it was passed that ends with it.
        timeout: the task's own timeout in seconds, ``None`` for none.
        expired: ``True`` once the task's own timeout has passed.
        fatal_claims: how many workers have died right after they had received it, before it began.
        notes: what events tell of a task that is not as most are.
        nested: ``True`` if it was spawned from inside a running task of the same process: it must not wait for a
            worker that its own parent occupies.
        priority: queued tasks of a higher one start first.
        asked_by: the request of another task in whose function it was started, if there is one.
        requests: what it has asked of its scope; ``None`` for nothing.
    """

    # Few tasks set these: the others read the value of the class, and stay small.
    abandon: bool = False
    requests: Asked | None = None
    asked_by: Request | None = None
    bound: tuple[Bound, ...] | None = None
    expired: bool = False
    fatal_claims: int = 0
    interrupt: bool = False
    nested: bool = False
    priority: int = 0
    stop_reason: str | None = None
    timeout: float | None = None
    attempts = Noted(1)
    fn_name = Noted("")
    in_span = Noted(False)
    items = Noted(1)
    parent = Noted(0)
    silent = Noted(False)
    told_as = Noted(0)

    __slots__ = (
        "__dict__",
        "_state",
        "args",
        "backend",
        "backend_data",
        "bytes_received",
        "bytes_sent",
        "deadline",
        "finished_at",
        "fn",
        "id",
        "location",
        "name",
        "notes",
        "outcome",
        "owner",
        "queued_at",
        "sent_at",
        "started_at",
        "worker",
    )

    def __init__(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], backend: str, owner: object) -> None:
        self.id = next(task_ids)
        self.name = name
        self.fn: Callable[..., Any] | None = fn
        self.args: tuple[Any, ...] | None = args
        self.backend = backend
        self.owner: Any = owner
        self.backend_data: Any = None
        self.location: Location | None = None
        self.worker: int | None = None
        self.deadline: float | None = None
        self.outcome: Outcome[Any] | None = None
        self.queued_at = time.monotonic()
        self.started_at: float | None = None
        self.finished_at: float | None = None
        # What events tell of the way to a worker and back, noted only while somebody listens.
        self.notes: Notes | None = None
        self.sent_at: float | None = None
        self.bytes_sent = self.bytes_received = 0
        self._state = QUEUED

    @property
    def state(self) -> TaskState:
        """The state as far as it is known here; for a queued task the backend is asked whether it runs."""
        if self._state is QUEUED and self.location is not None and self.location.is_running(self):
            return RUNNING
        return self._state

    @property
    def timing(self) -> Timing:
        return Timing(self.queued_at, self.started_at, self.finished_at)

    def move(self, new: TaskState) -> None:
        """Make one move of the state table."""
        old = self._state
        if new not in NEXT[old]:
            raise IllegalMove(self.name, old, new)
        self._state = new

    def begin(self) -> None:
        """Note, in the thread of the owner's loop, that the function is about to be called; again with each new try."""
        if self._state is QUEUED:
            self._state = RUNNING
        if self.started_at is None:
            self.started_at = time.monotonic()
        if events.moves is not None:
            self.emit_started()

    @property
    def cancel_requested(self) -> bool:
        """It was requested to stop, and has not ended yet."""
        return self._state is STOPPING

    def mark_stopping(self, reason: str | None) -> bool:
        """Note that the task is requested to stop; ``False`` if it was before or is done."""
        if self._state is STOPPING or self._state is DONE:
            return False
        self.stop_reason = reason
        self.move(STOPPING)
        if events.rows is not None and not self.silent:
            events.emit(events.TASK_ASKED, self.id, reason or "")
        if self.requests is not None:
            self.requests.stop(reason)
        return True

    def settle(self, outcome: Outcome[Any]) -> None:
        """End the task with what really happened. Called once, by the backend, in the loop's thread."""
        if outcome.cancelled and self.expired and self.timeout is not None:
            outcome = Outcome(error=TaskTimeout(f"task {self.name!r}", self.timeout))
        old = self._state
        if old is DONE:
            raise IllegalMove(self.name, old, DONE)
        if events.rows is not None:
            error = outcome.error
            if self.notes is None and error is None and not outcome.cancelled:
                self.emit_value()
            elif not self.silent:
                self.emit_settled(events.outcome_name(error, outcome.cancelled), error)
        self.outcome = outcome
        self.backend_data = self.location = self.args = self.fn = None
        if self.finished_at is None:
            self.finished_at = time.monotonic()
        self._state = DONE  # what `move` does, without the table: every other state may become DONE
        if self.bound is not None:
            for one in self.bound:
                one.task_ended(self.id)
            self.bound = None
        if self.requests is not None:
            self.requests.stop("the task that asked for it has ended")
        self.settled()

    def settle_cancelled(self) -> None:
        self.settle(CANCELLED)

    def scope_is_cancelled(self) -> bool:
        """Tell, from any thread, whether its scope, or one around that, was cancelled, delivered or not yet."""
        return False

    def note_scope_is_cancelled(self) -> None:
        """Note, in the loop's thread, that the task has ended because it found its scope cancelled."""

    def take_message(self, message: Any) -> None:
        """Take what the task's code has sent; called where it arrives. A wait is told to those who listen to events."""
        if type(message) is Waited:
            events.emit_wait(self.event_id, message)
        else:
            self.on_message(message)

    def on_message(self, message: Any) -> None:
        """Called in the loop's thread with each message of the running task; a handle passes it to its listener."""

    def on_request(self, request: Request) -> None:
        """Called in the loop's thread with each request of the running task, see `unified_exec.from_task`."""
        text = f"from_task works in tasks of a scope; {self.name!r} was submitted to an executor"
        request.answer(Outcome(error=RuntimeError(text)))

    def settled(self) -> None:
        """Called once, after the outcome is set; a handle wakes its waiters and notifies its scope."""

    # -- what is told of it; called only while somebody listens

    def note_spawner(self, parent: int) -> None:
        """Tell that it was spawned, by the code of task `parent`; 0 if that is not a task."""
        if parent:
            if self.notes is None:
                self.notes = Notes()
            self.notes.parent = parent
        sink = events.moves
        if sink is None:
            return
        fn, title, notes = self.fn, self.name, self.notes
        try:
            scope = self.owner.number
        except AttributeError:  # an executor
            scope = 0
        if notes is None and type(fn) is FunctionType:
            name = fn.__qualname__
            if title is not name:
                title = title[:200]
            at, module = self.queued_at, fn.__module__
            sink((events.PLAIN_SPAWN, at, self.id, title, name, self.backend, scope, self.deadline, module))
        else:
            name, items = self.fn_name or events.function_name(fn), self.items
            told = title[:200], name, self.backend, scope, parent, items, self.deadline
            sink((events.TASK_SPAWNED, self.queued_at, self.id, *told))

    def emit_queued(self, pool: str, ahead: int) -> None:
        """Tell that it could not be sent at once: `ahead` others wait for `pool` before it."""
        sink = events.moves
        if sink is not None:
            sink((events.TASK_QUEUED, time.monotonic(), self.event_id, pool, ahead))

    def emit_sent(self, worker: int, ahead: int) -> None:
        """Tell that `worker` was sent it, with `ahead` others before it."""
        sink = events.moves
        if sink is not None:
            at, id = self.sent_at, self.id if self.notes is None else self.event_id
            sink((events.TASK_SENT, time.monotonic() if at is None else at, id, worker, self.bytes_sent, ahead))

    def emit_started(self, late: bool = False) -> None:
        """Tell that its function is called; `late` if that is told after its end, because a worker called it."""
        sink = events.moves
        if sink is not None:
            at, worker = time.monotonic() if self.started_at is None else self.started_at, self.worker or 0
            if self.notes is None:
                sink((events.TASK_STARTED, at, self.id, worker, 1, late))
            else:
                sink((events.TASK_STARTED, at, self.event_id, worker, self.attempts, late))

    def emit_value(self) -> None:
        """Tell the whole life of a task that ended with a value, and of which nothing was noted. Its function is still
        there, the outcome is not set yet."""
        sink = events.rows  # read once: another thread may switch it off
        fn, title = self.fn, self.name
        if sink is None:
            return
        now = time.monotonic()
        if self.finished_at is None:
            self.finished_at = now
        if type(fn) is FunctionType:  # named when the event is read: less to do for every task
            name, module = fn.__qualname__, fn.__module__
        else:
            name, module = events.function_name(fn), ""
        if title is not name:
            title = title[:200]
        try:
            scope = self.owner.number
        except AttributeError:
            scope = 0
        id, place, worker, spawned = self.id, self.backend, self.worker or 0, self.queued_at
        began, ended, sent = self.started_at, self.finished_at, self.sent_at
        if sent is None:
            sink((events.PLAIN_VALUE, now, id, title, name, place, scope, spawned, worker, began, ended, module))
        else:
            kind, size, back = events.PLAIN_ANSWER, self.bytes_sent, self.bytes_received
            sink((kind, now, id, title, name, place, scope, spawned, worker, began, ended, sent, size, back, module))

    def emit_settled(self, outcome: str, error: BaseException | None) -> None:
        """Tell the whole life of any task."""
        sink = events.rows
        if sink is None:
            return
        now = time.monotonic()
        if self.finished_at is None:
            self.finished_at = now
        name = self.fn_name or events.function_name(self.fn)
        scope = getattr(self.owner, "number", 0)
        spawned = self.id, self.name[:200], name, self.backend, scope, self.parent, self.items, self.queued_at
        error_name, trace = ("", "") if error is None else (type(error).__name__, events.traceback_text(error))
        ran = self.sent_at, self.worker or 0, self.attempts, outcome, error_name, self.started_at, self.finished_at
        sink((events.TASK_SETTLED, now, *spawned, *ran, self.bytes_sent, self.bytes_received, trace))

    def note_attempt(self, attempt: Task) -> None:
        """Note what events will tell of its newest attempt."""
        self.sent_at = attempt.sent_at
        self.bytes_sent = attempt.bytes_sent
        self.bytes_received = attempt.bytes_received

    @property
    def event_id(self) -> int:
        """The id that events give it."""
        return self.id if self.notes is None else self.told_as or self.id
