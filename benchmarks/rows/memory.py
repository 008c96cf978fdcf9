"""What a queued task and an idle worker weigh."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope, ThreadPool

from .. import work
from ..engines.base import on_loop
from ..model import OURS, Bar, Contender, Row, Settings

KIB = 1024
MIB = 1024 * 1024
QUEUED = 50_000
_ROOT = str(Path(__file__).parents[2])


def _own_private_bytes(pid: int | None = None) -> int:
    """USS: what would be given back if the process ended."""
    import psutil

    return int(psutil.Process(pid).memory_full_info().uss)


def _queued(on: str) -> Callable[[Settings], float]:
    def measure(settings: Settings) -> float:
        # In a process of its own: the rows before have left free memory here that would be used first.
        command = [sys.executable, "-m", __name__, settings.loop, on]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, os.environ.get("PYTHONPATH", "")])}
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    return measure


def _main(loop: str, on: str) -> None:
    make, option = (ProcessPool, "processes") if on == "process" else (ThreadPool, "threads")
    print(on_loop(loop, _queue, make, option, on))


async def _queue(make: Callable[[int], Any], option: str, on: Any) -> float:
    async with make(1) as pool:
        options = {option: pool}
        # A first batch lets the process take what it will use again.
        await _weigh(options, on, 1_000)
        return await _weigh(options, on, QUEUED) / QUEUED


async def _weigh(options: dict[str, Any], on: Any, tasks: int) -> float:
    """Bytes that so many queued calls of a function with an integer as its argument take."""
    async with TaskScope(**options) as scope:
        scope.spawn(work.pause, 0.5, on=on)
        await anyio.sleep(0.2)
        handles: list[Any] = [None] * tasks
        gc.collect()
        before = _own_private_bytes()
        for number in range(tasks):
            handles[number] = scope.spawn(work.same, number, on=on)
        after = _own_private_bytes()
        scope.cancel()
    return after - before


async def _idle_workers() -> dict[str, float]:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        # A C function of a module that every interpreter has loaded: the worker has to learn nothing.
        fresh = _own_private_bytes(await scope.spawn(os.getpid, on="process"))
        shift = len(pool.name or "")
        by_value = _own_private_bytes(await scope.spawn(lambda: os.getpid() + shift, on="process"))
        looping = _own_private_bytes(await scope.spawn(_own_pid, on="process"))
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
        f"Growth of the parent's private memory (USS) when {QUEUED:,} calls with one integer wait behind a busy "
        "worker; the handles and the integers are part of it.",
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
        "After a call of os.getpid; after a closure was sent by value too; and of a worker for coroutines.",
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
