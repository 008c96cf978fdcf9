"""Workers that are interpreters (CPython 3.14 on), against worker processes and the standard library's executor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from unified_exec import InterpreterPool, ProcessPool, TaskScope
from unified_exec.cli.measuring.clocks import Stopwatch, private_bytes, private_bytes_of_descendants

from .. import work
from ..child import environment
from ..engines import ours
from ..engines.engine import Calls, on_loop
from ..engines.processes import executor_calls
from ..plans import cpu_tasks
from ..row import OURS, Bar, Contender, Row, Settings
from .cancel import cancelling

PYTHON = (3, 14)
PROCESSES = "unified_exec (processes)"
EXECUTOR = "InterpreterPoolExecutor"
MEBIBYTES = 64
MEMORY_WORKERS = 8
WARM_CALLS = 50

Open = Callable[[int], Any]
"""Opens so many workers: an asynchronous context manager of `Calls`."""


@asynccontextmanager
async def _in_pool(make: Callable[[int], InterpreterPool | ProcessPool], workers: int) -> AsyncIterator[Calls]:
    async with make(workers) as pool, TaskScope() as scope:

        async def many(fn: Callable[..., Any], args: tuple[Any, ...], count: int) -> Any:
            async with TaskScope() as inner:
                handles = [inner.spawn(fn, *args, on=pool) for _ in range(count)]
            return [handle.result() for handle in handles][-1]

        yield Calls(lambda fn, args: scope.spawn(fn, *args, on=pool), many)


@asynccontextmanager
async def _in_executor(workers: int) -> AsyncIterator[Calls]:
    from concurrent.futures import InterpreterPoolExecutor  # type: ignore[attr-defined, unused-ignore]

    with InterpreterPoolExecutor(workers) as executor:
        yield executor_calls(executor)


OPENED: dict[str, Open] = {
    OURS: partial(_in_pool, InterpreterPool),
    PROCESSES: partial(_in_pool, ProcessPool),
    EXECUTOR: _in_executor,
}


def _contenders(measure: Callable[..., Any], *names: str) -> tuple[Contender, ...]:
    def on(name: str) -> Contender:
        def run(settings: Settings) -> Any:
            return on_loop("asyncio" if name == EXECUTOR else settings.loop, measure, OPENED[name], settings)

        return Contender(name, run, ("psutil",), peer=name == EXECUTOR, python=PYTHON)

    return tuple(map(on, names))


async def _start(opened: Open, settings: Settings) -> dict[str, float]:
    watch = Stopwatch()
    watch.start()
    async with opened(1) as calls:
        await calls.one(work.nothing, ())
        first = watch.stop()[0]
    _, cpu = watch.stop()
    return {"first result": first, "CPU with the end": cpu}


async def _call(opened: Open, settings: Settings) -> dict[str, float]:
    number = settings.calls(1000, 200)
    watch = Stopwatch()
    async with opened(2) as calls:
        await calls.many(work.pause, (0.05,), 6)
        await calls.many(work.nothing, (), WARM_CALLS)
        watch.start()
        for _ in range(number):
            await calls.one(work.nothing, ())
        wall, cpu = watch.stop()
        watch.start()
        await calls.many(work.nothing, (), number * 5)
        wall_of_burst, cpu_of_burst = watch.stop()
    return {
        "call": wall / number,
        "call, CPU": cpu / number,
        "burst": wall_of_burst / number / 5,
        "burst, CPU": cpu_of_burst / number / 5,
    }


async def _view(opened: Open, settings: Settings) -> dict[str, float]:
    content = memoryview(os.urandom(1024) * (MEBIBYTES * 1024))
    watch = Stopwatch()
    found: dict[str, float] = {}
    async with opened(1) as calls:
        for name, fn in (("down", len), ("down and back", work.same)):
            await calls.one(fn, (content,))
            watch.start()
            back = await calls.one(fn, (content,))
            found[name], found[f"{name}, CPU"] = watch.stop()
            if fn is work.same and bytes(back[:1024]) != bytes(content[:1024]):
                raise AssertionError("the returned view is not the one that was sent")
    return found


def _memory(name: str, settings: Settings) -> float:
    # In a process of its own: earlier rows have left free memory in this one, which would be used first.
    command = [sys.executable, "-W", "ignore", "-m", __name__, name]
    run = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return float(json.loads(run.stdout))


async def _weigh(opened: Open) -> float:
    async with opened(1) as calls:  # what the program itself loads for its first worker
        await calls.one(work.nothing, ())
    before = private_bytes()
    async with opened(MEMORY_WORKERS) as calls:
        await calls.many(work.pause, (0.5,), MEMORY_WORKERS)
        return (private_bytes() - before + private_bytes_of_descendants()) / MEMORY_WORKERS


def _scaling() -> tuple[Contender, ...]:
    plan = cpu_tasks(64, 0.050)
    interpreters = ours.INTERPRETERS.contender(plan)
    processes = replace(ours.PROCESSES.contender(plan), name=PROCESSES)
    return tuple(replace(contender, python=PYTHON) for contender in (interpreters, processes))


def _against(limit: float, other: str, figure: str) -> Bar:
    return Bar(limit, f"{other}: {figure}", f"{OURS}: {figure}")


ROWS = [
    Row(
        "interpreter-start",
        "start of a worker that is an interpreter",
        "s",
        "Until the first result of an importable function in a new pool of one worker; processor time of all with the "
        "end of the pool.",
        _contenders(_start, OURS, PROCESSES, EXECUTOR),
        (_against(0.8, PROCESSES, "first result"), _against(0.8, PROCESSES, "CPU with the end")),
    ),
    Row(
        "interpreter-call",
        "no-op calls of interpreters",
        "s",
        "1,000 calls, each awaited before the next, then 5,000 submitted at once; two warm workers; time of one.",
        _contenders(_call, OURS, PROCESSES, EXECUTOR),
        (
            _against(1.0, PROCESSES, "call"),
            _against(0.8, EXECUTOR, "call"),
            _against(0.6, EXECUTOR, "burst"),
            _against(1.0, PROCESSES, "call, CPU"),
            _against(0.8, EXECUTOR, "call, CPU"),
            _against(0.6, EXECUTOR, "burst, CPU"),
        ),
    ),
    Row(
        "interpreter-view",
        f"read-only memoryview of {MEBIBYTES} MiB into an interpreter, and back",
        "s",
        "A function that returns its length, then one that returns the view itself. The second call of each.",
        _contenders(_view, OURS, PROCESSES, EXECUTOR),
        (
            _against(0.05, PROCESSES, "down"),
            _against(0.3, PROCESSES, "down and back"),
            _against(0.05, PROCESSES, "down, CPU"),
        ),
    ),
    Row(
        "interpreter-memory",
        "private memory of an idle worker that is an interpreter",
        "bytes",
        f"Of {MEMORY_WORKERS} workers, each after one call of an importable function: what this process has grown by, "
        "and the worker processes.",
        tuple(
            Contender(name, partial(_memory, name), ("psutil",), peer=name == EXECUTOR, python=PYTHON)
            for name in OPENED
        ),
        (Bar(0.75, PROCESSES),),
        rounds_most=3,
    ),
    Row(
        "interpreter-cancel",
        "cancel a running pure-Python loop in an interpreter until the handle is done",
        "s",
        "As the row `cancel`.",
        (
            Contender(OURS, cancelling(InterpreterPool), python=PYTHON),
            Contender(PROCESSES, cancelling(ProcessPool), python=PYTHON),
        ),
        (Bar(0.002, figure=f"{OURS}: p50"), Bar(1.0, figure=f"{OURS}: worker kept", at_least=True)),
        units={f"{OURS}: worker kept": "", f"{PROCESSES}: worker kept": ""},
    ),
    Row(
        "interpreter-scaling",
        "64 CPU tasks of 50 ms in two interpreters",
        "s",
        "A fixed amount of pure Python work, the same for both.",
        _scaling(),
        (Bar(1.02, PROCESSES),),
        rounds_most=7,
    ),
]

if __name__ == "__main__":
    print(json.dumps(asyncio.run(_weigh(OPENED[sys.argv[1]]))))
