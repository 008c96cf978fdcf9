"""Classes whose instances are actors in tests. Workers import them without pytest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from unified_exec import from_task


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
