"""Several event loops, each in a thread: they share one pool of processes, or need none."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel

from unified_exec import ProcessPool, TaskScope

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Measure, Row, Settings

LOOPS = 4
ONE_LOOP = f"{OURS}, one loop"
TASKS = 4_000
TURNS = 1_000
"""Of `work.count`, on the loop: some 30 µs."""


def _together(loops: int, call: Any) -> Measure:
    def measure(settings: Settings) -> float:
        """Return the seconds for the same work, shared out among the loops."""
        began: list[float] = []
        ready = threading.Barrier(loops, action=lambda: began.append(perf_counter()))

        async def one(number: int) -> None:
            await call(pool, WORKERS * 10)
            ready.wait()
            await call(pool, number)

        with ProcessPool(WORKERS) as pool:
            number = settings.calls(TASKS) // loops
            threads = [threading.Thread(target=on_loop, args=(settings.loop, one, number)) for _ in range(loops)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return perf_counter() - began[0]

    return measure


async def _noops(pool: ProcessPool, number: int) -> None:
    async with TaskScope() as scope:
        for _ in range(number):
            scope.spawn(work.nothing, on=pool)


async def _requests(pool: ProcessPool, number: int) -> None:
    """As many requests as tasks: each has the loop compute a little, then a process."""

    async def request() -> None:
        work.count(TURNS)
        await scope.spawn(work.nothing, on=pool)
        work.count(TURNS)

    async with TaskScope() as scope:
        for _ in range(number):
            scope.spawn(request)


async def _coroutines(pool: object, number: int) -> None:
    """Requests that the loop alone computes, each spawned in the scope."""
    async with TaskScope() as scope:
        for _ in range(number):
            scope.spawn(_compute)


async def _in_group(pool: object, number: int) -> None:
    """The same without this package."""
    async with anyio.create_task_group() as group:
        for _ in range(number):
            group.start_soon(_compute)


async def _compute() -> None:
    work.count(TURNS)
    await anyio.lowlevel.checkpoint()
    work.count(TURNS)


def _row(name: str, title: str, call: Any) -> Row:
    return Row(
        f"shards-{name}",
        f"{title}: {LOOPS} loops in threads that share a pool, against one loop",
        "s",
        f"{TASKS:,} in all, two workers. With a GIL the loops take turns; the bar is for builds without one.",
        (Contender(OURS, _together(LOOPS, call)), Contender(ONE_LOOP, _together(1, call), peer=False)),
        (Bar(1.8, ONE_LOOP, at_least=True),),
        rounds_most=5,
    )


ROWS = [
    _row("noops", "no-op process tasks", _noops),
    _row("requests", "requests that compute on the loop and in a process", _requests),
    Row(
        "shards-coroutines",
        "requests that compute on the loop alone: 2 loops in threads, against one loop",
        "s",
        f"{TASKS:,} in all. A bare task group shows what two loops can gain on this Python and machine now.",
        (
            Contender(OURS, _together(2, _coroutines)),
            Contender(ONE_LOOP, _together(1, _coroutines), peer=False),
            Contender("anyio", _together(2, _in_group)),
            Contender("anyio, one loop", _together(1, _in_group), peer=False),
        ),
        (Bar(1.8, ONE_LOOP, at_least=True), Bar(1.8, "anyio, one loop", "anyio", at_least=True)),
    ),
]
