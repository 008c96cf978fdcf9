"""Other libraries, used as their documentation shows for many items. They take part with ``--peers``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from .model import Kind, Model, Perform, PerformAsync

Fn = Callable[[Any], Any]


def loky(workers: int) -> Iterator[Perform]:
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=workers)
    yield lambda fn, items: list(pool.map(fn, items))
    pool.shutdown(wait=True)


def joblib(workers: int) -> Iterator[Perform]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=workers) as parallel:
        yield lambda fn, items: list(parallel(delayed(fn)(item) for item in items))


def pebble(workers: int) -> Iterator[Perform]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=workers) as pool:
        yield lambda fn, items: list(pool.map(fn, items).result())


def mpire(workers: int) -> Iterator[Perform]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=workers, keep_alive=True) as pool:
        yield lambda fn, items: pool.map(fn, [(item,) for item in items], concatenate_numpy_output=False)


async def aiomultiprocess(workers: int) -> AsyncIterator[PerformAsync]:
    from aiomultiprocess import Pool

    async with Pool(workers) as pool:

        async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
            return list(await pool.map(fn, items))

        yield perform


def trio_parallel(workers: int) -> Iterator[Perform]:
    import trio
    import trio_parallel as parallel

    async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        results: list[Any] = [None] * len(items)
        limit = trio.CapacityLimiter(workers)

        async def one(index: int) -> None:
            results[index] = await parallel.run_sync(fn, items[index], limiter=limit)

        async with trio.open_nursery() as nursery:
            for index in range(len(items)):
                nursery.start_soon(one, index)
        return results

    yield lambda fn, items: trio.run(perform, fn, items)


def unsync(workers: int) -> Iterator[Perform]:
    from concurrent.futures import ThreadPoolExecutor

    from unsync import unsync as decorate

    decorate.thread_executor = ThreadPoolExecutor(workers)

    def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        call: Any = decorate(lambda item: fn(item))
        calls = [call(item) for item in items]
        return [each.result() for each in calls]

    yield perform


def pypeln(workers: int) -> Iterator[Perform]:
    import pypeln as pl

    yield lambda fn, items: list(pl.process.map(fn, items, workers=workers) | pl.process.ordered)


def dask(workers: int) -> Iterator[Perform]:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            yield lambda fn, items: list(client.gather(client.map(fn, items, pure=False)))


def ray(workers: int) -> Iterator[Perform]:
    import ray as r

    r.init(num_cpus=workers, include_dashboard=False, logging_level="error")
    call = r.remote(lambda fn, item: fn(item))
    yield lambda fn, items: r.get([call.remote(fn, item) for item in items])
    r.shutdown()


def joblib_on_ours(workers: int) -> Iterator[Perform]:
    from joblib import Parallel, delayed, parallel_config

    from ....executor import register_joblib

    register_joblib()
    with parallel_config("unified_exec"), Parallel(n_jobs=workers) as parallel:
        yield lambda fn, items: list(parallel(delayed(fn)(item) for item in items))


async def anyio_hybrid(workers: int) -> AsyncIterator[PerformAsync]:
    """Fetch on the loop, parse in a process, store in a thread; `stages` holds the three functions."""
    from anyio import CapacityLimiter, create_task_group, to_process, to_thread

    limiter = CapacityLimiter(workers)

    async def perform(stages: Any, items: Sequence[Any]) -> list[Any]:
        fetch, parse, store = stages
        results: list[Any] = [None] * len(items)

        async def one(index: int) -> None:
            parsed = await to_process.run_sync(parse, await fetch(items[index]), limiter=limiter)
            results[index] = await to_thread.run_sync(store, (items[index], parsed))

        async with create_task_group() as group:
            for index in range(len(items)):
                group.start_soon(one, index)
        return results

    yield perform


def _peer(key: str, kind: Kind, recipe: Any, *needs: str) -> Model:
    coroutines = recipe is aiomultiprocess
    return Model(key, key, kind, recipe, needs or (key,), is_peer=True, takes_coroutines=coroutines)


PEERS = (
    _peer("loky", Kind.PROCESS, loky),
    _peer("joblib", Kind.PROCESS, joblib),
    _peer("pebble", Kind.PROCESS, pebble),
    _peer("mpire", Kind.PROCESS, mpire),
    _peer("aiomultiprocess", Kind.PROCESS, aiomultiprocess),
    _peer("trio-parallel", Kind.PROCESS, trio_parallel, "trio", "trio_parallel"),
    _peer("unsync", Kind.THREAD, unsync),
    _peer("pypeln", Kind.PROCESS, pypeln, "pypeln", "pkg_resources"),
    _peer("dask", Kind.PROCESS, dask, "distributed"),
    _peer("ray", Kind.PROCESS, ray),
    Model("joblib-scope", "joblib on unified_exec", Kind.PROCESS, joblib_on_ours, ("joblib",), is_peer=True),
    Model("anyio-hybrid", "anyio, to_process", Kind.HYBRID, anyio_hybrid, ("anyio",), is_peer=True),
)
