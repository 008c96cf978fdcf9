"""A function over many items: the cost per item, how evenly the work is shared, the memory."""

from __future__ import annotations

import multiprocessing
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope
from unified_exec.cli.measuring.clocks import peak_memory

from .. import work
from ..child import run_module
from ..engines.bare import share
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings

ITEMS = 20_000
FEW, MANY = 10_000, 10_000_000
SLOWLY = 1_000
MIB = 1024 * 1024


async def _map(fn: Any, items: Any, warm: Any) -> float:
    async with ProcessPool(WORKERS) as pool, TaskScope(processes=pool) as scope:
        async for _ in scope.map(fn, warm, on="process"):
            pass
        began = perf_counter()
        async for _ in scope.map(fn, items, on="process"):
            pass
        return perf_counter() - began
    raise AssertionError("unreachable")


def _ours(settings: Settings) -> float:
    return on_loop(settings.loop, _map, work.same, range(ITEMS), range(2000)) / ITEMS


def _executor(settings: Settings) -> float:
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("forkserver")) as executor:
        list(executor.map(work.same, range(2000), chunksize=100))
        began = perf_counter()
        for _ in executor.map(work.same, range(ITEMS), chunksize=100):
            pass
        return (perf_counter() - began) / ITEMS


def _pool(settings: Settings) -> float:
    with multiprocessing.get_context("forkserver").Pool(WORKERS) as pool:
        pool.map(work.same, range(2000))
        began = perf_counter()
        for _ in pool.map(work.same, range(ITEMS)):
            pass
        seconds = perf_counter() - began
        pool.close()
        pool.join()
    return seconds / ITEMS


def _mpire(settings: Settings) -> float:
    from mpire.pool import WorkerPool

    with WorkerPool(n_jobs=WORKERS, start_method="forkserver", keep_alive=True) as pool:
        pool.map(work.same, range(2000))
        began = perf_counter()
        for _ in pool.map(work.same, range(ITEMS)):
            pass
        seconds = perf_counter() - began
        pool.stop_and_join()
    return seconds / ITEMS


def uneven_turns() -> list[int]:
    """Return the work of 200 items of 1 to 100 ms, the same in every turn of the run."""
    if not _uneven:
        each_ms = work.turns_for(0.001, tries=20)
        chance = random.Random(4)
        _uneven.extend(round(each_ms * chance.uniform(1, 100)) for _ in range(200))
    return _uneven


_uneven: list[int] = []


def _ours_uneven(settings: Settings) -> float:
    turns = uneven_turns()
    return on_loop(settings.loop, _map, work.count, turns, [turns[0] // 50] * 20)


def _peak(settings: Settings) -> dict[str, float]:
    # In processes of their own: a peak is that of a process's whole life.
    few, many = (
        run_module(__name__, settings.loop, str(items)) for items in (FEW, MANY // 10 if settings.quick else MANY)
    )
    return {"growth": many - few, "10,000 items": few}


async def _slow_then_fast(items: int) -> None:
    def source() -> Iterator[int]:
        yield from range(items)

    taken = 0
    async with ProcessPool(WORKERS) as pool, TaskScope(processes=pool) as scope:
        async for _ in scope.map(work.same, source(), on="process"):
            taken += 1
            if taken <= SLOWLY:
                await anyio.sleep(0.001)
    assert taken == items


ROWS = [
    Row(
        "map-noop",
        f"map of {ITEMS:,} no-op items over two processes, per item",
        "s",
        "Integers sent and returned, warm workers; ours is lazy and ordered.",
        (
            Contender(OURS, _ours, peer=False),
            Contender("ProcessPoolExecutor", _executor),
            Contender("mpire", _mpire, ("mpire",)),
            Contender("multiprocessing.Pool", _pool),
        ),
        (Bar(0.4, "ProcessPoolExecutor"), Bar(0.1, "mpire"), Bar(4.0, "multiprocessing.Pool")),
    ),
    Row(
        "map-uneven",
        "map over 200 CPU items of 1 to 100 ms on two workers, ordered",
        "s",
        "The bare processes read the next item from one pipe as soon as they are free.",
        (
            Contender(OURS, _ours_uneven, peer=False),
            Contender("two bare processes", lambda settings: share(uneven_turns()), peer=False),
        ),
        (Bar(0.92, "two bare processes", at_least=True),),
        rounds_most=5,
    ),
    Row(
        "map-memory",
        f"peak memory of map: {MANY:,} items against {FEW:,}",
        "bytes",
        f"Peak resident set of a process of its own; the first {SLOWLY:,} results are taken slowly, the rest at full "
        "speed.",
        (Contender(OURS, _peak, peer=False),),
        (Bar(10 * MIB, figure=f"{OURS}: growth"),),
        rounds_most=1,
    ),
]

if __name__ == "__main__":
    on_loop(sys.argv[1], _slow_then_fast, int(sys.argv[2]))
    print(peak_memory())
