"""Classes whose instances are actors in tests. Workers import them without pytest."""

from __future__ import annotations

import itertools
import os
import signal
import time
from _thread import allocate_lock
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from unified_exec import TaskScope, TaskTimeout, from_task


class Counter:
    def __init__(self, start: int, log: str | None = None) -> None:
        self.n = start
        self.log = log
        self.note("made")

    def note(self, what: str) -> None:
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{what}\n")

    def add(self, n: int) -> int:
        self.n += n
        return self.n

    def fail(self) -> None:
        raise KeyError(self.n)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def pid(self) -> int:
        return os.getpid()

    def wait(self, go: str) -> int:
        self.note("waiting")
        while not Path(go).exists():
            time.sleep(0.001)
        return self.n

    def swallow(self, log: str) -> None:
        """Ignore every request to stop."""
        self.note("swallowing")
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

    def count(self, n: int) -> Iterator[int]:
        for _ in range(n):
            yield self.add(1)

    def asks(self, key: int) -> Any:
        return from_task.run_sync(abs, -self.add(key))

    def close(self) -> None:
        self.note(f"closed at {self.n}")


class Entered(Counter):
    def __enter__(self) -> Entered:
        self.note("entered")
        return self

    def __exit__(self, *exc: object) -> None:
        self.note("exited")


class BadlyMade(Counter):
    def __init__(self) -> None:
        raise LookupError("no such model")


class BadlyClosed(Counter):
    def close(self) -> None:
        raise OSError("the disk is full")


class Hanging(Counter):
    def close(self) -> None:
        self.note("closing")
        time.sleep(60)


class Waiter:
    """Its calls wait for each other."""

    def __init__(self, log: str | None = None) -> None:
        self.here = 0
        self.most = 0
        self.log = log

    async def meet(self, others: int) -> int:
        self.here += 1
        self.most = max(self.most, self.here)
        while self.most < others:
            await anyio.sleep(0.001)
        await anyio.lowlevel.checkpoint()
        self.here -= 1
        return self.most

    def plain(self) -> int:
        return self.most

    async def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def count(self, n: int) -> AsyncIterator[int]:
        for at in range(n):
            yield at

    async def aclose(self) -> None:
        if self.log is not None:
            Path(self.log).write_text("aclosed")


class Teller:
    """Tells numbers without an end, and notes when it has stopped."""

    def __init__(self) -> None:
        self.ended = False

    def tell(self) -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            self.ended = True

    async def tell_async(self) -> AsyncIterator[int]:
        try:
            for n in itertools.count():
                yield n
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.ended = True

    def has_ended(self) -> bool:
        return self.ended


# -- code of tasks that have an actor as an argument


def add(actor: Any, n: int) -> int:
    value: int = actor.call(Counter.add, n).result()
    return value


async def a_add(actor: Any, n: int) -> int:
    value: int = await actor.call(Counter.add, n)
    return value


def add_in_nested_scopes(actor: Any, n: int) -> list[int]:
    """Once from a coroutine of a scope in this task, once from a worker of this worker."""

    async def main() -> list[int]:
        async with TaskScope() as scope:
            return [await scope.spawn(a_add, actor, n), await scope.spawn(add, actor, n, on="process")]

    return anyio.run(main)


def meet_errors(actor: Any) -> list[str]:
    found: list[str] = []
    calls: list[Any] = [
        lambda: actor.call(Counter.fail).result(),
        lambda: actor.call(len),
        lambda: actor.stream(Counter.count, 2),
        lambda: actor.call(Counter.add, allocate_lock()).result(),
    ]
    for call in calls:
        try:
            call()
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def time_out(actor: Any, go: str) -> str:
    value = "none"
    try:
        actor.call(Counter.wait, go, timeout=0.05).result()
    except TaskTimeout:
        value = "timeout"
    return value


def cancel_call(actor: Any, go: str) -> str:
    waits = actor.call(Counter.wait, go)
    late = actor.call(Counter.add, 100)
    late.cancel("not needed")
    try:
        late.result()
    except Exception as error:
        found = type(error).__name__
    else:
        found = "none"
    Path(go).touch()
    waits.result()
    return found


def add_and_forget(actor: Any, n: int) -> None:
    actor.call(Counter.add, n)


def keep(actor: Any) -> Any:
    return actor


class Chief:
    """Has an actor."""

    def __init__(self, actor: Any = None) -> None:
        self.actor = actor

    def add(self, n: int) -> int:
        return add(self.actor, n)

    def ask(self, first: Any, *others: Any) -> int:
        value: int = first.call(Chief.ask, *others).result() if others else first.call(Chief.one).result()
        return value

    def one(self) -> int:
        return 1
