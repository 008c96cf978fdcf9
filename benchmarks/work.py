"""The functions that the workers call. Every worker of every library imports them, so nothing heavy is imported."""

from __future__ import annotations

import os
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


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


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


LOGGER = "benchmarks.work"
_used_before = 0.0


def log_records(count: int) -> float:
    """Log; returns the seconds of processor time that this process has used since the last call ended."""
    import logging

    global _used_before
    logger = logging.getLogger(LOGGER)
    for number in range(count):
        logger.info("record %d of %d", number, count)
    used, _used_before = time.process_time() - _used_before, time.process_time()
    return used


def send_records_to(queue: Any) -> None:
    """Configure logging as the cookbook does for worker processes."""
    import logging
    import logging.handlers

    root = logging.getLogger()
    root.addHandler(logging.handlers.QueueHandler(queue))
    root.setLevel(logging.INFO)


class Counter:
    """An actor."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def crash(self) -> None:
        os._exit(1)
