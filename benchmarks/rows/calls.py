"""No-op calls, arrays and fixed work on every backend: one call after another, many at once, in long queues."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..engines import ours, processes, threads
from ..engines.bare import PING_PONG, sharing
from ..engines.engine import Engine
from ..plans import all_at_once, cpu_tasks, one_by_one, round_trip, smallest_efficient_task
from ..row import BEST_PEER, Bar, Contender, Row, Settings

MEBIBYTES = 64

_ONE_PROCESS_CALL = one_by_one(1000, least=100)
_ONE_THREAD_CALL = one_by_one(1000)
_MANY_CALLS = all_at_once(10_000)
_MANY_COROUTINES = all_at_once(20_000)
_WORK = cpu_tasks(64, 0.050)
_METG = smallest_efficient_task(2000)
_SHORT_QUEUE = all_at_once(1_000, repeat=20)
_LONG_QUEUE = all_at_once(100_000)
_THREADS = (ours.THREADS, *threads.PEERS)


def _array() -> Any:
    import numpy

    return numpy.arange(MEBIBYTES * 1024 * 1024 // 8, dtype="float64")


def _check_array(array: Any) -> None:
    if array.nbytes != MEBIBYTES * 1024 * 1024 or array[0] != 0 or array[-1] != len(array) - 1:
        raise AssertionError("the returned array is not the one that was sent")


def _array_contenders() -> tuple[Contender, ...]:
    plan = round_trip(_array, _check_array, calls=2)
    contenders = [engine.contender(plan) for engine in (ours.PROCESSES, *processes.PEERS, processes.JOBLIB)]
    return tuple(replace(contender, needs=(*contender.needs, "numpy")) for contender in contenders)


def _without_collector(contender: Contender) -> Contender:
    """Return the contender without the cyclic garbage collector, whose full passes scan all queued tasks."""

    def measure(settings: Settings) -> float | Mapping[str, float]:
        gc.disable()
        try:
            return contender.measure(settings)
        finally:
            gc.enable()

    return replace(contender, measure=measure)


def _queue_row(name: str, kind: str, engine: Engine, peer: Engine | None = None) -> Row:
    long, short = engine.contender(_LONG_QUEUE), engine.contender(_SHORT_QUEUE)
    contenders = {
        "100,000": long,
        "1,000": short,
        "100,000, cyclic collector off": _without_collector(long),
        "1,000, cyclic collector off": _without_collector(short),
    }
    if peer is not None:
        contenders[f"{peer.name}, 100,000"] = peer.contender(_LONG_QUEUE)
        contenders[f"{peer.name}, 1,000"] = peer.contender(_SHORT_QUEUE)
    return Row(
        f"queue-{name}",
        f"cost per task, 100,000 queued against 1,000 ({kind})",
        "s",
        "No-op calls, as many as the name says, submitted at once, and all values taken; time per call.",
        tuple(replace(contender, name=name, peer=False) for name, contender in contenders.items()),
        (Bar(1.3, "1,000", figure="100,000"),),
        rounds_most=5,
    )


ROWS = [
    Row(
        "process-call",
        "process call, no-op, one after another",
        "s",
        "1,000 calls of a function without arguments, each awaited before the next, two warm workers; time of one.",
        tuple(
            engine.contender(_ONE_PROCESS_CALL)
            for engine in (ours.PROCESSES, *processes.PEERS, PING_PONG, ours.COROUTINES_IN_PROCESSES)
        ),
        (Bar(0.75, "anyio.to_process"), Bar(0.4, "ProcessPoolExecutor"), Bar(1.4, "bare ping-pong")),
    ),
    Row(
        "process-burst",
        "10,000 no-op process calls spawned at once",
        "s",
        "10,000 calls submitted at once to two warm workers, and all values taken; time per call.",
        tuple(
            engine.contender(_MANY_CALLS) for engine in (ours.PROCESSES, *processes.PEERS, ours.COROUTINES_IN_PROCESSES)
        ),
        (Bar(0.3, "multiprocessing.Pool"), Bar(0.08, "ProcessPoolExecutor")),
        rounds_most=7,
    ),
    Row(
        "array",
        "64 MiB float64 array into a process and back",
        "s",
        "A function that returns its argument; the returned array is checked after the time was taken.",
        _array_contenders(),
        (Bar(0.2, BEST_PEER),),
        rounds_most=7,
    ),
    Row(
        "thread-call",
        "thread call, no-op, one after another",
        "s",
        "1,000 calls of a function without arguments, each awaited before the next; time of one call.",
        tuple(engine.contender(_ONE_THREAD_CALL) for engine in _THREADS),
        (Bar(0.85, "asyncio.to_thread"),),
    ),
    Row(
        "thread-burst",
        "10,000 no-op thread calls at once",
        "s",
        "10,000 calls submitted at once, each library with its own number of threads, and all values taken; time per "
        "call.",
        tuple(engine.contender(_MANY_CALLS) for engine in _THREADS),
        (Bar(0.2, "run_in_executor"), Bar(0.1, "anyio.to_thread")),
    ),
    Row(
        "coroutines",
        "20,000 coroutines spawned and joined",
        "s",
        "Coroutines that return at once, started in one scope (task group) and joined by its exit; time per coroutine. "
        "`create_task` returns a handle that keeps the value, as `spawn` does; `start_soon` keeps neither.",
        tuple(engine.contender(_MANY_COROUTINES) for engine in (ours.COROUTINES, *threads.TASK_GROUPS)),
        (Bar(1.15, "anyio create_task"), Bar(1.15, "anyio start_soon")),
    ),
    Row(
        "scaling",
        "64 CPU tasks of 50 ms on two workers",
        "s",
        "A fixed amount of pure Python work, the same for all. The bare processes read the next task from one pipe, so "
        "that they share the work ideally even on an uneven machine.",
        (
            ours.PROCESSES.contender(_WORK),
            sharing("two bare processes", 2, _WORK),
            sharing("one bare process", 1, _WORK),
            *(
                engine.contender(_WORK)
                for engine in (processes.EXECUTOR, processes.MULTIPROCESSING_POOL, processes.ANYIO)
            ),
        ),
        (Bar(0.95, "two bare processes", at_least=True),),
        rounds_most=7,
    ),
    Row(
        "metg",
        "smallest task at which two workers are 50 % efficient (METG)",
        "s",
        "The length d of a task at which 2,000 of them, submitted at once, finish at a rate of one every d seconds.",
        tuple(
            engine.contender(_METG)
            for engine in (
                ours.PROCESSES,
                processes.EXECUTOR,
                processes.MULTIPROCESSING_POOL,
                processes.LOKY,
                processes.ANYIO,
            )
        ),
        (Bar(0.25, "ProcessPoolExecutor"),),
        rounds_most=7,
    ),
    _queue_row("process", "processes", ours.PROCESSES),
    _queue_row("thread", "threads", ours.THREADS, threads.RUN_IN_EXECUTOR),
    _queue_row("loop", "coroutines", ours.COROUTINES, threads.ANYIO_TASKS),
]
