"""A function over many items: what each item costs, how evenly the work is shared, what it weighs."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope

from .. import work
from ..engines.bare_sharing import share
from ..engines.base import WORKERS, on_loop
from ..model import OURS, Bar, Contender, Row, Settings

ITEMS = 20_000
FEW, MANY = 10_000, 10_000_000
SLOWLY = 1_000
MIB = 1024 * 1024
_ROOT = str(Path(__file__).parents[2])


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
    """The work of 200 items of 1 to 100 ms, the same in each turn of the run."""
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
    few, many = (_peak_of(settings.loop, items) for items in (FEW, MANY if not settings.quick else MANY // 10))
    return {"growth": many - few, "10,000 items": few}


def _peak_of(loop: str, items: int) -> float:
    # In a process of its own: a peak is one of a whole life.
    command = [sys.executable, "-m", __name__, loop, str(items)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, os.environ.get("PYTHONPATH", "")])}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


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
        "Integers there and back, warm workers; ours is lazy and ordered, the others as named.",
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
        "The bare processes take the next item out of one pipe as soon as they are free.",
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
        f"Largest resident set of a process of its own; the first {SLOWLY:,} results are taken slowly, the rest at "
        "full speed.",
        (Contender(OURS, _peak, peer=False),),
        (Bar(10 * MIB, figure=f"{OURS}: growth"),),
        rounds_most=1,
        in_turn=False,
    ),
]

if __name__ == "__main__":
    on_loop(sys.argv[1], _slow_then_fast, int(sys.argv[2]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
