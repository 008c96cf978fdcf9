"""What a task can be and become: its states, its outcome, its times."""

from __future__ import annotations

from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class TaskState(Enum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"

    __hash__ = object.__hash__  # identity: Enum hashes the name in Python code

    def __repr__(self) -> str:
        return f"TaskState.{self.name}"


QUEUED, RUNNING, STOPPING, DONE = TaskState  # a name is found faster than a member of an `Enum`

NEXT: dict[TaskState, frozenset[TaskState]] = {
    # A queued task may be requested to stop before it is known whether its worker has begun it. A task whose worker
    # exits before beginning it stays queued: RUNNING is noted only once the function is called.
    QUEUED: frozenset({RUNNING, STOPPING, DONE}),
    RUNNING: frozenset({STOPPING, DONE}),
    STOPPING: frozenset({DONE}),
    DONE: frozenset(),
}
"""The only moves between states."""


class IllegalMove(AssertionError):
    """A task made a move that its state table does not allow: a bug in this package."""

    def __init__(self, task: str, old: TaskState, new: TaskState) -> None:
        super().__init__(task, old, new)
        self.task, self.old, self.new = task, old, new

    def __str__(self) -> str:
        return f"task {self.task!r} cannot go from {self.old.value} to {self.new.value}; please report this bug"


class Timing(NamedTuple):
    """When a task was queued, started and finished, in seconds of `time.monotonic` (comparable across processes)."""

    queued: float
    started: float | None
    finished: float | None


class Outcome(Generic[T]):
    """What really happened to a task: a value, an error or a cancellation, exactly one of the three.

    Attributes:
        error: the exception the task failed with, or ``None``.
        cancelled: ``True`` if the task was stopped, or never started, because of a cancellation.
        value: what it returned; ``None`` if it has no value.
    """

    __slots__ = ("_traceback", "cancelled", "error", "value")

    def __init__(self, value: T | None = None, error: BaseException | None = None, cancelled: bool = False) -> None:
        self.value: Any = value
        self.error = error
        self.cancelled = cancelled
        self._traceback = None if error is None else error.__traceback__

    @property
    def is_value(self) -> bool:
        return self.error is None and not self.cancelled

    def unwrap(self) -> T:
        """Return the value or raise the error, with the traceback it had when it arrived.

        Call it for values and errors only; the caller decides what a cancellation raises.
        """
        if self.error is None:
            return self.value  # type: ignore[no-any-return]
        try:
            raise self.error.with_traceback(self._traceback)
        finally:
            del self  # no cycle from the error over its traceback to this frame

    def __repr__(self) -> str:
        if self.cancelled:
            return "Outcome(cancelled)"
        return f"Outcome(error={self.error!r})" if self.error is not None else f"Outcome(value={self.value!r})"


CANCELLED: Outcome[object] = Outcome(cancelled=True)


def of_stop_iteration(name: str, error: StopIteration) -> Outcome[object]:
    """Return the outcome of a task that raised `error`: as in a coroutine, for it would end what takes the result."""
    raised = RuntimeError(f"task {name!r} raised StopIteration")
    raised.__cause__ = error
    return Outcome(error=raised)
