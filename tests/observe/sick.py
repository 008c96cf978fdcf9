"""A program with something of everything to look at: ``python -m tests.observe.sick LOOP``. Never ends."""

from __future__ import annotations

import sys
import time

import anyio
from anyio import wait_all_tasks_blocked

from unified_exec import Limit, ProcessPool, Retry, TaskHandle, TaskScope

database = Limit(1)


def computes() -> None:
    while True:
        pass


def sleeps() -> None:
    time.sleep(1000)


def nests() -> None:
    async def main() -> None:
        async with TaskScope(name="in the worker") as scope:
            scope.spawn(anyio.sleep, 1000, name="deep sleeper")

    anyio.run(main)


def fails() -> None:
    raise OSError


async def holds() -> None:
    async with database:
        await anyio.sleep(1000)


async def wants() -> None:
    async with database:
        pass


async def awaits(handle: TaskHandle[None]) -> None:
    await handle


async def opens() -> None:
    async with TaskScope(name="inner") as inner:
        inner.spawn(sleeps, on="thread")


async def main() -> None:
    async with ProcessPool(2) as pool, TaskScope(name="<b>outer\x1b[31m\u202e", processes=pool) as scope:
        holder = scope.spawn(holds)
        await wait_all_tasks_blocked()
        scope.spawn(wants)
        scope.spawn(awaits, holder)
        scope.spawn(anyio.Event().wait, name="event")
        for fn in (computes, nests, *[computes] * 8):
            scope.spawn(fn, on="process")
        scope.spawn(sleeps, on="thread")
        scope.spawn(fails, on="thread", retry=Retry(5, backoff=lambda n: 500.0))
        scope.spawn(sleeps, limit=database, name="limited")
        scope.spawn(opens)
        print("ready", flush=True)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
