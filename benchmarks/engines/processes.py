"""The peers that call functions in processes, each in its fastest documented way and with two warm workers.

Where the start method can be chosen it is forkserver, the default of CPython 3.14: a process with threads must not be
forked. To warm workers it makes no difference.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

from .engine import WORKERS, Calls, Engine

Fn = Callable[..., Any]
Args = tuple[Any, ...]


async def _anyio() -> AsyncIterator[Calls]:
    from anyio import CapacityLimiter, create_task_group
    from anyio.to_process import run_sync

    limiter = CapacityLimiter(WORKERS)

    async def many(fn: Fn, args: Args, count: int) -> Any:
        value: Any = None

        async def call() -> None:
            nonlocal value
            value = await run_sync(fn, *args, limiter=limiter)

        async with create_task_group() as group:
            for _ in range(count):
                group.start_soon(call)
        return value

    yield Calls(lambda fn, args: run_sync(fn, *args, limiter=limiter), many)


def executor_calls(executor: Executor) -> Calls:
    """Return `loop.run_in_executor` for single calls and `submit` for many at once."""
    loop = asyncio.get_running_loop()

    async def many(fn: Fn, args: Args, count: int) -> Any:
        futures = [executor.submit(fn, *args) for _ in range(count)]
        return [future.result() for future in futures][-1]

    return Calls(lambda fn, args: loop.run_in_executor(executor, fn, *args), many)


async def _executor() -> AsyncIterator[Calls]:
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("forkserver")) as executor:
        yield executor_calls(executor)


async def _loky() -> AsyncIterator[Calls]:
    from loky import ProcessPoolExecutor as LokyExecutor

    with LokyExecutor(WORKERS) as executor:
        yield executor_calls(executor)


def _pool_calls(pool: Any) -> Calls:
    def many(fn: Fn, args: Args, count: int) -> Any:
        results = [pool.apply_async(fn, args) for _ in range(count)]
        return [result.get() for result in results][-1]

    return Calls(pool.apply, many)


def _multiprocessing_pool() -> Iterator[Calls]:
    with multiprocessing.get_context("forkserver").Pool(WORKERS) as pool:
        yield _pool_calls(pool)
        pool.close()
        pool.join()


def _mpire() -> Iterator[Calls]:
    from mpire.pool import WorkerPool

    with WorkerPool(n_jobs=WORKERS, start_method="forkserver", keep_alive=True) as pool:
        yield _pool_calls(pool)
        pool.stop_and_join()


def _pebble() -> Iterator[Calls]:
    from pebble import ProcessPool

    with ProcessPool(WORKERS, context=multiprocessing.get_context("forkserver")) as pool:

        def many(fn: Fn, args: Args, count: int) -> Any:
            futures = [pool.submit(fn, None, *args) for _ in range(count)]
            return [future.result() for future in futures][-1]

        yield Calls(lambda fn, args: pool.submit(fn, None, *args).result(), many)


async def _aiomultiprocess() -> AsyncIterator[Calls]:
    """It calls coroutine functions only; its workers poll for work every 5 ms."""
    from aiomultiprocess import Pool

    # No limit of tasks per worker: replacing a worker is not what is measured.
    async with Pool(WORKERS, maxtasksperchild=0, childconcurrency=16) as pool:

        async def many(fn: Fn, args: Args, count: int) -> Any:
            return (await asyncio.gather(*[pool.apply(fn, args) for _ in range(count)]))[-1]

        yield Calls(pool.apply, many)


async def _trio_parallel() -> AsyncIterator[Calls]:
    import trio
    import trio_parallel

    limiter = trio.CapacityLimiter(WORKERS)
    async with trio_parallel.open_worker_context() as context:

        async def many(fn: Fn, args: Args, count: int) -> Any:
            value: Any = None

            async def call() -> None:
                nonlocal value
                value = await context.run_sync(fn, *args, limiter=limiter)

            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(call)
            return value

        yield Calls(lambda fn, args: context.run_sync(fn, *args, limiter=limiter), many)


def _joblib() -> Iterator[Calls]:
    """For large arrays only, which joblib passes as memory-mapped files."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        with Parallel(n_jobs=WORKERS) as parallel:
            yield Calls(
                lambda fn, args: parallel([delayed(fn)(*args)])[0],
                lambda fn, args, count: parallel(delayed(fn)(*args) for _ in range(count))[-1],
            )
    finally:
        get_reusable_executor().shutdown(wait=True)


ANYIO = Engine("anyio.to_process", _anyio, ("anyio",))
EXECUTOR = Engine("ProcessPoolExecutor", _executor, only="asyncio")
MULTIPROCESSING_POOL = Engine("multiprocessing.Pool", _multiprocessing_pool)
LOKY = Engine("loky", _loky, ("loky",), only="asyncio")
PEERS = (
    ANYIO,
    EXECUTOR,
    MULTIPROCESSING_POOL,
    LOKY,
    Engine("pebble", _pebble, ("pebble",)),
    Engine("mpire", _mpire, ("mpire",)),
    Engine("aiomultiprocess", _aiomultiprocess, ("aiomultiprocess",), only="asyncio", coroutines=True),
    Engine("trio-parallel", _trio_parallel, ("trio", "trio_parallel"), only="trio"),
)
JOBLIB = Engine("joblib", _joblib, ("joblib",))
