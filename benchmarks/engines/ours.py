"""unified_exec itself."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from unified_exec import ProcessPool, TaskScope, ThreadPool

from .. import work
from ..model import OURS
from .base import WORKERS, AsyncEngine, Batch, Plan, perform_async


class OurProcesses(AsyncEngine):
    """`scope.spawn(..., on="process")` in one scope."""

    name = OURS
    peer = False
    on = "process"

    def __init__(self, workers: int = WORKERS) -> None:
        self.workers = workers

    async def serve(self, plan: Plan) -> float:
        figure = 0.0
        async with ProcessPool(self.workers) as pool:
            figure = await perform_async(plan, lambda batch: self._timed(batch, pool))
        return figure

    async def _timed(self, batch: Batch, pool: Any) -> tuple[float, Any]:
        on: Any = self.on
        fn, args, value = self.callee(batch), batch.args, None
        # The scope is the caller's context here and its end the join of a batch: one by one, it is not timed.
        if batch.together:
            began = perf_counter()
            async with self.scope(pool) as scope:
                handles = [scope.spawn(fn, *args, on=on) for _ in range(batch.calls)]
            value = [handle.result() for handle in handles]
            return perf_counter() - began, value[-1]
        seconds = 0.0
        async with self.scope(pool) as scope:
            began = perf_counter()
            for _ in range(batch.calls):
                value = await scope.spawn(fn, *args, on=on)
            seconds = perf_counter() - began
        return seconds, value

    def callee(self, batch: Batch) -> Any:
        return batch.fn

    def scope(self, pool: Any) -> TaskScope:
        return TaskScope(processes=pool)


class OurCoroutineWorkers(OurProcesses):
    """Coroutine functions in processes; aiomultiprocess' field."""

    name = "unified_exec (coroutines)"

    def callee(self, batch: Batch) -> Any:
        return getattr(work, f"{batch.fn.__name__}_async")


class OurThreads(OurProcesses):
    """`scope.spawn(..., on="thread")` in one scope."""

    on = "thread"

    async def serve(self, plan: Plan) -> float:
        figure = 0.0
        async with ThreadPool() as pool:
            figure = await perform_async(plan, lambda batch: self._timed(batch, pool))
        return figure

    def scope(self, pool: Any) -> TaskScope:
        return TaskScope(threads=pool)


class OurCoroutines(OurProcesses):
    """`scope.spawn(coroutine_function)`."""

    on = "loop"

    async def serve(self, plan: Plan) -> float:
        return await perform_async(plan, lambda batch: self._timed(batch, None))

    def callee(self, batch: Batch) -> Any:
        return getattr(work, f"{batch.fn.__name__}_async")

    def scope(self, pool: Any) -> TaskScope:
        return TaskScope()
