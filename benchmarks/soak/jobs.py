"""The functions that the tasks of a soak run call. Each records in the journal that it started and that it ended.

The journal is a file that every worker maps: two counters of one byte for each task. Only the journal shows whether a
task ran twice or continued after its scope had exited. Workers import this module, so it imports little.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any

from unified_exec import Cancelled, check_cancelled

NAP = 0.0005


class Planned(Exception):
    """An intended failure."""

    def __init__(self, token: int) -> None:
        super().__init__(token)
        self.token = token


class Stubborn(Exception):
    """Hard to unpickle: it takes two arguments, pickles as if it took one, and holds an unpicklable object."""

    def __init__(self, token: int, more: object) -> None:
        super().__init__(token)
        self.token = token
        self.more = more


_maps: dict[str, mmap.mmap] = {}


def journal(path: str) -> mmap.mmap:
    """Return the journal of this epoch, mapped once per process; an earlier epoch's journal is released."""
    found = _maps.get(path)
    if found is None:
        with open(path, "r+b") as file:
            found = mmap.mmap(file.fileno(), 0)
        _maps.clear()
        _maps[path] = found
    return found


def forget_journal() -> None:
    """Release the journal."""
    while _maps:
        _maps.popitem()[1].close()


class Recorded:
    """Records the start and the end of a task."""

    __slots__ = ("at", "map")

    def __init__(self, path: str, token: int) -> None:
        self.map = journal(path)
        self.at = 2 * token

    def __enter__(self) -> None:
        self.map[self.at] += 1

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.map[self.at + 1] += 1


def value_of(token: int) -> int:
    return 3 * token + 1


# -- end by themselves


def quick(path: str, token: int) -> int:
    with Recorded(path, token):
        return value_of(token)


def naps(path: str, token: int, seconds: float) -> int:
    with Recorded(path, token):
        time.sleep(seconds)
        return value_of(token)


def works(path: str, token: int, turns: int) -> int:
    with Recorded(path, token):
        for _ in range(turns):
            pass
        return value_of(token)


def fails(path: str, token: int) -> int:
    with Recorded(path, token):
        try:
            raise KeyError(token)
        except KeyError as error:
            error.add_note(f"token {token}")
            raise Planned(token) from error


def fails_unbuildable(path: str, token: int) -> int:
    with Recorded(path, token):
        raise Stubborn(token, threading.Lock())


def exits(path: str, token: int) -> int:
    with Recorded(path, token):
        sys.exit(token % 100)


def returns_a_lock(path: str, token: int) -> Any:
    with Recorded(path, token):
        return threading.Lock()


def large(path: str, token: int, size: int) -> bytes:
    with Recorded(path, token):
        return bytes([token & 255]) * size


def takes_large(path: str, token: int, block: Any) -> int:
    with Recorded(path, token):
        if len(block) and (block[0] != token & 255 or block[-1] != token & 255):
            raise AssertionError("the block is not the one that was sent")
        return value_of(token)


def same(path: str, token: int, block: Any) -> Any:
    with Recorded(path, token):
        return block


def nested(path: str, token: int, on: str) -> int:
    """Run a nested scope that spawns one task."""
    import anyio

    from unified_exec import TaskScope

    async def inner() -> int:
        value = 0
        where: Any = on
        async with TaskScope() as scope:
            value = await scope.spawn(value_of, token, on=where)
        return value

    with Recorded(path, token):
        return anyio.run(inner)


def calls_the_loop(path: str, token: int) -> int:
    from anyio import from_thread, sleep

    with Recorded(path, token):
        from_thread.run(sleep, NAP)
        return value_of(token)


# -- end when they are cancelled


def spins(path: str, token: int) -> int:
    with Recorded(path, token):
        while True:
            token += 1


def naps_forever(path: str, token: int) -> int:
    with Recorded(path, token):
        while True:
            time.sleep(10)


def polite(path: str, token: int) -> int:
    with Recorded(path, token):
        while True:
            check_cancelled()
            time.sleep(NAP)


def returns_when_cancelled(path: str, token: int) -> int:
    """Return a value although it was cancelled."""
    with Recorded(path, token):
        try:
            while True:
                token += 0
        except Cancelled:
            return value_of(token)


def deaf(path: str, token: int) -> int:
    """Ignore every cancellation: only a kill stops it."""
    with Recorded(path, token):
        while True:
            try:
                while True:
                    time.sleep(NAP)
            except BaseException:
                pass


def deaf_in_c(path: str, token: int) -> int:
    """Hold the GIL for a long time."""
    with Recorded(path, token):
        return sum(range(10**10))


def deaf_parent(path: str, token: int) -> int:
    """Start a child process that must not outlive this one."""
    import subprocess

    with Recorded(path, token):
        child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
        while True:
            try:
                child.wait()
            except BaseException:
                pass


# -- kill their worker


def crashes(path: str, token: int) -> int:
    with Recorded(path, token):
        how = token % 4
        if how == 0:
            os._exit(3)
        if how == 1:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGSEGV if how == 2 else signal.SIGKILL)
        time.sleep(10)
        return 0


# -- coroutines


async def quick_async(path: str, token: int) -> int:
    with Recorded(path, token):
        return value_of(token)


async def naps_async(path: str, token: int, seconds: float) -> int:
    from anyio import sleep

    with Recorded(path, token):
        await sleep(seconds)
        return value_of(token)


async def fails_async(path: str, token: int) -> int:
    from anyio.lowlevel import checkpoint

    with Recorded(path, token):
        await checkpoint()
        raise Planned(token)


async def endless_async(path: str, token: int) -> int:
    from anyio import sleep_forever

    with Recorded(path, token):
        await sleep_forever()
        return 0


async def spins_async(path: str, token: int) -> int:
    """Block the worker's event loop."""
    with Recorded(path, token):
        while True:
            token += 1


async def deaf_async(path: str, token: int) -> int:
    import asyncio

    with Recorded(path, token):
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass


async def crashes_async(path: str, token: int) -> int:
    return crashes(path, token)
