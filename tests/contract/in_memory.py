"""A backend in one file: it calls each function on the event loop itself, one a turn. The least that a scope needs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from unified_exec._loops.adapter import LoopAdapter
from unified_exec._tasks.task import Task
from unified_exec._tasks.types import Outcome
from unified_exec.abc import Backend, Capabilities, Lane
from unified_exec.errors import PoolClosed


class InMemoryLane(Lane):
    def __init__(self, pool: InMemoryPool, adapter: LoopAdapter) -> None:
        self.pool = pool
        self.adapter = adapter
        self.queued: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        if self.pool.closed:
            raise PoolClosed(self.pool.describe())
        self.queued.append(task)
        self.adapter.call_soon(self._run_one)

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        for task in tasks:
            if task.outcome is None and task in self.queued:
                self.queued.remove(task)
                task.settle_cancelled()

    def _run_one(self) -> None:
        if not self.queued:
            return  # the task of this turn was cancelled
        task = self.queued.popleft()
        fn, args = task.fn, task.args
        assert fn is not None
        assert args is not None
        task.started_at = time.monotonic()
        try:
            outcome = Outcome(fn(*args))
        except Exception as error:
            outcome = Outcome(error=error)
        task.settle(outcome)


class InMemoryPool(Backend):
    kind = "memory"
    capabilities = Capabilities()
    max_workers = 1
    closed = False

    def __init__(self) -> None:
        self.lanes: dict[LoopAdapter, InMemoryLane] = {}

    def lane(self, adapter: LoopAdapter) -> InMemoryLane:
        if self.closed:
            raise PoolClosed(self.describe())
        return self.lanes.setdefault(adapter, InMemoryLane(self, adapter))

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.close()
