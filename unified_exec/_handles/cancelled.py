"""What awaiting a cancelled task raises, and how a scope recognises the cancellations that it caused itself."""

from __future__ import annotations

from collections.abc import Iterator

import anyio


class TaskCancelled(anyio.TaskCancelled):
    """Raised by awaiting the handle of a task that was cancelled.

    Args:
        task: name of the task.
        reason: why it was cancelled, or ``None``.
    """

    def __init__(self, task: str, reason: str | None = None) -> None:
        super().__init__(task, reason)
        self.scope: object = None  # the scope that caused it, which does not count it as a failure
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        text = f"task {self.task!r} was cancelled"
        return f"{text}: {self.reason}" if self.reason else text


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions in a group and its groups; a plain exception is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif error is not None:
        yield error


def is_own_cancellation(error: BaseException | None, scope: object) -> bool:
    """Tell whether `error` is, or holds nothing but, cancellations that `scope` has caused."""
    if error is None:
        return False
    return all(isinstance(leaf, TaskCancelled) and leaf.scope is scope for leaf in leaves(error))
