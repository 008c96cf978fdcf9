"""Tasks of the interpreter storm. Each notes in its interpreter that it began and ended, what it entered and left."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import NamedTuple

from unified_exec import check_cancelled


class Ledger(NamedTuple):
    """What the tasks of one worker have done; all differences must be zero."""

    ran: Counter[int]
    finished: Counter[int]
    entered: int
    unbalanced: int


_ran: Counter[int] = Counter()
_finished: Counter[int] = Counter()
_blocks = [0, 0, 0, 0]
"""``try`` blocks entered, their ``finally`` blocks run, ``with`` blocks entered, and left."""


class _Open:
    def __enter__(self) -> None:
        _blocks[2] += 1

    def __exit__(self, *exc: object) -> None:
        _blocks[3] += 1


def _one_round(count: int) -> None:
    _blocks[0] += 1
    try:
        with _Open():
            for n in range(count):
                abs(n)
    finally:
        _blocks[1] += 1


def loops(count: int) -> None:
    """Enter and leave for ever, in one function."""
    while True:
        _blocks[0] += 1
        try:
            with _Open():
                pass
        finally:
            _blocks[1] += 1


def calls(count: int) -> None:
    """Enter and leave for ever, two functions further down."""
    while True:
        _blocks[0] += 1
        try:
            sum(_numbers(count))
            _one_round(count)
        finally:
            _blocks[1] += 1


def _numbers(count: int) -> list[int]:
    return [n * n for n in range(count)]


def looks(count: int) -> None:
    """Ask whether it was cancelled, between two short calls into C."""
    while True:
        _one_round(count)
        time.sleep(0.0005)
        check_cancelled()


def waits(count: int) -> None:
    """Wait for ever in an event loop of its own."""

    async def wait() -> None:
        _blocks[0] += 1
        try:
            await asyncio.sleep(1000)
        finally:
            _blocks[1] += 1

    asyncio.run(wait())


def ends(count: int) -> None:
    """Take about as long as the storm waits before it cancels."""
    for n in range(count * 3):
        _one_round(n % 7)


def sleeps(count: int) -> None:
    """Sleep in C, where no interrupt comes through."""
    with _Open():
        time.sleep(count * 0.00005)


ENDLESS = (loops, calls, looks, waits)
SHORT = (ends, sleeps)
PYTHON = (loops, calls)
"""Those that an interrupt reaches at once."""


def run(name: str, number: int, count: int) -> int:
    """Run the job of that name; returns `number`."""
    _ran[number] += 1
    _blocks[0] += 1
    try:
        globals()[name](count)
    finally:
        _blocks[1] += 1
        _finished[number] += 1
    return number


def ledger() -> Ledger:
    """Return what was noted in this interpreter since the last call."""
    begun, ended, opened, closed = _blocks
    found = Ledger(_ran.copy(), _finished.copy(), begun + opened, abs(begun - ended) + abs(opened - closed))
    _ran.clear()
    _finished.clear()
    _blocks[:] = [0, 0, 0, 0]
    return found
