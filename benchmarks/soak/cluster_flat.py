"""Many short tasks on a Dask cluster: memory and descriptors of all its processes and of the program stay flat.

Tasks are spawned in batches, with some large arguments, failures, cancellations and maps among them. After each batch
memory and descriptors of every process are noted. The last quarter must not have more than the second one.
"""

from __future__ import annotations

import gc
import statistics
from collections import defaultdict
from typing import Any

import anyio
import psutil

from tests.cluster.processes import DaskCluster
from unified_exec import Collect, TaskScope
from unified_exec.cluster import DaskPool

from . import cluster_jobs as jobs

BATCHES = 40
GROWTH = 1.05
"""How many times the memory of the second quarter the last one may have."""
SLACK = 4 << 20
"""Bytes that a process may grow in any case: its allocator takes memory in steps."""
MORE_DESCRIPTORS = 4
LARGE = 1 << 20
Figures = dict[tuple[str, int], list[tuple[int, int]]]


def run(tasks: int) -> tuple[str, list[str]]:
    """Run so many tasks; returns a summary, and what has grown."""
    with DaskCluster(2) as cluster:
        cluster.wait_until_up()
        figures = anyio.run(_run, cluster, tasks)
    return verdict(figures)


async def _run(cluster: DaskCluster, tasks: int) -> Figures:
    figures: Figures = defaultdict(list)
    each = max(1, tasks // BATCHES)
    async with DaskPool(cluster.address, idle_timeout=None) as pool:
        for number in range(BATCHES):
            await _batch(pool, each)
            gc.collect()
            note(figures, cluster)
            print(f"{(number + 1) * each:>9,} tasks  {_line(figures)}", flush=True)
    return figures


async def _batch(pool: DaskPool, n: int) -> None:
    async with TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        handles = [untyped.spawn(abs, -number, on=pool) for number in range(n)]
        failing = untyped.spawn(divmod, 1, 0, on=pool)
        large = untyped.spawn(jobs.size_of, bytearray(LARGE), on=pool)
        cancelled = [untyped.spawn(jobs.square, number, on=pool) for number in range(5)]
        for handle in cancelled:
            handle.cancel()
        mapped = [square async for square in untyped.map(abs, range(100), on=pool)]
    assert [handle.result() for handle in handles] == list(range(n))
    assert type(failing.exception()) is ZeroDivisionError
    assert large.result() == LARGE
    assert mapped == list(range(100))


def note(figures: Figures, cluster: DaskCluster) -> None:
    """Note memory and descriptors of each process that is there."""
    this = psutil.Process()
    nodes = [child for pid in cluster.workers for child in psutil.Process(pid).children(recursive=True)]
    named = [("program", this), ("scheduler", psutil.Process(cluster.scheduler))]
    named += [("nanny", psutil.Process(pid)) for pid in cluster.workers] + [("node", child) for child in nodes]
    for name, process in named:
        try:
            memory = process.memory_info()
            figures[name, process.pid].append((memory.rss - memory.shared, process.num_fds()))
        except psutil.NoSuchProcess:
            pass


def _line(figures: Figures) -> str:
    latest: dict[str, int] = defaultdict(int)
    for (name, _), samples in figures.items():
        latest[name] += samples[-1][0]
    return ", ".join(f"{name} {size >> 20} MiB" for name, size in latest.items())


def verdict(figures: Figures) -> tuple[str, list[str]]:
    """Compare the last quarter of each process with its second one."""
    lines, faults = [], []
    for (name, pid), samples in sorted(figures.items()):
        n = len(samples) // 4
        if not n:
            continue  # it was there for too short a time
        second, last = samples[n : 2 * n], samples[-n:]
        before, after = (statistics.median([memory for memory, _ in part]) for part in (second, last))
        opened, more = (max(descriptors for _, descriptors in part) for part in (second, last))
        line = f"{name} {pid}: {before / 2**20:.1f} MiB, later {after / 2**20:.1f}; {opened} descriptors, later {more}"
        lines.append(line)
        if after > max(before * GROWTH, before + SLACK):
            faults.append(f"memory has grown: {line}")
        if more > opened + MORE_DESCRIPTORS:
            faults.append(f"descriptors are left: {line}")
    return "\n".join(lines), faults
