"""Several event loops, each in a thread, that share one pool of processes."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any

from unified_exec import ProcessPool, TaskScope

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Measure, Row, Settings

LOOPS = 4
TASKS = 4_000
TURNS = 1_000
"""Of `work.count`, on the loop: some 30 µs."""


def _together(loops: int, call: Any) -> Measure:
    def measure(settings: Settings) -> float:
        """Return the seconds for the same work, shared out among the loops."""
        ready = threading.Barrier(loops + 1)

        async def one(number: int) -> None:
            await call(pool, WORKERS * 10)
            ready.wait()
            await call(pool, number)

        with ProcessPool(WORKERS) as pool:
            number = settings.calls(TASKS) // loops
            threads = [threading.Thread(target=on_loop, args=(settings.loop, one, number)) for _ in range(loops)]
            for thread in threads:
                thread.start()
            ready.wait()
            began = perf_counter()
            for thread in threads:
                thread.join()
            return perf_counter() - began

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


def _row(name: str, title: str, call: Any) -> Row:
    one = f"{OURS}, one loop"
    return Row(
        f"shards-{name}",
        f"{title}: {LOOPS} loops in threads that share a pool, against one loop",
        "s",
        f"{TASKS:,} in all, two workers. With a GIL the loops take turns; the bar is for builds without one.",
        (Contender(OURS, _together(LOOPS, call)), Contender(one, _together(1, call), peer=False)),
        (Bar(1.8, one, at_least=True),),
        rounds_most=5,
    )


ROWS = [
    _row("noops", "no-op process tasks", _noops),
    _row("requests", "requests that compute on the loop and in a process", _requests),
]
