"""What the stages of a pipeline did, counted as their tasks end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._tasks.types import TaskState
from .._worker.run_chunk import ItemFailure
from .chunks import Stop

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from ..abc import Backend


class StageStats:
    """What one `Pipeline.map` stage has done so far in a run: live while it runs, final after it.

    Attributes:
        name: name of the stage.
        backend: where its latest task ran: ``"loop"``, ``"thread"`` or ``"process"``.
        received: items read from the previous stage.
        finished: items that have a result.
        failed: items that failed, after the last attempt.
        cancelled: items whose task was cancelled while it ran.
        retried: failed attempts that were followed by another.
        busy_seconds: seconds that its tasks ran, summed over all workers.
        workers: process ids of the workers that ran its tasks, if they are processes.

    Example::

        import anyio
        from unified_exec import Pipeline

        async def main():
            pipeline = Pipeline(range(100)).map(abs, on="thread").map(str, on="process")
            await pipeline.run()
            for stage in pipeline.stats:
                print(stage.name, stage.finished, f"{stage.busy_seconds:.3f} s")

        anyio.run(main)
    """

    __slots__ = (
        "_running",
        "backend",
        "busy_seconds",
        "cancelled",
        "failed",
        "finished",
        "name",
        "received",
        "retried",
        "workers",
    )

    def __init__(self, name: str, backend: str) -> None:
        self.name = name
        self.backend = backend
        self.received = self.finished = self.failed = self.cancelled = self.retried = 0
        self.busy_seconds = 0.0
        self.workers: set[int] = set()
        self._running: dict[TaskHandle[Any], int] = {}

    @property
    def pending(self) -> int:
        """Items received and not finished; after a run that was cut short, those that were never started."""
        return self.received - self.finished - self.failed - self.cancelled

    def tasks(self) -> int:
        """How many of its tasks are queued or running; each has one item or more."""
        return len(self._running)

    def running(self) -> int:
        """How many of its tasks are running now."""
        return sum(handle.state in (TaskState.RUNNING, TaskState.STOPPING) for handle in self._running)

    def _task_sent(self, handle: TaskHandle[Any], items: int) -> None:
        self._running[handle] = items

    def _task_ended(self, handle: TaskHandle[Any], backend: Backend | None) -> None:
        items = self._running.pop(handle)
        self.backend = handle.backend
        if handle.started_at is None:
            return
        if handle.finished_at is not None:
            self.busy_seconds += handle.finished_at - handle.started_at
        # With `on="auto"` the task may have run in another pool than the chosen one.
        in_backend = backend is not None and backend.kind == handle.backend
        if in_backend and backend.capabilities.isolated and handle.worker is not None:  # type: ignore[union-attr]
            self.workers.add(handle.worker)
        if handle.cancelled():
            self.cancelled += items

    def _results_arrived(self, results: list[Any]) -> None:
        for result in results:
            if type(result) is ItemFailure:
                self.failed += 1
            elif type(result) is not Stop:
                self.finished += 1

    def _item_retried(self) -> None:
        self.failed -= 1
        self.retried += 1

    def __repr__(self) -> str:
        counts = [f"{getattr(self, what)} {what}" for what in ("finished", "failed", "cancelled", "pending")]
        return f"<StageStats {self.name!r} on {self.backend}: {', '.join(counts)}>"
