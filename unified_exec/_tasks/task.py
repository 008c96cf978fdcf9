"""A task: one record that its scope, its backend and the user's handle share."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import TaskTimeout
from . import events
from .types import CANCELLED, NEXT, IllegalMove, Outcome, TaskState, Timing

if TYPE_CHECKING:
    from typing import Protocol

    from .bound import Bound

    class Location(Protocol):
        """Where a backend has put a task."""

        def is_running(self, task: Task) -> bool:
            """Tell whether the function of `task` is being called there right now."""


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
        nested: ``True`` if it was spawned from inside a running task of the same process: it must not wait for a
            worker that its own parent occupies.
    """

    # Few tasks set these: the others read the value of the class, and stay small.
    abandon: bool = False
    bound: tuple[Bound, ...] | None = None
    expired: bool = False
    interrupt: bool = False
    nested: bool = False
    stop_reason: str | None = None
    timeout: float | None = None

    __slots__ = (
        "__dict__",
        "_state",
        "args",
        "backend",
        "backend_data",
        "deadline",
        "finished_at",
        "fn",
        "id",
        "location",
        "name",
        "outcome",
        "owner",
        "queued_at",
        "started_at",
        "worker",
    )

    def __init__(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], backend: str, owner: object) -> None:
        self.id = next(task_ids)
        self.name = name
        self.fn: Callable[..., Any] | None = fn
        self.args: tuple[Any, ...] | None = args
        self.backend = backend
        self.owner: object = owner
        self.backend_data: Any = None
        self.location: Location | None = None
        self.worker: int | None = None
        self.deadline: float | None = None
        self.outcome: Outcome[Any] | None = None
        self.queued_at = time.monotonic()
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self._state = TaskState.QUEUED

    @property
    def state(self) -> TaskState:
        """The state as far as it is known here; for a queued task the backend is asked whether it runs."""
        if self._state is TaskState.QUEUED and self.location is not None and self.location.is_running(self):
            return TaskState.RUNNING
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
        if events.listeners:
            self.moved(old, new)

    def begin(self) -> None:
        """Note, in the thread of the owner's loop, that the function is about to be called; again with each new try."""
        if self._state is TaskState.QUEUED:
            self._state = TaskState.RUNNING
            if events.listeners:
                self.moved(TaskState.QUEUED, TaskState.RUNNING)
        if self.started_at is None:
            self.started_at = time.monotonic()

    def moved(self, old: TaskState, new: TaskState) -> None:
        """Emit the move; called only if there is a listener."""
        events.emit(TaskMoved(self, old, new))

    @property
    def cancel_requested(self) -> bool:
        """It was requested to stop, and has not ended yet."""
        return self._state is TaskState.STOPPING

    def mark_stopping(self, reason: str | None) -> bool:
        """Note that the task is requested to stop; ``False`` if it was before or is done."""
        if self._state is TaskState.STOPPING or self._state is TaskState.DONE:
            return False
        self.stop_reason = reason
        self.move(TaskState.STOPPING)
        return True

    def settle(self, outcome: Outcome[Any]) -> None:
        """End the task with what really happened. Called once, by the backend, in the loop's thread."""
        if outcome.cancelled and self.expired and self.timeout is not None:
            outcome = Outcome(error=TaskTimeout(f"task {self.name!r}", self.timeout))
        old = self._state
        if old is TaskState.DONE:
            raise IllegalMove(self.name, old, TaskState.DONE)
        self.outcome = outcome
        self.backend_data = self.location = self.args = self.fn = None
        if self.finished_at is None:
            self.finished_at = time.monotonic()
        self._state = TaskState.DONE  # what `move` does, without the table: every other state may become DONE
        if events.listeners:
            self.moved(old, TaskState.DONE)
        if self.bound is not None:
            for one in self.bound:
                one.task_ended(self.id)
            self.bound = None
        self.settled()

    def settle_cancelled(self) -> None:
        self.settle(CANCELLED)

    def scope_is_cancelled(self) -> bool:
        """Tell, from any thread, whether its scope, or one around that, was cancelled, delivered or not yet."""
        return False

    def note_scope_is_cancelled(self) -> None:
        """Note, in the loop's thread, that the task has ended because it found its scope cancelled."""

    def on_message(self, message: Any) -> None:
        """Called in the loop's thread with each message of the running task; a handle passes it to its listener."""

    def settled(self) -> None:
        """Called once, after the outcome is set; a handle wakes its waiters and notifies its scope."""


class TaskMoved:
    """An event: a task went from one state to another."""

    __slots__ = ("new", "old", "task")

    def __init__(self, task: Task, old: TaskState, new: TaskState) -> None:
        self.task = task
        self.old = old
        self.new = new

    def __repr__(self) -> str:
        return f"TaskMoved({self.task.name!r}, {self.old.value} -> {self.new.value})"
