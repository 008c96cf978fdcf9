"""The steps of the pipeline, each on one backend, and what its tasks did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from unified_exec import TaskHandle, TaskScope, TaskState


class Stage:
    """One step of the pipeline.

    Args:
        verb: what it does to a file, e.g. ``"fetched"``.
        doing: the same while it goes on, e.g. ``"fetching"``.
        backend: what runs it, for the reader.
        workers: how many of its tasks can run at once.
    """

    def __init__(self, verb: str, doing: str, backend: str, workers: int) -> None:
        self.verb = verb
        self.doing = doing
        self.backend = backend
        self.workers = workers
        self.finished = 0
        self.failed = 0
        self.cancelled = 0
        self.never_started = 0
        self.busy_seconds = 0.0
        self.pids: set[int] = set()
        # A handle holds its task's result, so it is kept only until that has moved on.
        self._live: set[TaskHandle[Any]] = set()

    async def run(self, scope: TaskScope, fn: Callable[..., Any], *args: Any, on: Any = None, name: str) -> Any:
        """Run ``fn(*args)`` as one task of this stage and return its value."""
        handle = scope.spawn(fn, *args, on=on, name=name)
        self._live.add(handle)
        await handle.wait()
        self._count(handle)
        return handle.result()

    def running(self) -> int:
        """How many of its workers are at work now."""
        return sum(handle.state in (TaskState.RUNNING, TaskState.STOPPING) for handle in self._live)

    def close(self) -> int:
        """Count the tasks whose result nobody took, once the scope has been left.

        Returns:
            How many of its tasks have not come to their end; a scope that is left promises none.
        """
        for handle in [*self._live]:
            if handle.done():
                self._count(handle)
        return len(self._live)

    def busy_share(self, seconds: float) -> float:
        """How much of its workers' time in a run of so many seconds its tasks took: 0 to 1."""
        return self.busy_seconds / (seconds * self.workers) if seconds else 0.0

    def _count(self, handle: TaskHandle[Any]) -> None:
        self._live.discard(handle)
        started, finished = handle.timing.started, handle.timing.finished
        if started is not None and finished is not None:
            self.busy_seconds += finished - started
        if handle.backend == "process" and handle.worker is not None:
            self.pids.add(handle.worker)
        try:
            error = handle.exception()
        except anyio.TaskCancelled:
            if started is None:
                self.never_started += 1
            else:
                self.cancelled += 1
        else:
            if error is None:
                self.finished += 1
            else:
                self.failed += 1
