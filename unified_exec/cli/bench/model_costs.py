"""What a model itself costs: its start, a call, many calls, memory, the smallest task worth giving to it.

Also the stamps and quantiles from which latencies are computed. Workers import this module by name.
"""

from __future__ import annotations

import functools
import gc
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..measuring.clocks import peak_since_reset, private_bytes, private_bytes_of_descendants, reset_peak
from .models.model import Kind, Model, Opened, opened
from .workloads.cpu import tiny
from .workloads.workload import inline

EFFICIENT = 0.5
POINTS = 41
"""Quantiles kept of each turn: the minimum, 39 in equal steps, the maximum."""
_STEPS = 6


def quantiles(values: Sequence[float]) -> list[float]:
    """Return `POINTS` values from the minimum to the maximum; an empty list for no values."""
    if not values:
        return []
    ordered = sorted(values)
    return [ordered[round(part * (len(ordered) - 1) / (POINTS - 1))] for part in range(POINTS)]


def stamped(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that returns its result with the time it was done, on the clock that all processes share."""
    inner: Any = fn
    while hasattr(inner, "func"):  # partials
        inner = inner.func
    return functools.partial(_stamp_async if inspect.iscoroutinefunction(inner) else _stamp, fn)


def _stamp(fn: Callable[[Any], Any], item: Any) -> tuple[Any, float]:
    value = fn(item)
    return value, time.monotonic()


async def _stamp_async(fn: Callable[[Any], Any], item: Any) -> tuple[Any, float]:
    value = await fn(item)
    return value, time.monotonic()


def model_costs(model: Model, workers: int, quick: bool) -> dict[str, Any]:
    """Measure the model in this process, which has not used it yet.

    Returns:
        Seconds and bytes by measure; ``None`` where the measure does not apply. ``start``: from nothing to the first
        result, including the library's import. ``call``: quantiles of sequential calls. ``task``: time per task of
        many submitted at once. ``metg``: see `smallest_efficient_task`. ``parent_bytes``: memory of this process.
        ``worker_bytes``: memory per worker. ``task_bytes``: memory per submitted task.
    """
    calls, many = (60, 1_000) if quick else (300, 5_000)
    workers = 1 if model.kind.is_alone else workers
    fn = _function(model, tiny)
    start = _start(model, workers, fn)
    gc.collect()
    before = private_bytes()
    with opened(model, workers) as ready:
        ready.perform(fn, (1,))
        ready.perform(_function(model, _pause), [0.02] * 2 * workers)
        own, below = private_bytes(), private_bytes_of_descendants()
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
    """Return the memory per worker: for threads the growth of this process, for processes their private memory."""
    if model.kind.is_alone:
        return None
    return below / workers if model.kind is Kind.PROCESS else max(0, grown) / workers


def _function(model: Model, fn: Callable[[Any], Any]) -> Any:
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

    Efficiency is the work of all tasks / (wall seconds × workers). With n tasks of length d that take w seconds each,
    half efficiency is reached at ``d = w × workers / 2``; replacing d by that value repeatedly converges to it.
    ``None`` if it does not converge: where workers do not run in parallel (threads under the GIL), two workers never
    reach half efficiency.
    """
    turns = 50.0
    for _ in range(_STEPS):
        length = _length(int(turns))
        wall = _seconds(ready, _function(model, spin), [int(turns)] * calls) / calls
        wanted = wall * workers * EFFICIENT
        if wanted > 0.02:
            return None
        turns = max(10.0, turns * wanted / length)
    # Threads under the GIL stay near half of two workers at any length; all others do better with longer tasks.
    longer = int(4 * turns)
    wall = _seconds(ready, _function(model, spin), [longer] * (calls // 2)) / (calls // 2)
    return _length(int(turns)) if _length(longer) / (wall * workers) > 0.6 else None


def spin(turns: int) -> int:
    """Run pure Python code, `turns` iterations of it."""
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
    if not reset_peak():
        return None
    before = peak_since_reset()
    ready.perform(fn, range(tasks))
    return max(0, peak_since_reset() - before) / tasks
