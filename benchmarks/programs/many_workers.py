"""Many workers of one kind: what it costs to start, use and end them. Prints the figures as JSON.

``python many_workers.py KIND WORKERS TASKS``; KIND is ours, forkserver, spawn or pool. Some of those import this
file in each worker: at its top it imports little.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from many_tasks import pause

Run = Callable[[list[float]], list[int]]
"""Has a worker sleep for each of the seconds; returns the workers' process ids."""


@contextmanager
def ours(workers: int) -> Iterator[Run]:
    import asyncio

    from unified_exec import ProcessPool, TaskScope

    async def run(seconds: list[float]) -> list[int]:
        async with TaskScope() as scope:
            handles = [scope.spawn(pause, each, on=pool) for each in seconds]
        return [handle.result() for handle in handles]

    with asyncio.Runner() as runner, ProcessPool(workers) as pool:
        yield lambda seconds: runner.run(run(seconds))


@contextmanager
def executor(workers: int, method: str) -> Iterator[Run]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method)) as pool:

        def run(seconds: list[float]) -> list[int]:
            futures = [pool.submit(pause, each) for each in seconds]
            return [future.result() for future in futures]

        yield run


@contextmanager
def multiprocessing_pool(workers: int) -> Iterator[Run]:
    import multiprocessing

    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        yield lambda seconds: [result.get() for result in [pool.apply_async(pause, (each,)) for each in seconds]]
        pool.close()
        pool.join()


def measure(kind: str, workers: int, tasks: int) -> dict[str, float]:
    from unified_exec.cli.measuring.clocks import Stopwatch, private_bytes

    watch = Stopwatch()
    watch.start()
    opened = (
        ours(workers)
        if kind == "ours"
        else multiprocessing_pool(workers)
        if kind == "pool"
        else executor(workers, kind)
    )
    found: dict[str, float] = {}
    hold = workers * 0.1 + 0.5
    with opened as run:
        # Long enough that each worker gets one of them, even if they start one after another.
        started = set(run([hold] * workers))
        wall, cpu = watch.stop()
        while len(started) < workers:  # a ProcessPoolExecutor starts none while one is idle
            more = set(run([0.5] * workers)) - started
            if not more:
                break
            started |= more
        found["workers"] = len(started)
        found["start, CPU of each worker"] = cpu / len(started)
        found["start"] = wall - hold
        found["worker's memory"] = sum(map(private_bytes, started)) / len(started)
        found["descriptors of each worker"] = len(os.listdir("/proc/self/fd")) / len(started)
        numbers = random.Random(7)
        lengths = [numbers.uniform(0.001, 0.05) for _ in range(tasks)]
        run(lengths[:workers])
        own = time.process_time()
        watch.start()
        ended = run(lengths)
        wall, cpu = watch.stop()
        found["parent's CPU of each task"] = (time.process_time() - own) / tasks
        found["CPU of each task"] = cpu / tasks
        found["time to the ideal"] = wall / (sum(lengths) / len(started))
        shares = dict.fromkeys(started, 0.0)
        for pid, length in zip(ended, lengths, strict=True):
            shares[pid] = shares.get(pid, 0.0) + length
        found["least busy worker's share"] = min(shares.values()) / (sum(lengths) / len(shares))
        watch.start()
    wall, cpu = watch.stop()
    found["end"] = wall
    return found


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
