"""Tasks to be cancelled at any moment. Each writes what happens to it into a journal that the test reads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from unified_exec import Cancelled, current_task

# One descriptor per worker, opened before its first task; each entry is one atomic write.
_journal = -1


def open_journal(path: str, modules: str) -> None:
    """The initializer of the workers: nothing is left to import once tasks run."""
    global _journal
    _journal = os.open(path, os.O_WRONLY | os.O_APPEND)
    sys.path.append(modules)


def note(number: int, what: str) -> None:
    os.write(_journal, f"{number} {os.getpid()} {what}\n".encode())


def note_the_end(number: int) -> None:
    """Also where the ask comes so late that it lands in the `finally` block itself; there is only one."""
    try:
        note(number, "finally")
    except Cancelled:
        note(number, "finally")
        raise


class Diary:
    """Notes the beginning, the ask, and the end of one task."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        note(self.number, "begun")

    def __exit__(self, kind: Any, error: BaseException | None, tb: Any) -> None:
        if isinstance(error, Cancelled):
            task = current_task()
            name = task.name if task is not None else "?"
            note(self.number, f"asked for {error.reason} in {name}")
        elif isinstance(error, asyncio.CancelledError):
            note(self.number, f"asked for {error.args[0] if error.args else None} in {current_task().name}")  # type: ignore[union-attr]


def written(number: int, body: Any, *args: Any) -> int:
    """Run `body` with a `finally` around it, and an entry at each step."""
    try:
        with Diary(number):
            body(*args)
    finally:
        note_the_end(number)
    return number


# -- plain code


def _spin() -> None:
    on = True
    while on:
        pass


def _nested(depth: int) -> None:
    try:
        if depth:
            _nested(depth - 1)
        else:
            _spin()
    finally:
        sum(range(10))


def _numbers() -> Iterator[int]:
    n = 0
    try:
        while True:
            yield n
            n += 1
    finally:
        sum(range(10))


def _generator() -> None:
    for _ in _numbers():
        pass


def _comprehension() -> None:
    while True:
        [n * n for n in range(50) if n % 2]


def _handled_errors() -> None:
    while True:
        try:
            {}["missing"]
        except KeyError:
            pass
        finally:
            sum(range(3))


def _sleep() -> None:
    time.sleep(600)


def _lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _event() -> None:
    threading.Event().wait()


BODIES = (_spin, _nested, _generator, _comprehension, _handled_errors, _sleep, _lock, _event)


def endless(number: int, body: int) -> int:
    """Runs until it is asked."""
    chosen = BODIES[body]
    return written(number, chosen, *((3,) if chosen is _nested else ()))


def brief(number: int, turns: int) -> int:
    """Ends by itself, perhaps at the very moment it is asked."""
    return written(number, sum, range(turns))


def bare(number: int) -> int:
    """Does nothing at all, so that the ask meets the machinery around it."""
    return number


def keeps_its_value(number: int) -> int:
    """Returns a value although it was asked."""
    try:
        written(number, _spin)
    except Cancelled:
        return -number
    return number


class Slow:
    """An argument that takes for ever to rebuild."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return written, (self.number, _spin)


def takes(number: int, argument: object) -> int:
    return number


def imports(number: int) -> int:
    """A request to stop in here is raised when the import returns."""
    sys.modules.pop("a_slow_module", None)
    return written(number, __import__, "a_slow_module")


MODULE = "import time\n\nend = time.monotonic() + 0.03\nwhile time.monotonic() < end:\n    pass\n"


# -- coroutines


async def sleeper(number: int, seconds: float) -> int:
    try:
        with Diary(number):
            await asyncio.sleep(seconds)
    finally:
        note_the_end(number)
    return number


async def blocker(number: int) -> int:
    """Keeps the loop of its worker for itself."""
    return written(number, _spin)
