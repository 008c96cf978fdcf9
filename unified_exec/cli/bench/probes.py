"""What a model itself costs: its start, a call, many calls, memory, the smallest task that pays."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

from .clocks import forget_peak, peak_bytes, private_bytes
from .models.base import Kind, Model, Opened, opened
from .stamps import quantiles
from .workloads.base import inline
from .workloads.cpu import tiny

EFFICIENT = 0.5
_STEPS = 6


def profile(model: Model, workers: int, quick: bool) -> dict[str, Any]:
    """Measure the model in this process, which has not used it yet.

    Returns:
        Seconds and bytes by measure; ``None`` where it could not be had. ``start``: from nothing to the first result,
        the library's import included. ``call``: quantiles of calls one after another. ``task``: per task of many given
        out at once. ``metg``: see `smallest_efficient_task`. ``parent_bytes``: of this process. ``worker_bytes``: per
        worker. ``task_bytes``: per task
        given out.
    """
    calls, many = (60, 1_000) if quick else (300, 5_000)
    workers = 1 if model.kind.is_alone else workers
    fn = _function(model, tiny)
    start = _start(model, workers, fn)
    gc.collect()
    before, _ = private_bytes()
    with opened(model, workers) as ready:
        ready.perform(fn, (1,))
        ready.perform(_function(model, _pause), [0.02] * 2 * workers)
        own, below = private_bytes()
        call = ready.each(fn, range(calls))
        seconds = _seconds(ready, fn, range(many))
        return {
            "start": start,
            "call": quantiles(call),
            "task": seconds / many,
            "metg": smallest_efficient_task(model, ready, workers, calls),
            "parent_bytes": own,
            "worker_bytes": _worker_bytes(model, own - before, below, workers),
            "task_bytes": _bytes_per_task(ready, fn, 5_000 if quick else 20_000),
            "workers": workers,
        }


def _start(model: Model, workers: int, fn: Any) -> float:
    began = time.perf_counter()
    with opened(model, workers) as ready:
        ready.perform(fn, (1,))
        return time.perf_counter() - began


def _worker_bytes(model: Model, grown: int, below: int, workers: int) -> float | None:
    """A thread weighs what this process grew by; a worker process its own private memory, spares included."""
    if model.kind.is_alone:
        return None
    return below / workers if model.kind is Kind.PROCESS else max(0, grown) / workers


def _function(model: Model, fn: Callable[[Any], Any]) -> Any:
    import functools

    if model.kind is Kind.HYBRID:
        raise ValueError("a hybrid has no single call")
    return functools.partial(inline, fn) if model.takes_coroutines else fn


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _seconds(ready: Opened, fn: Any, items: Sequence[Any]) -> float:
    began = time.perf_counter()
    ready.perform(fn, items)
    return time.perf_counter() - began


def smallest_efficient_task(model: Model, ready: Opened, workers: int, calls: int) -> float | None:
    """METG(50 %) of Slaughter et al., "Task Bench" (SC20): seconds of the smallest task at half efficiency.

    Efficiency is the work done by all tasks / (wall seconds × workers). With n tasks of length d that take w seconds
    each, half efficiency is ``d = w × workers / 2``; putting w in for d again and again leads there. ``None`` if it
    does not: a model that adds no workers' work together (threads under the GIL) reaches no half with two workers.
    """
    turns = 50.0
    for _ in range(_STEPS):
        length = _length(int(turns))
        wall = _seconds(ready, _function(model, spin), [int(turns)] * calls) / calls
        wanted = wall * workers * EFFICIENT
        if wanted > 0.02:
            return None
        turns = max(10.0, turns * wanted / length)
    # Threads that take turns stay near half of two workers at any length; else four times as long does better.
    longer = int(4 * turns)
    wall = _seconds(ready, _function(model, spin), [longer] * (calls // 2)) / (calls // 2)
    return _length(int(turns)) if _length(longer) / (wall * workers) > 0.6 else None


def spin(turns: int) -> int:
    """So much pure Python."""
    total = 0
    for turn in range(turns):
        total += turn & 7
    return total


def _length(turns: int) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        spin(turns)
        best = min(best, time.perf_counter() - began)
    return best


def _bytes_per_task(ready: Opened, fn: Any, tasks: int) -> float | None:
    gc.collect()
    if not forget_peak():
        return None
    before = peak_bytes()
    ready.perform(fn, range(tasks))
    return max(0, peak_bytes() - before) / tasks
