"""The peers that run functions in processes, each in its own fastest documented way and with two warm workers.

Where a start method can be chosen it is forkserver, the default of CPython 3.14: a process with threads is not forked.
It makes no difference to warm workers.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from time import perf_counter
from typing import Any

from .. import work
from ..model import Settings
from .base import WORKERS, AsyncEngine, AsyncioEngine, Batch, Engine, Plan, on_loop, perform_async, perform_sync


class AnyioProcesses(AsyncEngine):
    name = "anyio.to_process"
    needs = ("anyio",)

    async def serve(self, plan: Plan) -> float:
        from anyio import CapacityLimiter

        limiter = CapacityLimiter(WORKERS)
        return await perform_async(plan, lambda batch: self._timed(batch, limiter))

    async def _timed(self, batch: Batch, limiter: Any) -> tuple[float, Any]:
        from anyio import create_task_group
        from anyio.to_process import run_sync

        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if not batch.together:
            for _ in range(batch.calls):
                value = await run_sync(fn, *args, limiter=limiter)
            return perf_counter() - began, value

        async def call() -> None:
            nonlocal value
            value = await run_sync(fn, *args, limiter=limiter)

        async with create_task_group() as group:
            for _ in range(batch.calls):
                group.start_soon(call)
        return perf_counter() - began, value


class ExecutorProcesses(AsyncioEngine):
    """`loop.run_in_executor` for one call after another, `submit` for many at once."""

    name = "ProcessPoolExecutor"

    async def serve(self, plan: Plan) -> float:
        with self.open() as executor:
            return await perform_async(plan, lambda batch: self._timed(batch, executor))

    def open(self) -> Executor:
        return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("forkserver"))

    async def _timed(self, batch: Batch, executor: Executor) -> tuple[float, Any]:
        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if batch.together:
            futures = [executor.submit(fn, *args) for _ in range(batch.calls)]
            for future in futures:
                value = future.result()
            return perf_counter() - began, value
        loop = asyncio.get_running_loop()
        for _ in range(batch.calls):
            value = await loop.run_in_executor(executor, fn, *args)
        return perf_counter() - began, value


class Loky(ExecutorProcesses):
    name = "loky"
    needs = ("loky",)

    def open(self) -> Executor:
        from loky import ProcessPoolExecutor as LokyExecutor

        return LokyExecutor(WORKERS)  # type: ignore[no-any-return]


class MultiprocessingPool(Engine):
    """`Pool.apply` and `Pool.apply_async`."""

    name = "multiprocessing.Pool"

    def perform(self, plan: Plan, settings: Settings) -> float:
        with multiprocessing.get_context("forkserver").Pool(WORKERS) as pool:
            try:
                return perform_sync(plan, lambda batch: self._timed(batch, pool))
            finally:
                pool.close()
                pool.join()

    def _timed(self, batch: Batch, pool: Any) -> tuple[float, Any]:
        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if batch.together:
            results = [pool.apply_async(fn, args) for _ in range(batch.calls)]
            for result in results:
                value = result.get()
        else:
            for _ in range(batch.calls):
                value = pool.apply(fn, args)
        return perf_counter() - began, value


class Mpire(MultiprocessingPool):
    name = "mpire"
    needs = ("mpire",)

    def perform(self, plan: Plan, settings: Settings) -> float:
        from mpire.pool import WorkerPool

        with WorkerPool(n_jobs=WORKERS, start_method="forkserver", keep_alive=True) as pool:
            try:
                return perform_sync(plan, lambda batch: self._timed(batch, pool))
            finally:
                pool.stop_and_join()


class Pebble(Engine):
    name = "pebble"
    needs = ("pebble",)

    def perform(self, plan: Plan, settings: Settings) -> float:
        from pebble import ProcessPool

        with ProcessPool(WORKERS, context=multiprocessing.get_context("forkserver")) as pool:
            return perform_sync(plan, lambda batch: self._timed(batch, pool))

    def _timed(self, batch: Batch, pool: Any) -> tuple[float, Any]:
        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if batch.together:
            futures = [pool.submit(fn, None, *args) for _ in range(batch.calls)]
            for future in futures:
                value = future.result()
        else:
            for _ in range(batch.calls):
                value = pool.submit(fn, None, *args).result()
        return perf_counter() - began, value


class AioMultiprocess(AsyncioEngine):
    """Runs coroutine functions only; its workers look for work every 5 ms."""

    name = "aiomultiprocess"
    needs = ("aiomultiprocess",)

    async def serve(self, plan: Plan) -> float:
        from aiomultiprocess import Pool

        # Without an end to the tasks of a worker: replacing one is not what is measured.
        async with Pool(WORKERS, maxtasksperchild=0, childconcurrency=16) as pool:
            return await perform_async(plan, lambda batch: self._timed(batch, pool))

    async def _timed(self, batch: Batch, pool: Any) -> tuple[float, Any]:
        fn, args, value = getattr(work, f"{batch.fn.__name__}_async"), batch.args, None
        began = perf_counter()
        if batch.together:
            results = await asyncio.gather(*[pool.apply(fn, args) for _ in range(batch.calls)])
            return perf_counter() - began, results[-1]
        for _ in range(batch.calls):
            value = await pool.apply(fn, args)
        return perf_counter() - began, value


class TrioParallel(Engine):
    """Runs on trio, whatever the loop of the others."""

    name = "trio-parallel"
    needs = ("trio", "trio_parallel")

    def perform(self, plan: Plan, settings: Settings) -> float:
        return on_loop("trio", self.serve, plan)

    async def serve(self, plan: Plan) -> float:
        import trio
        import trio_parallel

        limiter = trio.CapacityLimiter(WORKERS)
        async with trio_parallel.open_worker_context() as context:
            return await perform_async(plan, lambda batch: self._timed(batch, context, limiter))

    async def _timed(self, batch: Batch, context: Any, limiter: Any) -> tuple[float, Any]:
        import trio

        fn, args, value = batch.fn, batch.args, None
        began = perf_counter()
        if not batch.together:
            for _ in range(batch.calls):
                value = await context.run_sync(fn, *args, limiter=limiter)
            return perf_counter() - began, value

        async def call() -> None:
            nonlocal value
            value = await context.run_sync(fn, *args, limiter=limiter)

        async with trio.open_nursery() as nursery:
            for _ in range(batch.calls):
                nursery.start_soon(call)
        return perf_counter() - began, value


class Joblib(Engine):
    """Large arrays only: joblib hands them over as memory-mapped files."""

    name = "joblib"
    needs = ("joblib",)

    def perform(self, plan: Plan, settings: Settings) -> float:
        from joblib import Parallel
        from joblib.externals.loky import get_reusable_executor

        try:
            with Parallel(n_jobs=WORKERS) as parallel:
                return perform_sync(plan, lambda batch: self._timed(batch, parallel))
        finally:
            get_reusable_executor().shutdown(wait=True)

    def _timed(self, batch: Batch, parallel: Any) -> tuple[float, Any]:
        from joblib import delayed

        call = delayed(batch.fn)
        value = None
        began = perf_counter()
        if batch.together:
            value = parallel(call(*batch.args) for _ in range(batch.calls))[-1]
        else:
            for _ in range(batch.calls):
                (value,) = parallel([call(*batch.args)])
        return perf_counter() - began, value


PEERS: tuple[Engine, ...] = (
    AnyioProcesses(),
    ExecutorProcesses(),
    MultiprocessingPool(),
    Loky(),
    Pebble(),
    Mpire(),
    AioMultiprocess(),
    TrioParallel(),
)
