"""The worker's end of the conversation as a state machine without I/O. Light: the parent's end is in `protocol`."""

from __future__ import annotations


class WorkerConnectionState:
    """What a worker knows of cancellations.

    A CANCEL travels on another socket than the tasks and can come before its task, or after the task's end. Ids grow
    along the stream of one worker except for tasks that were taken back and sent again, so an id that is not running
    is remembered until it comes; the memory is bounded.

    Attributes:
        early: the reasons of cancellations that have not been delivered, by task id.
    """

    __slots__ = ("early",)
    EARLY_MAX = 4096

    def __init__(self) -> None:
        self.early: dict[int, str | None] = {}

    def cancelled(self, id: int, reason: str | None) -> None:
        """Remember a cancellation until its task comes, or while it runs."""
        self.early[id] = reason
        if len(self.early) > self.EARLY_MAX:
            del self.early[next(iter(self.early))]

    def claim(self, id: int) -> bool:
        """Take a task from the stream; ``False`` if it was cancelled before it came."""
        if id in self.early:
            del self.early[id]
            return False
        return True
