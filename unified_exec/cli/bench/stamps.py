"""When each task ended: its latency, seen from the moment all were given out."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

POINTS = 41
"""Quantiles kept of each turn: the least, every fortieth part, the greatest."""


class Stamped:
    """A function whose result comes with the moment it was there, on the clock all processes share."""

    def __new__(cls, fn: Callable[[Any], Any]) -> Any:
        import functools

        return functools.partial(_stamp_async if is_coroutine_function(fn) else _stamp, fn)


def is_coroutine_function(fn: Any) -> bool:
    """Seen through partials."""
    while hasattr(fn, "func"):
        fn = fn.func
    return inspect.iscoroutinefunction(fn)


def _stamp(fn: Callable[[Any], Any], item: Any) -> tuple[Any, float]:
    value = fn(item)
    return value, time.monotonic()


async def _stamp_async(fn: Callable[[Any], Any], item: Any) -> tuple[Any, float]:
    value = await fn(item)
    return value, time.monotonic()


def split(results: Sequence[tuple[Any, float]]) -> tuple[list[Any], list[float]]:
    """Values and moments."""
    return [value for value, _ in results], [at for _, at in results]


def quantiles(values: Sequence[float]) -> list[float]:
    """The least, the quantiles between, the greatest; nothing of nothing."""
    if not values:
        return []
    ordered = sorted(values)
    return [ordered[round(part * (len(ordered) - 1) / (POINTS - 1))] for part in range(POINTS)]
