"""64 MiB to a node of a cluster and back, in turn: `DaskPool`, plain `Client.submit`, and `scatter` and `gather` with
``direct=True``. For each it prints the median time, CPU time and peak memory of all processes.

``python -m benchmarks.cluster_arrays ROUNDS`` measures on this machine as it is. With a rate, as in ``15 1gbit``, all
connections share one of that rate (``tbf``) in a network of their own, which needs root.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import psutil

from unified_exec import TaskScope

from . import work
from .dask_cluster import scheduler_address

SIZE = 64 << 20
OURS = "DaskPool"
CLEAR_PEAK = "5"


class Sample(NamedTuple):
    """What one call has cost, in seconds and bytes."""

    wall: float
    cpu: float
    peak: float


def _processes() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def _figure(process: psutil.Process, read: Callable[[psutil.Process], float]) -> float:
    try:
        return read(process)
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return 0.0


def _cpu_of(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _memory_of(process: psutil.Process) -> float:
    with open(f"/proc/{process.pid}/clear_refs", "w") as file:
        file.write(CLEAR_PEAK)
    return float(process.memory_info().rss)


def _peak_of(process: psutil.Process) -> float:
    with open(f"/proc/{process.pid}/status") as status:
        return next(float(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


async def _sample(call: Callable[[], Awaitable[Any]]) -> Sample:
    processes = _processes()
    memory = [_figure(process, _memory_of) for process in processes]
    cpu = [_figure(process, _cpu_of) for process in processes]
    began = time.perf_counter()
    result = await call()
    wall = time.perf_counter() - began
    assert result.nbytes == SIZE
    cpu = [max(0.0, _figure(process, _cpu_of) - before) for process, before in zip(processes, cpu, strict=True)]
    peaks = [max(0.0, _figure(process, _peak_of) - rss) for process, rss in zip(processes, memory, strict=True)]
    return Sample(wall, sum(cpu), sum(peaks))


async def measure(rounds: int) -> dict[str, list[Sample]]:
    """Return the samples of each contestant, one of each round; a first round is not among them."""
    import numpy
    from distributed import Client

    from unified_exec.cluster import DaskPool

    array = numpy.ones(SIZE // 8)
    async with Client(scheduler_address(), asynchronous=True, set_as_default=False) as client:
        async with DaskPool(client, max_workers=1) as pool, TaskScope() as scope:

            async def ours() -> Any:
                return await scope.spawn(work.same, array, on=pool)

            async def submit() -> Any:
                return await client.submit(work.same, array, pure=False)

            async def direct() -> Any:
                there = await client.scatter(array, direct=True, hash=False)
                return await client.gather(client.submit(numpy.copy, there, pure=False), direct=True)

            contestants = {OURS: ours, "submit": submit, "scatter, gather": direct}
            samples: dict[str, list[Sample]] = {name: [] for name in contestants}
            for _ in range(rounds + 1):
                for name, call in contestants.items():
                    samples[name].append(await _sample(call))
    return {name: each[1:] for name, each in samples.items()}


def report(samples: dict[str, list[Sample]]) -> None:
    for name, each in samples.items():
        walls = [sample.wall for sample in each]
        ratio = statistics.median([ours.wall / its.wall for ours, its in zip(samples[OURS], each, strict=True)])
        print(
            f"{name:<16} median {statistics.median(walls) * 1e3:6.0f} ms ({min(walls) * 1e3:.0f} to "
            f"{max(walls) * 1e3:.0f}), CPU {statistics.median([sample.cpu for sample in each]) * 1e3:5.0f} ms, "
            f"peak {statistics.median([sample.peak for sample in each]) / 2**20:4.0f} MiB; {OURS} takes {ratio:.2f} x"
        )


def in_network(rounds: int, rate: str) -> None:
    """Measure in a network of its own whose one interface has this rate."""
    setup = f"ip link set lo up && tc qdisc add dev lo root tbf rate {rate} burst 256kb latency 400ms"
    again = f"{sys.executable} -m benchmarks.cluster_arrays {rounds}"
    subprocess.run(["unshare", "--net", "sh", "-c", f"{setup} && exec {again}"], check=True, env={**os.environ})


if __name__ == "__main__":
    n, *rate_given = sys.argv[1:]
    if rate_given:
        in_network(int(n), *rate_given)
    else:
        report(asyncio.run(measure(int(n))))
