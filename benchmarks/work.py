"""The functions that the workers call. Every worker of every library imports them, so nothing heavy is imported."""

from __future__ import annotations

import time
from typing import Any


def nothing() -> None:
    pass


async def nothing_async() -> None:
    pass


def same(value: Any) -> Any:
    return value


async def same_async(value: Any) -> Any:
    return value


def pause(seconds: float) -> None:
    time.sleep(seconds)


async def pause_async(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


def count(turns: int) -> int:
    """Do a fixed amount of pure Python work."""
    total = 0
    for turn in range(turns):
        total += turn & 7
    return total


async def count_async(turns: int) -> int:
    return count(turns)


def forever() -> None:
    turns = 0
    while True:
        turns += 1


def turns_for(seconds: float, tries: int = 5) -> int:
    """Return the number of turns of `count` that take `seconds` on this core, by the fastest of `tries`."""
    turns = 20_000
    best = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        count(turns)
        best = min(best, time.perf_counter() - began)
    return max(1, round(seconds / best * turns))
