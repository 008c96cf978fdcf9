"""Two scopes on one pool: how the long queue of one affects a single task of the other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from statistics import median
from time import perf_counter
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope, ThreadPool

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings

QUEUED = 100_000
SINGLES = 15
LENGTH = 0.001
FEW = 5.0
"""Limit for a single task, in durations of such a task: its own, those already in its worker, and the transfer."""


def _measured(settings: Settings, make_pool: Any) -> dict[str, float]:
    return on_loop(settings.loop, _among_many, make_pool, settings.calls(QUEUED))


async def _among_many(make_pool: Any, queued: int) -> dict[str, float]:
    turns = work.turns_for(LENGTH, tries=20)
    taken: list[float] = []
    async with make_pool(WORKERS) as pool, TaskScope() as single:
        for _ in range(50):
            await single.spawn(work.count, turns, on=pool)
        began = perf_counter()
        for _ in range(50):
            await single.spawn(work.count, turns, on=pool)
        alone = (perf_counter() - began) / 50
        async with TaskScope() as crowd:
            many = [crowd.spawn(work.count, turns, on=pool) for _ in range(queued)]
            await many[10 * WORKERS]  # by now the queue moves, and the estimate of the tasks' duration is stable
            for _ in range(SINGLES):
                began = perf_counter()
                await single.spawn(work.count, turns, on=pool)
                taken.append(perf_counter() - began)
                await anyio.sleep(0.02)
            assert not many[-1].done()
            crowd.cancel()
    return {"": median(taken) / alone, "longest": max(taken) / alone}


def _apart(settings: Settings, make_executor: Any) -> dict[str, float]:
    return asyncio.run(_with_a_worker_of_its_own(make_executor, settings.calls(QUEUED)))


async def _with_a_worker_of_its_own(make_executor: Any, queued: int) -> dict[str, float]:
    turns, loop = work.turns_for(LENGTH, tries=20), asyncio.get_running_loop()
    taken: list[float] = []
    with make_executor(WORKERS) as crowd, make_executor(1) as single:
        for _ in range(50):
            await loop.run_in_executor(single, work.count, turns)
        began = perf_counter()
        for _ in range(50):
            await loop.run_in_executor(single, work.count, turns)
        alone = (perf_counter() - began) / 50
        many = [crowd.submit(work.count, turns) for _ in range(queued)]
        await asyncio.wrap_future(many[10 * WORKERS])
        for _ in range(SINGLES):
            began = perf_counter()
            await loop.run_in_executor(single, work.count, turns)
            taken.append(perf_counter() - began)
            await asyncio.sleep(0.02)
        assert not many[-1].done()
        crowd.shutdown(wait=False, cancel_futures=True)
    return {"": median(taken) / alone, "longest": max(taken) / alone}


def _row(kind: str, workers: str, make_pool: Any, make_executor: Any, about: str, bar: float) -> Row:
    return Row(
        f"fairness-{kind}",
        f"a single task next to {QUEUED:,} queued ones of another scope, {workers}",
        "",
        f"Relative to such a task on an idle pool: median and longest of {SINGLES}. Each works for 1 ms. {about} "
        "The standard library has no fair queue: its single task has an executor and a worker of its own.",
        (
            Contender(OURS, lambda settings: _measured(settings, make_pool)),
            Contender(
                "run_in_executor, worker apart", lambda settings: _apart(settings, make_executor), loops=("asyncio",)
            ),
        ),
        (Bar(bar, figure=OURS),),
        rounds_most=3,
    )


ROWS = [
    _row("process", "processes", ProcessPool, ProcessPoolExecutor, "Two workers.", FEW),
    _row(
        "thread",
        "threads",
        ThreadPool,
        ThreadPoolExecutor,
        "Two threads, which take turns under the GIL at the work itself.",
        2 * FEW,
    ),
]
