"""A program that is busy everywhere: ``python -m tests.observe.shop LOOP [IDLE [SECONDS]]``.

It has IDLE coroutines that sleep, pages that go through a coroutine, a process and a thread, failures, a deadlock of
two tasks, and hostile names. It ends after SECONDS (by default never).
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress

import anyio

from unified_exec import Collect, DeadlockError, Limit, ProcessPool, TaskScope, observe

MARKUP = "<img src=x onerror=\"document.title='owned'\">"
ESCAPES = "\x1b[2J\x1b]0;owned\x07[red]bold[/red]\u202egnol"
LONG = "x" * 100_000

left, right = Limit(1), Limit(1)
database = Limit(2)


def parse(number: int) -> int:
    until = time.process_time() + 0.02 + number % 7 / 100
    while time.process_time() < until:
        pass
    return number


def store(number: int) -> None:
    time.sleep(0.01)
    if number % 9 == 0:
        raise ValueError(f"page {number} has no title <b>")


async def page(scope: TaskScope, rooms: anyio.Semaphore, number: int) -> None:
    try:
        await scope.spawn(parse, number, on="process", name=f"parse {number}")
        async with database:
            await scope.spawn(store, number, on="thread", name=f"store {number}")
    finally:
        rooms.release()


async def take(first: Limit, second: Limit) -> None:
    """Two that do this in opposite orders soon wait for each other again after one was told so."""
    while True:
        with suppress(DeadlockError):
            async with first:
                await anyio.sleep(0.05)
                async with second:
                    await anyio.sleep(0.05)


async def main(idle: int, seconds: float) -> None:
    observe.allow_control()
    async with ProcessPool(2) as pool, TaskScope(name="shop", policy=Collect(), processes=pool) as scope:
        scope.spawn(take, left, right, name="left then right")
        scope.spawn(take, right, left, name="right then left")
        for name in (MARKUP, ESCAPES, LONG):
            scope.spawn(anyio.sleep_forever, name=name)
        async with TaskScope(name="idle") as inner:
            for number in range(idle):
                inner.spawn(anyio.sleep_forever, name=f"waits {number}")
            print("ready", flush=True)
            with anyio.move_on_after(seconds):
                number, rooms = 0, anyio.Semaphore(12)
                while True:
                    number += 1
                    await rooms.acquire()  # a slow machine has no more pages at once than a fast one
                    scope.spawn(page, scope, rooms, number, name=f"page {number}")
                    await anyio.sleep(0.02)
            inner.cancel()
        scope.cancel()


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *("asyncio", "0", "1e9")[len(sys.argv) - 1 :]]
    anyio.run(main, int(arguments[1]), float(arguments[2]), backend=arguments[0])
