"""Many workers: what they cost to start, to use and to end, and what a task costs the parent that has them."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

from unified_exec import ProcessPool, TaskScope

from .. import work
from ..child import environment
from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Measure, Row, Settings

PROGRAM = Path(__file__).parents[1] / "programs" / "many_workers.py"
MIB = 1024 * 1024
FORKSERVER = "ProcessPoolExecutor (forkserver)"
KINDS = {
    "ours": OURS,
    "forkserver": FORKSERVER,
    "spawn": "ProcessPoolExecutor (spawn)",
    "pool": "multiprocessing.Pool (forkserver)",
}
UNITS = {
    "workers": "",
    "start, CPU of each worker": "s",
    "start": "s",
    "worker's memory": "bytes",
    "descriptors of each worker": "",
    "parent's CPU of each task": "s",
    "CPU of each task": "s",
    "time to the ideal": "",
    "least busy worker's share": "",
    "end": "s",
}
CALLS = 2_000
NUMBERS = (2, 64, 256)


def _program(kind: str, workers: int, tasks: int) -> Measure:
    def measure(settings: Settings) -> dict[str, float]:
        command = [sys.executable, str(PROGRAM), kind, str(workers), str(settings.calls(tasks))]
        run = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        found: dict[str, float] = json.loads(run.stdout)
        return found

    return measure


def _row(workers: int, tasks: int, rounds: int) -> Row:
    def figure(name: str, what: str) -> str:
        return f"{name}: {what}"

    start, parent = "start, CPU of each worker", "parent's CPU of each task"
    return Row(
        f"many-{workers}",
        f"{workers} workers, {tasks:,} tasks that sleep for 1 to 50 ms",
        "s",
        "Start: until as many tasks as workers, submitted at once, have ended, less their sleep. Memory: private. The "
        "ideal: all sleeps / workers. Share: of the least busy worker, to the mean.",
        tuple(Contender(name, _program(kind, workers, tasks), ("psutil",)) for kind, name in KINDS.items()),
        (
            Bar(0.5, figure(FORKSERVER, start), figure(OURS, start)),
            Bar(7 * MIB, figure=figure(OURS, "worker's memory")),
            Bar(1.0, figure(FORKSERVER, parent), figure(OURS, parent)),
        ),
        units={figure(name, what): unit for name in KINDS.values() for what, unit in UNITS.items()},
        rounds_most=rounds,
    )


def _python_calls(settings: Settings) -> dict[str, float]:
    return on_loop(settings.loop, _count_calls)


async def _count_calls() -> dict[str, float]:
    found: dict[str, float] = {}
    for workers in NUMBERS:
        async with ProcessPool(workers) as pool:
            async with TaskScope() as scope:
                for _ in range(workers):
                    scope.spawn(work.pause, 0.5 + workers * 0.02, on=pool)
            for pattern, seconds in (("no-ops at once", 0.0), ("sleeps of 2.5 ms", 0.0025)):
                await _submit(pool, seconds)  # the workers know the function, and the pool how long it takes
                gc.disable()
                calls = 0

                def note(frame: object, event: str, arg: object) -> None:
                    nonlocal calls
                    calls += event == "call"

                sys.setprofile(note)
                try:
                    await _submit(pool, seconds)
                finally:
                    sys.setprofile(None)
                    gc.enable()
                found[f"{pattern}, {workers} workers"] = calls / CALLS
    return found


async def _submit(pool: ProcessPool, seconds: float) -> None:
    async with TaskScope() as scope:
        for _ in range(CALLS):
            if seconds:
                scope.spawn(work.pause, seconds, on=pool)
            else:
                scope.spawn(work.nothing, on=pool)


def _as_few_calls(pattern: str) -> Bar:
    few, *_, many = NUMBERS
    return Bar(1.3, f"{OURS}: {pattern}, {few} workers", f"{OURS}: {pattern}, {many} workers")


ROWS = [
    _row(64, 4_000, 3),
    _row(256, 10_000, 1),
    Row(
        "many-calls",
        "Python calls in the parent for each task, by number of workers",
        "",
        "Counted, not timed, so the machine need not be quiet.",
        (Contender(OURS, _python_calls),),
        (_as_few_calls("no-ops at once"), _as_few_calls("sleeps of 2.5 ms")),
        rounds_most=1,
    ),
]
