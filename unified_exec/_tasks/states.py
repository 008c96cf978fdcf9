"""The states of a task and the only moves between them."""

from __future__ import annotations

from enum import Enum


class TaskState(Enum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"

    __hash__ = object.__hash__  # identity: Enum hashes the name in Python code

    def __repr__(self) -> str:
        return f"TaskState.{self.name}"


NEXT: dict[TaskState, frozenset[TaskState]] = {
    # A queued task may be asked to stop before anybody knows whether its worker has begun it.
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.STOPPING, TaskState.DONE}),
    # A worker that dies before it began the task gives it back.
    TaskState.RUNNING: frozenset({TaskState.STOPPING, TaskState.DONE}),
    TaskState.STOPPING: frozenset({TaskState.DONE}),
    TaskState.DONE: frozenset(),
}


class IllegalMove(AssertionError):
    """A task made a move its state table does not have: a bug in this package."""

    def __init__(self, task: str, old: TaskState, new: TaskState) -> None:
        super().__init__(task, old, new)
        self.task, self.old, self.new = task, old, new

    def __str__(self) -> str:
        return f"task {self.task!r} cannot go from {self.old.value} to {self.new.value}; please report this bug"
