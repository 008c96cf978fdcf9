"""Cancelling a running Python loop, and the cost of the next call."""

from __future__ import annotations

import random
import statistics
from time import perf_counter

import anyio

from unified_exec import InterpreterPool, ProcessPool, TaskScope, TaskState

from .. import work
from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Measure, Row, Settings

MILLISECOND = 0.001


def cancelling(pool_type: type[ProcessPool | InterpreterPool]) -> Measure:
    """Return what cancels a busy loop in a worker of such a pool, again and again."""
    return lambda settings: on_loop(settings.loop, _serve, settings.calls(200, 60), pool_type)


async def _serve(times: int, pool_type: type[ProcessPool | InterpreterPool]) -> dict[str, float]:
    cancels: list[float] = []
    nexts: list[float] = []
    ordinary: list[float] = []
    kept = 0
    async with pool_type(1) as pool, TaskScope() as scope:
        for _ in range(20):
            await scope.spawn(work.nothing, on=pool)
        for _ in range(times):
            running = scope.spawn(work.forever, on=pool)
            while running.state is not TaskState.RUNNING:  # noqa: ASYNC110 - its start cannot be awaited
                await anyio.sleep(MILLISECOND / 2)
            await anyio.sleep(random.uniform(0, 2) * MILLISECOND)
            began = perf_counter()
            running.cancel()
            await running.wait()
            stopped = perf_counter()
            after = scope.spawn(work.nothing, on=pool)
            await after
            called = perf_counter()
            await scope.spawn(work.nothing, on=pool)
            ordinary.append(perf_counter() - called)
            cancels.append(stopped - began)
            nexts.append(called - stopped)
            kept += after.worker == running.worker
    percentiles = statistics.quantiles(cancels, n=100, method="inclusive")
    return {
        "p50": percentiles[49],
        "p99": percentiles[98],
        "worker kept": kept / times,
        "next call": statistics.median(nexts),
        "ordinary call": statistics.median(ordinary),
    }


def _anyio(settings: Settings) -> dict[str, float]:
    """It kills its worker: what counts is the time until the next call has returned."""
    return on_loop(settings.loop, _serve_anyio, settings.calls(10, 3))


async def _serve_anyio(times: int) -> dict[str, float]:
    from anyio.to_process import run_sync

    cancels: list[float] = []
    nexts: list[float] = []
    limiter = anyio.CapacityLimiter(1)
    await run_sync(work.nothing, limiter=limiter)
    for _ in range(times):
        async with anyio.create_task_group() as group:
            running = group.create_task(run_sync(work.forever, cancellable=True, limiter=limiter))
            await anyio.sleep(0.02)
            began = perf_counter()
            running.cancel()
            await running.wait()
            stopped = perf_counter()
        await run_sync(work.nothing, limiter=limiter)
        nexts.append(perf_counter() - stopped)
        cancels.append(stopped - began)
    return {"p50": statistics.median(cancels), "next call": statistics.median(nexts)}


ROWS = [
    Row(
        "cancel",
        "cancel a running pure-Python loop until the handle is done",
        "s",
        "`while True: turns += 1` in a process, cancelled at a random moment, 200 times a round, followed each time "
        "by two ordinary calls. anyio kills its worker.",
        (Contender(OURS, cancelling(ProcessPool)), Contender("anyio.to_process", _anyio)),
        (
            Bar(0.001, figure=f"{OURS}: p50"),
            Bar(0.020, figure=f"{OURS}: p99"),
            Bar(1.0, figure=f"{OURS}: worker kept", at_least=True),
            Bar(2.0, f"{OURS}: ordinary call", f"{OURS}: next call"),
        ),
        units={f"{OURS}: worker kept": ""},
    )
]
