"""The memory of a queued task and of an idle worker."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope, ThreadPool
from unified_exec.cli.measuring.clocks import private_bytes

from .. import work
from ..child import run_module
from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Row, Settings

KIB = 1024
MIB = 1024 * 1024
QUEUED = 50_000


def _queued(on: str) -> Callable[[Settings], float]:
    def measure(settings: Settings) -> float:
        # In a process of its own: earlier rows have left free memory in this one, which would be used first.
        return run_module(__name__, settings.loop, on)

    return measure


def _main(loop: str, on: str) -> None:
    make, option = (ProcessPool, "processes") if on == "process" else (ThreadPool, "threads")
    print(on_loop(loop, _queue, make, option, on))


async def _queue(make: Callable[[int], Any], option: str, on: Any) -> float:
    async with make(1) as pool:
        options = {option: pool}
        # A first batch makes the process allocate what it will use again.
        await _weigh(options, on, 1_000)
        return await _weigh(options, on, QUEUED) / QUEUED


async def _weigh(options: dict[str, Any], on: Any, tasks: int) -> float:
    """Return the bytes that queued calls of a function with an integer argument take."""
    async with TaskScope(**options) as scope:
        scope.spawn(work.pause, 0.5, on=on)
        await anyio.sleep(0.2)
        handles: list[Any] = [None] * tasks
        gc.collect()
        before = private_bytes()
        for number in range(tasks):
            handles[number] = scope.spawn(work.same, number, on=on)
        after = private_bytes()
        scope.cancel()
    return after - before


async def _idle_workers() -> dict[str, float]:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        # A C function of a module that every interpreter has loaded: the worker imports nothing.
        fresh = private_bytes(await scope.spawn(os.getpid, on="process"))
        shift = len(pool.name or "")
        by_value = private_bytes(await scope.spawn(lambda: os.getpid() + shift, on="process"))
        looping = private_bytes(await scope.spawn(_own_pid, on="process"))
    return {"fresh": fresh, "after a function by value": by_value, "with an event loop": looping}


async def _own_pid() -> int:
    return os.getpid()


def _idle(settings: Settings) -> dict[str, float]:
    return on_loop(settings.loop, _idle_workers)


ROWS = [
    Row(
        "memory-task",
        "memory per queued task",
        "bytes",
        f"Growth of the parent's private memory (USS) when {QUEUED:,} calls with one integer wait for a busy "
        "worker; the handles and the integers are included.",
        (
            Contender(OURS, _queued("process"), ("psutil",)),
            Contender(f"{OURS} (threads)", _queued("thread"), ("psutil",)),
        ),
        (Bar(2 * KIB), Bar(2 * KIB, figure=f"{OURS} (threads)")),
        rounds_most=3,
    ),
    Row(
        "memory-worker",
        "memory of an idle worker (private, USS)",
        "bytes",
        "After a call of os.getpid; then after a closure was sent by value; and of a worker for coroutines.",
        (Contender(OURS, _idle, ("psutil",)),),
        (
            Bar(8 * MIB, figure=f"{OURS}: fresh"),
            Bar(12 * MIB, figure=f"{OURS}: after a function by value"),
            Bar(16 * MIB, figure=f"{OURS}: with an event loop"),
        ),
        rounds_most=3,
    ),
]

if __name__ == "__main__":
    _main(*sys.argv[1:])
