"""The same calls on a Dask cluster of two nodes with one thread each, by `DaskPool` and by plain `Client.submit`; and
on Ray with two CPUs, by `RayPool` and by plain Ray."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope, TaskState

from .. import ray_cluster, work
from ..dask_cluster import scheduler_address
from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Row, Settings

DASK = "dask"
LOCAL = "ProcessPool"
RAY = "ray"
NEEDS = ("distributed",)
Work = Callable[[TaskScope, Any, int], Awaitable[None]]


async def _timed(pool: Any, work_of: Work, n: int) -> float:
    async with pool, TaskScope(processes=pool) as scope:
        for _ in range(2):  # every node has a worker that knows the function
            await scope.gather(*[scope.spawn(work.pause, 0.05, on="process") for _ in range(4)])
            await scope.gather(*[scope.spawn(work.nothing, on="process") for _ in range(20)])
        began = perf_counter()
        await work_of(scope, pool, n)
        return (perf_counter() - began) / n


def _dask_pool() -> Any:
    from unified_exec.cluster import DaskPool

    return DaskPool(scheduler_address())


def _ray_pool() -> Any:
    from unified_exec.cluster import RayPool

    ray_cluster.start()
    return RayPool()


def _ours(work_of: Work, n: int, pool: Callable[[], Any] = _dask_pool) -> Callable[[Settings], float]:
    return lambda settings: on_loop(settings.loop, _timed, pool(), work_of, settings.calls(n))


def _local(work_of: Work, n: int) -> Callable[[Settings], float]:
    return lambda settings: on_loop(settings.loop, _timed, ProcessPool(2), work_of, settings.calls(n))


def _dask(work_of: Callable[[Any, int], None], n: int) -> Callable[[Settings], float]:
    def measure(settings: Settings) -> float:
        from distributed import Client

        with Client(scheduler_address(), set_as_default=False) as client:
            client.gather([client.submit(work.nothing, pure=False) for _ in range(20)])
            began = perf_counter()
            work_of(client, settings.calls(n))
            return (perf_counter() - began) / settings.calls(n)

    return measure


async def _one_by_one(scope: TaskScope, pool: Any, n: int) -> None:
    for _ in range(n):
        await scope.spawn(work.nothing, on="process")


def _dask_one_by_one(client: Any, n: int) -> None:
    for _ in range(n):
        client.submit(work.nothing, pure=False).result()


async def _at_once(scope: TaskScope, pool: Any, n: int) -> None:
    await scope.gather(*[scope.spawn(work.nothing, on="process") for _ in range(n)])


def _dask_at_once(client: Any, n: int) -> None:
    client.gather([client.submit(work.nothing, pure=False) for _ in range(n)])


async def _map(scope: TaskScope, pool: Any, n: int) -> None:
    async for _ in scope.map(work.same, range(n), on=pool):
        pass


def _dask_map(client: Any, n: int) -> None:
    client.gather(client.map(work.same, range(n), pure=False))


async def _array(scope: TaskScope, pool: Any, n: int) -> None:
    import numpy

    for _ in range(n):
        await scope.spawn(work.same, numpy.ones(64 << 17), on="process")


def _dask_array(client: Any, n: int) -> None:
    import numpy

    for _ in range(n):
        client.submit(work.same, numpy.ones(64 << 17), pure=False).result()


def _cancel(pool: Callable[[], Any] = _dask_pool) -> Callable[[Settings], dict[str, float]]:
    return lambda settings: on_loop(settings.loop, _cancel_many, pool(), settings.calls(100, 20))


async def _cancel_many(pool: Any, times: int) -> dict[str, float]:
    took: list[float] = []
    async with pool, TaskScope(processes=pool) as scope:
        for _ in range(times):
            running = scope.spawn(work.forever, on="process")
            while running.state is not TaskState.RUNNING:  # noqa: ASYNC110 - its start cannot be awaited
                await anyio.sleep(0.001)
            began = perf_counter()
            running.cancel()
            await running.wait()
            took.append(perf_counter() - began)
    percentiles = statistics.quantiles(took, n=100, method="inclusive")
    return {"p50": percentiles[49], "p99": percentiles[98]}


async def _short(scope: TaskScope, pool: Any, n: int) -> None:
    await scope.gather(*[scope.spawn(work.busy, 0.001, on="process") for _ in range(n)])


async def _short_map(scope: TaskScope, pool: Any, n: int) -> None:
    async for _ in scope.map(work.busy, [0.001] * n, on=pool):
        pass


def _ray_one_by_one(call: Any, n: int) -> None:
    import ray

    for _ in range(n):
        ray.get(call.remote())


def _ray_at_once(call: Any, n: int) -> None:
    import ray

    ray.get([call.remote() for _ in range(n)])


def _ray(work_of: Callable[[Any, int], None], n: int) -> Callable[[Settings], float]:
    def measure(settings: Settings) -> float:
        import ray

        ray_cluster.start()
        call = ray.remote(work.nothing)
        ray.get([call.remote() for _ in range(20)])
        began = perf_counter()
        work_of(call, settings.calls(n))
        return (perf_counter() - began) / settings.calls(n)

    return measure


def _short_row(name: str, title: str, work_of: Work, limit: float) -> Row:
    return Row(
        name,
        title,
        "s",
        "time for each, on two nodes of this machine and on a local pool of two",
        (Contender(OURS, _ours(work_of, 5000), NEEDS), Contender(LOCAL, _local(work_of, 5000), peer=False)),
        (Bar(limit, LOCAL),),
        rounds_most=5,
    )


def _ray_row(name: str, title: str, ours: Work, theirs: Callable[[Any, int], None], n: int, limit: float) -> Row:
    contenders = (Contender(OURS, _ours(ours, n, _ray_pool), (RAY,)), Contender(RAY, _ray(theirs, n), (RAY,)))
    about = "time for each call; the pool is opened, and Ray started, before"
    return Row(name, title, "s", about, contenders, (Bar(limit, RAY),), rounds_most=5)


def _row(name: str, title: str, ours: Work, theirs: Callable[[Any, int], None], n: int, limit: float) -> Row:
    return Row(
        name,
        title,
        "s",
        "time for each call; the pool and the client are opened before",
        (
            Contender(OURS, _ours(ours, n), NEEDS),
            Contender(DASK, _dask(theirs, n), NEEDS),
            Contender(LOCAL, _local(ours, n), peer=False),
        ),
        (Bar(limit, DASK),),
        rounds_most=5,
    )


ROWS = [
    _row("cluster-one", "One call after another on a cluster", _one_by_one, _dask_one_by_one, 200, 0.15),
    _row("cluster-burst", "2,000 calls at once on a cluster", _at_once, _dask_at_once, 2000, 0.04),
    _row("cluster-map", "A map of 20,000 items on a cluster", _map, _dask_map, 20000, 0.01),
    _row("cluster-array", "64 MiB to a node of a cluster and back", _array, _dask_array, 3, 1.0),
    Row(
        "cluster-cancel",
        "Cancel a running Python loop on a cluster",
        "s",
        "from `cancel` until the task has ended; Dask cannot",
        (Contender(OURS, _cancel(), NEEDS),),
        (Bar(0.006, figure=f"{OURS}: p50"), Bar(0.02, figure=f"{OURS}: p99")),
        rounds_most=3,
    ),
    _short_row("cluster-short", "5,000 tasks of 1 ms on a cluster", _short, 1.25),
    _short_row("cluster-short-map", "A map of 5,000 items of 1 ms on a cluster", _short_map, 1.15),
    _ray_row("ray-one", "One call after another on Ray", _one_by_one, _ray_one_by_one, 200, 1.4),
    _ray_row("ray-burst", "2,000 calls at once on Ray", _at_once, _ray_at_once, 2000, 0.2),
    Row(
        "ray-cancel",
        "Cancel a running Python loop on Ray",
        "s",
        "from `cancel` until the task has ended; plain Ray kills the worker",
        (Contender(OURS, _cancel(_ray_pool), (RAY,)),),
        (Bar(0.015, figure=f"{OURS}: p50"),),
        rounds_most=3,
    ),
]
