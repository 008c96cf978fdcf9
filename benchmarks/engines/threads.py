"""The peers that run functions in threads, and those that run coroutines on the loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from .. import work
from .base import AsyncEngine, AsyncioEngine, Batch, Plan, perform_async
from .processes import ExecutorProcesses


class ExecutorThreads(ExecutorProcesses):
    """`loop.run_in_executor` with the loop's default executor."""

    name = "run_in_executor"

    def open(self) -> Executor:
        return ThreadPoolExecutor()

    async def _timed(self, batch: Batch, executor: Executor) -> tuple[float, Any]:
        if not batch.together:
            return await super()._timed(batch, executor)
        fn, args, loop = batch.fn, batch.args, asyncio.get_running_loop()
        began = perf_counter()
        values = await asyncio.gather(*[loop.run_in_executor(executor, fn, *args) for _ in range(batch.calls)])
        return perf_counter() - began, values[-1]


class AsyncioToThread(AsyncioEngine):
    name = "asyncio.to_thread"

    async def serve(self, plan: Plan) -> float:
        return await perform_async(plan, self._timed)

    async def _timed(self, batch: Batch) -> tuple[float, Any]:
        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if batch.together:
            values = await asyncio.gather(*[asyncio.to_thread(fn, *args) for _ in range(batch.calls)])
            return perf_counter() - began, values[-1]
        for _ in range(batch.calls):
            value = await asyncio.to_thread(fn, *args)
        return perf_counter() - began, value


class AnyioThreads(AsyncEngine):
    name = "anyio.to_thread"
    needs = ("anyio",)

    async def serve(self, plan: Plan) -> float:
        return await perform_async(plan, self._timed)

    async def _timed(self, batch: Batch) -> tuple[float, Any]:
        from anyio import create_task_group
        from anyio.to_thread import run_sync

        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if not batch.together:
            for _ in range(batch.calls):
                value = await run_sync(fn, *args)
            return perf_counter() - began, value
        async with create_task_group() as group:
            for _ in range(batch.calls):
                group.start_soon(run_sync, fn, *args)
        return perf_counter() - began, value


class AnyioTasks(AsyncEngine):
    """`create_task`, whose handles are what `spawn` is like."""

    name = "anyio create_task"
    needs = ("anyio",)

    async def serve(self, plan: Plan) -> float:
        return await perform_async(plan, self._timed)

    async def _timed(self, batch: Batch) -> tuple[float, Any]:
        from anyio import create_task_group

        fn, args = getattr(work, f"{batch.fn.__name__}_async"), batch.args
        began = perf_counter()
        async with create_task_group() as group:
            handles = [group.create_task(fn(*args)) for _ in range(batch.calls)]
        values = [handle.return_value for handle in handles]
        return perf_counter() - began, values[-1]


class AnyioStartSoon(AnyioTasks):
    """`start_soon`, which keeps neither handle nor value."""

    name = "anyio start_soon"

    async def _timed(self, batch: Batch) -> tuple[float, Any]:
        from anyio import create_task_group

        fn, args = getattr(work, f"{batch.fn.__name__}_async"), batch.args
        began = perf_counter()
        async with create_task_group() as group:
            for _ in range(batch.calls):
                group.start_soon(fn, *args)
        return perf_counter() - began, None


class AsyncioTasks(AsyncioEngine):
    name = "asyncio.TaskGroup"

    async def serve(self, plan: Plan) -> float:
        return await perform_async(plan, self._timed)

    async def _timed(self, batch: Batch) -> tuple[float, Any]:
        fn, args = getattr(work, f"{batch.fn.__name__}_async"), batch.args
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fn(*args)) for _ in range(batch.calls)]
        values = [task.result() for task in tasks]
        return perf_counter() - began, values[-1]


PEERS = (AsyncioToThread(), ExecutorThreads(), AnyioThreads())
TASK_GROUPS = (AnyioTasks(), AnyioStartSoon(), AsyncioTasks())
