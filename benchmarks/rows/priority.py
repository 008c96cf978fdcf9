"""A short task of somebody who waits for it, next to a flood of long ones."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from time import perf_counter

import anyio

from unified_exec import ProcessPool, TaskScope

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Measure, Row

FLOOD = 1_000
LONG = 0.02
SHORT = 0.001
EACH = 0.02
"""Seconds between two short tasks."""
SINGLES = 150
EXECUTOR = "ProcessPoolExecutor"
TWO_POOLS = "two ProcessPoolExecutors, one worker each"


async def _latencies(short: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """Return the sorted seconds of `count` short tasks, begun one after another without waiting for the last."""
    taken: list[float] = []

    async def one() -> None:
        began = perf_counter()
        await short()
        taken.append(perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
            await anyio.sleep(EACH)
    return sorted(taken)


def _figures(taken: list[float], done: int, seconds: float) -> dict[str, float]:
    return {
        "p99 of the short task": taken[int(len(taken) * 0.99)],
        "median of the short task": taken[len(taken) // 2],
        "long tasks, share of the ideal": done * LONG / (WORKERS * seconds),
    }


def _scopes(priority: int) -> Measure:
    async def run(count: int, flood: int) -> dict[str, float]:
        async with ProcessPool(WORKERS) as pool, TaskScope(priority=priority) as urgent:
            for handle in [urgent.spawn(work.pause, LONG, on=pool) for _ in range(4 * WORKERS)]:
                await handle
            async with TaskScope() as crowd:
                handles = [crowd.spawn(work.pause, LONG, on=pool) for _ in range(flood)]
                began = perf_counter()
                taken = await _latencies(lambda: urgent.spawn(work.pause, SHORT, on=pool), count)
                figures = _figures(taken, sum(handle.done() for handle in handles), perf_counter() - began)
                crowd.cancel()
            return figures

    return lambda settings: on_loop(settings.loop, run, settings.calls(SINGLES, 60), settings.calls(FLOOD, 400))


def _executors(apart: bool) -> Measure:
    async def run(count: int, flood: int) -> dict[str, float]:
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("forkserver")
        workers = 1 if apart else WORKERS
        with ProcessPoolExecutor(workers, context) as crowd, ProcessPoolExecutor(1, context) as single:
            urgent = single if apart else crowd
            for executor in {crowd, urgent}:
                for future in [executor.submit(work.pause, LONG) for _ in range(4 * WORKERS)]:
                    await asyncio.wrap_future(future)
            futures = [crowd.submit(work.pause, LONG) for _ in range(flood)]
            began = perf_counter()
            taken = await _latencies(lambda: loop.run_in_executor(urgent, work.pause, SHORT), count)
            figures = _figures(taken, sum(future.done() for future in futures), perf_counter() - began)
            with suppress(Exception):
                crowd.shutdown(wait=False, cancel_futures=True)
        return figures

    return lambda settings: asyncio.run(run(settings.calls(SINGLES, 60), settings.calls(FLOOD, 400)))


_P99 = "p99 of the short task"
_USED = "long tasks, share of the ideal"
_UNRANKED = f"{OURS}, no priority"

ROWS = [
    Row(
        "priority",
        f"a short task (1 ms) next to a flood of {FLOOD:,} long ones (20 ms), two workers",
        "s",
        f"{SINGLES} short tasks, one each 20 ms; all sleep. Of the long ones it is told how much of two workers they "
        "used. One ProcessPoolExecutor lets the short task wait for all that were submitted before.",
        (
            Contender(OURS, _scopes(1)),
            Contender(_UNRANKED, _scopes(0), peer=False),
            Contender(EXECUTOR, _executors(apart=False), loops=("asyncio",)),
            Contender(TWO_POOLS, _executors(apart=True), loops=("asyncio",)),
        ),
        (
            Bar(LONG + 5 * SHORT, figure=f"{OURS}: {_P99}"),
            Bar(0.1, f"{EXECUTOR}: {_P99}", f"{OURS}: {_P99}"),
            Bar(1.5, f"{OURS}: {_USED}", f"{TWO_POOLS}: {_USED}", at_least=True),
        ),
        units={f"{name}: {_USED}": "" for name in (OURS, _UNRANKED, EXECUTOR, TWO_POOLS)},
        rounds_most=3,
    )
]
