"""An actor in a process of its own: its calls, and what the caller is told when the process ends under a call."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from unified_exec import Collect, TaskScope, WorkerCrashed

from .. import ray_cluster, work
from ..dask_cluster import scheduler_address
from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Row, Settings

DASK = "dask"
RAY = "ray"
WARM = 20
CRASHES = 3


async def _calls(n: int) -> float:
    async with TaskScope() as scope:
        actor = scope.actor(work.Counter, on="process")
        for _ in range(WARM):
            await actor.call(work.Counter.add)
        began = perf_counter()
        for _ in range(n):
            await actor.call(work.Counter.add)
        return (perf_counter() - began) / n


async def _crashes() -> float:
    took = []
    async with TaskScope(policy=Collect()) as scope:
        for _ in range(CRASHES):
            actor = scope.actor(work.Counter, on="process")
            await actor.call(work.Counter.add)
            began = perf_counter()
            try:
                await actor.call(work.Counter.crash)
            except WorkerCrashed:
                took.append(perf_counter() - began)
    return statistics.median(took)


@contextmanager
def _dask_actor() -> Iterator[Any]:
    from distributed import Client

    with Client(scheduler_address(), set_as_default=False) as client, client.as_current():
        client.wait_for_workers(2, timeout=60)  # the nanny starts another worker after a crash
        yield client.submit(work.Counter, actor=True, pure=False).result()


@contextmanager
def _ray_actor() -> Iterator[Any]:
    import ray

    ray_cluster.start()
    yield ray.remote(work.Counter).remote()


def _dask_call(method: Any) -> None:
    method().result()


def _ray_call(method: Any) -> None:
    import ray

    ray.get(method.remote())


def _their_calls(actor_of: Any, call: Callable[[Any], None]) -> Callable[[Settings], float]:
    def measure(settings: Settings) -> float:
        with actor_of() as actor:
            for _ in range(WARM):
                call(actor.add)
            n = settings.calls(500)
            began = perf_counter()
            for _ in range(n):
                call(actor.add)
            return (perf_counter() - began) / n

    return measure


def _their_crashes(actor_of: Any, call: Callable[[Any], None]) -> Callable[[Settings], float]:
    def measure(_: Settings) -> float:
        took = []
        for _ in range(CRASHES):
            with actor_of() as actor:
                call(actor.add)
                began = perf_counter()
                try:
                    call(actor.crash)
                except Exception:
                    took.append(perf_counter() - began)
        return statistics.median(took)

    return measure


ROWS = [
    Row(
        "actor-call",
        "One call of an actor after another",
        "s",
        "time for each call; the actor is there before. Dask's and Ray's go through their clusters of this machine",
        (
            Contender(OURS, lambda settings: on_loop(settings.loop, _calls, settings.calls(500))),
            Contender(DASK, _their_calls(_dask_actor, _dask_call), ("distributed",)),
            Contender(RAY, _their_calls(_ray_actor, _ray_call), ("ray",)),
        ),
        (Bar(1.0, DASK), Bar(1.0, RAY)),
        rounds_most=5,
    ),
    Row(
        "actor-crash",
        "The process of an actor ends under a call",
        "s",
        "from the call until its error is there: the median of three actors",
        (
            Contender(OURS, lambda settings: on_loop(settings.loop, _crashes)),
            Contender(DASK, _their_crashes(_dask_actor, _dask_call), ("distributed",)),
            Contender(RAY, _their_crashes(_ray_actor, _ray_call), ("ray",)),
        ),
        (Bar(1.0, DASK), Bar(1.0, RAY)),
        rounds_most=3,
    ),
]
