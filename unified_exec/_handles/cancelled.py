"""What awaiting a cancelled task raises."""

from __future__ import annotations

import anyio


class TaskCancelled(anyio.TaskCancelled):
    """Raised by awaiting the handle of a task that was cancelled.

    Args:
        task: name of the task.
        reason: why it was cancelled, or ``None``.
    """

    def __init__(self, task: str, reason: str | None = None) -> None:
        super().__init__(task, reason)
        self.scope: object = None  # the scope that caused it: there it is no failure
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        text = f"task {self.task!r} was cancelled"
        return f"{text}: {self.reason}" if self.reason else text
